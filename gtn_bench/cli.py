"""The command line. The only module that prints."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gtn_bench import __version__
from gtn_bench.description import Failure, Mistake
from gtn_bench.suite import ACCEPTED, NO_TEACHER

if TYPE_CHECKING:
    import pandas as pd

    from gtn_bench.cells import Plan
    from gtn_bench.results import Results

app = typer.Typer(
    help="Are networks trained on synthetic data less robust?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Bands(StrEnum):
    pointwise = "pointwise"
    simultaneous = "simultaneous"


class Kind(StrEnum):
    datasets = "datasets"
    teachers = "teachers"
    learners = "learners"
    modes = "modes"
    perturbations = "perturbations"
    optimizers = "optimizers"
    suites = "suites"
    zoo = "zoo"
    specs = "specs"


Suite = Annotated[str, typer.Argument(metavar="SUITE", help="A YAML file, or the name of a shipped suite.")]
Out = Annotated[Path | None, typer.Option(help="Output folder; by default results/<suite's name>.")]
OnDevice = Annotated[Device, typer.Option(help="auto takes a GPU where there is one.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; by default one for each core.")]
Limit = Annotated[str | None, typer.Option(help="At most this many test images for each cell, or a share: 10%.")]
Architectures = Annotated[
    list[str] | None, typer.Option("--architecture", help="Of the suite's, only this; repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for another program.")]


def main() -> None:
    """Exit codes: 0 done, 1 something failed on the way, 2 wrong usage or suite."""
    try:
        app()
    except Mistake as mistake:
        for line in str(mistake).splitlines():
            errors.print(f"[red]error:[/] {_plain(line)}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except Failure as failure:
        errors.print(f"[red]failed:[/] {_plain(str(failure))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # which typer makes of an interruption
            raise
        errors.print("interrupted; what was finished is kept, the same command continues")
        sys.exit(130)


@app.command()
def run(
    suite: Suite,
    out: Out = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    limit: Limit = None,
    architecture: Architectures = None,
    as_json: Json = False,
) -> None:
    """Train, attack and report everything in a suite; what is in the cache is not computed again."""
    from gtn_bench import planner
    from gtn_bench.suite import load

    chosen = load(suite)
    if architecture:
        chosen = chosen.only(architecture)
    plan = planner.plan(chosen, _images(limit))
    folder = out or Path("results") / plan.suite.name
    results = _run(plan, folder, device.value, workers, quiet=as_json)

    from gtn_bench.reporting import report as write_report

    page = write_report(folder)
    failed = int((results.summary["status"] == "error").sum())
    if as_json:
        print(json.dumps({"folder": str(folder), "report": str(page), "cells": len(results.summary), "failed": failed}))
    else:
        if plan.suite.protocol == "published":
            from gtn_bench.reference.protocol import NOTE

            console.print(f"[red]{NOTE}[/]", highlight=False, soft_wrap=True)
        _print_overview(results)
        console.print(f"report: {_plain(str(page))}", soft_wrap=True)
    if failed:
        errors.print(f"[red]{failed} of {len(results.summary)} cells failed[/]; the report says which")
        first = results.provenance["errors"][0]["traceback"].strip().splitlines()[-1]
        errors.print(f"first of them: {_plain(first)}", highlight=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def demo(out: Out = None, device: OnDevice = Device.auto, workers: Workers = None, as_json: Json = False) -> None:
    """Run the demo suite: handwritten digits, a teacher meta-trained for real, three modes, four perturbations."""
    run("demo", out, device, workers, as_json=as_json)


@app.command()
def teach(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or the name of a shipped teacher.")],
    out: Annotated[Path | None, typer.Option(help="Folder; by default teachers/<teacher's name>.")] = None,
    device: OnDevice = Device.auto,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Meta-steps between checkpoints.")] = 10,
    check_every: Annotated[int, typer.Option(min=0, help="Meta-steps between checks of a learner; 0: never.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Learners that are retrained at the end.")] = 5,
    export: Annotated[Path | None, typer.Option(help="Also write the teaching set, for others, to this file.")] = None,
) -> None:
    """Meta-train a teacher; interrupted, the same command continues. torchrun shares learners among processes."""
    from gtn_bench import teacher_training

    described = teacher_training.load_teacher(spec)
    if export:
        from gtn_bench.cache import make_folder
        from gtn_bench.description import Mistake

        make_folder(export.parent)  # before hours are spent on what it is to hold
        if export.is_dir():
            raise Mistake(f"{export} is a folder; --export expects the file to write")
    folder = out or Path("teachers") / described.name
    with _bars(quiet=not teacher_training.first_process()) as bars:
        steps = described.teacher.work
        task = bars.add_task("meta-steps", total=steps)

        def tell(history: Any) -> None:
            bars.update(task, completed=len(history.losses))
            checked = history.checks and history.checks[-1].meta_step == len(history.losses)
            if checked and teacher_training.first_process():
                bars.console.print(_where_it_stands(history), highlight=False)

        taught = teacher_training.teach(
            described,
            folder,
            device=device.value,
            checkpoint_every=checkpoint_every,
            check_every=check_every,
            progress=tell,
        )
        bars.update(task, completed=steps)
    if not teacher_training.first_process():
        return
    accuracy = _retrain(str(taught), folder / "retrain", seeds=seeds, device=device.value)
    teacher_training.finish(folder, accuracy, export)

    from gtn_bench.reporting import teacher_report

    console.print(f"report: {_plain(str(teacher_report(folder)))}", soft_wrap=True)


@app.command()
def retrain(
    teaching_set: Annotated[str, typer.Argument(metavar="TEACHER", help="A teaching set: zoo name, file or URL.")],
    out: Annotated[Path | None, typer.Option(help="Output folder; by default results/retrain-<name>.")] = None,
    architecture: Annotated[list[str] | None, typer.Option(help="May be repeated; by default the teacher's.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Learners for each architecture.")] = 5,
    sha256: Annotated[str | None, typer.Option(help="Checksum of the teaching set; a URL needs it.")] = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Test accuracy of fresh learners from a teaching set, after ten and after all inner steps."""
    path = Path(teaching_set)
    folder = out or Path("results") / f"retrain-{path.parent.name if path.stem == 'teacher' else path.stem}"
    accuracy = _retrain(
        teaching_set,
        folder,
        quiet=as_json,
        sha256=sha256,
        architectures=architecture or (),
        seeds=seeds,
        device=device.value,
        workers=workers,
    )
    if as_json:
        print(accuracy.to_json(orient="records"))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a run.")],
    bands: Annotated[Bands, typer.Option(help="95 % for each point of a curve, or for all at once.")] = Bands.pointwise,
) -> None:
    """Draw the figures and write report.md of an output folder, or of a teacher's, again."""
    from gtn_bench import reporting

    if (folder / "teacher.yaml").is_file():
        page = reporting.teacher_report(folder)
    else:
        page = reporting.report(folder, bands=bands.value)
    console.print(f"report: {_plain(str(page))}", soft_wrap=True)


