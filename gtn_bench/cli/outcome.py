"""The end of a command that evaluates: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gtn_bench import console
from gtn_bench.cli import showing
from gtn_bench.cli.comparing import FIRED
from gtn_bench.cli.options import FailOn
from gtn_bench.config.errors import listed

if TYPE_CHECKING:
    from gtn_bench.reporting.notebook import Results


def finish(results: Results, page: Path, *, quiet: bool, as_json: bool, fail_on: FailOn | None) -> None:
    """Print what came out of a run.

    Args:
        results: The results.
        page: The report.
        quiet: Whether to print errors only.
        as_json: Whether to print JSON.
        fail_on: The grade of curves that ends the command with code 3.

    Raises:
        typer.Exit: With code 1 if some cells failed, with code 3 if a curve has the grade.
    """
    from gtn_bench.reporting.answer import answer, suspect_curves

    failed = int((results.summary["status"] == "error").sum())
    if as_json:
        print(json.dumps({"folder": str(results.folder), "report": str(page), **answer(results)}, allow_nan=False))
    elif not quiet:
        showing.show_results(results)
        console.say(f"report: {page}")
    if failed:
        console.complain(f"{failed} of {len(results.summary)} cells failed; the report lists them")
        console.complain(f"first error: {results.errors[0]['error']}")
        raise typer.Exit(1)
    if fail_on is FailOn.suspect and (curves := suspect_curves(results)):
        what = f"{len(curves)} curve{'s' if len(curves) > 1 else ''} suspect: {listed(curves, str)}"
        console.complain(f"{what}; the report says under Checks what to do", "--fail-on suspect:")
        raise typer.Exit(FIRED)
