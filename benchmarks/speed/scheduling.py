"""Time and memory that the main process and the workers need per task, with tasks that compute nothing.

Every task is a sweep of one cell with the descriptions of a real one, so that packing, sending, notes, isolation and
events are measured.

    python benchmarks/speed/scheduling.py [--tasks 10000] [--workers 2] [--schedulers processes local-cluster]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.execution.dispatch import Dispatcher
from gtn_bench.execution.events import EventLog
from gtn_bench.execution.executors import open_pool
from gtn_bench.execution.jobs import Job, peak_memory
from gtn_bench.planning.cells import Cell
from gtn_bench.store.cache import Context, Store

SUITE = """
name: scheduling
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: 1}]
seeds: [0]
perturbations: [{name: pgd, beta: [0.1]}]
"""


def empty(context: Context, learner_key: str, cells: Mapping[str, Cell]) -> dict[str, str]:
    """Compute nothing.

    Args:
        context: Cache and device.
        learner_key: Key of the learner.
        cells: The cells, by key.
    """
    return {}


def measure(scheduler: str, workers: int, tasks: int) -> tuple[float, float]:
    """Run empty tasks.

    Args:
        scheduler: See `open_pool`.
        workers: Number of processes.
        tasks: Number of tasks.

    Returns:
        Seconds until the first tasks are done, one per worker, and seconds for the others.
    """
    (cell,) = gtn_bench.plan(suite.parse(SUITE)).cells
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Store(Path(folder)), "cpu", workers=workers)
        with open_pool(scheduler, workers, context) as pool, EventLog(Path(folder)) as log:
            dispatcher = Dispatcher(context, pool, lambda *_: None, log, None)
            seconds = []
            for count in (4 * workers, tasks):
                keys = [f"{count}-{number}" for number in range(count)]
                jobs = [Job(empty, "cells", (key,), ("learner", {key: cell}), divided=1) for key in keys]
                start = time.perf_counter()
                failures = dispatcher.run("cells", jobs, count)
                seconds.append(time.perf_counter() - start)
                if failures:
                    raise RuntimeError(next(iter(failures.values())))
    return seconds[0], seconds[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--schedulers", nargs="+", default=["processes", "local-cluster"])
    options = parser.parse_args()
    print("| scheduler | workers | tasks | seconds to start | ms per task | peak memory of the main process (MB) |")
    print("|---|---|---|---|---|---|")
    for scheduler in options.schedulers:
        start, rest = measure(scheduler, options.workers, options.tasks)
        each, memory = 1000 * rest / options.tasks, peak_memory() / 1e6
        print(f"| {scheduler} | {options.workers} | {options.tasks} | {start:.1f} | {each:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
