"""The comparison of two runs: the difference of each curve, with an interval, a p-value and a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.comparisons import Areas, Compared, compare
from gtn_bench.analysis.grades import Grade, worst, worst_graded
from gtn_bench.analysis.masks import images_in
from gtn_bench.analysis.pairing import CURVE, first_images, shared_curves, shared_sweeps
from gtn_bench.analysis.pooling import areas_of
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.run_differences import RunDifferences, run_differences, suite_of
from gtn_bench.analysis.run_notes import other_attacks, restrictions
from gtn_bench.analysis.significance import SIGNIFICANCE, holm, pairs_needed
from gtn_bench.analysis.suite_differences import same_test_images
from gtn_bench.analysis.unpaired import of_groups
from gtn_bench.config.errors import ConfigError, listed, shown

# `not significant`: the interval excludes 0, but the corrected p-value is above the level. `no interval`: one image.
Verdict = Literal["better", "worse", "no difference seen", "not significant", "no interval"]
Pairing = Literal["seeds and images", "images", "none"]

COLUMNS = [
    *(*CURVE, "area", "baseline_area", "difference", "ci_low", "ci_high", "p", "p_holm"),
    *("minimum_detectable_effect", "verdict", "p_beyond", "beyond"),
    *("pairing", "over", "n_seeds", "baseline_n_seeds", "n_pairs", "n_images", "n_strengths"),
    *("grade", "baseline_grade"),
]


class RunComparison(NamedTuple):
    """A run compared with a baseline.

    Attributes:
        baseline: The output folder of the baseline.
        folder: The output folder of the run.
        differences: What the suites, cells and provenance of the two runs differ in.
        table: One row per curve, columns `COLUMNS`. `difference` is `area` minus `baseline_area`. `beyond` says whether
            the curve is significantly worse by more than `margin`, with `p_beyond` after Holm's correction. `grade` and
            `baseline_grade` are those of the points that are compared.
        margin: The difference that is tolerated.
        notes: What the comparison covers and what it leaves out, one sentence each.
        lost: Results of the baseline that the run has planned, but does not have, one sentence each.
    """

    baseline: Path
    folder: Path
    differences: RunDifferences
    table: pd.DataFrame
    margin: float
    notes: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table as mappings."""
        return [{str(key): value for key, value in row.items()} for row in self.table.to_dict("records")]

    @property
    def worse(self) -> list[dict[str, Any]]:
        """The rows of curves that are significantly worse, by more than the margin."""
        return [row for row in self.rows if row["beyond"]]

    @property
    def pairs_needed(self) -> int:
        """Number of pairs of learners with which a comparison of pairs can be significant; 0 if all can be.

        With fewer, the smallest possible p-value of a sign-flip test exceeds the level after Holm's correction.
        """
        needed = pairs_needed(len(self.table))
        paired = self.table[self.table["pairing"] == "seeds and images"]
        return needed if len(paired) and int(paired["n_pairs"].max()) < needed else 0


def compare_runs(baseline: Results, results: Results, margin: float = 0.0) -> RunComparison:
    """Compare a run with a baseline.

    Learners of the same seed are paired, and so are the results for the same test image. Only strengths and images
    that both runs share count. Where the images differ, nothing is paired.

    A curve is better or worse if the 95 % confidence interval of the difference excludes 0 and its p-value is at most
    0.05 after Holm's correction over all curves. It is worse by more than the margin if the interval is below
    -margin and the p-value of the differences plus margin is at most 0.05 after the same correction.

    Args:
        baseline: The results of the baseline.
        results: The results of the run.
        margin: Difference of areas that is tolerated, from 0 to 1.

    Raises:
        ConfigError: If the runs have other data sets, no curve or no strength in common, or lack the samples.
    """
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < 1:
        raise ConfigError(f"margin expects a number from 0 to 1, got {shown(margin)}")
    _check_data_sets(baseline, results)
    differences = run_differences(baseline, results)
    same_images = same_test_images(suite_of(baseline), suite_of(results))
    found = images_in(baseline), images_in(results)
    sweeps = shared_sweeps(baseline, results, found, same_images=same_images)
    curves = shared_curves(baseline, results, sweeps)
    rows = []
    for name, theirs, ours in curves.pairs:
        sweep = sweeps[str(name[-1])]
        areas, others = (
            dict(areas_of(curve, sweep.betas, first_images(images.correct, curve, sweep.images)))
            for curve, images in ((ours, found[1]), (theirs, found[0]))
        )
        if areas and others:
            identity = dict(zip(CURVE, name, strict=True))
            row = difference_row(areas, others, same_images=sweep.images is not None, margin=margin)
            grades = {"grade": curve_grade(results, ours), "baseline_grade": curve_grade(baseline, theirs)}
            rows.append({**identity, **row, "n_strengths": len(sweep.betas), **grades})
    if not rows:
        raise ConfigError(_nothing_shared(baseline, results))
    table = with_verdicts(pd.DataFrame(rows), margin)[COLUMNS]
    notes = (*restrictions(sweeps, table), *other_attacks(differences, table), *curves.notes)
    return RunComparison(baseline.folder, results.folder, differences, table, margin, notes, tuple(curves.lost))


