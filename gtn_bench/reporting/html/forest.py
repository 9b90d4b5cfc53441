"""Comparisons of modes as the rows of a forest plot."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.significance import SIGNIFICANCE
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.reporting import numbers

_LIMITS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


class ForestRow(NamedTuple):
    """A comparison.

    Attributes:
        where: Teacher and architecture, if there are several.
        perturbation: Name of the perturbation.
        pair: The two modes.
        difference: Difference of the areas.
        interval: Its interval; empty if there is none.
        p: p after correction.
        detectable: Smallest detectable effect.
        verdict: `more`, `less`, or empty if the difference is not significant.
        at, low, high: Places on the axis in percent of its width; None without an interval.
        value: The difference as a number.
    """

    where: str
    perturbation: str
    pair: str
    difference: str
    interval: str
    p: str
    detectable: str
    verdict: str
    at: float
    low: float | None
    high: float | None
    value: float


class Forest(NamedTuple):
    """A forest plot.

    Attributes:
        rows: Its rows.
        limit: The largest difference on the axis.
    """

    rows: list[ForestRow]
    limit: float


def forest(results: Results) -> Forest:
    """Return the comparisons of a teacher's accepted architectures together, or else of each architecture.

    Args:
        results: The results of a run.
    """
    found = pooled_or_all(results.comparisons)
    found = found[found["difference"].notna()]
    limit = axis_limit(found)
    several = found["teacher"].nunique() > 1
    rows = []
    for record in found.to_dict("records"):
        row = {str(column): value for column, value in record.items()}
        where = [row["teacher"]] if several and row["teacher"] != NO_TEACHER else []
        where += (
            [] if row["architecture"] == ACCEPTED or found["architecture"].nunique() == 1 else [row["architecture"]]
        )
        rows.append(_row(row, ", ".join(where), results.display_name(row["perturbation"]), limit))
    return Forest(rows, limit)


def _row(row: dict[str, Any], where: str, perturbation: str, limit: float) -> ForestRow:
    known = not np.isnan(row["ci_low"])
    significant = known and row["p_holm"] <= SIGNIFICANCE and not row["ci_low"] <= 0 <= row["ci_high"]
    verdict = ("less" if row["difference"] < 0 else "more") if significant else ""
    low, high = (place_on_axis(row[end], limit) for end in ("ci_low", "ci_high")) if known else (None, None)
    return ForestRow(
        where=where,
        perturbation=perturbation,
        pair=f"{row['mode']} − {row['other']}",
        difference=numbers.difference(row["difference"]),
        interval=numbers.interval(row["ci_low"], row["ci_high"], signed=True) if known else "",
        p=numbers.p_value(row["p_holm"]),
        detectable=numbers.accuracy(row["minimum_detectable_effect"]),
        verdict=verdict,
        at=place_on_axis(row["difference"], limit),
        low=low,
        high=high,
        value=float(row["difference"]),
    )


def axis_limit(table: pd.DataFrame) -> float:
    """Return the end of the axis of a forest plot, a round number.

    Args:
        table: Columns difference, ci_low, ci_high.
    """
    ends = table[["difference", "ci_low", "ci_high"]].abs().max().max()
    return next((limit for limit in _LIMITS if ends <= limit), 1.0)


def place_on_axis(value: float, limit: float) -> float:
    """Return the place of a difference on the axis, in percent of its width.

    Args:
        value: The difference.
        limit: The end of the axis.
    """
    return round(50 + 50 * max(-1.0, min(1.0, value / limit)), 3)
