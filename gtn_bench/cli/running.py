"""Commands that evaluate: run, demo, evaluate, doctor."""

from __future__ import annotations

import json
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gtn_bench import console
from gtn_bench.cli.options import (
    AcceptChanges,
    Architectures,
    CellTimeout,
    Data,
    Device,
    DryRun,
    Json,
    Layout,
    Limit,
    MaxCells,
    Mean,
    ModelArchitectures,
    NumClasses,
    OnDevice,
    Only,
    Out,
    Plugins,
    Quiet,
    SamplesPerForward,
    Scheduler,
    Shard,
    Std,
    StrictHardware,
    Suite,
    Weights,
    Workers,
    default_output,
    folder_of,
    load_plugins,
    parse_limit,
    parse_only,
)
from gtn_bench.config.paths import user_path

if TYPE_CHECKING:
    from gtn_bench.planning.cells import Plan
    from gtn_bench.reporting.notebook import Results


def run(
    suite: Suite,
    out: Out = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    limit: Limit = None,
    architecture: Architectures = None,
    only: Only = None,
    shard: Shard = None,
    scheduler: Scheduler = None,
    cell_timeout: CellTimeout = None,
    strict_hardware: StrictHardware = False,
    max_cells: MaxCells = None,
    accept_changes: AcceptChanges = False,
    dry_run: DryRun = False,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, attack and report a suite. Cached parts are not computed again."""
    from gtn_bench.planning.planner import load, plan
    from gtn_bench.planning.size import MAX_CELLS

    load_plugins(plugin)
    planned = plan(load(suite), parse_limit(limit), max_cells or MAX_CELLS)
    chosen = parse_only([*(only or []), *(f"architecture={label}" for label in architecture or [])])
    if chosen:
        planned = planned.only(chosen)
    folder = folder_of(out, default_output(planned.suite.name, shard))
    options = Execution(device, workers, scheduler, cell_timeout, strict_hardware, shard, accept_changes, quiet)
    if dry_run:
        show_estimate(planned, folder, options, as_json)
    else:
        run_plan(planned, folder, options, as_json)


class Execution(NamedTuple):
    """Options of the command line that say how a plan is run."""

    device: Device = Device.auto
    workers: int | None = None
    scheduler: str | None = None
    cell_timeout: float | None = None
    strict_hardware: bool = False
    shard: str | None = None
    accept_changes: bool = False
    quiet: bool = False


def run_plan(planned: Plan, folder: Path, options: Execution, as_json: bool) -> None:
    """Run a plan, write the report and print what came out.

    Args:
        planned: The plan.
        folder: The output folder.
        options: How it is run.
        as_json: Whether to print JSON.
    """
    from gtn_bench.execution import runner
    from gtn_bench.reporting import report as write_report
    from gtn_bench.store.one_writer import one_writer

    with ExitStack() as block:
        block.enter_context(one_writer(folder))  # until the report is written
        report_stage = block.enter_context(console.progress(quiet=as_json or options.quiet))
        block.enter_context(warnings.catch_warnings())
        for said in (r"\d+ of \d+ cells failed", "results were computed"):  # below
            warnings.filterwarnings("ignore", said, RuntimeWarning)
        results = runner.run(
            planned,
            folder,
            device=options.device.value,
            workers=options.workers,
            scheduler=options.scheduler or "processes",  # a task that ends its process must not end the command
            shard=options.shard,
            cell_timeout=options.cell_timeout,
            strict_hardware=options.strict_hardware,
            accept_changes=options.accept_changes,
            progress=report_stage,
        )
        page = write_report(results.folder, accept_changes=options.accept_changes)
    show(results, page, options.quiet, as_json)


def show(results: Results, page: Path, quiet: bool, as_json: bool) -> None:
    """Print what came out of a run.

    Args:
        results: The results.
        page: The report.
        quiet: Whether to print errors only.
        as_json: Whether to print JSON.

    Raises:
        typer.Exit: With code 1 if some cells failed.
    """
    failed = int((results.summary["status"] == "error").sum())
    if as_json:
        counts = {"cells": len(results.summary), "failed": failed}
        print(json.dumps({"folder": str(results.folder), "report": str(page), **counts}))
    elif not quiet:
        console.show_results(results)
        console.say(f"report: {page}")
    if failed:
        console.complain(f"{failed} of {len(results.summary)} cells failed; the report lists them")
        console.complain(f"first error: {results.errors[0]['error']}")
        raise typer.Exit(1)


def show_estimate(planned: Plan, folder: Path, options: Execution, as_json: bool) -> None:
    """Print what a plan would compute, and about how long that takes.

    Args:
        planned: The plan.
        folder: The output folder, whose earlier runs tell how long tasks take.
        options: How it would be run.
        as_json: Whether to print JSON.
    """
    from gtn_bench.execution import runner

    estimate = runner.dry_run(
        planned,
        folder,
        device=options.device.value,
        workers=options.workers,
        strict_hardware=options.strict_hardware,
    )
    if as_json:
        print(json.dumps(estimate._asdict(), indent=2))
    else:
        console.show_estimate(estimate)


def merge(
    folders: Annotated[list[str], typer.Argument(metavar="DIR...", help="Output folders of all shards of a suite.")],
    out: Annotated[str, typer.Option(metavar="DIR", help="Output folder of the whole suite.")],
    quiet: Quiet = False,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Merge the shards of a suite into the results of the whole. Fails if two shards disagree."""
    from gtn_bench.execution.merging import merge as merge_shards
    from gtn_bench.reporting import report as write_report
    from gtn_bench.store.one_writer import one_writer

    load_plugins(plugin)
    folder = user_path(out)
    with one_writer(folder), console.progress(quiet=as_json or quiet) as report_stage:
        results = merge_shards([user_path(shard) for shard in folders], folder, progress=report_stage)
        page = write_report(results.folder)
    show(results, page, quiet, as_json)


def demo(
    out: Out = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    limit: Limit = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the demo suite: handwritten digits, a meta-trained teacher, three modes, four perturbations."""
    run("demo", out, device, workers, limit, quiet=quiet, as_json=as_json)


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
    scheduler: Scheduler = None,
    cell_timeout: CellTimeout = None,
    strict_hardware: StrictHardware = False,
    accept_changes: AcceptChanges = False,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate existing weights on any data under the perturbations of a suite."""
    from gtn_bench.planning.adapting import check_folder_of, checkpoints_in, default_folder
    from gtn_bench.planning.planner import plan

    load_plugins(plugin)
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
    planned = plan(adapted, parse_limit(limit))
    folder = folder_of(out, default_folder(planned.suite))
    check_folder_of(planned.suite, folder)
    options = Execution(device, workers, scheduler, cell_timeout, strict_hardware, None, accept_changes, quiet)
    run_plan(planned, folder, options, as_json)


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

    load_plugins(plugin)
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
