"""Differences between two groups of learners that are not paired: of other seeds, or on other images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import stdtrit

from gtn_bench.analysis.contrasts import DIFFERENCE, Contrast, Over
from gtn_bench.analysis.statistics import Array, variances

_LEAST = 1e-100  # smallest p


def of_groups(first: Array, second: Array, *, same_images: bool) -> Contrast:
    """Compare the learners of two groups.

    Student's t with the quantiles of W. Cochran (Biometrics 20, 1964): the mean of those for the learners of either
    group and for images, weighted by their variances. With few learners, Satterthwaite's degrees of freedom would
    reject too often. A single model is no sample of learners.

    Two images are added to each group, of which a learner classifies one correctly: the same ones to groups on other
    images (A. Agresti, B. Caffo, The American Statistician 54, 2000), opposite ones to groups on the same images
    (D. Bonett, R. Price, J. Educational and Behavioral Statistics 37, 2012). Without them, intervals are too narrow
    where accuracies are near 0 or 1, or where the groups rarely differ.

    Args:
        first: Areas (S, N) of S learners and N images.
        second: Areas (T, M) of the T learners of the other group; M is N if the images are the same.
        same_images: Whether both groups were evaluated on the same images.

    Returns:
        The difference of the means, first minus second.
    """
    over: Over = "learners" if max(len(first), len(second)) > 1 else "images"
    difference = float(first.mean() - second.mean())
    if min(first.shape[1], second.shape[1]) < 2:
        return Contrast(over, difference, np.nan, np.nan, 1.0, np.nan)
    first = _extended(first, (1.0, 0.0))
    second = _extended(second, (0.0, 1.0) if same_images else (1.0, 0.0))
    parts, total = _shared(first, second) if same_images else _separate(first, second)
    middle, error = float(first.mean() - second.mean()), total**0.5
    quantile = _cochran(parts)
    width, effect = quantile(0.975) * error, (quantile(0.975) + quantile(0.8)) * error
    low, high = max(middle - width, DIFFERENCE[0]), min(middle + width, DIFFERENCE[1])
    return Contrast(over, difference, low, high, _p_value(abs(middle) / error, quantile), effect)


Part = tuple[float, int]  # a variance of the difference, and its degrees of freedom


def _extended(values: Array, more: tuple[float, float]) -> Array:
    return np.hstack([values, np.tile(more, (len(values), 1))])


def _shared(first: Array, second: Array) -> tuple[list[Part], float]:
    """Return the parts of the variance of a difference on the same images, and the whole."""
    images = first.shape[1]
    by_image = float((first.mean(0) - second.mean(0)).var(ddof=1) / images)
    parts, doubled = [(by_image, images - 1)], 0.0
    for values in (first, second):
        if len(values) > 1:
            by_seed, by_own_image, total = variances(values)
            parts.append((by_seed, len(values) - 1))
            doubled += max(by_seed + by_own_image - total, 0.0)  # in the variances by seed and by image
    sizes = [size for size, _ in parts]
    return parts, max(sum(sizes) - doubled, *sizes)


def _separate(first: Array, second: Array) -> tuple[list[Part], float]:
    """Return the parts of the variance of a difference on other images, and the whole."""
    parts, whole = [], 0.0
    for values in (first, second):
        seeds, images = values.shape
        if seeds > 1:
            by_seed, by_image, total = variances(values)
            parts += [(by_seed, seeds - 1), (by_image, images - 1)]
        else:
            total = float(values.var(ddof=1) / images)
            parts.append((total, images - 1))
        whole += total
    return parts, whole


def _cochran(parts: Sequence[Part]) -> Callable[[float], float]:
    """Return the quantile function of Student's t for a variance with several parts."""
    sizes, dofs = (np.array(column, dtype=float) for column in zip(*parts, strict=True))
    weights = sizes / sizes.sum()
    return lambda probability: float(weights @ stdtrit(dofs, probability))


def _p_value(t: float, quantile: Callable[[float], float]) -> float:
    """Return the two-sided p-value of a statistic, at least `_LEAST`."""
    from scipy.optimize import brentq  # a quarter of a second to import

    def beyond(exponent: float) -> float:
        return quantile(np.exp(exponent) / 2) + t

    least = float(np.log(_LEAST))
    return float(np.exp(brentq(beyond, least, 0.0))) if beyond(least) < 0 else _LEAST
