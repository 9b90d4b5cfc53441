"""Confidence intervals over seeds and images, and areas under curves.

Learners (seeds) and test images are two crossed random factors: every learner is evaluated on every image. Intervals
therefore resample both, as the pigeonhole bootstrap (A. Owen, Annals of Applied Statistics 1, 2007). Because seeds are
few, the width of an interval is that of Student's t with Satterthwaite's degrees of freedom (F. Satterthwaite,
Biometrics 2, 1946). A single learner is no sample of learners: its intervals cover test images only.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtr, stdtrit

RESAMPLES = 1000  # of the bootstrap

ACCURACY = (0.0, 1.0)  # the range of an accuracy
Array = np.ndarray[Any, Any]


class Spread(NamedTuple):
    """Uncertainty of a mean over seeds and images, or over images for a single seed.

    Attributes:
        error: Standard error of the mean.
        dof: Degrees of freedom of the standard error.
    """

    error: float
    dof: float


def spread(values: Array) -> Spread:
    """Return the uncertainty of a mean, from a two-way analysis of variance.

    Args:
        values: Values (S, N) of S seeds and N images. With a single seed, only images vary.

    Returns:
        Standard error and degrees of freedom; nan for a single image.
    """
    seeds, images = values.shape
    if images < 2:
        return Spread(np.nan, np.nan)
    if seeds < 2:
        return Spread(float(values.std(ddof=1) / np.sqrt(images)), images - 1.0)
    by_seed, by_image, total = variances(values)
    denominator = by_seed**2 / (seeds - 1) + by_image**2 / (images - 1)
    return Spread(float(np.sqrt(total)), float(total**2 / denominator) if denominator else np.inf)


class Variances(NamedTuple):
    """Variance of a mean over seeds and images.

    Attributes:
        by_seed: Variance of the mean if only seeds are drawn again.
        by_image: The same for images.
        total: Variance if both are drawn again.
    """

    by_seed: float
    by_image: float
    total: float


def variances(values: Array) -> Variances:
    """Return the variance of a mean over seeds and images.

    Args:
        values: Values (S, N) of S seeds and N images, at least two of each.
    """
    seeds, images = values.shape
    rows, columns, mean = values.mean(1), values.mean(0), values.mean()
    by_seed, by_image = rows.var(ddof=1) / seeds, columns.var(ddof=1) / images
    residuals = values - rows[:, None] - columns + mean
    interaction = np.square(residuals).sum() / ((seeds - 1) * (images - 1)) / values.size
    return Variances(by_seed, by_image, max(by_seed + by_image - interaction, by_seed, by_image, interaction))


def interval(values: Array, level: float = 0.95, ends: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the confidence interval of a mean over seeds and images.

    The asymmetry around the mean is that of the bootstrap quantiles, the width that of Student's t. If all values are
    equal and their range is known, the interval covers the share of images given by `zero_event_bound` at either end
    of the range. For accuracies of 0 or 1 that is the exact binomial interval of N images.

    With a single seed, the interval covers images only. That of the accuracy of a single learner is the exact binomial
    interval.

    Args:
        values: Values (S, N) of S seeds and N images.
        level: Coverage of the interval.
        ends: Smallest and largest possible value, which bound the interval.

    Returns:
        Lower and upper end; nan for a single image.
    """
    error, dof = spread(values)
    if np.isnan(error):
        return np.nan, np.nan
    mean = float(values.mean())
    if len(values) == 1 and ends == ACCURACY and np.isin(values, ACCURACY).all():
        return binomial_interval(int(np.count_nonzero(values)), values.size, level)
    if ends and _is_constant(values):
        share = zero_event_bound(values.shape[1], level)
        return mean + share * (ends[0] - mean), mean + share * (ends[1] - mean)
    low, high = np.quantile(_bootstrap_means(values), [(1 - level) / 2, (1 + level) / 2])
    width = 2 * float(stdtrit(dof, (1 + level) / 2)) * error
    scale = width / (high - low) if high > low else 0.0
    smallest, largest = ends or (-np.inf, np.inf)
    return max(mean + min(low - mean, 0) * scale, smallest), min(mean + max(high - mean, 0) * scale, largest)


