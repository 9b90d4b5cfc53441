"""Grades: whether the accuracy of a cell can be relied on.

`suspect`: a check failed. `reliable`: no check failed, and several independent attempts to improve the attack did not.
`n/a`: there is no attack to grade. `unknown`: everything else. No grade proves that an attack is strong; a certified
lower bound of the accuracy does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import betaincinv

from gtn_bench.analysis.balls import evidence_of_run, strongest
from gtn_bench.analysis.checks import CHECKS, percent
from gtn_bench.analysis.crosschecks import IMAGES, Measured, measure

if TYPE_CHECKING:
    from gtn_bench.analysis.records import CellRecord

Grade = Literal["suspect", "unknown", "reliable", "n/a"]
Outcome = Literal["passed", "failed", "withheld", "not run"]

REQUIRED = ("more_steps", "second_attack", "gradient_free", "binarization")  # for the grade `reliable`
EXHAUSTED = 0.02  # a lower accuracy cannot fall by more than is tolerated, so that nothing more is required
UPPER = 0.03  # `reliable` requires an upper confidence bound of `more_steps` below this
MODEL = "A check of the model failed before the evaluation; its finding is listed with the models."
# Why no further check can make a cell reliable.
REASONS = {
    "search_region": "The perturbation searches no L-inf or L2 ball in which any misclassified image counts.",
    "access": "The perturbation is no white-box attack, and only those are graded reliable.",
    "strongest": "Another white-box attack is stronger in this ball.",
}


class Finding(NamedTuple):
    """The outcome of a check of a cell: the last columns of checks.csv.

    Attributes:
        check: Name of the check; or one of `REASONS`; or the name of a check of the model.
        measured: The measured share; nan if there is none.
        upper: One-sided upper 95 % confidence bound of the share; nan if the number of images is not known.
        threshold: The check fails if `measured` is larger; nan if there is none.
        n: Number of images that the share is of; nan if it is not known.
        outcome: `passed`; `failed`: the cell is suspect; `withheld`: the cell is not reliable; `not run`.
        text: What the outcome means, in one or two sentences; empty if the check passed.
    """

    check: str
    measured: float
    upper: float
    threshold: float
    n: float
    outcome: Outcome
    text: str

    @property
    def withholds(self) -> bool:
        """True if the outcome withholds the grade `reliable`."""
        return self.outcome == "withheld" or (self.outcome == "not run" and self.check in REQUIRED)


class Graded(NamedTuple):
    """The grade of a cell.

    Attributes:
        grade: The grade.
        flags: Names of the checks that failed.
        findings: All checks that were measured, and those that are missing for the grade `reliable`.
    """

    grade: Grade = "unknown"
    flags: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the checks, or of `REASONS`, that withhold the grade `reliable`."""
        return tuple(each.check for each in self.findings if each.withholds)


def upper_bound(count: int, n: int, level: float = 0.95) -> float:
    """Return the one-sided upper confidence bound of a share.

    Source: C. Clopper, E. Pearson, Biometrika 26 (1934).

    Args:
        count: Number of observed images with an event.
        n: Number of observed images, drawn independently.
        level: Coverage, at least.

    Returns:
        Share in [0, 1].
    """
    return float(betaincinv(count + 1, n - count, level)) if count < n else 1.0


def worst(grades: Iterable[object]) -> Grade:
    """Return the grade of several cells together.

    `suspect` if any cell is, `n/a` or `reliable` if all are, `unknown` otherwise.

    Args:
        grades: The grades, at least one. A missing one is unknown.
    """
    found = set(grades)
    if "suspect" in found:
        return "suspect"
    if found == {"reliable"}:
        return "reliable"
    return "n/a" if found == {"n/a"} else "unknown"


def worst_graded(grades: Iterable[object]) -> Grade:
    """Return the grade of points or curves together. Those with nothing to grade do not count beside others.

    Args:
        grades: The grades. Without one, the grade is `n/a`.
    """
    return worst([grade for grade in grades if grade != "n/a"] or ["n/a"])


