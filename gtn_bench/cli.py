"""The command line."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtn_bench import __version__, console
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.config.paths import user_path
from gtn_bench.store.progress import reporting_to
from gtn_bench.usage import UnusableCommand, line_about

if TYPE_CHECKING:
    import pandas as pd

    from gtn_bench.planning.cells import Plan

app = typer.Typer(
    help="Are networks trained on synthetic data less robust?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Device(StrEnum):
    """Values of ``--device``."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Bands(StrEnum):
    """Values of ``--bands``."""

    pointwise = "pointwise"
    simultaneous = "simultaneous"


class Kind(StrEnum):
    """Arguments of the command ``list``."""

    datasets = "datasets"
    teachers = "teachers"
    architectures = "architectures"
    modes = "modes"
    perturbations = "perturbations"
    certifiers = "certifiers"
    optimizers = "optimizers"
    suites = "suites"
    zoo = "zoo"
    specs = "specs"


Suite = Annotated[str, typer.Argument(metavar="SUITE", help="A YAML file, or the name of a shipped suite.")]
Out = Annotated[str | None, typer.Option(metavar="DIR", help="Output folder; by default results/<name of the suite>.")]
OnDevice = Annotated[Device, typer.Option(help="Device; auto selects a GPU if there is one.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Number of processes; by default one per core.")]
Limit = Annotated[str | None, typer.Option(help="At most this many test images per cell, or a share of them: 10%.")]
Architectures = Annotated[
    list[str] | None, typer.Option("--architecture", help="Only this architecture of the suite; repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for another program.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE.py", help="Python file to import; suites can name what it defines."),
]
ModelArchitectures = Annotated[
    list[str],
    typer.Option(
        "--architecture",
        metavar="NAME",
        help="Architecture: a name, or '{name: ...}' as in a suite. LABEL=NAME is that of one mode; repeatable.",
    ),
]
Weights = Annotated[
    list[str],
    typer.Option("--weights", metavar="FILE", help="Weights; repeatable. LABEL=FILE compares several modes."),
]
Data = Annotated[
    str, typer.Option("--data", metavar="DATA", help="Test images: a file, a folder, a data set's name, or '{...}'.")
]
Mean = Annotated[
    list[str] | None,
    typer.Option(help="Mean that the models subtract: 0.5, or one per channel: 0.5,0.5,0.5. LABEL=MEAN for one mode."),
]
Std = Annotated[list[str] | None, typer.Option(help="Standard deviation that they divide by. LABEL=STD for one mode.")]
Layout = Annotated[str | None, typer.Option(help="Layout of the images where it is ambiguous: NCHW or NHWC.")]
NumClasses = Annotated[int | None, typer.Option(min=2, help="Number of classes, if labels do not tell.")]
SamplesPerForward = Annotated[
    int, typer.Option(min=1, help="Forward passes that are averaged, for a model with random outputs.")
]


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 some cells failed, 2 invalid usage, suite or input, 130 interrupted.
    """
    try:
        with console.bar_for_long_work() as report, reporting_to(report):
            sys.exit(app(prog_name="gtn-bench", standalone_mode=False))
    except UnusableCommand as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer has printed the help
            sys.exit(2)
        console.complain(line_about(error, sys.argv[1:]), "error:")
        sys.exit(2)
    except ConfigError as error:
        for line in str(error).splitlines():
            console.complain(line, "error:")
        sys.exit(2)
    except RunError as error:
        console.complain(str(error), "failed:")
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # typer's code for an interruption
            raise
        console.complain("Interrupted. Finished work is cached; rerun the same command to resume.")
        sys.exit(130)


@app.command()
def run(
    suite: Suite,
    out: Out = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    limit: Limit = None,
    architecture: Architectures = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train, attack and report a suite. Cached parts are not computed again."""
    from gtn_bench.planning.planner import load, plan

    _load_plugins(plugin)
    chosen = load(suite)
    if architecture:
        chosen = chosen.only(architecture)
    planned = plan(chosen, _parse_limit(limit))
    _run(planned, _folder(out, Path("results") / planned.suite.name), device, workers, as_json)


def _run(planned: Plan, folder: Path, device: Device, workers: int | None, as_json: bool) -> None:
    """Run a plan, write the report and print what came out."""
    from gtn_bench.execution import runner

    with console.progress_bars(quiet=as_json) as bars, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ of \d+ cells failed", RuntimeWarning)  # said below
        report_stage = console.stage_reporter(bars)
        results = runner.run(planned, folder, device=device.value, workers=workers, progress=report_stage)

    from gtn_bench.reporting import report as write_report

    page = write_report(folder)
    failed = int((results.summary["status"] == "error").sum())
    if as_json:
        print(json.dumps({"folder": str(folder), "report": str(page), "cells": len(results.summary), "failed": failed}))
    else:
        if note := results.provenance["note"]:
            console.warn(note)
        console.show_findings(results.provenance["models"])
        if (results.summary["status"] == "rejected").all():
            console.say(
                f"no architecture is accepted at clean accuracy {planned.suite.acceptance:g}; nothing was attacked"
            )
        console.show_overview(results)
        console.show_suspects(results)
        console.say(f"report: {page}")
    if failed:
        console.complain(f"{failed} of {len(results.summary)} cells failed; the report lists them")
        console.complain(f"first error: {results.errors[0]['error']}")
        raise typer.Exit(1)