def binomial_interval(successes: int, images: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact confidence interval of a share.

    Source: C. Clopper, E. Pearson, Biometrika 26 (1934).

    Args:
        successes: Number of observed images with an event.
        images: Number of observed images, drawn independently.
        level: Coverage of the two-sided interval, at least.

    Returns:
        Lower and upper end in [0, 1].
    """
    tail, failures = (1 - level) / 2, images - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return low, high


def zero_event_bound(images: int, level: float = 0.95) -> float:
    """Return the upper confidence bound of the share of images with an event that no observed image shows.

    Source: C. Clopper, E. Pearson, Biometrika 26 (1934), for zero successes.

    Args:
        images: Number of observed images, drawn independently.
        level: Coverage of the two-sided interval.

    Returns:
        Share of the population in [0, 1].
    """
    return 1 - ((1 - level) / 2) ** (1 / images)


def _is_constant(values: Array) -> bool:
    return bool(values.std() < 1e-6)


def simultaneous_level(curve: Array, level: float = 0.95) -> float:
    """Return the pointwise level at which the intervals of a curve cover all of its points simultaneously.

    The level follows from the largest deviation of bootstrapped curves, in standard errors of each point.
    Source: J. Montiel Olea, M. Plagborg-Moller, Simultaneous confidence bands, J. Applied Econometrics 34 (2019).

    Args:
        curve: Values (k, S, N) of k points, S seeds and N images.
        level: Simultaneous coverage.

    Returns:
        Level of each interval, at least `level`.
    """
    if curve.shape[2] < 2:
        return level
    draws = np.stack([_bootstrap_means(values) for values in curve])
    deviations = np.abs(draws - curve.mean((1, 2))[:, None])
    error = draws.std(axis=1, keepdims=True)
    largest = np.divide(deviations, error, out=np.zeros_like(deviations), where=error > 1e-6).max(axis=0)
    return max(level, float(2 * ndtr(np.quantile(largest, level)) - 1))


def _bootstrap_means(values: Array) -> Array:
    """Return the means (RESAMPLES,) of values (S, N) whose seeds and images are resampled."""
    seeds, images = values.shape
    by_seed, by_image = _bootstrap_weights(seeds, 0), _bootstrap_weights(images, 1)
    return np.einsum("ds,sd->d", by_seed, values.astype(np.float32) @ by_image.T)


@functools.lru_cache(maxsize=4)
def _bootstrap_weights(count: int, seed: int) -> Array:
    """Return the relative frequencies (RESAMPLES, count) of `count` items in samples with replacement."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return (drawn / count).astype(np.float32)


def minimum_detectable_effect(values: Array, level: float = 0.95, power: float = 0.8) -> float:
    """Return the smallest true mean that differs significantly from zero with a given power.

    Args:
        values: Values (S, N) of S seeds and N images, such as differences of accuracies.
        level: 1 minus the significance level.
        power: Probability of a significant result.

    Returns:
        The mean; `zero_event_bound` if all values are equal, nan for a single image.
    """
    error, dof = spread(values)
    if _is_constant(values) and not np.isnan(error):
        return zero_event_bound(values.shape[1], level)
    return float((stdtrit(dof, (1 + level) / 2) + stdtrit(dof, power)) * error)


def area(beta: np.ndarray, accuracy: np.ndarray) -> float:
    """Return the mean accuracy over a sweep: the trapezoidal area under the curve divided by its width.

    Args:
        beta: Strengths (k,), ascending.
        accuracy: Accuracies (k,).

    Returns:
        Mean accuracy; for a single strength, its accuracy.
    """
    if len(beta) == 1:
        return float(accuracy[0])
    return float(np.trapezoid(accuracy, beta) / (beta[-1] - beta[0]))


def falls_to(beta: Array, accuracy: Array, clean: float, target: float) -> float:
    """Return the smallest strength at which a curve falls to a target, interpolated linearly.

    Args:
        beta: Strengths (k,), ascending.
        accuracy: Accuracies (k,).
        clean: Accuracy at strength 0.
        target: The target.

    Returns:
        The strength; inf if the curve stays above the target, nan if an accuracy is nan.
    """
    if np.isnan(accuracy).any():
        return np.nan
    if beta[0] > 0:
        beta, accuracy = np.insert(beta, 0, 0.0), np.insert(accuracy, 0, clean)
    if accuracy[0] <= target:
        return float(beta[0])
    for i in range(1, len(beta)):
        if accuracy[i] <= target:
            fraction = (accuracy[i - 1] - target) / (accuracy[i - 1] - accuracy[i])
            return float(beta[i - 1] + fraction * (beta[i] - beta[i - 1]))
    return np.inf
