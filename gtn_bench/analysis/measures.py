"""Measures: one number per curve, and an overview of modes and perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import (
    AcceptanceRule,
    acceptance,
    clean_accuracies,
    for_each_teacher,
    pooled_or_all,
)
from gtn_bench.analysis.pooling import Correct, areas_of, pooled, sweeps_of
from gtn_bench.analysis.statistics import ACCURACY, Array, area, falls_to, interval
from gtn_bench.config.labels import ACCEPTED, WORST


def measures(summary: pd.DataFrame, rule: AcceptanceRule, correct: Correct, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of each mode under each perturbation, and under the worst one if there are several.

    Args:
        summary: The summary.
        rule: When an architecture is accepted.
        correct: Masks of correctly classified images (N,).
        curves: The curves of the summary, from `gtn_bench.analysis.curves.curves`.

    Returns:
        The columns of `gtn_bench.analysis.tables.MEASURE_COLUMNS`.

        - `area`: mean accuracy over the sweep, with its 95 % interval. For the perturbation `worst`: the mean over
          images of the smallest area of an image under any perturbation. Sweeps of different norms, units and ranges
          count alike there, so it depends on the sweeps and is no accuracy in a ball: compare modes of one suite.
        - `area_given_correct`: the area for the images that the learner classified correctly without a perturbation.
        - `half_strength`: strength at which the accuracy is half of the clean one; inf if the curve stays above, nan
          if a larger beta is a weaker perturbation. Its interval is that of the strengths at which the two ends of the
          intervals of the accuracies are half of the clean accuracy.
    """
    points = for_each_teacher(curves).groupby(["teacher", "architecture", "mode", "perturbation"], sort=False)
    by_curve = {name: curve.sort_values("beta") for name, curve in points}
    sweeps = sweeps_of(summary)
    rows = []
    names = ["dataset", "teacher", "architecture", "mode"]
    for name, learners in for_each_teacher(pooled(summary, rule)).groupby(names, sort=False):
        areas: dict[str, dict[int, Array]] = {label: {} for label in sweeps}
        for perturbation, part in learners.groupby("perturbation", sort=False):
            betas, clean = sweeps[str(perturbation)], float(part["clean_accuracy"].mean())
            areas[str(perturbation)] = dict(areas_of(part, betas, correct))
            curve = by_curve[*name[1:], perturbation]
            from_curve = _measures_of_curve(curve, betas, clean, len(areas[str(perturbation)]))
            rows.append((*name, perturbation, clean, *_mean(areas[str(perturbation)]), *from_curve))
        if len(areas) > 1:
            rows.append((*name, WORST, np.nan, *_mean(_worst(list(areas.values()))), np.nan, np.nan, np.nan, np.nan))
    measured = ["clean_accuracy", "area", "ci_low", "ci_high", "n_seeds", "area_given_correct"]
    return pd.DataFrame(
        rows, columns=[*names, "perturbation", *measured, "half_strength", "half_ci_low", "half_ci_high"]
    )


def _measures_of_curve(
    curve: pd.DataFrame, betas: Array, clean: float, seeds: int
) -> tuple[float, float, float, float]:
    """Return `area_given_correct`, `half_strength` and the interval of the latter.

    All are nan if a point is missing or has seeds that other points lack.
    """
    if len(curve) < len(betas) or (curve["n_seeds"] != seeds).any():
        return np.nan, np.nan, np.nan, np.nan
    given_correct = area(betas, curve["accuracy_given_correct"].to_numpy())
    stronger_with_beta = not curve["mean_l2"].iloc[-1] < curve["mean_l2"].iloc[0]
    applies = clean > 0 and stronger_with_beta
    ends = ("accuracy", "ci_low", "ci_high")
    half = [falls_to(betas, curve[end].to_numpy(), clean, clean / 2) if applies else np.nan for end in ends]
    return given_correct, half[0], half[1], half[2]


def _mean(areas: Mapping[int, Array]) -> tuple[float, float, float, int]:
    """Return the mean of areas (A, N) over seeds and images, its 95 % interval, and the number of seeds."""
    if not areas:
        return np.nan, np.nan, np.nan, 0
    values = np.stack([learners.mean(0) for learners in areas.values()])
    return (float(values.mean()), *interval(values, 0.95, ACCURACY), len(values))


def _worst(sweeps: Sequence[Mapping[int, Array]]) -> dict[int, Array]:
    """Return the smallest area of each image under any perturbation (A, N), by seed, for the images of all sweeps."""
    seeds = [seed for seed in sweeps[0] if all(seed in sweep for sweep in sweeps)]
    count = min((sweep[seed].shape[1] for sweep in sweeps for seed in seeds), default=0)
    return {seed: np.min([sweep[seed][:, :count] for sweep in sweeps], axis=0) for seed in seeds}


def overview(summary: pd.DataFrame, rule: AcceptanceRule) -> pd.DataFrame:
    """Return the clean accuracy of each mode and the area under its curve for each perturbation.

    Rows average the accepted architectures of a teacher. If none is accepted, each architecture has a row. Areas are
    means over the seeds that have all strengths.

    Args:
        summary: The summary.
        rule: When an architecture is accepted.

    Returns:
        Columns teacher, architecture, mode, clean accuracy, and one per perturbation.
    """
    sweeps = sweeps_of(summary)
    learners = pooled_or_all(pooled(summary, rule))
    clean = for_each_teacher(clean_accuracies(summary))
    accepted = acceptance(summary, rule).query(ACCEPTED)[["teacher", "architecture"]]
    pooled_clean = clean.merge(accepted, on=["teacher", "architecture"]).assign(architecture=ACCEPTED)
    names = ["teacher", "architecture", "mode"]
    means = pd.concat([clean, pooled_clean]).groupby(names)["clean_accuracy"].mean().to_dict()
    rows = []
    for name, group in learners.groupby(names, sort=False):
        row = {**dict(zip(names, name, strict=True)), "clean accuracy": means[name]}
        for perturbation, cells in group.groupby("perturbation", sort=False):
            by_seed = cells.pivot(index="seed", columns="beta", values="accuracy")
            complete = by_seed.reindex(columns=sweeps[str(perturbation)]).dropna()
            if len(complete):
                row[str(perturbation)] = area(sweeps[str(perturbation)], complete.mean().to_numpy())
        rows.append(row)
    return pd.DataFrame(rows, columns=[*names, "clean accuracy", *learners["perturbation"].unique()])
