"""Commands that compute nothing: report, validate, schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gtn_bench import console
from gtn_bench.cli.options import OUTPUT, AcceptChanges, Bands, Json, MaxCells, Plugins, Quiet, Suite
from gtn_bench.cli.values import load_plugins
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path


def report(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Output folder of a run, or folder of a teacher.")],
    bands: Annotated[
        Bands, typer.Option(help="95 % bands for each point of a curve, or for all points.", rich_help_panel=OUTPUT)
    ] = Bands.pointwise,
    style: Annotated[
        str | None,
        typer.Option(help="Style of figures: a .mplstyle file, or a style of matplotlib.", rich_help_panel=OUTPUT),
    ] = None,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Redraw the figures and rewrite the pages from the tables in an output folder."""
    from gtn_bench import reporting

    path = user_path(folder)
    if (path / "teacher.yaml").is_file():
        if style is not None:
            raise ConfigError(f"--style applies to the figures of a run, {path} holds a teacher; leave it out")
        if bands is not Bands.pointwise:
            raise ConfigError(f"--bands applies to the curves of a run, {path} holds a teacher; leave it out")
        page = reporting.teacher_report(path, accept_changes=accept_changes)
    else:
        page = reporting.report(path, bands=bands.value, accept_changes=accept_changes, style=style)
    if not quiet:
        console.say(f"report: {page}")


def validate(
    suite: Suite, max_cells: MaxCells = None, plugin: Plugins = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Check a suite without running it: exit code 2 and one line per mistake."""
    from gtn_bench.planning.planner import load, plan
    from gtn_bench.planning.size import MAX_CELLS

    try:
        load_plugins(plugin)
        planned = plan(load(suite), max_cells=max_cells or MAX_CELLS)
    except ConfigError as error:
        if not as_json:
            raise
        print(json.dumps({"suite": suite, "valid": False, "mistakes": str(error).splitlines()}))
        raise typer.Exit(2) from None
    counts = {"teachers": len(planned.teachers), "learners": len(planned.learners), "cells": len(planned.cells)}
    if as_json:
        print(json.dumps({"suite": suite, "valid": True, "mistakes": [], "name": planned.suite.name, **counts}))
    elif not quiet:
        console.say(f"{planned.suite.name}: {console.count(counts)}")


def schema(plugin: Plugins = None) -> None:
    """Print the JSON schema of suites, for editors."""
    from gtn_bench.planning.schema import suite_schema

    load_plugins(plugin)
    print(json.dumps(suite_schema(), indent=2))
