"""Numbers as text: the same digits for the same quantity."""

from __future__ import annotations

import math

import pytest

from gtn_bench.reporting import numbers

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "value, text", [(0.26, "0.260"), (1.0, "1.000"), (0.0004, "0.000"), (-0.0, "0.000"), (NAN, "")]
)
def test_accuracies_have_three_decimals(value: float, text: str) -> None:
    assert numbers.accuracy(value) == text


def test_sums_in_another_order_have_the_same_text() -> None:
    """0.6375 is a tie of three decimals, and rounding moves its sums to either side."""
    for place in range(1, 800, 2):
        terms = [place / 800, 0.1, 0.07, 1 / 3, 0.3]
        one, two = sum(terms) - sum(terms[1:]), sum(reversed(terms)) - sum(reversed(terms[1:]))
        assert numbers.accuracy(one) == numbers.accuracy(two) == numbers.accuracy(place / 800)
        assert numbers.distance(one) == numbers.distance(two) == numbers.distance(place / 800)


@pytest.mark.parametrize(
    "value, text", [(0.1, "+0.100"), (-0.1, "-0.100"), (0.0, "0.000"), (-0.0004, "0.000"), (0.0004, "0.000"), (NAN, "")]
)
def test_differences_have_signs_unless_they_are_rounded_to_zero(value: float, text: str) -> None:
    assert numbers.difference(value) == text


def test_intervals_have_the_digits_of_their_values() -> None:
    assert numbers.with_interval(0.26, 0.2, 0.3) == "0.260 [0.200, 0.300]"
    assert numbers.with_interval(-0.04, -0.1, 0.02, signed=True) == "-0.040 [-0.100, +0.020]"
    assert numbers.with_interval(0.26, NAN, NAN) == "0.260"
    assert numbers.with_interval(NAN, NAN, NAN, missing="-") == "-"
    assert numbers.interval(0.1, NAN) == ""
    assert numbers.distance_interval(0.0106, 0.00949, 0.0117) == "0.0106 [0.0095, 0.0117]"
    assert numbers.distance_interval(0.918, 0.814, 1.28) == "0.918 [0.814, 1.280]"
    assert numbers.distance_interval(1.5, 1.2, INF) == "1.50 [1.20, not reached]"


@pytest.mark.parametrize(
    "p, text",
    [
        *((1.0, "1.00"), (0.375, "0.38"), (0.2, "0.20"), (0.0996, "0.10"), (0.0994, "0.099"), (0.0042, "0.004")),
        *((0.001, "0.001"), (0.00099, "< 0.001"), (0.0, "< 0.001"), (NAN, "")),
        *((0.05, "0.050"), (0.0503, "0.0503"), (0.0497, "0.0497"), (0.050001, "0.050001")),
    ],
)
def test_p_values(p: float, text: str) -> None:
    assert numbers.p_value(p) == text


def test_p_values_in_sentences() -> None:
    assert numbers.p_equals(0.38) == "p = 0.38" and numbers.p_equals(1e-5) == "p < 0.001"


@pytest.mark.parametrize(
    "value, text",
    [
        *((0.0, "0"), (0.00546, "0.00546"), (0.26, "0.260"), (9.999, "10.0"), (123.4, "123"), (1234.5, "1230")),
        *((1e-5, "1.00e-05"), (0.000123, "0.000123"), (INF, "not reached"), (NAN, "")),
    ],
)
def test_distances_have_three_significant_digits(value: float, text: str) -> None:
    assert numbers.distance(value) == text
    if math.isfinite(value) and value:
        assert float(text) == pytest.approx(value, rel=0.005)


def test_strengths_are_those_of_the_suite() -> None:
    assert numbers.strengths([0.0, 0.02, 8 / 255, 10]) == ["0", "0.02", "0.0313725", "10"]
    assert numbers.strengths([0.1, 0.1 + 1e-9]) == ["0.1", "0.100000001"]  # distinct strengths stay distinct
