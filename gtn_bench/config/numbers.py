"""Numbers as people write them: a fraction such as ``8/255`` is a number wherever a suite expects one."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

# Numerator and denominator of a fraction, also for JSON schemas.
_NUMERATOR, _DENOMINATOR = (r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?" for _ in range(2))
FRACTION_PATTERN = rf"^\s*[-+]?{_NUMERATOR}\s*/\s*{_DENOMINATOR}\s*$"
_FRACTION = re.compile(FRACTION_PATTERN)
_LONGEST = 100  # characters; matching takes time quadratic in the number of digits


def parse_fraction(text: str) -> float | None:
    """Return the value of a fraction: ``8/255`` or ``8 / 255`` is ``8 / 255``.

    Args:
        text: The text.

    Returns:
        The quotient; None if the text is no fraction of two numbers, or has no finite value.
    """
    if len(text) > _LONGEST or not _FRACTION.match(text):
        return None
    numerator, _, denominator = text.partition("/")
    try:
        quotient = float(numerator) / float(denominator)
    except ZeroDivisionError:
        return None
    return quotient if math.isfinite(quotient) else None


def with_numbers(value: Any) -> Any:
    """Return a value with every text that is a fraction replaced by a number.

    Args:
        value: A scalar, or a list of scalars and lists; other values are returned as they are.
    """
    if isinstance(value, str):
        fraction = parse_fraction(value)
        return value if fraction is None else fraction
    if isinstance(value, list | tuple):
        return type(value)(map(with_numbers, value)) if type(value) in (list, tuple) else value
    return value


def fields_with_numbers(values: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the values of fields, with fractions replaced by numbers where a field is a number and no text.

    Args:
        values: Values by name.
        fields: The fields of a model, by name.
    """
    return {
        name: with_numbers(value) if name in fields and _takes_fractions(fields[name].annotation) else value
        for name, value in values.items()
    }


def _takes_fractions(annotation: Any) -> bool:
    """Check that a field accepts a float, or a list of floats, and no arbitrary text."""
    accepted = set(_plain_types(annotation))
    return float in accepted and str not in accepted


def _plain_types(annotation: Any) -> list[Any]:
    """Return the types that an annotation allows, also as entries of a list; literals and other types as they are."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain_types(arguments[0])
    if origin in (Union, types.UnionType, tuple, list):
        return [kind for argument in arguments for kind in _plain_types(argument)]
    return [annotation]
