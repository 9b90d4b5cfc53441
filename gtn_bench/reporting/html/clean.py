"""The clean point of each curve, also where a sweep lacks strength 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.results import Results
from gtn_bench.reporting.html.samples import SampleFacts

_CURVE = ["teacher", "architecture", "mode", "perturbation"]


def clean_points(results: Results, samples: SampleFacts | None) -> pd.DataFrame:
    """Return the clean accuracy on the images of each perturbation whose sweep lacks strength 0.

    Args:
        results: The results of a run.
        samples: Its samples. Without them, the points have no intervals.

    Returns:
        Rows as in `curves.csv` with strength 0 and no grade.
    """
    summary = results.summary
    smallest = summary.groupby("perturbation")["beta"].transform("min")
    first = (summary["status"] == "done") & (smallest > 0) & (summary["beta"] == smallest)
    if not first.any():
        return results.curves.iloc[:0]
    # The other cells count for the acceptance of architectures, and not for the curves.
    other = (summary["status"] == "done") & ~first
    still: dict[str, Any] = {"beta": 0.0, "mean_linf": 0.0, "mean_l2": 0.0, "grade": "n/a", "proven": False}
    unperturbed = summary.assign(
        **still,
        status=summary["status"].mask(other, "rejected"),
        accuracy=summary["clean_accuracy"],
        accuracy_given_correct=1.0,
        certified_accuracy=np.nan,
    )
    known = samples is not None and all(row in samples.clean for row in summary.index[first])
    return curves(unperturbed, results.rule, samples.clean if samples is not None and known else None)


def with_clean(results: Results, clean: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the curves together with the clean points, ascending in strength.

    Args:
        results: The results of a run.
        clean: The points that `clean_points` returns.
    """
    points = pd.concat([results.curves, clean]) if len(clean) else results.curves
    order = {name: place for place, name in enumerate(results.curves.groupby(_CURVE, sort=False).groups)}
    places = [order.get(tuple(name), len(order)) for name in points[_CURVE].itertuples(index=False)]
    return points.assign(place=places).sort_values(["place", "beta"], kind="stable").drop(columns="place")
