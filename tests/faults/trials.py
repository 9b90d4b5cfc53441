"""Trials: a fault is injected, and what comes of it is counted."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faults.comparing import differences
from faults.places import Outcome, Place, make_place


class Trial(NamedTuple):
    """The outcome of a trial.

    Attributes:
        injected: Number of faults that were injected.
        noticed: Number of them that were answered as documented: by an exit code, a line, a retry.
        lost: Number of finished results that are missing, or were computed again although nothing was wrong with them.
        wrong: Number of things that must not happen: tables that differ, tracebacks, processes that stay.
        notes: The same in words.
    """

    injected: int
    noticed: int
    lost: int = 0
    wrong: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether every fault was noticed, and nothing was lost or wrong."""
        return self.noticed == self.injected and not self.lost and not self.wrong


def trial(injected: int, noticed: int, lost: Iterable[str], wrong: Iterable[str], notes: Iterable[str] = ()) -> Trial:
    """Return a trial.

    Args:
        injected: Number of injected faults.
        noticed: Number of noticed ones.
        lost: The results that were lost.
        wrong: What must not have happened.
        notes: Further notes.
    """
    gone, faults = list(lost), list(wrong)
    return Trial(injected, noticed, len(gone), len(faults), (*(f"lost: {name}" for name in gone), *faults, *notes))


@dataclass(frozen=True)
class Workplace:
    """Folders of trials, and clean runs to compare with. Each clean run is made once.

    Attributes:
        folder: The folder of all of them.
        workers: Number of workers of their runs.
    """

    folder: Path
    workers: int = 2

    def clean(self, suite: str, *options: str) -> tuple[Place, float]:
        """Return the place of a run without a fault, and its wall time in seconds.

        Args:
            suite: The suite, as YAML text.
            options: Further options of ``gtn-bench run``.
        """
        name = f"clean-{hashlib.sha256(repr((suite, options)).encode()).hexdigest()[:8]}"
        place = Place(self.folder / name, self.workers)
        seconds = place.folder / "seconds.txt"
        if not seconds.exists():
            outcome = self.place(name, suite).run(*options)
            if unlike_success(outcome):
                raise RuntimeError(f"the run without a fault failed: {outcome}")
            seconds.write_text(str(outcome.seconds))
        return place, float(seconds.read_text())

    def place(self, name: str, suite: str, *, cache: Path | None = None) -> Place:
        """Return a new place for a trial.

        Args:
            name: Name of its folder.
            suite: The suite, as YAML text.
            cache: A cache that is copied.
        """
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return make_place(self.folder / name, suite, cache, self.workers)


def draws(fault: str, index: int) -> random.Random:
    """Return the random generator of a trial.

    Args:
        fault: Name of the fault.
        index: Number of the trial.
    """
    return random.Random(f"{fault} {index}")


def unlike(place: Place, clean: Place) -> list[str]:
    """Return in words which files of a finished run differ from those of a clean one.

    Args:
        place: The place of the run.
        clean: The place of the clean run.
    """
    return [f"{name} differs from that of the clean run" for name in differences(place.out, clean.out)]


def unlike_success(outcome: Outcome) -> list[str]:
    """Return in words why a command that should succeed did not.

    Args:
        outcome: How it ended.
    """
    problems = [] if outcome.code == 0 else [f"expected success, got {outcome}"]
    return problems + tracebacks(outcome)


def unlike_refusal(outcome: Outcome, code: int) -> list[str]:
    """Return in words why a command did not end with one line and an exit code.

    Args:
        outcome: How it ended.
        code: The expected exit code.
    """
    problems = tracebacks(outcome)
    if outcome.code != code or len(outcome.errors) != 1:
        problems.append(f"expected exit code {code} and one line, got {outcome}")
    return problems


def tracebacks(outcome: Outcome) -> list[str]:
    """Return a sentence if a command printed a traceback.

    Args:
        outcome: How it ended.
    """
    return [f"traceback: {outcome}"] if outcome.has_traceback else []


Run = Callable[[Workplace, int], Trial]
