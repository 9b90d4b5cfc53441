"""Commands about existing weights: evaluate, doctor."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gtn_bench.cli import showing
from gtn_bench.cli.options import (
    OUTPUT,
    AcceptChanges,
    Betas,
    CellTimeout,
    Data,
    Device,
    Failing,
    Json,
    Layout,
    Limit,
    Mean,
    ModelArchitectures,
    NumClasses,
    OnDevice,
    Perturbations,
    Plugins,
    Quiet,
    SamplesPerForward,
    Scheduler,
    Std,
    StrictHardware,
    Weights,
    Workers,
    shipped_suites,
)
from gtn_bench.cli.running import Execution, run_plan
from gtn_bench.cli.values import folder_of, load_plugins, parse_limit, restricted


def evaluate(
    architecture: ModelArchitectures,
    weights: Weights,
    data: Data,
    suite: Annotated[
        str,
        typer.Option(
            "--suite", metavar="SUITE", help="The suite whose perturbations count.", autocompletion=shipped_suites
        ),
    ] = "quick",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Output folder; by default one for these models, data and suite.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    perturbation: Perturbations = None,
    beta: Betas = None,
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
        bool,
        typer.Option(
            "--save-adversarial", help="Keep all perturbed images in DIR/adversarial.", rich_help_panel=OUTPUT
        ),
    ] = False,
    limit: Limit = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    scheduler: Scheduler = None,
    cell_timeout: CellTimeout = None,
    strict_hardware: StrictHardware = False,
    accept_changes: AcceptChanges = False,
    fail_on: Failing = None,
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
    planned = restricted(plan(adapted, parse_limit(limit)), {"perturbation": perturbation, "beta": beta})
    folder = folder_of(out, default_folder(planned.suite))
    check_folder_of(planned.suite, folder)
    options = Execution(device, workers, scheduler, cell_timeout, strict_hardware, None, accept_changes, fail_on, quiet)
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
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check weights in seconds: logits, randomness, gradients, normalization. Exit code 2 if one finds a fault."""
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
        showing.show_examination(examined, quiet=quiet)
    if any(finding["severity"] == "error" for model in examined for finding in model["findings"]):
        raise typer.Exit(2)
