"""The attacks of a run in the same ball: which one is the strongest, and what the others say about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gtn_bench.analysis.checks import CHECKS
from gtn_bench.analysis.crosschecks import IMAGES, Measured

if TYPE_CHECKING:
    from gtn_bench.analysis.records import CellRecord
    from gtn_bench.config.threat import Threat

QUERIES = 100  # of a black-box attack for each image that it does not fool, to count as evidence
_WEAK = {"missed_adversarial", "not_monotone"}  # flags of a black-box attack that is weak, not broken


def same_ball(one: Threat | None, other: Threat | None) -> bool:
    """Return True if two balls are equal but for rounding.

    Args:
        one, other: The balls; None is equal to no ball.
    """
    if one is None or other is None or one.norm != other.norm:
        return False
    return math.isclose(one.epsilon, other.epsilon, rel_tol=1e-6, abs_tol=1e-12)


def strongest(cell: CellRecord, cells: Iterable[CellRecord]) -> CellRecord | None:
    """Return the white-box attack with the lowest accuracy in the ball of a cell, the first one if several have it.

    Accuracies are those of the images that all of these attacks have.

    Args:
        cell: A cell.
        cells: All finished cells of its learner, in the order of the suite.

    Returns:
        The cell of the attack; None if there is no white-box attack in the ball.
    """
    found = [each for each in cells if each.access == "white" and same_ball(each.search_region, cell.search_region)]
    shared = min((len(each.samples["label"]) for each in found), default=0)

    def correct(each: CellRecord) -> int:
        return int((each.samples["prediction"] == each.samples["label"])[:shared].sum())

    return min(found, key=correct, default=None)


def evidence_of_run(
    cell: CellRecord, measured: Mapping[str, Measured], done: Sequence[CellRecord], flags: Sequence[tuple[str, ...]]
) -> dict[str, Measured]:
    """Return the evidence for `reliable` that other attacks of the run in the same ball give.

    It counts where a probe has too few images. An attack that finds more than a check tolerates is no evidence; the
    check `missed_adversarial` fails then.

    Args:
        cell: A finished cell.
        measured: What is measured of it, by name of the check.
        done: All finished cells of its learner.
        flags: Names of the failed checks of each of them.

    Returns:
        Measurements by name of the check.
    """
    found: dict[str, Measured] = {}
    for other, names in zip(done, flags, strict=True):
        name = _kind_of_evidence(cell, other, names)
        if not name or ((known := measured.get(name)) and (known.n or 0) >= IMAGES):
            continue
        assert cell.search_region is not None
        shared = min(len(cell.samples["label"]), len(other.samples["label"]))
        mine, theirs = ({column: one.samples[column][:shared] for column in one.samples} for one in (cell, other))
        within = cell.search_region.contains(theirs[cell.search_region.norm])
        newly = within & (theirs["prediction"] != theirs["label"]) & (mine["prediction"] == mine["label"])
        count, tolerance = int(newly.sum()), CHECKS[name].tolerance
        best = found.get(name)
        enough = shared >= IMAGES and tolerance is not None and count <= tolerance * shared
        if enough and (best is None or shared > (best.n or 0)):
            found[name] = Measured(count / shared, count, shared, f"{other.identity['perturbation']}, of the run")
    return found


def _kind_of_evidence(cell: CellRecord, other: CellRecord, flags: tuple[str, ...]) -> str:
    """Return the check that another cell can stand for; empty if none."""
    if other is cell or not same_ball(cell.search_region, other.search_region):
        return ""
    if cell.search_region is None or cell.search_region.norm not in other.samples:
        return ""
    if other.access == "white":
        return "second_attack" if other.attack != cell.attack and not flags else ""
    survivors = float((other.samples["prediction"] == other.samples["label"]).mean())
    asked = other.cost.get("forwards", math.inf) >= QUERIES * survivors
    return "gradient_free" if other.access == "black" and asked and _WEAK.issuperset(flags) else ""
