"""The grades of curves, as text for tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.grades import Grade, worst, worst_graded
from gtn_bench.analysis.results import Results

CURVE = ["teacher", "architecture", "mode", "perturbation"]
_ORDER: tuple[Grade, ...] = ("suspect", "unknown", "reliable")
_MOST = 3  # names of checks in a cell of a table


def graded_points(results: Results) -> pd.DataFrame:
    """Return the grade of each point of the curves that a report shows.

    Args:
        results: The results of a run.

    Returns:
        Columns of `CURVE`, beta, grade, proven, and `flags`, a tuple of the checks that any cell of the point fails.
    """
    point = [*CURVE, "beta"]
    learners = pooled_or_all(results.pooled)[[*point, "rows"]].explode("rows")
    cells = learners.join(results.summary[["grade", "proven", "flags"]], on="rows")
    cells["proven"] = cells["proven"].eq(True)  # missing where nothing was certified
    rows = []
    for name, part in cells.groupby(point, sort=False)[["grade", "proven", "flags"]]:
        grades, proven, flags = part.to_numpy().T
        names = dict.fromkeys(flag for text in flags for flag in split_flags(text))
        rows.append((*name, worst(grades), all(proven), tuple(names)))
    return pd.DataFrame(rows, columns=[*CURVE, "beta", "grade", "proven", "flags"])


def curve_grades(results: Results) -> pd.DataFrame:
    """Return the grade of each curve that a report shows.

    Args:
        results: The results of a run.

    Returns:
        Columns of `CURVE`, `grade` (the worst of the points) and `text`, such as ``suspect at 3 of 10 strengths:
        missed_adversarial``. Points with nothing to grade do not count beside others.
    """
    rows = []
    for name, points in graded_points(results).groupby(CURVE, sort=False):
        counted = points[points["grade"] != "n/a"]
        rows.append((*name, worst_graded(points["grade"]), grade_text(counted)))
    return pd.DataFrame(rows, columns=[*CURVE, "grade", "text"])


def grade_text(points: pd.DataFrame) -> str:
    """Return the grade of a curve as text.

    Args:
        points: Points of the curve with something to grade, columns as from `graded_points`.
    """
    if not len(points):
        return "n/a"
    suspect = points[points["grade"] == "suspect"]
    reliable = int((points["grade"] == "reliable").sum())
    proven = int(points["proven"].sum())
    if len(suspect):
        names = dict.fromkeys(name for flags in suspect["flags"] for name in flags)
        text = f"suspect{_where(len(suspect), len(points))}: {_listed(names)}"
    elif reliable:
        text = "reliable" if reliable == len(points) else f"reliable{_where(reliable, len(points))}, else unknown"
    else:
        text = "unknown"
    return f"{text}; proven{_where(proven, len(points))}" if proven else text


def overview_grade(curves: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Return the grades of all curves of a row of the overview.

    Args:
        curves: Rows from `curve_grades`.
        names: Names of perturbations as the table shows them.

    Returns:
        One grade if all curves have the same; else each grade with its perturbations. Those with nothing to grade are
        left out.
    """
    counted = curves[curves["grade"] != "n/a"]
    groups = {grade: counted.loc[counted["grade"] == grade, "perturbation"] for grade in _ORDER}
    found = {grade: labels for grade, labels in groups.items() if len(labels)}
    if not found:
        return "n/a"
    if len(found) == 1 and "suspect" not in found:
        return next(iter(found))
    return "; ".join(f"{grade}: {', '.join(names[str(label)] for label in labels)}" for grade, labels in found.items())


def split_flags(text: object) -> list[str]:
    """Return the names in the column `flags` of a cell.

    Args:
        text: The value of the column.
    """
    return text.split("; ") if isinstance(text, str) and text else []


def _where(count: int, total: int) -> str:
    if count < total:
        return f" at {count} of {total} strengths"
    return f" at all {total} strengths" if total > 1 else ""


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = len(known) - _MOST
    return ", ".join(known) if more <= 0 else f"{', '.join(known[:_MOST])} and {more} more"
