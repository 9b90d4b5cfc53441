"""Commands that compute nothing: report, validate, list, schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gtn_bench import console
from gtn_bench.cli.options import AcceptChanges, Bands, Json, Kind, MaxCells, Plugins, Suite, load_plugins
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path


def report(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Output folder of a run, or folder of a teacher.")],
    bands: Annotated[
        Bands, typer.Option(help="95 % bands for each point of a curve, or for all points.")
    ] = Bands.pointwise,
    accept_changes: AcceptChanges = False,
) -> None:
    """Redraw the figures and rewrite report.md from the tables in an output folder."""
    from gtn_bench import reporting

    path = user_path(folder)
    if (path / "teacher.yaml").is_file():
        if bands is not Bands.pointwise:
            raise ConfigError(f"--bands applies to the curves of a run, {path} holds a teacher; leave it out")
        page = reporting.teacher_report(path, accept_changes=accept_changes)
    else:
        page = reporting.report(path, bands=bands.value, accept_changes=accept_changes)
    console.say(f"report: {page}")


def validate(suite: Suite, max_cells: MaxCells = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """Check a suite without running it: exit code 2 and one line per problem."""
    from gtn_bench.planning.planner import load, plan
    from gtn_bench.planning.size import MAX_CELLS

    load_plugins(plugin)
    planned = plan(load(suite), max_cells=max_cells or MAX_CELLS)
    counts = {"teachers": len(planned.teachers), "learners": len(planned.learners), "cells": len(planned.cells)}
    if as_json:
        print(json.dumps({"name": planned.suite.name, **counts}))
    else:
        console.say(f"{planned.suite.name}: {console.count(counts)}")


def list_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=", ".join(Kind))],
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """List everything that a suite can name."""
    from gtn_bench.config.shipped import suites, teacher_specs
    from gtn_bench.planning.catalog import catalog
    from gtn_bench.teaching.zoo import zoo_catalog

    load_plugins(plugin)
    shipped = {Kind.suites: suites, Kind.specs: teacher_specs}
    if kind in shipped:
        rows = [{"name": name, "summary": str(path)} for name, path in shipped[kind]().items()]
    elif kind is Kind.zoo:
        rows = zoo_catalog()
    else:
        rows = catalog(kind.value)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        console.show_catalog(rows)


def schema(plugin: Plugins = None) -> None:
    """Print the JSON schema of suites, for editors."""
    from gtn_bench.planning.schema import suite_schema

    load_plugins(plugin)
    print(json.dumps(suite_schema(), indent=2))
