"""Commands that run suites: run, demo, merge."""

from __future__ import annotations

import json
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gtn_bench import console
from gtn_bench.cli import showing
from gtn_bench.cli.options import (
    OUTPUT,
    AcceptChanges,
    Architectures,
    Betas,
    CellTimeout,
    Device,
    DryRun,
    Failing,
    FailOn,
    Json,
    Limit,
    MaxCells,
    Modes,
    OnDevice,
    Out,
    Perturbations,
    Plugins,
    Quiet,
    Scheduler,
    Seeds,
    Shard,
    StrictHardware,
    Suite,
    Teachers,
    Workers,
)
from gtn_bench.cli.outcome import finish
from gtn_bench.cli.values import default_output, folder_of, load_plugins, parse_limit, parse_seeds, restricted
from gtn_bench.config.paths import user_path

if TYPE_CHECKING:
    from gtn_bench.planning.cells import Plan


def run(
    suite: Suite,
    out: Out = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    limit: Limit = None,
    seeds: Seeds = None,
    perturbation: Perturbations = None,
    beta: Betas = None,
    mode: Modes = None,
    architecture: Architectures = None,
    teacher: Teachers = None,
    shard: Shard = None,
    scheduler: Scheduler = None,
    cell_timeout: CellTimeout = None,
    strict_hardware: StrictHardware = False,
    max_cells: MaxCells = None,
    accept_changes: AcceptChanges = False,
    fail_on: Failing = None,
    dry_run: DryRun = False,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, attack and report a suite. Cached parts are not computed again."""
    from gtn_bench.planning.planner import load, plan
    from gtn_bench.planning.size import MAX_CELLS

    load_plugins(plugin)
    chosen = {
        "perturbation": perturbation,
        "beta": beta,
        "mode": mode,
        "architecture": architecture,
        "teacher": teacher,
    }
    loaded = load(suite)
    if seeds is not None:
        loaded = loaded.model_copy(update={"seeds": parse_seeds(seeds)})
    planned = restricted(plan(loaded, parse_limit(limit), max_cells or MAX_CELLS), chosen)
    folder = folder_of(out, default_output(planned.suite.name, shard))
    options = Execution(
        device, workers, scheduler, cell_timeout, strict_hardware, shard, accept_changes, fail_on, quiet
    )
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
    fail_on: FailOn | None = None
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
    from gtn_bench.execution.executors.local import idle_workers
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
        page = write_report(results.folder, accept_changes=options.accept_changes, executor=idle_workers())
    finish(results, page, quiet=options.quiet, as_json=as_json, fail_on=options.fail_on)


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
        showing.show_estimate(estimate)


def merge(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Output folders of all shards of a suite, or of runs with other seeds."),
    ],
    out: Annotated[str, typer.Option(metavar="DIR", help="Output folder of the whole suite.", rich_help_panel=OUTPUT)],
    fail_on: Failing = None,
    quiet: Quiet = False,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Merge the shards of a suite, or runs with other seeds, into one run. Fails if two parts disagree."""
    from gtn_bench.execution.merging import merge as merge_shards
    from gtn_bench.reporting import report as write_report
    from gtn_bench.store.one_writer import one_writer

    load_plugins(plugin)
    folder = user_path(out)
    with one_writer(folder), console.progress(quiet=as_json or quiet) as report_stage:
        results = merge_shards([user_path(shard) for shard in folders], folder, progress=report_stage)
        page = write_report(results.folder)
    finish(results, page, quiet=quiet, as_json=as_json, fail_on=fail_on)


def demo(
    out: Out = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    limit: Limit = None,
    seeds: Seeds = None,
    dry_run: DryRun = False,
    fail_on: Failing = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the demo suite: handwritten digits, a meta-trained teacher, three modes, four perturbations."""
    run(
        "demo",
        out,
        device,
        workers,
        limit,
        seeds=seeds,
        dry_run=dry_run,
        fail_on=fail_on,
        quiet=quiet,
        as_json=as_json,
    )
