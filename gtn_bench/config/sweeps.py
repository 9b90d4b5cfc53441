"""Sweeps: the strengths of a perturbation, as a list or evenly spaced."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gtn_bench.config.errors import did_you_mean, listed, shown
from gtn_bench.config.numbers import with_numbers

_MAX_COUNT = 10_000  # of evenly spaced strengths
MAX_STRENGTHS = 50_000  # of all perturbations of a suite


def sweep(value: object) -> object:
    """Return strengths in ascending order.

    Args:
        value: A list of numbers, or ``{linspace: [first, last, count]}`` or ``{geomspace: [first, last, count]}``. A
            fraction such as ``"8/255"`` is a number.

    Returns:
        Tuple of floats, each once.

    Raises:
        ValueError: If the value is none of these, is empty, or repeats a strength.
    """
    if isinstance(value, dict):
        value = _spaced(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise ValueError(f"expects a list of strengths, or a linspace or geomspace, got {shown(value)}")
    if not value:
        raise ValueError("expects at least one strength, got an empty sweep")
    value = [with_numbers(beta) for beta in value]
    wrong = [beta for beta in value if not _is_strength(beta)]
    if wrong:
        raise ValueError(f"expects finite strengths of at least 0, got {listed(wrong)}")
    betas = sorted(float(beta) for beta in value)
    if twice := repeated(betas):
        raise ValueError(f"expects each strength once, got {listed(twice, '{:g}'.format)} again")
    return tuple(betas)


def count_strengths(entries: object) -> int:
    """Return the number of strengths of some perturbations, without writing them out.

    Args:
        entries: The perturbations as plain data. What is no sweep has none.
    """
    if not isinstance(entries, list | tuple):
        return 0
    return sum(_count(entry.get("beta")) for entry in entries if isinstance(entry, dict))


def _count(beta: object) -> int:
    if isinstance(beta, list | tuple):
        return len(beta)
    numbers = next(iter(beta.values()), None) if isinstance(beta, dict) else None
    count = numbers[-1] if isinstance(numbers, list | tuple) and numbers else 0
    return count if isinstance(count, int) and 0 < count <= _MAX_COUNT else 0


def _is_strength(beta: object) -> bool:
    return isinstance(beta, int | float) and not isinstance(beta, bool) and 0 <= beta <= sys.float_info.max


def repeated(values: Iterable[Any]) -> list[Any]:
    """Return the values that occur more than once, each once.

    Args:
        values: The values; an unhashable one hides all repetitions.
    """
    try:
        return [value for value, count in Counter(values).items() if count > 1]
    except TypeError:  # a list or a mapping, whose type is wrong anyway
        return []


def _spaced(value: dict[str, Any]) -> list[float]:
    spaces: dict[str, Callable[..., Any]] = {"linspace": np.linspace, "geomspace": np.geomspace}
    if len(value) != 1 or next(iter(value)) not in spaces:
        wrong = next((key for key in value if key not in spaces), "two kinds of space")
        raise ValueError(f"does not know the sweep {shown(wrong)}{did_you_mean(wrong, spaces)}")
    kind, given = next(iter(value.items()))
    numbers = [*with_numbers(given[:2]), *given[2:]] if isinstance(given, list | tuple) else given
    match numbers:
        case [int() | float() as first, int() | float() as last, int(count)] if count >= 1 and count is not True:
            pass
        case _:
            raise ValueError(f"expects {kind}: [first, last, count], got {shown(given)}")
    if not (0 <= first <= sys.float_info.max and 0 <= last <= sys.float_info.max):
        raise ValueError(f"expects finite strengths of at least 0, got {kind}: {shown(given)}")
    if count > _MAX_COUNT:
        raise ValueError(f"expects at most {_MAX_COUNT} strengths, got {kind}: {shown(given)}")
    if kind == "geomspace" and min(first, last) <= 0:
        raise ValueError(f"expects geomspace between strengths greater than 0, got {shown(given)}")
    betas = [float(f"{beta:.12g}") for beta in spaces[kind](first, last, count)]  # 0.4, not 0.4000000000000001
    return [float(first), *betas[1:-1], float(last)] if count > 1 else [float(first)]
