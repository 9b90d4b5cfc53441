"""The curves of a page as plain data, for its script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.reporting.html.samples import SampleFacts
from gtn_bench.reporting.numbers import shortened

_CURVE = ["teacher", "architecture", "mode", "perturbation"]
_MOST = 60_000  # points of single seeds in a page
_COLUMNS = {
    "accuracy": "accuracy",
    "low": "ci_low",
    "high": "ci_high",
    "bandLow": "band_low",
    "bandHigh": "band_high",
    "certified": "certified_accuracy",
    "l2": "mean_l2",
    "linf": "mean_linf",
    "fooledL2": "fooled_l2",
    "fooledLinf": "fooled_linf",
}


def curve_data(points: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the curves: names, and a list for each column with a value.

    Args:
        points: Rows of curves.csv with the columns that `with_fooled` adds.
    """
    found = []
    for name, curve in points.groupby(_CURVE, sort=False):
        entry: dict[str, Any] = dict(zip(_CURVE, map(str, name), strict=True))
        entry["beta"] = numbers(curve["beta"])
        entry["seeds"] = [int(count) for count in curve["n_seeds"]]
        entry["grade"] = [str(grade) if isinstance(grade, str) else "n/a" for grade in curve["grade"]]
        if curve["proven"].eq(True).any():
            entry["proven"] = [bool(proven) for proven in curve["proven"]]
        known = {key: numbers(curve[column]) for key, column in _COLUMNS.items()}
        found.append(entry | {key: values for key, values in known.items() if any(v is not None for v in values)})
    return found


def with_fooled(points: pd.DataFrame, learners: pd.DataFrame, samples: SampleFacts | None) -> pd.DataFrame:
    """Return points of curves with the mean distances of the images that a perturbation fools.

    Args:
        points: Rows of curves.csv.
        learners: Rows of `gtn_bench.analysis.pooling.pooled`.
        samples: The samples; without them the columns are empty.

    Returns:
        The points with columns `fooled_l2`, `fooled_linf`, each the mean over the fooled images of all learners of a
        point; nan if none is fooled.
    """
    if samples is None:
        return points.assign(fooled_l2=np.nan, fooled_linf=np.nan)
    means = {}
    for name, point in learners.groupby([*_CURVE, "beta"], sort=False):
        cells = [samples.cells[row] for rows in point["rows"] for row in rows if row in samples.cells]
        fooled = sum(cell.fooled for cell in cells)
        sums = (sum(cell.fooled * getattr(cell, norm) for cell in cells if cell.fooled) for norm in ("l2", "linf"))
        means[name] = tuple(total / fooled if fooled else np.nan for total in sums)
    keys = [tuple(key) for key in points[[*_CURVE, "beta"]].itertuples(index=False)]
    unknown = (np.nan, np.nan)
    l2, linf = ([means.get(key, unknown)[place] for key in keys] for place in (0, 1))
    return points.assign(fooled_l2=l2, fooled_linf=linf)


def seed_data(learners: pd.DataFrame) -> list[dict[str, Any]] | None:
    """Return the curves of single seeds, with names as in `curve_data` and `seed`; None if there are too many points.

    Args:
        learners: Rows of `gtn_bench.analysis.pooling.pooled`.
    """
    if learners["seed"].nunique() < 2:
        return []
    if len(learners) > _MOST:
        return None
    found = []
    for name, curve in learners.sort_values("beta", kind="stable").groupby([*_CURVE, "seed"], sort=False):
        entry: dict[str, Any] = dict(zip(_CURVE, map(str, name[:-1]), strict=True))
        entry |= {"seed": int(str(name[-1])), "beta": numbers(curve["beta"])}
        shown = {"accuracy": "accuracy", "l2": "mean_l2", "linf": "mean_linf"}
        found.append(entry | {key: numbers(curve[column]) for key, column in shown.items()})
    return found


def published_data(published: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return the published curves, names as in `curve_data` without an architecture.

    Args:
        published: Points of the reference study; None if the suite does not show them.
    """
    if published is None:
        return []
    found = []
    for (teacher, mode, label), curve in published.groupby(["teacher", "mode", "perturbation"], sort=False):
        names: Mapping[str, Any] = {"teacher": str(teacher), "mode": str(mode), "perturbation": str(label)}
        found.append({**names, "beta": numbers(curve["beta"]), "accuracy": numbers(curve["published"])})
    return found


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Return numbers with ten significant digits, as the texts of the tables have.

    Args:
        values: The numbers. Those that are not finite become None.
    """
    return [shortened(value) if math.isfinite(value) else None for value in map(float, values)]
