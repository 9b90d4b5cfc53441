"""The arguments and options that several commands share, and what they mean."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path


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
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Dask scheduler that runs the tasks: tcp://HOST:PORT, or local-cluster to start one."
    ),
]
CellTimeout = Annotated[
    float | None,
    typer.Option(min=0.001, metavar="SECONDS", help="Time limit of a cell; a cell that exceeds it fails."),
]
StrictHardware = Annotated[
    bool, typer.Option("--strict-hardware", help="Use stored results of the same kind of processor only.")
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Evaluate one of N parts of the suite, over a shared cache; then merge them."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND=NAME", help="Only a part of the suite: perturbation=fgsm,mode=gtn. Repeatable."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what is missing in the cache, and estimates; compute nothing.")
]
MaxCells = Annotated[int | None, typer.Option(min=1, help="Refuse a suite with more cells; by default 100000.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Read or replace files of the folder that were changed after the run.")
]
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


def folder_of(out: str | None, default: Path) -> Path:
    """Return the output folder of a command.

    Args:
        out: The value of ``--out``.
        default: The folder without it.
    """
    return default if out is None else user_path(out)


def load_plugins(paths: list[str] | None) -> None:
    """Import the files of ``--plugin``.

    Args:
        paths: Their paths.
    """
    if paths:
        from gtn_bench.planning.plugins import load_plugin

        for path in paths:
            load_plugin(path)


def parse_limit(limit: str | None) -> int | float | None:
    """Return the value of ``--limit``: a number of images, or a share of them.

    Args:
        limit: The text, such as ``100`` or ``10%``.

    Raises:
        ConfigError: If the text has another form.
    """
    if limit is None:
        return None
    number, percent = (limit[:-1], True) if limit.endswith("%") else (limit, False)
    with contextlib.suppress(ValueError):
        if percent and 0 < float(number) <= 100:
            return float(number) / 100
        if not percent and int(number) > 0:
            return int(number)
    raise ConfigError(f"--limit expects a number of images or a share of them, such as 100 or 10%, got '{limit}'")


def parse_only(values: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of ``--only``: labels by kind.

    Args:
        values: Texts such as ``perturbation=fgsm,mode=gtn``.

    Raises:
        ConfigError: If a part has no ``=``.
    """
    chosen: dict[str, list[str]] = {}
    for part in (part for value in values for part in value.split(",")):
        kind, separator, label = part.partition("=")
        if not separator or not label:
            raise ConfigError(f"--only expects KIND=NAME, such as perturbation=fgsm, got '{part}'")
        chosen.setdefault(kind.strip(), []).append(label.strip())
    return chosen


def default_output(suite: str, shard: str | None) -> Path:
    """Return the output folder of a suite, or of a part of it.

    Args:
        suite: Name of the suite.
        shard: The part, as text I/N.
    """
    return Path("results") / (f"{suite}-{shard.replace('/', '-of-')}" if shard else suite)
