"""Seconds that commands take before they compute anything.

    python benchmarks/speed/startup.py
    python benchmarks/speed/startup.py --rounds 7 --json startup.json
    python benchmarks/speed/startup.py --demo

Commands run in alternation, each in a new process. States:

- warm: with bytecode, and with what earlier commands have stored in the cache
- first: with bytecode, and with an empty cache
- cold: without bytecode of any package, as in a fresh installation by uv, and with an empty cache

"first training" is the part of a run before its first training: planning, keys, and the trial of each attack on two
images. The suite has an attack of each library. "without trial" leaves the trial out. CPU seconds depend less on other
processes than wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SUITE = """name: libraries
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: 1}]
seeds: [0]
perturbations:
  - {name: foolbox.DDNAttack, label: ddn, samples: 20, params: {steps: 5}, beta: [0.3]}
  - {name: art.ProjectedGradientDescent, label: pgd, params: {eps_step: 0.02, max_iter: 3}, samples: 20, beta: [0.05]}
  - {name: torchattacks.Square, label: square, params: {n_queries: 10}, samples: 20, beta: [0.05]}
"""
FIRST_TRAINING = """
import sys, time
import gtn_bench
from gtn_bench.execution import runner
spent = 0.0
tried = runner.try_attacks
def timed(*arguments):
    global spent
    started = time.perf_counter()
    tried(*arguments)
    spent = time.perf_counter() - started
def stop(stage, done, total):
    print(spent)
    sys.exit()
runner.try_attacks = timed
gtn_bench.run(gtn_bench.plan(gtn_bench.load(sys.argv[1])), sys.argv[2], progress=stop)
"""
GTN_BENCH = (sys.executable, "-m", "gtn_bench")


class Row(NamedTuple):
    """Medians of a command in a state, in seconds; the CPU seconds of a part of a process are unknown."""

    command: str
    state: str
    wall: float
    cpu: float | None
    lowest: float
    highest: float


class Spent(NamedTuple):
    """Seconds of one process, and the last line that it has printed."""

    wall: float
    cpu: float | None
    printed: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--demo", action="store_true", help="also run the demo once from an empty cache")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "libraries.yaml"
        suite.write_text(SUITE)
        out = str(Path(folder) / "out")
        commands = {
            "--help": [*GTN_BENCH, "--help"],
            "validate standard": [*GTN_BENCH, "validate", "standard"],
            "validate libraries": [*GTN_BENCH, "validate", str(suite)],
            "first training": [sys.executable, "-c", FIRST_TRAINING, str(suite), out],
        }
        rows = measure(commands, Path(folder), options.rounds)
        if options.demo:
            demo = timed([*GTN_BENCH, "demo", "--out", out], Path(folder) / "demo-cache")
            rows.append(Row("demo", "first", demo.wall, demo.cpu, demo.wall, demo.wall))
    print(f"{os.cpu_count()} cores, {options.rounds} rounds; seconds, medians")
    print(f"{'command':20}{'state':8}{'wall':>8}{'cpu':>8}   range of wall")
    for row in rows:
        cpu = "-" if row.cpu is None else f"{row.cpu:.2f}"
        print(f"{row.command:20}{row.state:8}{row.wall:8.2f}{cpu:>8}   {row.lowest:.2f} to {row.highest:.2f}")
    if options.json:
        machine = {"processor": platform.processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        content = {"machine": machine, "rounds": options.rounds, "rows": [row._asdict() for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=2) + "\n")


def measure(commands: dict[str, list[str]], folder: Path, rounds: int) -> list[Row]:
    """Run the commands in alternation and return the medians.

    Args:
        commands: The commands by name.
        folder: Folder for caches and bytecode.
        rounds: Number of runs of each command in each state.
    """
    spent: dict[tuple[str, str], list[Spent]] = {}
    for name, command in commands.items():
        timed(command, folder / f"warm-{name}")  # fills caches
    for number in range(rounds):
        for name, command in commands.items():
            empty = folder / f"empty-{name}-{number}"
            states = {
                "warm": timed(command, folder / f"warm-{name}"),
                "first": timed(command, empty),
                "cold": timed(command, folder / f"cold-{name}-{number}", bytecode=empty),
            }
            for state, one in states.items():
                spent.setdefault((name, state), []).append(one)
                if name == "first training":
                    without = one._replace(wall=one.wall - float(one.printed), cpu=None)
                    spent.setdefault(("without trial", state), []).append(without)
    return [summary(name, state, runs) for (name, state), runs in spent.items()]


def summary(command: str, state: str, runs: list[Spent]) -> Row:
    """Return the medians of the runs of a command."""
    walls = [one.wall for one in runs]
    cpus = [one.cpu for one in runs if one.cpu is not None]
    cpu = statistics.median(cpus) if cpus else None
    return Row(command, state, statistics.median(walls), cpu, min(walls), max(walls))


def timed(command: list[str], cache: Path, bytecode: Path | None = None) -> Spent:
    """Run a command with a cache folder, and with another folder of bytecode if one is given."""
    environment = {**os.environ, "GTN_BENCH_CACHE": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if bytecode:
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode / "bytecode")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, cpu, done.stdout.strip().rpartition("\n")[2])


if __name__ == "__main__":
    main()
