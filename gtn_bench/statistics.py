"""From samples to curves and comparisons: intervals, areas, paired tests, accepted architectures. On SciPy.

Learners (seeds) and test images are both drawn at random, and every learner meets every image. So intervals
resample the two together, A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007); as seeds are
few, their width is that of Student's t with the degrees of freedom of F. Satterthwaite, Biometrics 2 (1946).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

ACCEPTED = "accepted"
NO_TEACHER = "none"
DRAWS = 1000  # of the bootstrap
EXCHANGES = 16_000  # of the permutation test, at the most

Array = np.ndarray[Any, Any]
Correct = Mapping[int, Array]  # of rows of a summary: which images were classified correctly (N,)


class Spread(NamedTuple):
    """How far the mean of values (S, N) of S seeds and N images may be from that of all seeds and images."""

    error: float  # standard error
    freedom: float  # degrees of freedom of that estimate


def spread(values: Array) -> Spread:
    """From the two-way analysis of variance of values (S, N); nan for a single seed or image."""
    seeds, images = values.shape
    if min(seeds, images) < 2:
        return Spread(np.nan, np.nan)
    rows, columns, mean = values.mean(1), values.mean(0), values.mean()
    by_seed, by_image = rows.var(ddof=1) / seeds, columns.var(ddof=1) / images
    rest = values - rows[:, None] - columns + mean
    both = np.square(rest).sum() / ((seeds - 1) * (images - 1)) / values.size
    total = max(by_seed + by_image - both, by_seed, by_image)
    shares = by_seed**2 / (seeds - 1) + by_image**2 / (images - 1)
    return Spread(float(np.sqrt(total)), float(total**2 / shares) if shares else np.inf)


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Of the mean of values (S, N), over seeds and images; (nan, nan) for a single seed.

    Its ends lie as the bootstrap's quantiles do around the mean, its width is Student's.
    """
    error, freedom = spread(values)
    if np.isnan(error):
        return np.nan, np.nan
    seeds, images = values.shape
    draws = np.einsum("ds,sd->d", _resampled(seeds, 0), values.astype(np.float32) @ _resampled(images, 1).T)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    mean, width = float(values.mean()), 2 * float(stdtrit(freedom, (1 + level) / 2)) * error
    scale = width / (high - low) if high > low else 0.0
    return mean + min(low - mean, 0) * scale, mean + max(high - mean, 0) * scale


@functools.lru_cache(maxsize=4)
def _resampled(count: int, seed: int) -> Array:
    """How often each of `count` things is drawn, as shares (DRAWS, count)."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    return (drawn / count).astype(np.float32)


def detectable(values: Array, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest mean of such values (S, N) that would be told from zero with that power."""
    error, freedom = spread(values)
    return float((stdtrit(freedom, (1 + level) / 2) + stdtrit(freedom, power)) * error)


def permutation_test(differences: Array) -> float:
    """Two-sided p of paired differences (S,) being symmetric around zero, by exchanging the members of pairs.

    All 2^S exchanges are tried, so that p is 2 / 2^S at least; of more than 16 000, that many are drawn.
    """
    count = len(differences)
    if 2**count <= EXCHANGES:
        signs = np.array(list(itertools.product((1, -1), repeat=count)))
        extra = 0
    else:
        signs = np.random.default_rng(0).choice((1, -1), (EXCHANGES, count))
        extra = 1  # the pairs as they are
    means = np.abs(signs @ differences)
    as_far = int((means >= np.abs(differences.sum()) * (1 - 1e-9) - 1e-15).sum())
    return (as_far + extra) / (len(signs) + extra)


def holm(p: Array) -> Array:
    """Values of p (m,) corrected for their number. Source: S. Holm, Scandinavian J. Statistics 6 (1979)."""
    order = np.argsort(p, kind="stable")
    corrected = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
    return corrected[np.argsort(order, kind="stable")]


def area(beta: np.ndarray, accuracy: np.ndarray) -> float:
    """Mean accuracy over the sweep: trapezoidal area under the curve divided by its width.

    `beta` (k,) ascending, `accuracy` (k,); a sweep of one strength has that point's accuracy.
    """
    if len(beta) == 1:
        return float(accuracy[0])
    return float(np.trapezoid(accuracy, beta) / (beta[-1] - beta[0]))


class Rule(NamedTuple):
    """When an architecture counts: its mean clean accuracy exceeds the threshold in every mode but the controls."""

    threshold: float
    controls: tuple[str, ...] = ()


