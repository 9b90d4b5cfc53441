"""Curves: mean accuracy as a function of the strength, with confidence intervals over seeds and images."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.analysis.grades import worst
from gtn_bench.analysis.pooling import AVERAGED, Correct, images_of, mean_of_all, pooled
from gtn_bench.analysis.statistics import ACCURACY, interval, simultaneous_level

Bands = Literal["pointwise", "simultaneous"]  # 95 % coverage of each point, or of all points of a curve
BANDS: dict[Bands, tuple[str, str]] = {"pointwise": ("ci_low", "ci_high"), "simultaneous": ("band_low", "band_high")}


def curves(summary: pd.DataFrame, rule: AcceptanceRule, correct: Correct | None = None) -> pd.DataFrame:
    """Return the curve of each mode under each perturbation, one row per point.

    Rows with the architecture `accepted` average the accepted architectures, over the seeds that have all of them. A
    failed cell reduces `n_seeds` of its point.

    Args:
        summary: The summary.
        rule: When an architecture is accepted.
        correct: Masks of correctly classified images (N,). Without them, all intervals are nan.

    Returns:
        The columns of `gtn_bench.analysis.tables.CURVE_COLUMNS`: means and standard deviation over seeds, the 95 %
        interval `ci_low`, `ci_high` of each point, the 95 % band `band_low`, `band_high` of all points of a curve, the
        grade of its cells together, and their mean certified accuracy. A point is proven if all of its cells are.
    """
    rows = []
    names = ["dataset", "teacher", "architecture", "mode", "perturbation"]
    for name, curve in pooled(summary, rule).groupby(names, sort=False):
        points = [(float(str(beta)), point) for beta, point in curve.groupby("beta", sort=False)]
        values = [images_of(list(point["rows"]), correct) for _, point in points] if correct else []
        same_seeds = bool(values) and len({tuple(point["seed"]) for _, point in points}) == 1
        level = simultaneous_level(np.stack(values)) if same_seeds else np.nan
        for index, (beta, point) in enumerate(points):
            accuracy = point["accuracy"].to_numpy()
            std = float(accuracy.std(ddof=1)) if len(accuracy) > 1 else np.nan
            ends = interval(values[index], 0.95, ACCURACY) if values else (np.nan, np.nan)
            band = interval(values[index], level, ACCURACY) if same_seeds else (np.nan, np.nan)
            means = (mean_of_all(point[column]) for column in AVERAGED[2:])
            cells = summary.loc[[row for rows in point["rows"] for row in rows]]
            proofs = (mean_of_all(cells["certified_accuracy"]), bool(cells["proven"].eq(True).all()))
            grades = (worst(cells["grade"]), *proofs)
            rows.append((*name, beta, accuracy.mean(), std, *ends, len(accuracy), *means, *band, *grades))
    measured = ["accuracy", "std", "ci_low", "ci_high", "n_seeds", *AVERAGED[2:], "band_low", "band_high"]
    graded = ["grade", "certified_accuracy", "proven"]
    return pd.DataFrame(rows, columns=[*names, "beta", *measured, *graded])