def curve_grade(results: Results, curve: pd.DataFrame) -> Grade:
    """Return the grade of a curve: that of its points together.

    Args:
        results: The results.
        curve: The points of the curve for each seed, with columns `beta` and `rows`.
    """
    grades = results.summary["grade"]
    points = [worst(grades.loc[[row for rows in point["rows"] for row in rows]]) for _, point in curve.groupby("beta")]
    return worst_graded(points)


def compare_learners(areas: Areas, others: Areas, *, same_images: bool) -> tuple[Pairing, Compared]:
    """Compare learners of a run with those of a baseline.

    Args:
        areas: Areas (A, N) of the learners of the run, by seed.
        others: Areas of the learners of the baseline.
        same_images: Whether the images are the same.

    Returns:
        What is paired, and the comparison.
    """
    found = compare(areas, others) if same_images else None
    if found is not None:
        paired = found.n_seeds == found.other_n_seeds > 1
        return ("seeds and images" if paired else "images"), found
    first, second = (np.stack([each.mean(0) for each in side.values()]) for side in (areas, others))
    contrast = of_groups(first, second, same_images=same_images)
    images = min(first.shape[1], second.shape[1])
    means = float(first.mean()), float(second.mean())
    return ("images" if same_images else "none"), Compared(contrast, *means, len(first), len(second), 0, images)


def difference_row(areas: Areas, others: Areas, *, same_images: bool, margin: float) -> dict[str, Any]:
    """Return the difference between learners of a run and those of a baseline, before Holm's correction.

    Args:
        areas: Areas (A, N) of the learners of the run, by seed.
        others: Areas of the learners of the baseline.
        same_images: Whether the images are the same.
        margin: Difference of areas that is tolerated.

    Returns:
        Values of those of `COLUMNS` that concern a single curve; `p_beyond` is the p-value of the differences plus
        margin.
    """
    pairing, found = compare_learners(areas, others, same_images=same_images)
    contrast, p_beyond = found.contrast, found.contrast.p
    if margin:
        shifted = {seed: values + margin for seed, values in areas.items()}
        p_beyond = compare_learners(shifted, others, same_images=same_images)[1].contrast.p
    return {
        "area": found.area,
        "baseline_area": found.other_area,
        "difference": contrast.difference,
        "ci_low": contrast.low,
        "ci_high": contrast.high,
        "p": contrast.p,
        "minimum_detectable_effect": contrast.minimum_detectable_effect,
        "p_beyond": p_beyond,
        "pairing": pairing,
        "over": contrast.over,
        "n_seeds": found.n_seeds,
        "baseline_n_seeds": found.other_n_seeds,
        "n_pairs": found.n_pairs if pairing == "seeds and images" else 0,
        "n_images": found.n_images,
    }


def with_verdicts(table: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Return a table of differences with corrected p-values and verdicts.

    Args:
        table: Columns difference, ci_low, ci_high, p, p_beyond; one row per curve, all curves of one family.
        margin: Difference of areas that is tolerated.
    """
    corrected, beyond = (holm(table[name].to_numpy(dtype=float)) for name in ("p", "p_beyond"))
    table = table.assign(p_holm=corrected, p_beyond=beyond)
    low, high = (table[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
    verdicts = [
        _verdict(*row) for row in zip(low, high, corrected, table["difference"].to_numpy(dtype=float), strict=True)
    ]
    is_beyond = (beyond <= SIGNIFICANCE) & (high < -margin) & (table["difference"].to_numpy() < -margin)
    return table.assign(verdict=verdicts, beyond=is_beyond)


def _verdict(low: float, high: float, p: float, difference: float) -> Verdict:
    if np.isnan(low):
        return "no interval"
    if low <= 0 <= high:
        return "no difference seen"
    if p > SIGNIFICANCE:
        return "not significant"
    return "worse" if difference < 0 else "better"


def _check_data_sets(baseline: Results, results: Results) -> None:
    ours, theirs = (sorted(map(str, each.summary["dataset"].unique())) for each in (baseline, results))
    if ours != theirs:
        raise ConfigError(
            f"{baseline.folder} and {results.folder} have different data sets, {listed(ours, str)} and "
            f"{listed(theirs, str)}; accuracies on them cannot be compared"
        )
    classes = [list(each.provenance.get("classes", ())) for each in (baseline, results)]
    if all(classes) and classes[0] != classes[1]:
        raise ConfigError(
            f"{baseline.folder} and {results.folder} have data sets of different classes, {listed(classes[0])} and "
            f"{listed(classes[1])}; accuracies on them cannot be compared"
        )


def _nothing_shared(baseline: Results, results: Results) -> str:
    """Return the message about two runs without a curve in common."""
    for column in ("perturbation", "mode", "architecture"):
        ours, theirs = (list(map(str, each.summary[column].unique())) for each in (baseline, results))
        if not set(ours) & set(theirs):
            detail = f"{column}s {listed(ours, str)} and {listed(theirs, str)}"
            return f"{baseline.folder} and {results.folder} have no curve in common: {detail}"
    detail = "no learner of one has a finished counterpart in the other"
    return f"{baseline.folder} and {results.folder} have no curve in common: {detail}"