def clean_accuracies(summary: pd.DataFrame) -> pd.DataFrame:
    """Clean accuracy of each learner, on the largest set of images that a perturbation used."""
    seen = summary[summary["status"] != "error"].sort_values("n", kind="stable")
    keys = ["dataset", "teacher", "architecture", "mode", "seed"]
    return seen.groupby(keys, sort=False)["clean_accuracy"].last().reset_index()


def acceptance(summary: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Which architectures count, from a summary; see `accept`."""
    return accept(clean_accuracies(summary), list(summary["mode"].unique()), rule)


def accept(clean: pd.DataFrame, modes: Sequence[str], rule: Rule) -> pd.DataFrame:
    """Which architectures count, from the clean accuracy of each learner.

    Modes without a teacher count for every teacher. Columns: teacher, architecture, one for each
    mode (mean clean accuracy over seeds), accepted. An architecture with a failed mode is not accepted.
    """
    means = for_each_teacher(clean).pivot_table(
        index=["teacher", "architecture"], columns="mode", values="clean_accuracy", aggfunc="mean", sort=False
    )
    means = means.reindex(columns=list(modes))
    decisive = [mode for mode in modes if mode not in rule.controls]
    means[ACCEPTED] = (means[decisive] > rule.threshold).all(axis=1)
    return means.reset_index().rename_axis(columns=None)


def for_each_teacher(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of modes without a teacher repeated under the name of every teacher."""
    teachers = [teacher for teacher in table["teacher"].unique() if teacher != NO_TEACHER]
    if not teachers:
        return table
    parts = [table[table["teacher"].isin([teacher, NO_TEACHER])].assign(teacher=teacher) for teacher in teachers]
    return pd.concat(parts, ignore_index=True)


def curves(summary: pd.DataFrame, rule: Rule, correct: Correct | None = None) -> pd.DataFrame:
    """One row for each curve point: mean accuracy over seeds, deviation, 95 % interval over seeds and images.

    Rows with architecture `accepted` pool the accepted architectures: each seed counts with its
    mean over them. Failed cells leave a point with fewer seeds, never with a better mean.
    Without `correct`, the images by rows of the summary, there are no intervals.
    """
    rows = []
    names = ["dataset", "teacher", "architecture", "mode", "perturbation", "beta"]
    for name, point in _pooled(summary, rule).groupby(names, sort=False):
        accuracy = point["accuracy"].to_numpy()
        std = float(accuracy.std(ddof=1)) if len(accuracy) > 1 else np.nan
        low, high = interval(_images(list(point["rows"]), correct)) if correct else (np.nan, np.nan)
        rows.append((*name, float(accuracy.mean()), std, *np.clip([low, high], 0, 1), len(accuracy)))
    columns = [*names, "accuracy", "std", "ci_low", "ci_high", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)


def _pooled(summary: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """The rows that are done, and for each seed that has every accepted architecture one that pools them.

    Column `rows`: the rows of the summary that each is the mean of.
    """
    done = summary[summary["status"] == "done"]
    done = done.assign(rows=pd.Series([(row,) for row in done.index], index=done.index, dtype=object))
    accepted = acceptance(summary, rule)
    pairs = accepted.loc[accepted[ACCEPTED], ["teacher", "architecture"]]
    pooled = for_each_teacher(done).merge(pairs, on=["teacher", "architecture"])
    keys = ["dataset", "teacher", "mode", "seed", "perturbation", "beta"]
    groups = pooled.groupby(keys, sort=False).agg(accuracy=("accuracy", "mean"), rows=("rows", "sum")).reset_index()
    complete = groups["rows"].map(len) == groups["teacher"].map(pairs.groupby("teacher").size())
    return pd.concat([done, groups[complete].assign(architecture=ACCEPTED)], ignore_index=True)


def _images(rows: Sequence[tuple[int, ...]], correct: Correct) -> Array:
    """Mean correctness (S, N) of S seeds, each the mean of some rows of the summary."""
    return np.stack([np.mean([correct[row] for row in pool], axis=0, dtype=np.float32) for pool in rows])


def comparisons(summary: pd.DataFrame, rule: Rule, correct: Correct) -> pd.DataFrame:
    """One row for each pair of modes under a perturbation: the difference of the areas under their curves.

    Paired: over the seeds that both modes have with every strength, with the same initial weights, images and noise.
    `p` is that of the permutation test over seeds, `p_holm` corrected for all pairs and perturbations of the same
    architecture; `detectable` the smallest difference that would have been seen in four of five such runs.
    """
    table = for_each_teacher(_pooled(summary, rule))
    rows = []
    names = ["dataset", "teacher", "architecture", "perturbation"]
    for name, part in table.groupby(names, sort=False):
        areas = {str(mode): dict(_areas(curve, correct)) for mode, curve in part.groupby("mode", sort=False)}
        for mode, other in itertools.combinations(areas, 2):
            seeds = [seed for seed in areas[mode] if seed in areas[other]]
            if seeds:
                ours, theirs = (np.stack([areas[which][seed] for seed in seeds]) for which in (mode, other))
                between = ours - theirs
                measured = (float(ours.mean()), float(theirs.mean()), float(between.mean()), *interval(between))
                p = permutation_test(between.mean(1))
                rows.append((*name, mode, other, *measured, p, detectable(between), len(seeds)))
    columns = [*names, "mode", "other", "area", "other_area", "difference", "ci_low", "ci_high", "p", "detectable"]
    compared = pd.DataFrame(rows, columns=[*columns, "n_seeds"])
    compared["p_holm"] = compared.groupby("architecture")["p"].transform(lambda p: holm(p.to_numpy()))
    return compared[[*columns[:-1], "p_holm", "detectable", "n_seeds"]]


def _areas(curve: pd.DataFrame, correct: Correct) -> Iterator[tuple[int, Array]]:
    """For each seed with every strength, each image's share (N,) in the area under the curve."""
    betas = np.sort(curve["beta"].unique())
    weights = np.array([area(betas, unit) for unit in np.eye(len(betas))])
    for seed, points in curve.groupby("seed", sort=False):
        if len(points) == len(betas):
            yield int(str(seed)), weights @ _images(list(points.sort_values("beta")["rows"]), correct)


def sentence(comparison: Mapping[str, Any]) -> str:
    """What a row of `comparisons` says, and no more."""
    c = comparison
    pair, where = f"{c['mode']} and {c['other']}", f"under {c['perturbation']}"
    if np.isnan(c["ci_low"]):
        return f"{pair} {where}: area {c['area']:.3f} against {c['other_area']:.3f}; one seed says nothing about others"
    found = f"area {c['area']:.3f} against {c['other_area']:.3f}, difference {c['difference']:+.3f}"
    found += f" [{c['ci_low']:+.3f}, {c['ci_high']:+.3f}]"
    if c["ci_low"] <= 0 <= c["ci_high"]:
        return f"{pair} {where}: no difference seen (smallest detectable {c['detectable']:.3f}); {found}"
    side = "falls below" if c["difference"] < 0 else "lies above"
    said = f"{c['mode']} {side} {c['other']} {where}: {found}, p = {c['p_holm']:.2g}"
    if c["p_holm"] > 0.05:
        least = 2.0 ** (1 - c["n_seeds"])
        said += (
            f"; the test over seeds does not carry it ({c['n_seeds']} seeds, p at least {least:.2g} before correction)"
        )
    return said


def overview(summary: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """One row for each teacher and mode: clean accuracy, and the area under each perturbation's curve.

    Pooled over the accepted architectures; over each architecture by itself where none is accepted.
    """
    points = curves(summary, rule)
    clean = for_each_teacher(clean_accuracies(summary))
    pooled = points[points["architecture"] == ACCEPTED]
    if len(pooled):
        points = pooled
        pairs = acceptance(summary, rule).query(ACCEPTED)[["teacher", "architecture"]]
        clean = clean.merge(pairs, on=["teacher", "architecture"]).assign(architecture=ACCEPTED)
    else:
        points = for_each_teacher(points)
    names = ["teacher", "architecture", "mode"]
    means = clean.groupby(names)["clean_accuracy"].mean().to_dict()
    rows = []
    for name, group in points.groupby(names, sort=False):
        row = {**dict(zip(names, name, strict=True)), "clean accuracy": means[name]}
        for perturbation, curve in group.groupby("perturbation", sort=False):
            row[str(perturbation)] = area(curve["beta"].to_numpy(), curve["accuracy"].to_numpy())
        rows.append(row)
    return pd.DataFrame(rows, columns=[*names, "clean accuracy", *points["perturbation"].unique()])
