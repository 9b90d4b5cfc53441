"""Numbers as text for people: the same quantity has the same digits in every table, figure and sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gtn_bench.analysis.significance import SIGNIFICANCE

_DECIMALS = 3  # of accuracies and areas
_DIGITS = 3  # significant ones of distances
_SMALLEST_P = 0.001
_TINY = 1e-4  # smaller distances have exponents


def accuracy(value: float, *, missing: str = "") -> str:
    """Return an accuracy, an area or a share of images with three decimals.

    Args:
        value: The value.
        missing: The text for nan.
    """
    return missing if math.isnan(value) else _fixed(value, _DECIMALS)


def difference(value: float, *, missing: str = "") -> str:
    """Return a difference of accuracies or areas with its sign and three decimals. A rounded zero has no sign.

    Args:
        value: The difference.
        missing: The text for nan.
    """
    if math.isnan(value):
        return missing
    text = accuracy(value)
    return f"+{text}" if float(text) > 0 else text


def interval(low: float, high: float, *, signed: bool = False, missing: str = "") -> str:
    """Return the interval of an accuracy, an area or a difference, in brackets.

    Args:
        low, high: Its ends.
        signed: Whether it is the interval of a difference.
        missing: The text for an interval with an end that is nan.
    """
    if math.isnan(low) or math.isnan(high):
        return missing
    text = difference if signed else accuracy
    return f"[{text(low)}, {text(high)}]"


def with_interval(value: float, low: float, high: float, *, signed: bool = False, missing: str = "") -> str:
    """Return an accuracy, an area or a difference with its interval in brackets, if it has one.

    Args:
        value: The value.
        low, high: The ends of its interval.
        signed: Whether it is a difference.
        missing: The text if the value is nan.
    """
    text = (difference if signed else accuracy)(value, missing=missing)
    return text if math.isnan(value) else f"{text} {interval(low, high, signed=signed)}".rstrip()


def p_value(p: float, *, missing: str = "") -> str:
    """Return a p value: two decimals, below 0.1 three, and ``< 0.001`` for smaller ones.

    A value that three decimals would round to the level of significance has as many as distinguish them.

    Args:
        p: The p value.
        missing: The text for nan.
    """
    if math.isnan(p):
        return missing
    if p < _SMALLEST_P:
        return f"< {_SMALLEST_P:g}"
    decimals = 3 if p < 0.0995 else 2
    while p != SIGNIFICANCE and round(p, decimals) == SIGNIFICANCE:
        decimals += 1
    return f"{p:.{decimals}f}"


def p_equals(p: float) -> str:
    """Return a p value in a sentence: ``p = 0.38`` or ``p < 0.001``.

    Args:
        p: The p value.
    """
    text = p_value(p, missing="nan")
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def distance(value: float, *, missing: str = "") -> str:
    """Return a distance, or a strength that was measured, with three significant digits.

    Args:
        value: The distance.
        missing: The text for nan.
    """
    return missing if math.isnan(value) else _significant(value, _decimals(value))


def distance_interval(value: float, low: float, high: float, *, missing: str = "") -> str:
    """Return a distance, or a strength that was measured, and its interval with the same decimals.

    Args:
        value: The distance.
        low, high: The ends of its interval.
        missing: The text if the value is nan.
    """
    if math.isnan(value):
        return missing
    if math.isnan(low) or math.isnan(high):
        return distance(value)
    finite = [number for number in (value, low, high) if math.isfinite(number)]
    decimals = _decimals(finite[0]) if finite else 0
    return f"{_significant(value, decimals)} [{_significant(low, decimals)}, {_significant(high, decimals)}]"


def strength(beta: float, *, missing: str = "") -> str:
    """Return a strength as the suite has it, with up to six significant digits.

    Args:
        beta: The strength.
        missing: The text for nan.
    """
    return missing if math.isnan(beta) else f"{beta:g}"


def strengths(betas: Iterable[float]) -> list[str]:
    """Return distinct strengths as distinct texts: with all digits if six significant ones do not distinguish them.

    Args:
        betas: The strengths.
    """
    values = [float(beta) for beta in betas]
    texts = [strength(value) for value in values]
    return texts if len(set(texts)) == len(set(values)) else [repr(value) for value in values]


def shortened(value: float) -> float:
    """Return a number with ten significant digits.

    Sums of the same terms in another order become equal. Without it, the sum 0.6375 has the text 0.637 in one table
    and 0.638 in another.

    Args:
        value: The number.
    """
    return float(f"{value:.10g}")


def _fixed(value: float, decimals: int) -> str:
    """Return a number with so many decimals; zero without a sign."""
    text = f"{shortened(value):.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _decimals(value: float) -> int:
    """Return the decimals of a number with three significant digits; negative for large ones."""
    if value == 0 or not math.isfinite(value):
        return 0
    return _DIGITS - 1 - int(f"{shortened(value):.{_DIGITS - 1}e}".partition("e")[2])


def _significant(value: float, decimals: int) -> str:
    """Return a number rounded to so many decimals."""
    if math.isinf(value):
        return "not reached"
    value = shortened(value)
    if decimals > _DIGITS - 1 - math.log10(_TINY):
        return f"{value:.{_DIGITS - 1}e}"
    return f"{round(value, decimals):.0f}" if decimals < 0 else _fixed(value, decimals)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 pair``, ``2 pairs``.

    Args:
        number: The number.
        noun: The noun in the singular.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
