"""Time and memory of what a run does for every cell before it computes any: validation, keys, look-ups.

    python benchmarks/speed/scale.py
    python benchmarks/speed/scale.py --cells 1000 10000 100000 --json scale.json

The cells are those of 1 to 1000 learners under 100 strengths. Each time is followed by its processor seconds, which
depend less on other processes. Columns:

- validate: seconds of a new process that plans the suite, the start of Python included
- keys: seconds for the content keys of all parts
- empty, full: seconds of all look-ups of a run, those of the trials of attacks and those of the scheduler, in a cache
  that holds nothing, and in one that holds a verified file for each cell
- plan, peak: memory in MiB of the process that does all of it, after planning and in all

The files of the full cache have the size of those of cells of 20 images of 8 x 8 pixels. Writing them is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gtn_bench.execution.trials import try_attacks
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import Keys, keys_of
from gtn_bench.planning.planner import load, plan
from gtn_bench.store.cache import Store
from gtn_bench.store.files import write_tensors
from gtn_bench.store.origin import current_origin

STRENGTHS = 100
TIMES = ("validate", "keys", "empty", "full")
MEMORY = ("plan", "peak")


class Seconds(NamedTuple):
    """The duration of a call, and the time that processors spent on it."""

    wall: float
    processor: float


def suite(cells: int) -> str:
    """Return a suite with some number of cells, a multiple of `STRENGTHS`."""
    return f"""name: scale
dataset: digits
architectures: [linear]
modes: [vanilla]
seeds: {list(range(cells // STRENGTHS))}
perturbations:
  - {{name: fgsm, steps: 10, samples: 20, beta: {{linspace: [0, 0.5, 50]}}}}
  - {{name: noise, samples: 20, beta: {{linspace: [0, 0.75, 50]}}}}
"""


def seconds(call: Callable[[], object]) -> Seconds:
    """Return the seconds that a call takes, child processes included."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    call()
    return Seconds(time.perf_counter() - started, sum(os.times()[:4]) - before)


def look_up(planned: Plan, keys: Keys, store: Store) -> int:
    """Look up every result as a run does: once for the trials, once for the stages. Return how many cells it holds."""
    try_attacks(planned, keys, store)
    for own in keys.learners.values():
        store.holds("learners", own[0])
    return sum(store.holds("cells", own[0]) for own in keys.cells)


def fill(keys: Keys, store: Store) -> None:
    """Write a file for each cell."""
    images, vector = np.zeros((4, 1, 8, 8), np.float32), np.zeros(20, np.float32)
    tensors = {"examples": images, "clean": images, **{f"measure{number}": vector for number in range(8)}}
    origin = current_origin().to_plain()
    for own in keys.cells:
        write_tensors(store.path("cells", own[0]), tensors, {"cost": {}}, key=f"cells/{own[0]}", origin=origin)


def peak() -> float:
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(cells: int) -> dict[str, Any]:
    """Return the values of the columns for a number of cells, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "suite.yaml")
        path.write_text(suite(cells))
        code = f"from gtn_bench.planning.planner import load, plan; plan(load({str(path)!r}), max_cells={cells})"
        validate = seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))
        planned = plan(load(path), max_cells=cells)
        after_planning = peak()
        found: list[Keys] = []
        keys_seconds = seconds(lambda: found.append(keys_of(planned, "cpu")))
        keys, store = found[0], Store(Path(folder, "cache"))
        empty = seconds(lambda: look_up(planned, keys, store))
        fill(keys, store)
        held: list[int] = []
        full = seconds(lambda: held.append(look_up(planned, keys, store)))
        assert held == [cells]
    times = dict(zip(TIMES, (validate, keys_seconds, empty, full), strict=True))
    return {"cells": cells, **times, **dict(zip(MEMORY, (after_planning, peak()), strict=True))}


def main() -> None:
    """Print the table; each row is measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.row)))
        return
    rows = []
    print(f"{'cells':>8}" + "".join(f"{name:>16}" for name in TIMES) + "".join(f"{name:>8}" for name in MEMORY))
    for cells in arguments.cells:
        command = [sys.executable, __file__, "--row", str(cells)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(row)
        times = "".join(f"{row[name][0]:>9.2f} ({row[name][1]:4.2f})" for name in TIMES)
        print(f"{cells:>8}" + times + "".join(f"{row[name]:>8.0f}" for name in MEMORY), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
