"""The JSON schema of suites, for editors."""

from __future__ import annotations

from typing import Any

from gtn_bench.config.description import Description
from gtn_bench.config.numbers import FRACTION_PATTERN
from gtn_bench.config.suite import Suite
from gtn_bench.perturbations import LibraryAttack
from gtn_bench.planning.catalog import TABLES
from gtn_bench.teaching import OPTIMIZERS


def suite_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a suite file, with every name of every table and its fields."""
    schema = Suite.model_json_schema(mode="validation")
    definitions: dict[str, Any] = {}
    refs = {
        key: {"anyOf": [_entry(cls, definitions, key) for cls in table.values()]} for key, (_, table) in TABLES.items()
    }
    properties = schema["properties"]
    properties["acceptance"] = _with_fractions(properties["acceptance"])
    properties["dataset"] = _or_name(refs["datasets"], "datasets")
    for key, table in (
        ("teachers", "teachers"),
        ("architectures", "architectures"),
        ("modes", "modes"),
        ("controls", "modes"),
        ("certify", "certifiers"),
    ):
        properties[key]["items"] = _or_name(refs[table], table)
    properties["perturbations"]["items"] = refs["perturbations"]
    schema["$defs"] = {**definitions, "sweep": _SWEEP}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


_FRACTION = {"type": "string", "pattern": FRACTION_PATTERN}
_NUMBER = {"anyOf": [{"type": "number"}, _FRACTION]}
_NUMBERS = {
    "type": "array",
    "prefixItems": [_NUMBER, _NUMBER, {"type": "integer"}],
    "minItems": 3,
}
_SWEEP = {
    "description": "Strengths: a list, or evenly spaced numbers [first, last, count].",
    "anyOf": [
        {"type": "array", "items": {"anyOf": [{"type": "number", "minimum": 0}, _FRACTION]}, "minItems": 1},
        *(
            {"type": "object", "properties": {kind: _NUMBERS}, "required": [kind], "additionalProperties": False}
            for kind in ("linspace", "geomspace")
        ),
    ],
}


def _or_name(entry: dict[str, Any], table: str) -> dict[str, Any]:
    """Return a schema that also accepts a bare name in place of an entry without fields."""
    return {"anyOf": [*_names(table), entry]}


def _names(table: str) -> list[dict[str, Any]]:
    """Return the schemas of which the name of an entry of a table matches one."""
    known = TABLES[table][1]
    patterns = [_dotted(cls) for cls in known.values() if cls.member_field]
    return [{"enum": [name for name, cls in known.items() if not cls.member_field]}, *patterns]


def _dotted(cls: type[Description]) -> dict[str, Any]:
    return {"type": "string", "pattern": rf"^{cls.name}\.[A-Za-z0-9][\w.-]*$"}


_ABOUT_FIELDS = ("title", "description", "default")  # the keys of a schema that restrict nothing


def _with_fractions(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that also accepts fractions where it accepts any number, alone or in a list."""
    if field.get("type") == "number":
        about = {key: field[key] for key in _ABOUT_FIELDS if key in field}
        return {**about, "anyOf": [{key: field[key] for key in field if key not in about}, _FRACTION]}
    if "anyOf" in field:
        choices = field["anyOf"]
        fractions = [_FRACTION] if any(choice.get("type") == "number" for choice in choices) else []
        return {**field, "anyOf": [*choices, *fractions]}
    for key in ("items", "prefixItems"):
        if isinstance(field.get(key), dict):
            field = {**field, key: _with_fractions(field[key])}
        elif isinstance(field.get(key), list):
            field = {**field, key: [_with_fractions(each) for each in field[key]]}
    return field


def _entry(cls: type[Description], definitions: dict[str, Any], table: str) -> dict[str, Any]:
    """Return the schema of one description: its name, an optional label, its fields."""
    fields = cls.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(fields.pop("$defs", {}))
    properties = {name: _with_fractions(field) for name, field in fields["properties"].items()}
    required = set(fields.get("required", ()))
    named: dict[str, Any] = {"const": cls.name}
    if issubclass(cls, LibraryAttack):
        named = {"type": "string", "pattern": rf"^{cls.name}\.[A-Za-z]\w*$"}
        properties.pop("attack")
        required.discard("attack")
    if cls.member_field:
        named = _dotted(cls)
        properties.pop(cls.member_field)
        required.discard(cls.member_field)
    if table == "perturbations":
        properties |= {"beta": {"$ref": "#/$defs/sweep"}, "samples": {"type": "integer", "exclusiveMinimum": 0}}
        properties["search"] = {"enum": ["minimal", "bisection", None]}
    if "architecture" in properties:
        one = {"anyOf": [*_names("architectures"), {"type": "object"}]}
        several = {"type": "array", "items": one, "minItems": 1}
        properties["architecture"] = {"anyOf": [one, several if table == "teachers" else {"type": "null"}]}
    if "inner_optimizer" in properties:
        properties["inner_optimizer"] = {"anyOf": [{"enum": list(OPTIMIZERS)}, {"type": "object"}]}
    label = {} if table == "datasets" else {"label": {"type": "string"}}
    definitions[f"{table}.{cls.name}"] = {
        "type": "object",
        "description": cls.summary(),
        "properties": {"name": named, **label, **properties},
        "required": sorted({"name", *required}),
        "additionalProperties": False,
    }
    return {"$ref": f"#/$defs/{table}.{cls.name}"}
