"""Frozen descriptions: anything a suite can name, with its parameters as typed fields.

A description's fields are its parameters, its YAML keys, its repr and its cache key; calling it is
the algorithm. Descriptions are found by name in literal tables (`DATASETS`, `LEARNERS`, `MODES`,
`TEACHERS`, `PERTURBATIONS`), which other packages may extend: through the Python API by assigning
to the table, or for the command line through an entry point of the group `gtn_bench.<table>`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0)]
Precision = Literal["float32", "bfloat16"]
Protocol = Literal["evaluation", "published"]
Probability = Annotated[float, Field(ge=0, le=1)]


D = TypeVar("D", bound="Description")


class Mistake(ValueError):
    """What the user wrote cannot be run. Its text is one line for each mistake."""


class Failure(RuntimeError):
    """What was asked for has been tried and did not succeed. Its text is one line."""


class Description(BaseModel):
    """Base of everything a suite can name: keyword-only, frozen, strictly typed, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants"
    )

    name: ClassVar[str]
    source: ClassVar[str] = ""

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring, as `gtn-bench list` shows it."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    @model_serializer(mode="wrap")
    def _with_name(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **fields(self)}

    def identity(self) -> dict[str, Any]:
        """Name and all fields as plain JSON."""
        return self.model_dump(mode="json")

    def parts(self) -> tuple[Description, ...]:
        """Other descriptions that this one is made of."""
        return ()

    def content(self) -> dict[str, Any]:
        """What the numbers depend on, as plain JSON: what cache keys and seeds are made of."""
        return self.identity()


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, else the list of them if it is short."""
    known = sorted(known)
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{folded[near[0]]}'?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 12 else ""


def lookup(table: Mapping[str, type[D]], kind: str, name: str) -> type[D]:
    """The description called `name`, from the table or from an installed plug-in.

    Raises `Mistake` with the nearest known name.
    """
    if name in table:
        return table[name]
    for entry in entry_points(group=f"gtn_bench.{kind}s", name=name):
        plugin: type[D] = entry.load()
        return plugin
    raise Mistake(f"unknown {kind} '{name}'" + did_you_mean(name, [*table, *plugin_names(kind)]))


def plugin_names(kind: str) -> list[str]:
    """Names that installed packages offer for a kind of description."""
    return [entry.name for entry in entry_points(group=f"gtn_bench.{kind}s")]


def choose(table: Mapping[str, type[D]], kind: str, entry: object) -> D:
    """The description that a suite's entry means: a name, or a mapping of `name` and fields."""
    if isinstance(entry, Description):
        return entry  # type: ignore[return-value]
    fields = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
        raise Mistake(f"expects the name of a known {kind}, or a mapping with one, got {entry!r}")
    fields = dict(fields)
    return build(lookup(table, kind, fields.pop("name")), fields, "")


def build(cls: type[D], fields: Mapping[str, Any], path: str, also: Iterable[str] = ()) -> D:
    """`cls(**fields)`; pydantic's complaints become lines `path.field: 'name' expects ..., got ...`.

    `also` are keys that are allowed beside the fields, for a better guess at what was meant.
    """
    try:
        return cls(**fields)
    except ValidationError as error:
        raise Mistake("\n".join(explain(error, cls, path, also))) from None


def explain(error: ValidationError, cls: type[BaseModel], path: str, also: Iterable[str] = ()) -> list[str]:
    """One line for each mistake: where it is, what was expected, what came."""
    name = getattr(cls, "name", None)
    who = f"'{name}' " if name else ""
    lines = []
    details = error.errors(include_url=False)
    for detail in details:
        depth = len(detail["loc"])
        inside = [other for other in details if len(other["loc"]) > depth and other["loc"][:depth] == detail["loc"]]
        if detail["type"] == "too_short" and inside:
            continue  # its entries are wrong, not missing
        # Pydantic names the member of a union that was tried; a file has no such place.
        place = [part for part in detail["loc"] if not str(part).startswith("function-")]
        where = join(path, *place)
        what = _expectation(detail, cls, [*cls.model_fields, *also])
        if not isinstance(detail.get("ctx", {}).get("error"), Mistake):  # which says itself who it is
            what = who + what
        lines.append(f"{where}: {what}" if where else what)
    return list(dict.fromkeys(lines))


def join(path: str, *parts: object) -> str:
    """`join("perturbations", 0, "beta")` is `perturbations[0].beta`."""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


_TYPES = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}


def _expectation(detail: Any, cls: type[BaseModel], known: list[str]) -> str:
    kind, got, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"does not know this key{did_you_mean(detail['loc'][-1], known)}"
    if kind == "missing":
        others = [str(key) for key in got if key not in cls.model_fields] if isinstance(got, Mapping) else []
        near = difflib.get_close_matches(str(detail["loc"][-1]), others, n=1)
        return "needs this key" + (f", got '{near[0]}'" if near else "")
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "")
        return f"expects one of {choices}, got {got!r}{did_you_mean(got, choices.split(', '))}"
    if kind == "string_too_long":
        return f"expects at most {context['max_length']} characters, got {got!r}"
    bounds = {"greater_than": ("gt", "greater than"), "greater_than_equal": ("ge", "at least")}
    bounds |= {"less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        bound, words = bounds[kind]
        return f"expects a number {words} {context[bound]:g}, got {got!r}"
    if kind == "too_short":
        return "expects at least one entry, got none"
    if kind == "string_pattern_mismatch":
        if "{64}" in context["pattern"]:
            return f"expects 64 lower-case hexadecimal digits, got {got!r}"
        return f"expects a letter or digit, then letters, digits, '.', '_', '+' or '-', got {got!r}"
    return f"expects {_TYPES.get(kind, detail['msg'])}, got {got!r}"
