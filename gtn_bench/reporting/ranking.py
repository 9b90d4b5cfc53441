"""The order in which a report tells comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gtn_bench.analysis.significance import SIGNIFICANCE


def ranked(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return comparisons in the order of their importance.

    Args:
        rows: Rows of comparisons.csv.

    Returns:
        First the significant ones, then those whose interval excludes 0, then the others. Within each, a comparison
        whose perturbation and pair of modes were seldom before it comes earlier; else the one with the smaller
        corrected p-value, or, for significant ones, the larger difference.
    """
    left, ordered, seen = list(rows), [], dict[object, int]()
    while left:
        best = min(left, key=lambda row: (_tier(row), sum(seen.get(part, 0) for part in _parts(row)), *_strength(row)))
        left = [row for row in left if row is not best]
        ordered.append(best)
        for part in _parts(best):
            seen[part] = seen.get(part, 0) + 1
    return ordered


def _tier(row: Mapping[str, Any]) -> int:
    if np.isnan(row["ci_low"]) or row["ci_low"] <= 0 <= row["ci_high"]:
        return 2
    return 0 if row["p_holm"] <= SIGNIFICANCE else 1


def _strength(row: Mapping[str, Any]) -> tuple[float, float]:
    size = -abs(row["difference"])
    return (0.0, size) if _tier(row) == 0 else (row["p_holm"], size)


def _parts(row: Mapping[str, Any]) -> tuple[object, object]:
    return row["perturbation"], (row["mode"], row["other"])