def grade_learner(cells: Sequence[CellRecord]) -> list[Graded]:
    """Return the grade of each cell of a learner. Cells that are not finished are unknown, with no findings.

    Args:
        cells: All cells of one learner, in the order of the suite.
    """
    done = [cell for cell in cells if cell.status == "done"]
    measured = [measure(cell, done) for cell in done]
    flags = [_flags(cell, found) for cell, found in zip(done, measured, strict=True)]
    competing = [cell for cell, names in zip(done, flags, strict=True) if "outside_ball" not in names]
    graded = {
        id(cell): _grade(cell, {**found, **evidence_of_run(cell, found, done, flags)}, names, competing)
        for cell, found, names in zip(done, measured, flags, strict=True)
    }
    return [graded.get(id(cell), Graded()) for cell in cells]


def _flags(cell: CellRecord, measured: Mapping[str, Measured]) -> tuple[str, ...]:
    failed = [name for name in CHECKS if name in measured and _finding(name, measured[name]).outcome == "failed"]
    return tuple(dict.fromkeys([*failed, *cell.model_flags]))


def _grade(
    cell: CellRecord, measured: Mapping[str, Measured], flags: tuple[str, ...], competing: Sequence[CellRecord]
) -> Graded:
    """Return the grade of a finished cell; `competing` are the cells that can be the strongest of a ball."""
    findings = [_finding(name, measured[name]) for name in CHECKS if name in measured]
    nan = np.nan
    of_model = [name for name in flags if name in cell.model_flags and name not in measured]
    findings += [Finding(name, nan, nan, nan, nan, "failed", MODEL) for name in of_model]
    if flags:
        return Graded("suspect", flags, tuple(findings))
    region = cell.search_region
    if (region is None and cell.access == "none") or (region is not None and region.epsilon == 0):
        return Graded("n/a", flags, tuple(findings))
    if reason := _reason(cell, competing):
        findings.append(Finding(reason, nan, nan, nan, nan, "withheld", REASONS[reason]))
        return Graded("unknown", flags, tuple(findings))
    if float((cell.samples["prediction"] == cell.samples["label"]).mean()) <= EXHAUSTED and cell.n >= IMAGES:
        return Graded("reliable", flags, tuple(findings))
    findings += [_finding(name, Measured(nan, 0, 0)) for name in REQUIRED if name not in measured]
    return Graded("unknown" if any(each.withholds for each in findings) else "reliable", flags, tuple(findings))


def _reason(cell: CellRecord, competing: Sequence[CellRecord]) -> str:
    """Return why no check can make a cell reliable, a key of `REASONS`; empty if some can."""
    if cell.search_region is None or cell.search_region.norm not in cell.samples:
        return "search_region"
    if cell.access != "white":
        return "access"
    return "" if strongest(cell, competing) is cell else "strongest"


def _finding(name: str, measured: Measured) -> Finding:
    """Return the outcome of a check."""
    check, n = CHECKS[name], measured.n
    note = f"{measured.note[:1].upper()}{measured.note[1:]}." if measured.note else ""
    if n == 0:
        return Finding(name, np.nan, np.nan, check.threshold, 0, "not run", note or "Not run.")
    bound = np.nan if measured.events is None or n is None else upper_bound(measured.events, n)
    text, outcome = check.text.format(measured=percent(measured.share)), _outcome(name, measured, bound)
    if outcome == "passed":
        text = note
    elif outcome == "withheld" and n is not None and _too_few(name, n):
        text = f"Only {n} images were checked, and the grade reliable requires {IMAGES}."
    elif outcome == "withheld" and name == "more_steps":
        text += f" The upper 95 % confidence bound is {percent(bound)}; reliable requires less than {percent(UPPER)}."
    elif outcome == "withheld" and check.tolerance is not None:
        text += f" The grade reliable requires at most {percent(check.tolerance)}."
    return Finding(name, measured.share, bound, check.threshold, np.nan if n is None else n, outcome, text)


def _outcome(name: str, measured: Measured, bound: float) -> Outcome:
    check = CHECKS[name]
    if measured.share > check.threshold:
        return "withheld" if check.withholds else "failed"
    too_many = check.tolerance is not None and measured.share > check.tolerance
    uncertain = name == "more_steps" and not bound < UPPER
    few = measured.n is not None and _too_few(name, measured.n)
    return "withheld" if too_many or uncertain or few else "passed"


def _too_few(name: str, n: int) -> bool:
    return name in ("more_steps", "second_attack", "gradient_free") and n < IMAGES
