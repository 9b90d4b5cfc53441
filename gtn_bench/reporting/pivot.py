"""Accuracies of a run as one table: a row per mode, a column per strength."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.config.labels import NO_TEACHER
from gtn_bench.reporting.numbers import with_interval


def accuracy_pivot(results: Results, perturbations: Sequence[str]) -> pd.DataFrame:
    """Return the accuracy of each mode at each strength, with 95 % confidence intervals, as texts.

    Args:
        results: The results of a run.
        perturbations: Labels of perturbations. With several, the columns have two levels.

    Returns:
        A table whose index is the mode, preceded by teacher and architecture where a run has several. Its columns are
        the strengths, or perturbations and strengths. A point that is missing is empty.
    """
    curves = pooled_or_all(results.curves)
    curves = curves[curves["perturbation"].isin(perturbations)]
    names = [name for name in ("teacher", "architecture") if curves[name].nunique() > 1]
    names = [name for name in names if name != "teacher" or (curves[name] != NO_TEACHER).any()]
    columns = ["perturbation", "beta"] if len(perturbations) > 1 else ["beta"]
    ends = curves[["accuracy", "ci_low", "ci_high"]].itertuples(index=False, name=None)
    texts = curves.assign(accuracy=[with_interval(*row) for row in ends])
    index = [*names, "mode"]
    order = pd.MultiIndex.from_frame(texts[index].drop_duplicates())
    wide = texts.pivot(index=index, columns=columns, values="accuracy").fillna("")
    labels = list(dict.fromkeys(curves["perturbation"].astype(str))) if len(columns) > 1 else []
    wide = wide.loc[order if len(index) > 1 else order.get_level_values(0)]
    return wide[labels] if labels else wide
