"""Rounding errors of operations in float32."""

from __future__ import annotations

import math

from gtn_bench.certification.operations import Affine


def rounding(operation: Affine) -> float:
    """Return a bound on the rounding error of an operation in float32, relative to the magnitudes of its terms.

    A sum of n products has an error of at most ``n * 2**-24`` times the sum of their magnitudes. The errors of the
    terms almost never add up: with independent errors, a bound of ``8 * sqrt(n) * 2**-24`` fails with a probability
    below 1e-13 (Higham and Mary, 2019, https://doi.org/10.1137/18M1226312). The smaller one is used, plus four
    roundings: of the input, of the weights, of the bias and of the bounds.

    Args:
        operation: The operation.
    """
    terms = operation.terms
    return (min(float(terms), 8 * math.sqrt(terms)) + 4) * 2.0**-24 if terms else 0.0
