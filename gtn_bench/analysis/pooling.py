"""Pooling of the rows of accepted architectures, and the per-image results of the pooled rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, acceptance, for_each_teacher
from gtn_bench.analysis.statistics import Array, area
from gtn_bench.config.labels import ACCEPTED

Correct = Mapping[int, Array]  # for each row of a summary, the mask of correctly classified images (N,)
AVERAGED = ["clean_accuracy", "accuracy", "accuracy_given_correct", "mean_linf", "mean_l2"]


def pooled(summary: pd.DataFrame, rule: AcceptanceRule) -> pd.DataFrame:
    """Return the finished rows of a summary, and rows with their means over the accepted architectures.

    A mean exists for each mode, seed and strength for which all accepted architectures of a teacher are finished. Its
    architecture is `accepted`.

    Args:
        summary: The summary.
        rule: When an architecture is accepted.

    Returns:
        Rows of the summary with a column `rows`, a tuple of the summary rows that each row is the mean of.
    """
    accepted = acceptance(summary, rule)
    return pool_over(summary, accepted.loc[accepted[ACCEPTED], ["teacher", "architecture"]])


def pool_over(summary: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return what `pooled` returns, for given architectures in place of the accepted ones.

    Args:
        summary: The summary.
        pairs: Columns teacher and architecture: what is pooled for each teacher.
    """
    done = summary[summary["status"] == "done"]
    done = done.assign(rows=pd.Series([(row,) for row in done.index], index=done.index, dtype=object))
    pooled = for_each_teacher(done).merge(pairs, on=["teacher", "architecture"])
    keys = ["dataset", "teacher", "mode", "seed", "perturbation", "beta"]
    groups = pooled.groupby(keys, sort=False)["rows"].agg("sum").reset_index()
    complete = groups[groups["rows"].map(len) == groups["teacher"].map(pairs.groupby("teacher").size())]
    means = {}
    for column in AVERAGED:
        known = done[column].to_dict()
        means[column] = [np.mean([known[row] for row in rows]) for rows in complete["rows"]]
    return pd.concat([done, complete.assign(architecture=ACCEPTED, **means)], ignore_index=True)


def mean_of_all(column: pd.Series[Any]) -> Any:
    """Return the mean of a column; nan if any value is missing.

    Args:
        column: The column.
    """
    return column.mean(skipna=False)


def sweeps_of(summary: pd.DataFrame) -> dict[str, Array]:
    """Return the planned strengths of each perturbation, finished or not.

    Args:
        summary: The summary.

    Returns:
        Ascending strengths (k,), by label of the perturbation.
    """
    return {str(name): np.sort(rows["beta"].unique()) for name, rows in summary.groupby("perturbation", sort=False)}


def images_of(rows: Sequence[tuple[int, ...]], correct: Correct) -> Array:
    """Return the mean correctness of each image, per seed.

    Args:
        rows: For each of S seeds, the rows of the summary to average.
        correct: Masks of correctly classified images (N,).

    Returns:
        Shares of correct predictions (S, N) float32.
    """
    return np.stack([np.mean([correct[row] for row in pool], axis=0, dtype=np.float32) for pool in rows])


def areas_of(curve: pd.DataFrame, betas: Array, correct: Correct) -> Iterator[tuple[int, Array]]:
    """Yield each image's area under the curve, for each seed that has all strengths.

    Args:
        curve: The points of a curve, with columns `seed`, `beta` and `rows`.
        betas: Strengths of the sweep (k,), ascending.
        correct: Masks of correctly classified images (N,).

    Yields:
        The seed, and the areas (A, N) of A pooled learners.
    """
    weights = np.array([area(betas, unit) for unit in np.eye(len(betas))])
    for seed, points in curve.groupby("seed", sort=False):
        if len(points) == len(betas):
            learners = zip(*points.sort_values("beta")["rows"], strict=True)
            shares = [weights @ np.stack([correct[row] for row in rows]) for rows in learners]
            yield int(str(seed)), np.stack(shares)