@app.command()
def demo(out: Out = None, device: OnDevice = Device.auto, workers: Workers = None, as_json: Json = False) -> None:
    """Run the demo suite: handwritten digits, a meta-trained teacher, three modes, four perturbations."""
    run("demo", out, device, workers, as_json=as_json)


@app.command()
def evaluate(
    architecture: ModelArchitectures,
    weights: Weights,
    data: Data,
    suite: Annotated[
        str, typer.Option("--suite", metavar="SUITE", help="The suite whose perturbations count.")
    ] = "quick",
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Output folder; by default one for these models, data and suite.")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    layout: Layout = None,
    num_classes: NumClasses = None,
    target: Annotated[
        str | None, typer.Option(help="Goal of targeted attacks: a class, next, least-likely or random.")
    ] = None,
    samples_per_forward: SamplesPerForward = 1,
    eight_bit: Annotated[
        bool, typer.Option("--eight-bit", help="Judge perturbed images after rounding them to 8 bits per pixel.")
    ] = False,
    save_adversarial: Annotated[
        bool, typer.Option("--save-adversarial", help="Keep all perturbed images in DIR/adversarial.")
    ] = False,
    limit: Limit = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Evaluate existing weights on any data under the perturbations of a suite."""
    from gtn_bench.planning.adapting import check_folder_of, checkpoints_in, default_folder
    from gtn_bench.planning.planner import plan

    _load_plugins(plugin)
    adapted = checkpoints_in(
        suite,
        architecture,
        weights,
        data,
        mean=mean or (),
        std=std or (),
        layout=layout,
        num_classes=num_classes,
        samples_per_forward=samples_per_forward,
        eight_bit=eight_bit,
        save_adversarial=save_adversarial,
        target=target,
    )
    planned = plan(adapted, _parse_limit(limit))
    folder = _folder(out, default_folder(planned.suite))
    check_folder_of(planned.suite, folder)
    _run(planned, folder, device, workers, as_json)


@app.command()
def doctor(
    architecture: ModelArchitectures,
    weights: Weights,
    data: Data,
    mean: Mean = None,
    std: Std = None,
    layout: Layout = None,
    num_classes: NumClasses = None,
    samples_per_forward: SamplesPerForward = 1,
    device: OnDevice = Device.auto,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Check weights in seconds: logits, randomness, gradients, normalization. Exit code 2 if a check finds a fault."""
    from gtn_bench.execution.examine import examine
    from gtn_bench.planning.adapting import checkpoints_in
    from gtn_bench.planning.planner import plan

    _load_plugins(plugin)
    adapted = checkpoints_in(
        "quick",
        architecture,
        weights,
        data,
        mean=mean or (),
        std=std or (),
        layout=layout,
        num_classes=num_classes,
        samples_per_forward=samples_per_forward,
    )
    examined = examine(plan(adapted), device=device.value)
    if as_json:
        print(json.dumps(examined, indent=2))
    else:
        console.show_examination(examined)
    if any(finding["severity"] == "error" for model in examined for finding in model["findings"]):
        raise typer.Exit(2)


@app.command()
def teach(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or the name of a shipped teacher.")],
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder; by default teachers/<name of the teacher>.")
    ] = None,
    device: OnDevice = Device.auto,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Meta-steps between checkpoints.")] = 10,
    check_every: Annotated[int, typer.Option(min=0, help="Meta-steps between validations; 0 for none.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Number of learners that are retrained at the end.")] = 5,
    export: Annotated[
        str | None, typer.Option(metavar="FILE", help="File to which the teaching set is exported.")
    ] = None,
) -> None:
    """Meta-train a teacher. Rerun an interrupted command to resume. Supports torchrun."""
    from gtn_bench.execution import teach as teaching
    from gtn_bench.execution.distributed import is_first_process
    from gtn_bench.store.files import check_file, check_folder

    described = teaching.load_teacher(spec)
    folder = _folder(out, Path("teachers") / described.name)
    exported = user_path(export) if export is not None else None
    if is_first_process():  # now, not after hours of meta-training
        check_folder(folder / "retrain")
        if exported and os.path.isdir(exported):
            raise ConfigError(f"{exported} is a folder; --export expects a file")
        if exported:
            check_file(exported)
    with console.progress_bars(quiet=not is_first_process()) as bars:
        steps = described.teacher.work
        task = bars.add_task("meta-steps", total=steps)

        def report_step(history: Any) -> None:
            bars.update(task, completed=len(history.losses))
            validated = history.checks and history.checks[-1].meta_step == len(history.losses)
            if validated and is_first_process():
                console.show_validation(history, bars)

        taught = teaching.teach(
            described,
            folder,
            device=device.value,
            checkpoint_every=checkpoint_every,
            check_every=check_every,
            progress=report_step,
        )
        bars.update(task, completed=steps)
    if not is_first_process():
        return
    accuracy = _retrain(str(taught), folder / "retrain", seeds=seeds, device=device.value)
    teaching.finish(folder, accuracy, exported)

    from gtn_bench.reporting import teacher_report

    console.say(f"report: {teacher_report(folder)}")


