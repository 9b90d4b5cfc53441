"""Paired tests, and the correction of their p-values for multiple tests."""

from __future__ import annotations

import numpy as np
from scipy.special import comb

from gtn_bench.analysis.statistics import Array

SIGNIFICANCE = 0.05  # level of corrected p-values
MAX_PERMUTATIONS = 16_000  # of the permutation test
_CHUNK = 2**24  # random signs that are drawn at once


def permutation_test(differences: Array) -> float:
    """Return the two-sided p-value of a sign-flip test: paired differences are symmetric around zero.

    All ``2^S`` sign flips are enumerated, so that p is at least ``2 / 2^S``. If they have more than `MAX_PERMUTATIONS`
    different sums, that many are sampled. For differences of -1, 0 and 1 the test is exact for any S, and is McNemar's
    (Q. McNemar, Psychometrika 12, 1947).

    Args:
        differences: Paired differences (S,).
    """
    sizes, counts = np.unique(np.abs(differences).round(12), return_counts=True)
    sizes, counts = sizes[sizes > 0], counts[sizes > 0]
    observed = abs(float(differences.sum())) * (1 - 1e-9) - 1e-12
    if len(sizes) > 1 and np.log(counts + 1).sum() > np.log(MAX_PERMUTATIONS):
        return _sampled_p(differences[differences != 0], observed)
    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        positive = np.arange(count + 1)
        sums = np.add.outer(sums, size * (2 * positive - count)).ravel()
        chances = np.multiply.outer(chances, _shares(count, positive)).ravel()
    return min(float(chances[np.abs(sums) >= observed].sum()), 1.0)


def _shares(count: int, positive: Array) -> Array:
    """Return the shares of sign flips of some pairs with so many positive signs."""
    if count < 1000:  # exact, so that p is a multiple of a power of 2; binomial coefficients overflow for many pairs
        return comb(count, positive) / 2.0**count
    from scipy.stats import binom  # half a second to import

    return binom.pmf(positive, count, 0.5)


def _sampled_p(differences: Array, observed: float) -> float:
    """Return the share of random sign flips whose sum is at least as large as the observed one, itself included."""
    draw, count = np.random.default_rng(0), len(differences)
    as_extreme, left = 1, MAX_PERMUTATIONS
    while left:
        rows = min(left, max(1, _CHUNK // count))
        sums = draw.choice((1, -1), (rows, count)) @ differences
        as_extreme += int((np.abs(sums) >= observed).sum())
        left -= rows
    return as_extreme / (MAX_PERMUTATIONS + 1)


def holm(p: Array) -> Array:
    """Return p-values after Holm's correction for multiple tests.

    Source: S. Holm, Scandinavian J. Statistics 6 (1979).

    Args:
        p: P-values (m,).

    Returns:
        Corrected p-values (m,), at most 1.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
    return corrected[np.argsort(order, kind="stable")]


def pairs_needed(comparisons: int) -> int:
    """Return the smallest number of pairs of learners with which the smallest p-value can be significant.

    With n pairs, the smallest two-sided p-value of a sign-flip test is 2^(1-n).

    Args:
        comparisons: Number of comparisons whose p-values are corrected together.
    """
    pairs = 1
    while 2.0 ** (1 - pairs) * comparisons > SIGNIFICANCE:
        pairs += 1
    return pairs
