"""The arguments and options that several commands share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Device(StrEnum):
    """Values of ``--device``."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Bands(StrEnum):
    """Values of ``--bands``."""

    pointwise = "pointwise"
    simultaneous = "simultaneous"


class FailOn(StrEnum):
    """Values of ``--fail-on``."""

    suspect = "suspect"


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


# The panels of the help texts.
PART, MODELS, EXECUTION, OUTPUT = "Part of the suite", "Models and images", "Execution", "Output"


def epilog(*examples: str) -> str:
    """Return the end of a help text, with example command lines.

    Args:
        examples: The command lines.
    """
    return "\n\n".join(["Examples:" if len(examples) > 1 else "Example:", *examples])


def shipped_suites(incomplete: str) -> list[str]:
    """Return the names of shipped suites that complete a text, for the shell.

    Args:
        incomplete: The text.
    """
    from gtn_bench.config.shipped import suites

    return [name for name in suites() if name.startswith(incomplete)]


Suite = Annotated[
    str,
    typer.Argument(metavar="SUITE", help="A YAML file, or the name of a shipped suite.", autocompletion=shipped_suites),
]
Out = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Output folder; by default results/<name of the suite>.", rich_help_panel=OUTPUT),
]
OnDevice = Annotated[
    Device, typer.Option(help="Device; auto selects a GPU if there is one.", rich_help_panel=EXECUTION)
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of processes; by default one per core.", rich_help_panel=EXECUTION),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler that runs the tasks: tcp://HOST:PORT, or local-cluster to start one.",
        rich_help_panel=EXECUTION,
    ),
]
CellTimeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        metavar="SECONDS",
        help="Time limit of a cell; a cell that exceeds it fails.",
        rich_help_panel=EXECUTION,
    ),
]
StrictHardware = Annotated[
    bool,
    typer.Option(
        "--strict-hardware",
        help="Use stored results of the same kind of processor only.",
        rich_help_panel=EXECUTION,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Evaluate one of N parts of the suite, over a shared cache; then merge them.",
        rich_help_panel=EXECUTION,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what is missing in the cache, and estimates; compute nothing.",
        rich_help_panel=EXECUTION,
    ),
]
MaxCells = Annotated[
    int | None,
    typer.Option(min=1, help="Refuse a suite with more cells; by default 100000.", rich_help_panel=EXECUTION),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="Python file to import; suites can name what it defines. Repeatable.",
        rich_help_panel=EXECUTION,
    ),
]
Architectures = Annotated[
    list[str] | None,
    typer.Option("--architecture", metavar="LABEL", help="Only this architecture. Repeatable.", rich_help_panel=PART),
]
Modes = Annotated[
    list[str] | None,
    typer.Option("--mode", metavar="LABEL", help="Only this mode or control. Repeatable.", rich_help_panel=PART),
]
Perturbations = Annotated[
    list[str] | None,
    typer.Option("--perturbation", metavar="LABEL", help="Only this perturbation. Repeatable.", rich_help_panel=PART),
]
Teachers = Annotated[
    list[str] | None,
    typer.Option("--teacher", metavar="LABEL", help="Only learners of this teacher. Repeatable.", rich_help_panel=PART),
]
Betas = Annotated[
    list[str] | None,
    typer.Option("--beta", metavar="NUMBER", help="Only this strength: 0.1, 8/255. Repeatable.", rich_help_panel=PART),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="SEEDS",
        help="These seeds instead of the suite's: 0-9, or 0,3,5. More seeds extend an earlier run.",
        rich_help_panel=PART,
    ),
]
Limit = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER", help="At most this many test images per cell, or a share: 10%.", rich_help_panel=PART
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.", rich_help_panel=OUTPUT)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for another program.", rich_help_panel=OUTPUT)]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Read or replace files of the folder that were changed after the run.",
        rich_help_panel=OUTPUT,
    ),
]
Failing = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="Exit with code 3 if a curve has this grade.", rich_help_panel=OUTPUT),
]
Learners = Annotated[
    int, typer.Option(min=1, help="Number of learners per architecture that are trained from the teaching set.")
]
ModelArchitectures = Annotated[
    list[str],
    typer.Option(
        "--architecture",
        metavar="NAME",
        help="Architecture: a name, or '{name: ...}' as in a suite. LABEL=NAME is that of one mode. Repeatable.",
        rich_help_panel=MODELS,
    ),
]
Weights = Annotated[
    list[str],
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Weights. Repeatable. LABEL=FILE compares several modes.",
        rich_help_panel=MODELS,
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Test images: a file, a folder, a data set's name, or '{...}'.",
        rich_help_panel=MODELS,
    ),
]
Mean = Annotated[
    list[str] | None,
    typer.Option(
        help="Mean that the models subtract: 0.5, or one per channel: 0.5,0.5,0.5. LABEL=MEAN for one mode.",
        rich_help_panel=MODELS,
    ),
]
Std = Annotated[
    list[str] | None,
    typer.Option(help="Standard deviation that they divide by. LABEL=STD for one mode.", rich_help_panel=MODELS),
]
Layout = Annotated[
    str | None,
    typer.Option(help="Layout of the images where it is ambiguous: NCHW or NHWC.", rich_help_panel=MODELS),
]
NumClasses = Annotated[
    int | None, typer.Option(min=2, help="Number of classes, if labels do not tell.", rich_help_panel=MODELS)
]
SamplesPerForward = Annotated[
    int,
    typer.Option(
        min=1, help="Forward passes that are averaged, for a model with random outputs.", rich_help_panel=MODELS
    ),
]
