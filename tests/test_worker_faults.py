"""Workers that die, hang or outlive their run, and cells that end their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.commands import PLUGIN, descendants, left_after, start_run, wait_for_cells

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.planning import plugins

SUITE = """
name: faults
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: 30}]
seeds: [0]
acceptance: 0
checks: none
perturbations:
  - {name: pgd, steps: 5, samples: 30, beta: [0.05, 0.1]}
  - {name: noise, samples: 30, beta: [0.1, 0.2]}
"""
KILLED = "WorkerDiedError: its worker was killed (signal 9; likely out of memory)"
HOWS = {
    "exit": "WorkerDiedError: its worker ended with exit code 3",
    "kill": KILLED,
    "crash": "WorkerDiedError: its worker was killed (signal 11)",
    "sys.exit": "SystemExit: 3",
    "interrupt": "KeyboardInterrupt",
    "stop": "SystemExit: enough",
    "sleep": "TimeoutError: exceeded the time limit of 2 s",
    "catching": "TimeoutError: exceeded the time limit of 2 s",
    "masked": "TimeoutError: exceeded the time limit of 2 s",
}
QUICK = "exit", "interrupt", "sleep"


@pytest.fixture(scope="module", name="plugin")
def _plugin() -> Iterator[None]:
    before, loaded = dict(PERTURBATIONS), dict(plugins._loaded)
    plugins.load_plugin(str(PLUGIN))
    yield
    PERTURBATIONS.clear()
    PERTURBATIONS.update(before)
    plugins._loaded.clear()
    plugins._loaded.update(loaded)


def row(how: str) -> str:
    return f"  - {{name: faulty, label: {how}, how: {how}, samples: 30, beta: [0.1, 0.2, 0.12]}}\n"


def run(text: str, folder: Path, **options: Any) -> gtn_bench.Results:
    arguments: dict[str, Any] = {"cache": folder / "cache", "workers": 2, "device": "cpu", "scheduler": "processes"}
    return gtn_bench.run(gtn_bench.plan(suite.parse(text)), folder / "out", **{**arguments, **options})


def numbers(results: gtn_bench.Results, perturbations: list[str]) -> pd.DataFrame:
    samples = results.samples
    chosen = samples[samples["perturbation"].isin(perturbations)].astype({"perturbation": str})
    return chosen.sort_values(["perturbation", "beta", "sample"]).reset_index(drop=True)


def check(results: gtn_bench.Results, hows: tuple[str, ...], folder: Path) -> None:
    """Check that one cell of each faulty sweep failed, for its reason, and that all others have the right numbers."""
    status = results.summary.groupby("perturbation")["status"].agg(list).to_dict()
    assert status == {
        "pgd": ["done"] * 2,
        "noise": ["done"] * 2,
        **{how: ["done", "done", "error"] for how in hows},
    }
    found = {error["perturbation"]: error["error"].partition(" (faulty.py")[0] for error in results.errors}
    assert found == {how: HOWS[how] for how in hows}
    clean = run(SUITE, folder, workers=1, scheduler=None)
    pd.testing.assert_frame_equal(numbers(results, ["pgd", "noise"]), numbers(clean, ["pgd", "noise"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* cells failed:RuntimeWarning")
def test_a_cell_that_ends_its_worker_or_hangs_fails_alone(plugin: None, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    results = run(SUITE + "".join(map(row, QUICK)), tmp_path, cell_timeout=2)
    check(results, QUICK, tmp_path / "clean")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.* cells failed:RuntimeWarning")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_fault_of_a_cell_is_its_own(plugin: None, workers: int, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    results = run(SUITE + "".join(map(row, HOWS)), tmp_path, cell_timeout=2, workers=workers)
    check(results, tuple(HOWS), tmp_path / "clean")


@pytest.mark.filterwarnings("ignore:.* cells failed:RuntimeWarning")
def test_in_this_process_exits_and_interrupts_of_user_code_are_errors(plugin: None, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    hows = "sys.exit", "interrupt", "stop"
    results = run(SUITE + "".join(map(row, hows)), tmp_path, workers=1, scheduler=None)
    check(results, hows, tmp_path / "clean")


SLOW = SUITE + "  - {name: slow, samples: 30, beta: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}\n"


@pytest.mark.long
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(plugin: None, tmp_path: Path) -> None:
    process = start_run(SLOW, tmp_path)
    wait_for_cells(tmp_path / "cache", 5, process)
    workers = [each for each in descendants(process.pid) if "LokyProcess" in " ".join(each.cmdline())]
    assert len(workers) == 2
    for each in workers:
        each.kill()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    summary = gtn_bench.Results(tmp_path / "out").summary
    assert len(summary) == 12 and (summary["status"] == "done").all()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_run(stop: signal.Signals, plugin: None, tmp_path: Path) -> None:
    """After Ctrl-C they end at once, after the death of the main process within five seconds, while they compute."""
    process = start_run(SLOW.replace("beta: [0.1, 0.2, 0.3", "seconds: 60, beta: [0.1, 0.2, 0.3"), tmp_path)
    wait_for_cells(tmp_path / "cache", 4, process)
    time.sleep(0.5)
    started = descendants(process.pid)
    assert len(started) >= 2
    os.kill(process.pid, stop)
    process.communicate(timeout=15)  # Python takes seconds to finalize PyTorch
    assert process.returncode == (-9 if stop == signal.SIGKILL else -2)
    assert left_after(started, 5) == []


@pytest.mark.slow
def test_workers_leave_no_semaphores_behind(tmp_path: Path) -> None:
    """Python's resource tracker would warn about them after the last line of the command."""
    suite_file = tmp_path / "suite.yaml"
    suite_file.write_text(SUITE + "certify: [interval]\n")  # PyTorch traces the network with tqdm
    command = [sys.executable, "-m", "gtn_bench", "run", str(suite_file), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "GTN_BENCH_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(
        [*command, "--workers", "2", "--quiet"], capture_output=True, text=True, timeout=120, env=environment
    )
    assert ended.returncode == 0 and ended.stderr == ""
