"""Validation of parameters against the signature of a library's attack class."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from gtn_bench.config.errors import ConfigError, did_you_mean
from gtn_bench.config.numbers import with_numbers
from gtn_bench.config.threat import Norm


def plain_value(value: object) -> object:
    """Check that a value is a number, a text, a truth value, null, or a list of these. Infinity is allowed.

    Args:
        value: The value.

    Returns:
        The value; tuples become lists.

    Raises:
        ValueError: If the value has another type, or is not a number (NaN).
    """
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    if not isinstance(value, bool | int | float | str | None) or value != value:
        raise ValueError(f"expects a number, a text, true, false, null, or a list of these, got {value!r}")
    return value


Value = Annotated[
    Any,
    PlainValidator(plain_value),
    WithJsonSchema({"type": ["boolean", "number", "string", "null", "array"]}),
]


def parse_norm(value: object) -> Norm | None:
    """Return the norm that a value means.

    Args:
        value: A value in the spelling of any of the libraries: ``2``, ``inf``, ``"inf"``, ``"np.inf"``, ``"Linf"``,
            ``"l2"``, ``"foolbox.distances.l2"``.

    Returns:
        The norm; None if the value does not mean one.
    """
    text = str(value).lower()
    try:
        text = f"{float(text):g}"
    except ValueError:  # not a number; the name of an object without its module
        text = text.rpartition(".")[2].removeprefix("l").removeprefix("_")
    return {"0": "l0", "1": "l1", "2": "l2", "inf": "linf"}.get(text)  # type: ignore[return-value]


def takes_integers(parameter: inspect.Parameter) -> bool:
    """Return True if a parameter is annotated as an integer, or has an integer as its default.

    Args:
        parameter: The parameter of an attack's constructor.
    """
    if "float" in annotation_text(parameter):
        return False
    default = parameter.default
    return requires_integer(parameter) or (isinstance(default, int) and not isinstance(default, bool))


def requires_integer(parameter: inspect.Parameter) -> bool:
    """Return True if a parameter is annotated as an integer and not as a float.

    Args:
        parameter: The parameter of an attack's constructor.
    """
    annotation = annotation_text(parameter)
    return bool(re.search(r"\bint\b", annotation)) and "float" not in annotation


def accepts_float(parameter: inspect.Parameter) -> bool:
    """Return True if a parameter is annotated as a float, or has a default that is not an integer.

    Args:
        parameter: The parameter of an attack's constructor.
    """
    return "float" in annotation_text(parameter) or not isinstance(parameter.default, int | None)


def canonical_value(value: Any, parameter: inspect.Parameter, choices: Sequence[Value] = ()) -> Any:
    """Return a value in the spelling that the library accepts, if its meaning is unambiguous.

    Documentation writes ``norm=np.inf``, ``norm='Linf'``, ``alpha=2/255`` and ``loss_type=None``. In YAML some of these
    are texts. Choices are matched without regard to upper case, hyphens and underscores.

    Args:
        value: The value that a suite gives.
        parameter: The parameter of the attack's constructor.
        choices: All values that the parameter allows, if they are known.

    Returns:
        The same value in the library's spelling, or the given value if its meaning is unknown.
    """
    types = _types(parameter)
    if value == "None" and "null" in types:
        value = None
    for choice in [*choices, *_literals(parameter)]:
        if _means(value, choice):
            return choice
    norm = parse_norm(value) if parameter.name == "norm" and not isinstance(value, bool) else None
    if norm and parse_norm(parameter.default):
        if isinstance(parameter.default, str):
            return norm.capitalize()
        return math.inf if norm == "linf" else int(norm[1:])
    takes_fractions = bool(types & {"a number", "a list"}) or types <= {"null"}  # the types may be unknown
    return with_numbers(value) if takes_fractions and "a text" not in types else value


def check_value(who: str, value: Any, parameter: inspect.Parameter, choices: Sequence[Value] = ()) -> None:
    """Check that a value suits a parameter. A parameter with a positive default must not be negative.

    Args:
        who: The attack and the parameter, for messages.
        value: The value, in the spelling of the library.
        parameter: The parameter of the attack's constructor.
        choices: All values that the parameter allows, if they are known.

    Raises:
        ConfigError: If the value does not suit the parameter.
    """
    allowed = [*choices, *_literals(parameter)]
    types, default = _types(parameter), parameter.default
    if allowed and not any(_means(value, choice) for choice in allowed) and not (value is None and "null" in types):
        names = [_as_yaml(choice) for choice in allowed]
        expected = f"one of {', '.join(names)}" if len(names) > 1 else names[0]
        near = did_you_mean(value, names)
        near = near if near.startswith("; did you mean") else ""  # all choices are listed already
        raise ConfigError(f"{who} expects {expected}, got {value!r}{near}")
    if types and not allowed and not any(_is(value, kind) for kind in types):
        raise ConfigError(f"{who} expects {_in_words(types)}, got {value!r}")
    if parameter.name == "norm" and isinstance(value, str) and isinstance(default, int | float):
        raise ConfigError(f"{who} expects 1, 2 or inf, got {value!r}")
    if _is(value, "a number") and value < 0 and isinstance(default, int | float) and default > 0:
        raise ConfigError(f"{who} expects a number of at least 0, got {value!r}")


def annotation_text(parameter: inspect.Parameter) -> str:
    """Return the annotation of a parameter as text; an empty string if there is none.

    Args:
        parameter: The parameter of an attack's constructor.
    """
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return ""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


_TYPES = {  # the words of annotations, in the order of messages
    "true or false": {"bool"},
    "an integer": {"int"},
    "a number": {"float"},
    "a text": {"str", "Literal"},
    "a list": {"tuple", "Tuple", "list", "List"},
    "null": {"None", "NoneType", "Optional"},
}


def _types(parameter: inspect.Parameter) -> set[str]:
    """Return the types that a parameter allows, by annotation or else by default; empty if they are unknown."""
    annotation, default = annotation_text(parameter), parameter.default
    if isinstance(default, bool):
        return {"true or false"}
    if re.search("Callable|Attack", annotation):  # objects, which YAML cannot contain
        return {"null"} if default is None else set()
    words = set(re.findall(r"\w+", annotation))
    types = {kind for kind, names in _TYPES.items() if names & words}
    if not types - {"null"} and default is not None:
        types |= {kind for kind in ("a number", "a text", "a list") if _is(default, kind)}
    if types and default is None:
        types.add("null")
    return types


def _is(value: Any, kind: str) -> bool:
    """Return True if a value has a type of `_TYPES`. An integer is also a number."""
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "true or false")
    classes = {"an integer": int, "a number": int | float, "a text": str, "a list": list | tuple}
    return kind in classes and isinstance(value, classes[kind])


def _in_words(types: set[str]) -> str:
    """Return the phrase for alternative types."""
    if "a number" in types:
        types = types - {"an integer"}
    return " or ".join(kind for kind in _TYPES if kind in types)


def _literals(parameter: inspect.Parameter) -> list[str]:
    """Return the strings that an annotation allows, if it lists them."""
    if "Literal" not in annotation_text(parameter) or "Optional" in annotation_text(parameter):
        return []
    listed = re.findall(r"Literal\[([^\]]*)\]", annotation_text(parameter))
    return re.findall(r"""['"]([^'"]*)['"]""", ", ".join(listed))


def _means(value: Any, choice: Any) -> bool:
    """Return True if a value is a spelling of a choice."""
    if isinstance(value, bool) or isinstance(choice, bool):
        return value is choice
    if value == choice:
        return True
    if parse_norm(choice):
        return parse_norm(value) == parse_norm(choice)
    return isinstance(value, str) and isinstance(choice, str) and _folded(value) == _folded(choice)


def _folded(text: str) -> str:
    return re.sub(r"[-\s]", "_", text.casefold())


def _as_yaml(value: Any) -> str:
    """Return a choice as a suite spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