@app.command()
def retrain(
    teaching_set: Annotated[str, typer.Argument(metavar="TEACHER", help="A teaching set: zoo name, file or URL.")],
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Output folder; by default results/retrain-<name>.")
    ] = None,
    architecture: Annotated[list[str] | None, typer.Option(help="Repeatable; by default the teacher's.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of learners per architecture.")] = 5,
    sha256: Annotated[str | None, typer.Option(help="Checksum of the teaching set; required for a URL.")] = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure the test accuracy of fresh learners from a teaching set, after ten and after all inner steps."""
    path = Path(teaching_set)
    name = path.parent.name if path.stem == "teacher" else path.stem
    folder = _folder(out, Path("results") / f"retrain-{name}")
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
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Output folder of a run, or folder of a teacher.")],
    bands: Annotated[
        Bands, typer.Option(help="95 % bands for each point of a curve, or for all points.")
    ] = Bands.pointwise,
) -> None:
    """Redraw the figures and rewrite report.md from the tables in an output folder."""
    from gtn_bench import reporting

    path = user_path(folder)
    if (path / "teacher.yaml").is_file():
        if bands is not Bands.pointwise:
            raise ConfigError(f"--bands applies to the curves of a run, {path} holds a teacher; leave it out")
        page = reporting.teacher_report(path)
    else:
        page = reporting.report(path, bands=bands.value)
    console.say(f"report: {page}")


@app.command()
def validate(suite: Suite, plugin: Plugins = None, as_json: Json = False) -> None:
    """Check a suite without running it: exit code 2 and one line per problem."""
    from gtn_bench.planning.planner import load, plan

    _load_plugins(plugin)
    planned = plan(load(suite))
    counts = {"teachers": len(planned.teachers), "learners": len(planned.learners), "cells": len(planned.cells)}
    if as_json:
        print(json.dumps({"name": planned.suite.name, **counts}))
    else:
        console.say(f"{planned.suite.name}: {console.count(counts)}")


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=", ".join(Kind))],
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """List everything that a suite can name."""
    from gtn_bench.config.shipped import suites, teacher_specs
    from gtn_bench.planning.catalog import catalog
    from gtn_bench.teaching.zoo import zoo_catalog

    _load_plugins(plugin)
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


@app.command()
def schema(plugin: Plugins = None) -> None:
    """Print the JSON schema of suites, for editors."""
    from gtn_bench.planning.schema import suite_schema

    _load_plugins(plugin)
    print(json.dumps(suite_schema(), indent=2))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _folder(out: str | None, default: Path) -> Path:
    """Return the output folder of a command."""
    return default if out is None else user_path(out)


def _load_plugins(paths: list[str] | None) -> None:
    """Import the files of ``--plugin``."""
    if paths:
        from gtn_bench.planning.plugins import load_plugin

        for path in paths:
            load_plugin(path)


def _retrain(taught: str, folder: Path, *, quiet: bool = False, **options: Any) -> pd.DataFrame:
    """Retrain learners and print their accuracies."""
    from gtn_bench.execution import teach as teaching

    with console.progress_bars(quiet=quiet) as bars:
        accuracy = teaching.retrain(taught, folder, progress=console.stage_reporter(bars), **options)
    if not quiet:
        console.show_table(accuracy)
    return accuracy


def _parse_limit(limit: str | None) -> int | float | None:
    """Return the value of --limit: a number of images, or a share of them."""
    if limit is None:
        return None
    number, percent = (limit[:-1], True) if limit.endswith("%") else (limit, False)
    with contextlib.suppress(ValueError):
        if percent and 0 < float(number) <= 100:
            return float(number) / 100
        if not percent and int(number) > 0:
            return int(number)
    raise ConfigError(f"--limit expects a number of images or a share of them, such as 100 or 10%, got '{limit}'")
