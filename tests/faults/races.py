"""Two runs of one suite in one output folder at the same time."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from faults.comparing import contents
from faults.places import Outcome, Place
from faults.suites import ALL_STAGES
from faults.trials import Trial, Workplace, draws, tracebacks, trial, unlike_refusal

LIMIT = ("--limit", "7")  # of the second run, whose tables therefore differ


def race(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Start two runs with different numbers of images in one output folder, one a moment after the other.

    Either one of them is refused, or both succeed, one after the other. The folder holds the results of one of them.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    whole, _ = work.clean(suite)
    limited, _ = work.clean(suite, *LIMIT)
    cache = _cache_of_both(work, whole, limited)
    place, draw = work.place(f"race-{index}", suite, cache=cache), draws("race", index)
    first = draw.random() < 0.5  # which of them starts first
    one = place.start_run(*(LIMIT if first else ()))
    time.sleep(draw.uniform(0, 2))
    two = place.start_run(*(() if first else LIMIT))
    outcomes = [one.wait(), two.wait()]
    wrong = [text for outcome in outcomes for text in _unlike_answer(outcome)]
    succeeded = [number for number, outcome in enumerate(outcomes) if outcome.code == 0]
    allowed = [limited if first == (number == 0) else whole for number in succeeded]
    if not succeeded:
        wrong.append("neither run succeeded")
    if not any(contents(place.out) == contents(clean.out) for clean in allowed):
        wrong.append("the folder holds the results of neither run that reported success")
    report = place.start("report", place.out).wait()
    if report.code != 0:
        wrong.append(f"the report of the folder: {report}")
    return trial(1, int(not wrong), (), wrong)


def _cache_of_both(work: Workplace, whole: Place, limited: Place) -> Path:
    """Return a cache that holds the results of both runs."""
    both = work.folder / "race-cache"
    if not both.exists():
        shutil.copytree(whole.cache, both)
        shutil.copytree(limited.cache, both, dirs_exist_ok=True)
    return both


def _unlike_answer(outcome: Outcome) -> list[str]:
    """Return in words why a run neither succeeded nor was refused with one line and exit code 2."""
    return tracebacks(outcome) if outcome.code == 0 else unlike_refusal(outcome, 2)
