"""Runs on a Dask cluster on this machine, whose workers and scheduler are killed."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faults.comparing import computed_again, stamps, stored
from faults.kills import has_ended
from faults.places import PACKAGE, Command, Place
from faults.processes import kill, survivors, wait_until
from faults.suites import ALL_STAGES
from faults.trials import Trial, Workplace, draws, trial, unlike, unlike_refusal, unlike_success

NOTHING, WORKER, SCHEDULER = "nothing", "worker", "scheduler"
KILLED = (NOTHING, WORKER, SCHEDULER, WORKER)  # by the number of the trial


@dataclass
class Cluster:
    """A scheduler and its workers.

    Attributes:
        folder: Where their output goes.
        address: Address of the scheduler.
        scheduler: Its process.
        workers: The processes of the workers.
    """

    folder: Path
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextmanager
def cluster(place: Place, workers: int = 2) -> Iterator[Cluster]:
    """Start a scheduler and workers, each in a process, and end them after the block.

    Args:
        place: Where the run takes place.
        workers: Number of workers.
    """
    file = place.folder / "scheduler.json"
    started = [
        _start(place, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), "--no-show")
    ]
    try:
        assert wait_until(lambda: _address(file) is not None, 60)
        address = _address(file)
        assert address is not None
        found = Cluster(place.folder, address, started[0])
        for number in range(workers):
            options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", f"worker-{number}")
            found.workers.append(_start(place, "worker", address, *options))
            started.append(found.workers[-1])
        yield found
    finally:
        for process in started:
            survivors(process.pid, 0)
            process.wait()


def _address(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return None


def _start(place: Place, what: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "GTN_BENCH_CACHE": str(place.cache), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    with (place.folder / f"dask-{what}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments],
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run_on_dask(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Run a suite on two workers of Dask, and kill a worker, the scheduler or nothing in the middle.

    The tables have to be those of one local worker. Without a scheduler the run ends with one line, and resumes.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    clean, seconds = work.clean(suite, "--workers", "1")
    victim = KILLED[index % len(KILLED)]
    place, draw = work.place(f"dask-{index}", suite), draws("dask", index)
    with cluster(place) as dask:
        command = place.start_run("--scheduler", dask.address)
        if victim == NOTHING:
            outcome = command.wait()
            wrong = unlike_success(outcome) + unlike(place, clean)
            return trial(1, int(not wrong), (), wrong)
        wait_until(functools.partial(_computes, place, command), 120)
        time.sleep(draw.uniform(0, 0.2 * seconds))
        kill((dask.scheduler if victim == SCHEDULER else draw.choice(dask.workers)).pid)
        outcome = command.wait(120)
    before = stamps(place.cache)
    if victim == WORKER:
        wrong = unlike_success(outcome) + unlike(place, clean)
        return trial(1, int(not wrong), (), wrong)
    problems = unlike_refusal(outcome, 1)
    again = place.run()
    wrong = problems + unlike_success(again) + unlike(place, clean)
    return trial(1, int(not problems), computed_again(before, place.cache), wrong)


def _computes(place: Place, command: Command) -> bool:
    """Return whether workers have stored results, or the command has ended."""
    return bool(stored(place.cache, ("learners",))) or has_ended(command)
