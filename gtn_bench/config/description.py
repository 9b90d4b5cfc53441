"""Frozen descriptions: everything a suite can name, with its parameters as typed fields.

The fields of a description are its parameters, its YAML keys, its repr and its cache key. Calling it runs the
algorithm. Literal tables list the descriptions by name: `DATASETS`, `ARCHITECTURES`, `MODES`, `TEACHERS`,
`OPTIMIZERS`, `PERTURBATIONS`. Other packages extend them: through the Python API by assigning to a table, or for the
command line through an entry point of the group ``gtn_bench.<table>``.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails

from gtn_bench.config import own_names, renamed
from gtn_bench.config.errors import ConfigError, did_you_mean, join, shown
from gtn_bench.config.filepath import CONTENT
from gtn_bench.config.numbers import fields_with_numbers

PositiveInt = Annotated[int, Field(gt=0, lt=2**63)]  # torch has integers of 64 bits
PositiveFloat = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0)]
Precision = Literal["float32", "bfloat16"]
Protocol = Literal["evaluation", "published"]
Probability = Annotated[float, Field(ge=0, le=1)]

D = TypeVar("D", bound="Description")

MAX_PROBLEMS, MORE_PROBLEMS = 200, "more problems follow; correct these first"  # in one error message


class Description(BaseModel):
    """Base of everything a suite can name: keyword-only, frozen, strictly typed, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants"
    )

    name: ClassVar[str]
    source: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()  # installed packages whose version can change the numbers
    member_field: ClassVar[str] = ""  # the field that the name sets behind its dot: ``name: torchvision.resnet18``

    @model_validator(mode="before")
    @classmethod
    def _with_fractions(cls, fields: Any) -> Any:
        return fields_with_numbers(fields, cls.model_fields) if isinstance(fields, Mapping) else fields

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        idle = [
            f"'{self.name}' does not use '{field}': {reason}; leave it out"
            for field, reason in self.idle_fields().items()
            if getattr(self, field) != type(self).model_fields[field].get_default(call_default_factory=True)
        ]
        if idle:
            raise ConfigError("\n".join(idle))
        return self

    def idle_fields(self) -> Mapping[str, str]:
        """Return the fields that have no effect beside the values of the others, each with the reason.

        An idle field must keep its default.
        """
        return {}

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    @classmethod
    def members(cls) -> Iterable[str]:
        """Return the names that may follow the dot, for suggestions; none if they are unknown."""
        return ()

    @model_serializer(mode="wrap")
    def _with_name(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = fields(self)
        member = f".{content.pop(self.member_field)}" if self.member_field else ""
        return {"name": f"{self.name}{member}", **content}

    def identity(self) -> dict[str, Any]:
        """Return name and all fields as plain JSON."""
        return self.model_dump(mode="json")

    def parts(self) -> tuple[Description, ...]:
        """Return the descriptions that this one contains."""
        return ()

    def content(self) -> dict[str, Any]:
        """Return what the numbers depend on, as plain JSON. Cache keys and seeds are hashes of it.

        The checksum of a file takes the place of its path.
        """
        return self.model_dump(mode="json", context=CONTENT)

    def code_modules(self) -> set[str]:
        """Return the full names of the modules whose code computes the numbers, those of all parts included."""
        whole = (self, *self.parts())
        bases = {base for part in whole for base in type(part).__mro__ if issubclass(base, Description)}
        return {base.__module__ for base in bases - {Description}}


def lookup(table: Mapping[str, type[D]], kind: str, name: str) -> type[D]:
    """Return the class of a description by name.

    Args:
        table: Classes by name.
        kind: The kind of description, such as "perturbation"; installed packages offer more classes under the
            entry-point group ``gtn_bench.<kind>s``.
        name: The name to look up.

    Raises:
        ConfigError: If neither the table nor an installed package knows the name; suggests the most similar one.
    """
    if name in table:
        return table[name]
    for entry in _plugin_entries(kind):
        if entry.name == name:
            plugin: type[D] = entry.load()
            return plugin
    if reason := own_names.UNREGISTERED.get((kind, name)):
        raise ConfigError(f"unknown {kind} '{name}': {reason}")
    if name in renamed.NAMES and renamed.NAMES[name] in table:
        raise ConfigError(f"unknown {kind} '{name}'; it is now called '{renamed.NAMES[name]}'")
    similar = _similar(table, kind, name)
    raise ConfigError(f"unknown {kind} {shown(name)}{similar}{own_names.how_to_register(kind, name, similar)}")


def _similar(table: Mapping[str, type[D]], kind: str, name: str) -> str:
    """Return the suggestion for an unknown name: ``torchvision.resnet50`` for ``resnet50``, ``ResNet50``, ``resnt50``.

    A name of the table wins over the same one behind a dot.
    """
    known = [*table, *plugin_names(kind)]
    _, dot, member = name.partition(".")
    if dot or len(name) > 100:
        families = [family for family, cls in table.items() if cls.member_field]
        return did_you_mean(name, [*known, *(f"{family}.{member}" for family in families if dot)])
    members = [
        (folded, f"{family}.{member}")
        for family, cls in table.items()
        for member, folded in _folded_names(tuple(cls.members())).items()
    ]
    titles = dict(reversed(members)) | {_folded(title): title for title in known}
    exact = titles.get(_folded(name))
    # Short names resemble too many.
    near = difflib.get_close_matches(_folded(name), titles, n=1, cutoff=0.8) if not exact and len(name) > 4 else []
    found = exact or (titles[near[0]] if near else None)
    return f"; did you mean '{found}'?" if found else did_you_mean(name, known)


@functools.lru_cache(maxsize=16)
def _folded_names(names: tuple[str, ...]) -> dict[str, str]:
    return {name: _folded(name) for name in names}


def _folded(name: str) -> str:
    """Return a name without what spellings of it differ in: ``ResNet-50`` and ``resnet50`` are one."""
    return "".join(char for char in name.casefold() if char.isalnum())


def resolve_name(
    table: Mapping[str, type[D]], kind: str, name: str, fields: Mapping[str, Any]
) -> tuple[type[D], dict[str, Any]]:
    """Return the class that a name means and its fields, the one that the name sets among them.

    ``torchvision.resnet18`` is the class ``torchvision`` with ``model: resnet18``.

    Args:
        table: Classes by name.
        kind: The kind of description. See `lookup`.
        name: The name.
        fields: The other fields.

    Raises:
        ConfigError: If the name is unknown, or its part behind the dot is missing or also a field.
    """
    family, _, member = name.partition(".")
    cls = table.get(family)
    if cls is None or not cls.member_field:
        return lookup(table, kind, name), dict(fields)
    if not member:
        raise ConfigError(f"expects a {cls.member_field} as '{family}.<{cls.member_field}>', got '{name}'")
    if cls.member_field in fields:
        raise ConfigError(f"sets '{cls.member_field}' already; leave '{cls.member_field}' out")
    return cls, {cls.member_field: member, **fields}


def plugin_names(kind: str) -> list[str]:
    """Return the names that installed packages offer for a kind of description.

    Args:
        kind: The kind of description, such as "perturbation".
    """
    return [entry.name for entry in _plugin_entries(kind)]


def _plugin_entries(kind: str) -> tuple[EntryPoint, ...]:
    return _read_entries(entry_points, f"gtn_bench.{kind}s", tuple(sys.path))


@functools.cache
def _read_entries(
    read: Callable[..., Iterable[EntryPoint]], group: str, path: tuple[str, ...]
) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group. Reading them takes milliseconds, and a file may have many unknown names."""
    return tuple(read(group=group))


def choose(table: Mapping[str, type[D]], kind: str, entry: object) -> D:
    """Build the description that an entry names.

    Args:
        table: Classes by name.
        kind: The kind of description, such as "perturbation".
        entry: A name, a mapping of `name` and fields, or a description, which is returned as it is.

    Raises:
        ConfigError: If the entry has another form, an unknown name or invalid fields.
    """
    if isinstance(entry, Description):
        return entry  # type: ignore[return-value]
    fields = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
        raise ConfigError(f"expects the name of a known {kind}, or a mapping with one, got {shown(entry)}")
    others = {key: value for key, value in fields.items() if key != "name"}
    return build(*resolve_name(table, kind, fields["name"], others), "")


def build(cls: type[D], fields: Mapping[str, Any], path: str, also: Iterable[str] = ()) -> D:
    """Return ``cls(**fields)``.

    Args:
        cls: The class of the description.
        fields: Its fields.
        path: Place of the entry in the file, for messages.
        also: Keys that are allowed beside the fields, for better suggestions.

    Raises:
        ConfigError: One line ``path.field: 'name' expects ..., got ...`` per invalid field.
    """
    try:
        return cls(**fields)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, cls, path, also))) from None


def explain(error: ValidationError, cls: type[BaseModel], path: str, also: Iterable[str] = ()) -> list[str]:
    """Return one line per validation error: the place, what was expected, what was given.

    Args:
        error: The error of pydantic.
        cls: The model that rejected the data.
        path: Place of the data in the file.
        also: Keys that are allowed beside the fields of the model, for better suggestions.
    """
    name = getattr(cls, "name", None)
    who = f"'{name}' " if name else ""
    lines = []
    details = error.errors(include_url=False)
    hidden, details = details[MAX_PROBLEMS:], details[:MAX_PROBLEMS]
    misspelt = [(*detail["loc"][:-1], misspelt_key(detail, cls)) for detail in details]
    for detail in details:
        depth = len(detail["loc"])
        inside = [other for other in details if len(other["loc"]) > depth and other["loc"][:depth] == detail["loc"]]
        if detail["type"] == "too_short" and inside:
            continue  # entries are invalid, not missing
        if detail["type"] == "extra_forbidden" and detail["loc"] in misspelt:
            continue  # the line about the missing key names it
        # Pydantic names the member of a union that it tried; a file has no such place.
        place = [part for part in detail["loc"] if not str(part).startswith("function-")]
        where = join(path, *place)
        what = _expectation(detail, cls, [*cls.model_fields, *also])
        if not isinstance(detail.get("ctx", {}).get("error"), ConfigError):  # whose message names its subject
            what = who + what
        lines += [f"{where}: {line}" if where else line for line in what.splitlines()]
    if hidden:
        lines.append(MORE_PROBLEMS)
    return list(dict.fromkeys(lines))


def misspelt_key(detail: ErrorDetails, cls: type[BaseModel]) -> str | None:
    """Return the unknown key that is probably meant to be a missing one.

    Args:
        detail: A detail of a validation error.
        cls: The model that rejected the data.

    Returns:
        The key; None if no key is missing, or none is similar.
    """
    if detail["type"] != "missing":
        return None
    got = detail["input"]
    others = [str(key) for key in got if key not in cls.model_fields] if isinstance(got, Mapping) else []
    return next(iter(difflib.get_close_matches(str(detail["loc"][-1]), others, n=1)), None)


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


_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}  # of YAML 1.1


def _nearest_value(kind: str, got: object) -> str:
    """Return the suggestion for a text that YAML 1.1 reads as a number, or as true or false."""
    if not isinstance(got, str) or len(got) > 30:
        return ""
    if kind == "bool_type" and got.lower() in _SWITCHES:
        return f"; did you mean {_SWITCHES[got.lower()]}?"
    if kind in ("int_type", "float_type") and re.fullmatch(r"[-+]?\d[\d_]*(\.\d*)?", got):
        return f"; did you mean {got.replace('_', '')}?"
    return ""


def _expectation(detail: Any, cls: type[BaseModel], known: list[str]) -> str:
    kind, got, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        if renamed.KEYS.get(key) in cls.model_fields:
            return f"does not know this key; it is now called '{renamed.KEYS[key]}'"
        return f"does not know this key{did_you_mean(key, known)}"
    if kind == "missing":
        near = misspelt_key(detail, cls)
        return "needs this key" + (f", got '{near}'" if near else "")
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "")
        if isinstance(got, str) and renamed.VALUES.get(got) in choices.split(", "):
            return f"does not know {got!r}; it is now called {renamed.VALUES[got]!r}"
        return f"expects one of {choices}, got {shown(got)}{did_you_mean(got, choices.split(', '))}"
    if kind == "string_too_long":
        return f"expects at most {context['max_length']} characters, got {shown(got)}"
    bounds = {"greater_than": ("gt", "greater than"), "greater_than_equal": ("ge", "at least")}
    bounds |= {"less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        bound, words = bounds[kind]
        return f"expects a number {words} {context[bound]:g}, got {shown(got)}"
    if kind == "too_short":
        return "expects at least one entry, got none"
    if kind == "string_pattern_mismatch":
        if "{64}" in context["pattern"]:
            return f"expects 64 lower-case hexadecimal digits, got {shown(got)}"
        return f"expects a letter or digit, then letters, digits, '.', '_', '+' or '-', got {shown(got)}"
    return f"expects {_TYPES.get(kind, detail['msg'])}, got {shown(got)}{_nearest_value(kind, got)}"
