"""Pools of workers: known schedulers, workers that are refused, and runs on a Dask cluster of this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from helpers.commands import start_run, wait_for_cells
from helpers.runs import run
from joblib.externals.loky import ProcessPoolExecutor

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.executors import check_scheduler, open_pool
from gtn_bench.execution.executors.base import killed
from gtn_bench.execution.executors.remote import check_answer, facts
from gtn_bench.execution.executors.workers import prepare_worker
from gtn_bench.store.cache import Context, Store
from gtn_bench.store.owners import owned_name

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="Dask is not installed: pip install 'gtn-bench[dask]'"
)

SUITE = """
name: executors
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: 30}]
seeds: [0, 1]
acceptance: 0
perturbations:
  - {name: pgd, steps: 5, samples: 30, beta: [0.05, 0.1]}
  - {name: noise, samples: 30, beta: [0.1, 0.2]}
"""
SLOW = SUITE + "  - {name: slow, samples: 30, beta: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}\n"


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("local_cluster", "got 'local_cluster'; did you mean 'local-cluster'?"),
        ("tcp://", "got 'tcp://'"),
        ("http://host:8786", "or an address as tcp://host:8786, got 'http://host:8786'"),
        (8786, "got 8786"),
    ],
)
def test_other_schedulers_are_refused(scheduler: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_scheduler(scheduler)
    assert str(caught.value).startswith("scheduler expects one of processes, local-cluster, or an address")
    assert message in str(caught.value)


@pytest.mark.parametrize("scheduler", [None, "processes", "local-cluster", "tcp://host:8786", "tls://host:1"])
def test_known_schedulers_are_accepted(scheduler: str | None) -> None:
    check_scheduler(scheduler)


@pytest.mark.parametrize(
    ("exit_codes", "how"),
    [
        ("{SIGKILL(-9)}", "its worker was killed (signal 9; likely out of memory)"),
        ("{SIGSEGV(-11)}", "its worker was killed (signal 11)"),
        ("{EXIT(3)}", "its worker ended with exit code 3"),
        ("{EXIT(0)}", "its worker ended with exit code 0"),
        ("{}", "its worker was killed (likely out of memory)"),
    ],
)
def test_the_end_of_a_worker_in_words(exit_codes: str, how: str) -> None:
    assert killed(f"A worker has terminated.\nThe exit codes of the workers are {exit_codes}\nmore") == how


def test_missing_dask_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught, open_pool("tcp://host:1", 1, Context(Store(tmp_path), "cpu")):
        pass
    assert str(caught.value) == (
        "--scheduler tcp://host:1 needs Dask, which is not installed; pip install 'gtn-bench[dask]'"
    )


def nonce_in(folder: Path) -> Path:
    path = folder / "running" / "run" / "nonce"
    path.parent.mkdir(parents=True)
    path.write_text("1234")
    return path


@pytest.mark.parametrize(
    ("threads", "answer", "message"),
    [
        (2, {}, "worker tcp://w:1 has 2 threads, tasks need a process each; start it with --nthreads 1"),
        (1, {"torch": "1.0"}, "worker tcp://w:1 has torch 1.0, this process has "),
        (1, {"python": "3.9.1"}, "worker tcp://w:1 has python 3.9.1, this process has "),
        (1, {"nonce": ""}, "worker tcp://w:1 does not see the cache "),
        (
            1,
            ModuleNotFoundError("No module named 'gtn_bench'"),
            "worker tcp://w:1: No module named 'gtn_bench'; install",
        ),
        (1, None, "worker tcp://w:1 cannot be used (NoneType: None)"),
        (1, OSError("no\nluck"), "worker tcp://w:1 cannot be used (OSError: no luck)"),
    ],
)
def test_workers_that_cannot_be_used_are_refused_in_one_line(
    threads: int, answer: Any, message: str, tmp_path: Path
) -> None:
    nonce, expected = nonce_in(tmp_path), facts("cpu")
    good = {**expected, "nonce": "1234"}
    check_answer("worker tcp://w:1", 1, good, nonce, expected)
    with pytest.raises(ConfigError) as caught:
        check_answer(
            "worker tcp://w:1", threads, {**good, **answer} if isinstance(answer, dict) else answer, nonce, expected
        )
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.slow
@needs_dask
def test_a_scheduler_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught, open_pool("tcp://127.0.0.1:9", 1, Context(Store(tmp_path), "cpu")):
        pass
    assert str(caught.value) == "scheduler tcp://127.0.0.1:9: no Dask scheduler answers there within 8 s"
    assert time.monotonic() - start < 15


class Cluster:
    """A Dask scheduler and workers, as processes of this machine.

    Args:
        folder: a folder for their files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start("scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")
        end = time.monotonic() + 40
        while not self.file.exists() and time.monotonic() < end:
            time.sleep(0.1)
        self.address = pd.read_json(self.file, typ="series")["address"]

    def worker(self, name: str, *options: str) -> None:
        """Start a worker. It stays away after its death.

        Args:
            name: its name.
            options: further options.
        """
        self.start(name, "distributed.cli.dask_worker", "--no-nanny", "--local-directory", str(self.folder), *options)

    def start(self, name: str, module: str, *options: str) -> None:
        """Start a process.

        Args:
            name: its name.
            module: its main module.
            options: further options.
        """
        command = [sys.executable, "-m", module, "--scheduler-file", str(self.file), "--no-dashboard", *options]
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    def stop(self) -> None:
        """Kill all processes."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "dask").mkdir()
    started = Cluster(tmp_path / "dask")
    try:
        yield started
    finally:
        started.stop()


def numbers(results: gtn_bench.Results) -> pd.DataFrame:
    return results.summary.drop(columns=[name for name in results.summary if "seconds" in name])


@pytest.mark.slow
@needs_dask
@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_a_cluster_has_the_numbers_of_this_process_and_refuses_threads(cluster: Cluster, tmp_path: Path) -> None:
    cluster.worker("one", "--nthreads", "1")
    cluster.worker("two", "--nthreads", "1")
    plan = gtn_bench.plan(suite.parse(SUITE))
    options: dict[str, Any] = {"cache": tmp_path / "cache", "device": "cpu", "scheduler": cluster.address}
    (tmp_path / "cache" / "running" / owned_name().replace(str(os.getpid()), str(2**22 + 1), 1)).mkdir(parents=True)
    there = gtn_bench.run(plan, tmp_path / "there", **options)
    here = run(SUITE, tmp_path / "here", tmp_path / "other")
    pd.testing.assert_frame_equal(numbers(there), numbers(here), check_exact=True)
    pd.testing.assert_frame_equal(there.samples, here.samples, check_exact=True)
    assert (there.summary["status"] == "done").all()
    assert list((tmp_path / "cache" / "running").iterdir()) == []  # notes are taken away, those of a killed run too

    cluster.worker("three", "--nthreads", "2")
    end = time.monotonic() + 40
    with pytest.raises(ConfigError, match=r"^worker tcp://\S+ has 2 threads, tasks need a process each; start it with"):
        while time.monotonic() < end:
            gtn_bench.run(plan, tmp_path / "again", **options)
            time.sleep(0.5)


@needs_dask
@pytest.mark.long
def test_a_worker_that_dies_costs_nothing_and_a_run_resumes_after_the_scheduler_has_died(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.worker("one", "--nthreads", "1")
    cluster.worker("two", "--nthreads", "1")
    process = start_run(SLOW, tmp_path, cluster.address)
    wait_for_cells(tmp_path / "cache", 9, process)
    cluster.processes["one"].kill()
    wait_for_cells(tmp_path / "cache", 15, process)
    cluster.processes["scheduler"].kill()
    start = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert errors.strip().splitlines()[-1] == (
        f"scheduler {cluster.address}: the connection is lost; what is finished is stored; run the same command again "
        "to resume"
    )
    assert "Traceback" not in errors and process.returncode == 1
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "cells").rglob("*.safetensors")}
    assert len(stored) >= 15
    again = start_run(SLOW, tmp_path)
    _, errors = again.communicate(timeout=100)
    assert again.returncode == 0, errors
    assert all(path.stat().st_mtime_ns == written for path, written in stored.items())
    assert (gtn_bench.Results(tmp_path / "out").summary["status"] == "done").all()


@needs_dask
@pytest.mark.long
def test_a_local_cluster_ends_with_its_run(tmp_path: Path) -> None:
    process = start_run(SLOW, tmp_path, "local-cluster")
    wait_for_cells(tmp_path / "cache", 9, process)
    started = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    _, alive = psutil.wait_procs(started, 5)
    assert alive == []
    again = start_run(SLOW, tmp_path, "local-cluster")
    _, errors = again.communicate(timeout=100)
    assert again.returncode == 0, errors


def hold(size: int) -> int:
    """Hold memory in a worker until it ends, and return its process."""
    memory = bytearray(size)
    memory[::4096] = bytes(len(memory[::4096]))  # the system gives memory that is written
    vars(sys).setdefault("held", []).append(memory)
    time.sleep(1.1)  # loky looks at most once per second
    return os.getpid()


@pytest.mark.slow
def test_a_worker_stays_until_its_memory_has_grown_by_a_gigabyte() -> None:
    with ProcessPoolExecutor(1, initializer=prepare_worker, initargs=(os.getpid(),)) as workers:
        first, second, third = (workers.submit(hold, size).result() for size in (0, 500_000_000, 0))
        assert first == second == third
        assert workers.submit(hold, 700_000_000).result() == first
        time.sleep(0.5)  # until loky has looked
        assert workers.submit(hold, 0).result() != first
