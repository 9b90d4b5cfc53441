"""Intervals over seeds and images, areas, paired tests. On SciPy.

Learners (seeds) and test images are both drawn at random, and every learner meets every image. So intervals
resample the two together, A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007); as seeds are
few, their width is that of Student's t with the degrees of freedom of F. Satterthwaite, Biometrics 2 (1946).
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

DRAWS = 1000  # of the bootstrap
EXCHANGES = 16_000  # of the permutation test, at the most

Array = np.ndarray[Any, Any]


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
    total = max(by_seed + by_image - both, by_seed, by_image, both)
    shares = by_seed**2 / (seeds - 1) + by_image**2 / (images - 1)
    return Spread(float(np.sqrt(total)), float(total**2 / shares) if shares else np.inf)


def interval(values: Array, level: float = 0.95, ends: tuple[float, float] | None = None) -> tuple[float, float]:
    """Of the mean of values (S, N), over seeds and images; (nan, nan) for a single seed or image.

    Its ends lie as the bootstrap's quantiles do around the mean, its width is Student's. `ends` are the least and the
    most that a value can be: the interval is within them. Values that are all alike, as where a perturbation fools
    every learner, have no spread; their mean may then be as far away as `unmet` images at either end can move it, and
    learners may agree on those. Of accuracies of 0 and 1 that is the exact binomial interval of N images.
    """
    error, freedom = spread(values)
    if np.isnan(error):
        return np.nan, np.nan
    mean = float(values.mean())
    if ends and _alike(values):
        share = unmet(values.shape[1], level)
        return mean + share * (ends[0] - mean), mean + share * (ends[1] - mean)
    low, high = np.quantile(_means(values), [(1 - level) / 2, (1 + level) / 2])
    width = 2 * float(stdtrit(freedom, (1 + level) / 2)) * error
    scale = width / (high - low) if high > low else 0.0
    least, most = ends or (-np.inf, np.inf)
    return max(mean + min(low - mean, 0) * scale, least), min(mean + max(high - mean, 0) * scale, most)


def unmet(images: int, level: float = 0.95) -> float:
    """The largest share of a population that so many images, drawn independently, may all have missed.

    Source: C. Clopper, E. Pearson, Biometrika 26 (1934), at no success.
    """
    return 1 - ((1 - level) / 2) ** (1 / images)


def _alike(values: Array) -> bool:
    return bool(values.std() < 1e-6)


def simultaneous_level(curve: Array, level: float = 0.95) -> float:
    """The level of intervals that cover all means of values (k, S, N) at once with the given one.

    From the largest deviation of a bootstrapped curve, in standard errors of its point. Source: J. Montiel Olea,
    M. Plagborg-Moller, "Simultaneous confidence bands", J. Applied Econometrics 34 (2019).
    """
    if min(curve.shape[1:]) < 2:
        return level
    draws = np.stack([_means(values) for values in curve])
    deviations = np.abs(draws - curve.mean((1, 2))[:, None])
    error = draws.std(axis=1, keepdims=True)
    largest = np.divide(deviations, error, out=np.zeros_like(deviations), where=error > 1e-6).max(axis=0)
    return max(level, float(2 * ndtr(np.quantile(largest, level)) - 1))


def _means(values: Array) -> Array:
    """Means (DRAWS,) of values (S, N) of seeds and images that are drawn again."""
    seeds, images = values.shape
    return np.einsum("ds,sd->d", _resampled(seeds, 0), values.astype(np.float32) @ _resampled(images, 1).T)


@functools.lru_cache(maxsize=4)
def _resampled(count: int, seed: int) -> Array:
    """How often each of `count` things is drawn, as shares (DRAWS, count)."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    return (drawn / count).astype(np.float32)


def detectable(values: Array, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest mean of such values (S, N) that would be told from zero with that power.

    Of values that are all alike, the share of images that can have been `unmet`.
    """
    error, freedom = spread(values)
    if _alike(values) and not np.isnan(error):
        return unmet(values.shape[1], level)
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


def falls_to(beta: Array, accuracy: Array, clean: float, target: float) -> float:
    """The smallest strength at which a curve (k,), straight between its points, is at the target.

    `beta` ascending; at strength 0 the accuracy is `clean`. inf if it is nowhere, nan if a point is unknown.
    """
    if np.isnan(accuracy).any():
        return np.nan
    if beta[0] > 0:
        beta, accuracy = np.insert(beta, 0, 0.0), np.insert(accuracy, 0, clean)
    if accuracy[0] <= target:
        return float(beta[0])
    for i in range(1, len(beta)):
        if accuracy[i] <= target:
            share = (accuracy[i - 1] - target) / (accuracy[i - 1] - accuracy[i])
            return float(beta[i - 1] + share * (beta[i] - beta[i - 1]))
    return np.inf
