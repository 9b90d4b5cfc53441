"""Comparisons: paired differences between modes, with intervals and permutation tests."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, for_each_teacher
from gtn_bench.analysis.pooling import Correct, areas_of, pooled, sweeps_of
from gtn_bench.analysis.statistics import holm, interval, minimum_detectable_effect, permutation_test
from gtn_bench.config.labels import NO_TEACHER

DIFFERENCE = (-1.0, 1.0)  # the range of a difference of accuracies


def comparisons(summary: pd.DataFrame, rule: AcceptanceRule, correct: Correct) -> pd.DataFrame:
    """Return the differences of the areas under the curves of each pair of modes, one row per perturbation.

    Differences are paired: learners of the same seed have the same initial weights, images and noise. Only seeds for
    which both modes have all strengths count. Two controls are not compared.

    Args:
        summary: The summary.
        rule: When an architecture is accepted, and which modes are controls.
        correct: Masks of correctly classified images (N,).

    Returns:
        The columns of `gtn_bench.analysis.tables.COMPARISON_COLUMNS`.

        - `p`: p-value of a sign-flip test over pairs of learners, on these images.
        - `p_holm`: p-value corrected for all modes and perturbations of the architecture, separately for comparisons
          with a control.
        - `minimum_detectable_effect`: true difference that is significant with a power of 80 %.
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
            seeds = [seed for seed in areas[mode] if seed in areas[other]]
            if seeds and not {mode, other} <= set(rule.controls):
                first, second = (np.stack([areas[which][seed] for seed in seeds]) for which in (mode, other))
                pairs = (first - second).mean(2).ravel()
                differences = (first - second).mean(1)
                ends = interval(differences, 0.95, DIFFERENCE)
                measured = (float(first.mean()), float(second.mean()), float(differences.mean()), *ends)
                tested = (permutation_test(pairs), minimum_detectable_effect(differences), len(seeds), len(pairs))
                rows.append((*name, mode, other, *measured, *tested))
    columns = [
        *names,
        "mode",
        "other",
        "area",
        "other_area",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "minimum_detectable_effect",
    ]
    compared = pd.DataFrame(rows, columns=[*columns, "n_seeds", "n_pairs"])
    controlled = compared["mode"].isin(rule.controls) | compared["other"].isin(rule.controls)
    families = compared.groupby([compared["architecture"], controlled])
    compared["p_holm"] = families["p"].transform(lambda p: holm(p.to_numpy()))
    return compared[[*columns[:-1], "p_holm", "minimum_detectable_effect", "n_seeds", "n_pairs"]]