@app.command()
def validate(suite: Suite, as_json: Json = False) -> None:
    """Check a suite without running it; exit code 2 and one line for each mistake."""
    from gtn_bench import planner
    from gtn_bench.suite import load

    plan = planner.plan(load(suite))
    counts = {"teachers": len(plan.teachers), "learners": len(plan.learners), "cells": len(plan.cells)}
    if as_json:
        print(json.dumps({"name": plan.suite.name, **counts}))
    else:
        said = [f"{count} {what if count != 1 else what[:-1]}" for what, count in counts.items()]
        console.print(f"{plan.suite.name}: " + ", ".join(said))


@app.command("list")
def list_(kind: Annotated[Kind, typer.Argument(metavar="KIND", help=", ".join(Kind))], as_json: Json = False) -> None:
    """List what a suite can name."""
    from gtn_bench.catalogue import catalogue
    from gtn_bench.suite import suites, teacher_specs
    from gtn_bench.teaching import zoo_catalogue

    shipped = {Kind.suites: suites, Kind.specs: teacher_specs}
    if kind in shipped:
        rows = [{"name": name, "about": str(path)} for name, path in shipped[kind]().items()]
    elif kind is Kind.zoo:
        rows = zoo_catalogue()
    else:
        rows = catalogue(kind.value)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        if row.get("library") and not row["about"]:  # an attack of a library: a line is enough
            line = f"{row['access']}, norm {row['norm']}, beta: {row['beta']}, {row['source']}"
            console.print(f"    {_plain(row['name'])}  [dim]{_plain(line)}[/]", highlight=False, soft_wrap=True)
            continue
        console.print(
            f"[bold]{_plain(row.pop('name'))}[/]  {_plain(row.pop('about'))}", highlight=False, soft_wrap=True
        )
        for what, value in row.items():
            if value and value != "-":
                console.print(f"    [dim]{what}:[/] {_plain(value)}", highlight=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of suites, for editors."""
    from gtn_bench.schema import suite_schema

    print(json.dumps(suite_schema(), indent=2))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _run(plan: Plan, folder: Path, device: Any, workers: int | None, *, quiet: bool) -> Results:
    """Run with a progress bar for each stage."""
    from gtn_bench import runner

    with _bars(quiet) as bars:
        return runner.run(plan, folder, device=device, workers=workers, progress=_teller(bars))


def _bars(quiet: bool) -> Any:
    """Progress bars: what is done, what has passed, what is left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    return Progress(*columns, console=errors, disable=quiet)


def _where_it_stands(history: Any) -> str:
    """The last meta-loss and the last check, in a line."""
    check = history.checks[-1]
    accuracies = ", ".join(f"{value:.3f} after {steps}" for steps, value in check.accuracy.items())
    return (
        f"meta-step {check.meta_step}: meta-loss {history.losses[-1]:.3f}, validation accuracy {accuracies} inner steps"
    )


def _retrain(taught: str, folder: Path, *, quiet: bool = False, **options: Any) -> pd.DataFrame:
    """Retrain learners, and print their accuracies."""
    from gtn_bench import teacher_training

    with _bars(quiet) as bars:
        accuracy = teacher_training.retrain(taught, folder, progress=_teller(bars), **options)
    if not quiet:
        table = Table(*accuracy.columns, box=None, pad_edge=False)
        for row in accuracy.astype(object).to_numpy().tolist():
            table.add_row(*(f"{value:.4f}" if isinstance(value, float) else _plain(str(value)) for value in row))
        console.print(table)
    return accuracy


def _teller(bars: Any) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def tell(stage: str, done: int, total: int) -> None:
        if total == 0:
            return
        if stage not in tasks:
            for task in tasks.values():
                bars.stop_task(task)
            tasks[stage] = bars.add_task(stage, total=total, completed=done)
        bars.update(tasks[stage], completed=done)

    return tell


def _images(limit: str | None) -> int | float | None:
    """The value of --limit: a number of images, or a share of them."""
    if limit is None:
        return None
    number, percent = (limit[:-1], True) if limit.endswith("%") else (limit, False)
    with contextlib.suppress(ValueError):
        if percent and 0 < float(number) <= 100:
            return float(number) / 100
        if not percent and int(number) > 0:
            return int(number)
    raise Mistake(f"--limit expects a number of images or a share of them, such as 100 or 10%, got '{limit}'")


def _print_overview(results: Results) -> None:
    """Clean accuracy and mean accuracy over each sweep, a column for each mode."""
    from gtn_bench import analysis

    overview = analysis.overview(results.summary, results.rule)
    for (teacher, architecture), part in overview.groupby(["teacher", "architecture"], sort=False):
        what = "accepted architectures" if architecture == ACCEPTED else str(architecture)
        title = what if teacher == NO_TEACHER else f"{what}, teacher {teacher}"
        table = Table("mean accuracy", *part["mode"], title=_plain(title), box=None, pad_edge=False)
        table.title_justify = "left"
        for measure in part.columns[3:]:
            name = "clean" if measure == "clean accuracy" else f"over {measure}"
            table.add_row(_plain(name), *(f"{value:.3f}" for value in part[measure]))
        console.print(table)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
