"""Time of a whole suite by stage, overhead of the runner, and memory.

    python benchmarks/speed/suite.py demo
    python benchmarks/speed/suite.py mnist-smoke --workers 1

The suite runs with an empty cache. `perturbations` is the time that the cells report, per worker. The overhead of the
runner consists of planning, without imports, and writing tables. Peak memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    stages: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        stages[name] = time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        with stage("read and plan"):
            import gtn_bench

            plan = gtn_bench.plan(gtn_bench.load(options.suite), options.limit)
        started = time.perf_counter()
        gtn_bench.plan(gtn_bench.load(options.suite), options.limit)  # a second time, without imports
        planning = time.perf_counter() - started
        marks = {"start": time.perf_counter()}

        def progress(name: str, done: int, total: int) -> None:
            if done == total:
                marks[name] = time.perf_counter()

        results = gtn_bench.run(
            plan, Path(folder) / "out", cache=Path(folder) / "cache", workers=options.workers, progress=progress
        )
        end = time.perf_counter()
        previous = "start"
        for name in ("teachers", "learners", "cells"):
            if name in marks:
                stages[name], previous = marks[name] - marks[previous], name
        stages["write tables"] = end - marks[previous]
        with stage("report and figures"):
            gtn_bench.report(Path(folder) / "out")
        rows = results.summary
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())

    total = sum(stages.values())
    # A search is one computation for all strengths, whose rows have the same seconds.
    once = rows.drop_duplicates(["teacher", "architecture", "mode", "seed", "perturbation", "seconds"])
    seconds = float(once["seconds"].sum()) / options.workers
    overhead = planning + stages["write tables"]
    print(f"{options.suite}: {len(plan.cells)} cells, {len(plan.learners)} learners, {options.workers} workers")
    for name, value in stages.items():
        print(f"{name:20}{value:9.2f} s{value / total:8.1%}")
    print(f"{'all':20}{total:9.2f} s")
    print(f"perturbations, per worker: {seconds:.2f} s, {seconds / stages['cells']:.1%} of the stage 'cells'")
    imports = stages["read and plan"] - planning
    print(f"overhead of the runner (plan and tables): {overhead:.2f} s, {overhead / total:.1%}", end="")
    print(f"; imports: {imports:.2f} s, {imports / total:.1%}")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e6
    print(f"peak memory of a process: {peak:.2f} GB; cache and output: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
