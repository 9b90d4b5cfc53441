"""Comparisons: paired differences between modes, with intervals and permutation tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, for_each_teacher
from gtn_bench.analysis.contrasts import Contrast, of_model_and_learners, of_models, of_pairs
from gtn_bench.analysis.pooling import Correct, areas_of, pooled, sweeps_of
from gtn_bench.analysis.significance import holm
from gtn_bench.analysis.statistics import Array
from gtn_bench.analysis.tables import COMPARISON_COLUMNS
from gtn_bench.config.labels import NO_TEACHER

Areas = Mapping[int, Array]  # by seed: areas (A, N) of A pooled architectures and N images


def comparisons(summary: pd.DataFrame, rule: AcceptanceRule, correct: Correct) -> pd.DataFrame:
    """Return the differences of the areas under the curves of each pair of modes, one row per perturbation.

    Learners of the same seed have the same initial weights, images and noise, and are compared in pairs. Only seeds for
    which both modes have all strengths count. A mode with a single learner is a fixed model: two of them are compared
    over images, and one with several learners is compared with each of these. Two controls are not compared.

    Args:
        summary: The summary.
        rule: When an architecture is accepted, and which modes are controls.
        correct: Masks of correctly classified images (N,).

    Returns:
        The columns of `gtn_bench.analysis.tables.COMPARISON_COLUMNS`.

        - `over`: what varies: `learners` and images, or `images` only.
        - `p`: p-value of a sign-flip test over pairs of learners, on these images; of a sign-flip test over images for
          two models; of Student's t for a model and several learners.
        - `p_holm`: p-value corrected for all modes and perturbations of the architecture, separately for comparisons
          with a control.
        - `minimum_detectable_effect`: true difference that is significant with a power of 80 %.
        - `n_seeds`, `other_n_seeds`: learners of either mode, per architecture.
    """
    sweeps = sweeps_of(summary)
    without_teacher = set(summary.loc[summary["teacher"] == NO_TEACHER, "mode"])
    compared_already = set()
    rows = []
    names = ["dataset", "teacher", "architecture", "perturbation"]
    for name, part in for_each_teacher(pooled(summary, rule)).groupby(names, sort=False):
        by_mode = {str(mode): curve for mode, curve in part.groupby("mode", sort=False)}
        areas = {mode: dict(areas_of(curve, sweeps[str(name[-1])], correct)) for mode, curve in by_mode.items()}
        for mode, other in itertools.combinations(areas, 2):
            if {mode, other} <= without_teacher:  # these learners are repeated for each teacher; compare them once
                learners = (name[2], *by_mode[mode]["rows"], *by_mode[other]["rows"])
                if learners in compared_already:
                    continue
                compared_already.add(learners)
            if not {mode, other} <= set(rule.controls) and (found := compare(areas[mode], areas[other])):
                identity = dict(zip([*names, "mode", "other"], (*name, mode, other), strict=True))
                rows.append({**identity, **found._asdict(), **found.contrast._asdict()})
    compared = pd.DataFrame(rows).rename(columns={"low": "ci_low", "high": "ci_high"})
    compared = compared.reindex(columns=COMPARISON_COLUMNS)
    controlled = compared["mode"].isin(rule.controls) | compared["other"].isin(rule.controls)
    families = compared.groupby([compared["architecture"], controlled])
    compared["p_holm"] = families["p"].transform(lambda p: holm(p.to_numpy()))
    return compared


class Compared(NamedTuple):
    """Two modes under a perturbation.

    Attributes:
        contrast: Their difference.
        area, other_area: Mean areas of the compared learners.
        n_seeds, other_n_seeds: Number of compared learners, per architecture.
        n_pairs: Number of pairs of learners that are compared.
        n_images: Number of images.
    """

    contrast: Contrast
    area: float
    other_area: float
    n_seeds: int
    other_n_seeds: int
    n_pairs: int
    n_images: int


def compare(areas: Areas, others: Areas) -> Compared | None:
    """Compare the learners of two modes.

    Args:
        areas: Areas of the learners of a mode.
        others: Areas of the learners of the other mode, for the same architectures and images.

    Returns:
        The comparison; None if a mode has no learners, or both have several but none of the same seed.
    """
    seeds = [seed for seed in areas if seed in others]
    if len(seeds) > 1 or (seeds and min(len(areas), len(others)) > 1):
        areas, others = ({seed: learners[seed] for seed in seeds} for learners in (areas, others))
    elif not areas or not others or min(len(areas), len(others)) > 1:
        return None
    first, second = (np.stack(list(learners.values())) for learners in (areas, others))
    differences = first - second
    pairs, architectures, images = differences.shape
    if max(len(first), len(second)) == 1:
        contrast = of_models(differences[0].mean(0))
    elif len(first) == len(second):
        contrast = of_pairs(differences)
    else:
        contrast = of_model_and_learners(differences.mean(1))
    counts = (len(first), len(second), pairs * architectures, images)
    return Compared(contrast, float(first.mean()), float(second.mean()), *counts)
