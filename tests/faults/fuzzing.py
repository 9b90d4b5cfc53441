"""Hostile suites, validated one by one in processes whose time and memory are measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from faults.places import PACKAGE, Place
from faults.suites import THREE_LINES
from faults.trials import Trial, Workplace, trial

SECONDS = 5.0  # of processor time
MEBIBYTES = 100.0  # above those of a valid suite of three lines
EXAMPLES = 25  # suites of a trial

# A process of its own: the peak memory of a child includes that of the process that starts it.
_MEASURE = """
import json, os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024], file)
"""


class Measured(NamedTuple):
    """A validation.

    Attributes:
        code: The exit code.
        seconds: Processor time.
        memory: Peak memory in MiB.
        output: All that it printed.
    """

    code: int
    seconds: float
    memory: float
    output: str


def validate(place: Place, suite: bytes) -> Measured:
    """Validate a suite, and measure.

    Args:
        place: Where it lies.
        suite: The suite.
    """
    place.suite.write_bytes(suite)
    result = place.folder / "measured.json"
    arguments = [sys.executable, "-S", "-E", "-c", _MEASURE, str(result)]
    arguments += [sys.executable, "-m", "gtn_bench", "validate", str(place.suite)]
    environment = {**os.environ, "GTN_BENCH_CACHE": str(place.cache)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return Measured(-1, 60.0, 0.0, "")
    code, seconds, memory = json.loads(result.read_text())
    return Measured(code, seconds, memory, (done.stdout + done.stderr).decode(errors="replace"))


def fuzz(work: Workplace, index: int, examples: int = EXAMPLES) -> Trial:
    """Validate drawn suites.

    Args:
        work: Where the trial takes place.
        index: Its number.
        examples: Number of suites.
    """
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from faults.hostile import suites

    place = work.place(f"fuzz-{index}", THREE_LINES)
    validate(place, THREE_LINES.encode())  # fills the memo of the cache
    usual = validate(place, THREE_LINES.encode())
    assert usual.code == 0, usual.output
    wrong: list[str] = []
    count = 0

    checks = list(HealthCheck)

    @seed(index)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=checks
    )
    @given(suites())
    def check(suite: bytes) -> None:
        nonlocal count
        count += 1
        problems = _problems(validate(place, suite), usual)
        if problems:
            kept = work.folder / f"hostile-{index}-{count}.yaml"
            kept.write_bytes(suite)
            wrong.append(f"{kept.name} ({len(suite)} bytes, {suite[:40]!r}): {', '.join(problems)}")

    check()
    return trial(count, count - len(wrong), (), wrong)


def _problems(found: Measured, usual: Measured) -> list[str]:
    """Return in words what is wrong with the validation of a hostile suite."""
    problems = []
    if found.code not in (0, 2):
        problems.append(f"exit code {found.code}")
    if "Traceback" in found.output:
        problems.append(f"traceback: {found.output.strip().splitlines()[-1][:200]}")
    if found.seconds > SECONDS:
        problems.append(f"{found.seconds:.1f} s")
    if found.memory > usual.memory + MEBIBYTES:
        problems.append(f"{found.memory - usual.memory:.0f} MiB above a valid suite")
    return problems


def replay(folder: Path, suite: Path) -> Measured:
    """Validate the file of a hostile suite again.

    Args:
        folder: A folder for the trial.
        suite: The file.
    """
    place = Place(folder)
    place.cache.mkdir(parents=True, exist_ok=True)
    return validate(place, suite.read_bytes())
