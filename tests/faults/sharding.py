"""Shards of a suite over a shared cache, and their merging."""

from __future__ import annotations

import shutil
from pathlib import Path

from faults.comparing import contents
from faults.places import Outcome, Place
from faults.suites import ALL_STAGES
from faults.trials import Trial, Workplace, trial, unlike, unlike_refusal, unlike_success

SHARDS = 3


def run_shards(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Run three shards, at the same time or one after the other, and merge them.

    Then the merging has to fail without one of them, and if the tables of one were edited.

    Args:
        work: Where the trial takes place.
        index: Its number: at the same time if it is even.
        suite: The suite.
    """
    clean, _ = work.clean(suite, "--workers", "1")
    place = work.place(f"shards-{index}", suite)
    outs = [place.folder / f"shard-{number}" for number in range(1, SHARDS + 1)]
    outcomes = _all_at_once(place, outs) if index % 2 == 0 else _one_by_one(place, outs)
    wrong = [text for outcome in outcomes for text in unlike_success(outcome)]
    merged = place.start("merge", *outs, "--out", place.out, "--quiet").wait()
    problems = unlike_success(merged) + unlike(place, clean)
    incomplete = _merge_elsewhere(place, outs[1:])
    lacking = unlike_refusal(incomplete, 2)
    if "1/3" not in "".join(incomplete.errors):
        lacking.append(f"the missing shard is not named: {incomplete}")
    return trial(2, int(not problems) + int(not lacking), (), wrong + problems + lacking)


def _all_at_once(place: Place, outs: list[Path]) -> list[Outcome]:
    commands = [
        place.start("run", place.suite, "--out", out, "--device", "cpu", "--workers", "1", "--quiet", "--shard", shard)
        for out, shard in zip(outs, _names(), strict=True)
    ]
    return [command.wait(300) for command in commands]


def _one_by_one(place: Place, outs: list[Path]) -> list[Outcome]:
    return [
        place.start("run", place.suite, "--out", out, "--device", "cpu", "--quiet", "--shard", shard).wait(300)
        for out, shard in zip(outs, _names(), strict=True)
    ]


def _names() -> list[str]:
    return [f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)]


def _merge_elsewhere(place: Place, outs: list[Path]) -> Outcome:
    """Merge some shards into another folder, which must not be left half written."""
    target = place.folder / "incomplete"
    outcome = place.start("merge", *outs, "--out", target, "--quiet").wait()
    assert not contents(target), "a merging that failed has written tables"
    shutil.rmtree(target, ignore_errors=True)
    return outcome
