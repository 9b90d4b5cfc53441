"""Differences between two modes: what they vary over, with an interval and a p-value for each case.

Differences are of areas on the images that both modes share. There are three cases:

- Both modes have learners of the same seeds, two or more. They are compared in pairs.
- Each mode has a single model. Only images are a sample: nothing follows about how the models were trained.
- One mode has a single model, the other one several learners. The model is compared with each of them. Learners of the
  other mode and images are samples; nothing follows about how the model was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from gtn_bench.analysis.significance import permutation_test
from gtn_bench.analysis.statistics import Array, interval, minimum_detectable_effect, variances

Over = Literal["learners", "images"]

DIFFERENCE = (-1.0, 1.0)  # the range of a difference of accuracies


class Contrast(NamedTuple):
    """A mean difference between two modes.

    Attributes:
        over: What varies: `learners` and images, or `images` only.
        difference: The mean.
        low, high: Its 95 % confidence interval.
        p: Two-sided p-value.
        minimum_detectable_effect: True difference that is significant with a power of 80 %.
    """

    over: Over
    difference: float
    low: float
    high: float
    p: float
    minimum_detectable_effect: float


def of_pairs(differences: Array) -> Contrast:
    """Compare two modes by pairs of learners.

    Args:
        differences: Differences (S, A, N) of S seeds, A pooled architectures and N images.
    """
    means = differences.mean(1)
    ends = interval(means, 0.95, DIFFERENCE)
    p = permutation_test(differences.mean(2).ravel())
    return Contrast("learners", float(means.mean()), *ends, p, minimum_detectable_effect(means))


def of_models(differences: Array) -> Contrast:
    """Compare two models over images: a bootstrap interval, and a sign-flip test that exchanges the models per image.

    Args:
        differences: Differences (N,) of N images. For a single strength, the test is McNemar's exact one.
    """
    mean, p = float(differences.mean()), permutation_test(differences)
    if len(differences) < 2:
        return Contrast("images", mean, np.nan, np.nan, p, np.nan)
    values = _with_two_more(differences[None])
    return Contrast("images", mean, *interval(values, 0.95, DIFFERENCE), p, minimum_detectable_effect(values))


def of_model_and_learners(differences: Array) -> Contrast:
    """Compare a model with the learners of a mode.

    Student's t with the quantiles of W. Cochran (Biometrics 20, 1964): the mean of those for learners and for images,
    weighted by their variances. With few learners, Satterthwaite's degrees of freedom would reject too often, and a
    sign-flip test over learners would ignore that images vary.

    Args:
        differences: Differences (S, N) between the model and each of S learners, for N images.
    """
    if differences.shape[1] < 2:
        return Contrast("learners", float(differences.mean()), np.nan, np.nan, 1.0, np.nan)
    values = _with_two_more(differences)
    mean, (seeds, images) = float(values.mean()), values.shape
    by_seed, by_image, total = variances(values)
    error, weight = total**0.5, by_seed / (by_seed + by_image)

    def quantile(probability: float) -> float:
        over_seeds, over_images = stdtrit(np.array([seeds - 1, images - 1]), probability)
        return float(weight * over_seeds + (1 - weight) * over_images)

    width, effect = quantile(0.975) * error, (quantile(0.975) + quantile(0.8)) * error
    low, high = max(mean - width, DIFFERENCE[0]), min(mean + width, DIFFERENCE[1])
    p = _root(lambda p: quantile(p / 2) + abs(mean) / error)
    return Contrast("learners", float(differences.mean()), low, high, p, effect)


def _with_two_more(differences: Array) -> Array:
    """Return differences (S, N) of N images and of two more, on each of which only one of the two modes is right.

    Without them, intervals are too narrow where models rarely differ.
    Source: D. Bonett, R. Price, J. Educational and Behavioral Statistics 37 (2012).
    """
    return np.hstack([differences, np.tile(DIFFERENCE, (len(differences), 1))])


def _root(function: Callable[[float], float]) -> float:
    """Return the zero in (0, 1] of an increasing function that is not negative at 1; 1e-100 if it is smaller."""
    from scipy.optimize import brentq  # a quarter of a second to import

    least = np.log(1e-100)
    return float(np.exp(brentq(lambda x: function(np.exp(x)), least, 0.0) if function(np.exp(least)) < 0 else least))
