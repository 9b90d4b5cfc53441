"""The command list: everything that a suite can name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from gtn_bench import console
from gtn_bench.cli.options import Json, Kind, Plugins
from gtn_bench.cli.values import load_plugins
from gtn_bench.config.errors import ConfigError, did_you_mean, shown

if TYPE_CHECKING:
    from gtn_bench.planning.catalog import Parameter

_FILES = (Kind.suites, Kind.specs, Kind.zoo)  # kinds without parameters


def list_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=", ".join(Kind))],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this entry, with its source.")] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """List everything that a suite can name, with its parameters, their defaults and meanings."""
    load_plugins(plugin)
    rows = _rows(kind)
    if name is not None:
        rows = _chosen(rows, kind, name)
    known = {} if kind in _FILES else _parameters(kind, rows)
    if as_json:
        print(json.dumps([_as_json(row, known.get(row["name"])) for row in rows], indent=2))
    else:
        show_catalog(rows, known, whole=name is not None)


def _rows(kind: Kind) -> list[dict[str, str]]:
    from gtn_bench.config.shipped import suites, teacher_specs
    from gtn_bench.config.yaml import parse_mapping
    from gtn_bench.planning.catalog import catalog
    from gtn_bench.teaching.zoo import zoo_catalog

    shipped = {Kind.suites: suites, Kind.specs: teacher_specs}
    if kind in shipped:
        return [
            {"name": name, "summary": parse_mapping(path.read_text("utf-8"), name)["description"], "file": str(path)}
            for name, path in shipped[kind]().items()
        ]
    return zoo_catalog() if kind is Kind.zoo else catalog(kind.value)


def _chosen(rows: Sequence[dict[str, str]], kind: Kind, name: str) -> list[dict[str, str]]:
    """Return the row of a name, after that of its library if it is one of a library.

    Raises:
        ConfigError: If there is neither, or the library has no such attack.
    """
    library = name.partition(".")[0]
    found = [row for row in rows if row["name"] == name or row["name"].startswith(f"{library}.<")]
    if found and kind is Kind.perturbations and name not in [row["name"] for row in found]:
        from gtn_bench.planning.catalog import check_attack

        check_attack(name)
    if found:
        return found
    one = "file" if kind is Kind.specs else kind.value.removesuffix("s")
    names = [row["name"] for row in rows]
    raise ConfigError(f"unknown {one} {shown(name)}{did_you_mean(name, names)} (gtn-bench list {kind.value} lists all)")


def _parameters(kind: Kind, rows: Sequence[Mapping[str, str]]) -> dict[str, list[Parameter]]:
    """Return the parameters of the rows that have some of their own."""
    from gtn_bench.planning.catalog import parameters

    of = [row["name"] for row in rows if row["summary"]]  # an attack of a library has none
    return {name: parameters(kind.value, name) for name in of}


def _as_json(row: dict[str, str], known: Sequence[Parameter] | None) -> dict[str, Any]:
    """Return a row for another program."""
    return row if known is None else {**row, "fields": [parameter._asdict() for parameter in known]}


def show_catalog(
    rows: Sequence[Mapping[str, str]], known: Mapping[str, Sequence[Parameter]], *, whole: bool = False
) -> None:
    """Print the rows of a catalog, with a line for each parameter; one line per attack of a library.

    Args:
        rows: Rows of `gtn_bench.planning.catalog`, of the zoo or of the shipped files.
        known: The parameters of the rows that have some, by name.
        whole: Whether to print all that is known about a parameter, not only its first sentence.
    """
    for row in rows:
        fields = dict(row)
        name, summary = fields.pop("name"), fields.pop("summary")
        if fields.get("library") and not summary:
            line = f"{fields['access']}, norm {fields['norm']}, beta: {fields['beta']}, {fields['source']}"
            console.show(Text.assemble(f"    {name}  ", (line, "dim")), wrap=False)
            continue
        console.show(Text.assemble((name, "bold"), f"  {summary}"), wrap=False)
        if name in known:
            fields.pop("parameters", None)
            for parameter in known[name]:
                console.show(_parameter_line(parameter, whole=whole), wrap=False)
        for what, value in fields.items():
            if value and value != "-":
                console.show(Text.assemble("    ", (f"{what}:", "dim"), f" {value}"), wrap=False)


def _parameter_line(parameter: Parameter, *, whole: bool) -> Text:
    """Return a line about a parameter: ``steps: 40  Number of steps.``"""
    default = f": {parameter.default}" if parameter.default else " (required)"
    meaning = parameter.meaning if whole else re.split(r"(?<=\.) (?=[A-Z`])", parameter.meaning, maxsplit=1)[0]
    return Text.assemble("    ", (parameter.name, "bold"), default, (f"  {meaning}", "dim"))
