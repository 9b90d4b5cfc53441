"""Commands about teachers: teach, retrain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtn_bench import console
from gtn_bench.cli.options import Device, Json, OnDevice, Plugins, Workers, folder_of, load_plugins
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path

if TYPE_CHECKING:
    import pandas as pd


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
    plugin: Plugins = None,
) -> None:
    """Meta-train a teacher. Rerun an interrupted command to resume. Supports torchrun."""
    from gtn_bench.analysis.teacher_files import check_teacher_files
    from gtn_bench.execution import teach as teaching
    from gtn_bench.execution.distributed import is_first_process

    load_plugins(plugin)
    described = teaching.load_teacher(spec)
    folder = folder_of(out, Path("teachers") / described.name)
    exported = user_path(export) if export is not None else None
    if is_first_process():  # now, not after hours of meta-training
        check_teacher_files(folder)
        _check_retraining(folder / "retrain")
        if exported:
            _check_export(exported)
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
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Measure the test accuracy of fresh learners from a teaching set, after ten and after all inner steps."""
    load_plugins(plugin)
    path = Path(teaching_set)
    name = path.parent.name if path.stem == "teacher" else path.stem
    folder = folder_of(out, Path("results") / f"retrain-{name}")
    _check_retraining(folder)
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


def _retrain(taught: str, folder: Path, *, quiet: bool = False, **options: Any) -> pd.DataFrame:
    """Retrain learners and print their accuracies."""
    from gtn_bench.execution import teach as teaching

    with console.progress_bars(quiet=quiet) as bars:
        accuracy = teaching.retrain(taught, folder, progress=console.stage_reporter(bars), **options)
    if not quiet:
        console.show_table(accuracy)
    return accuracy


def _check_retraining(folder: Path) -> None:
    """Raise `ConfigError` if a folder cannot take the results of retrained learners."""
    from gtn_bench.analysis.teacher_files import check_accuracy
    from gtn_bench.config.suite import Suite
    from gtn_bench.execution.output import check_output

    check_accuracy(folder)
    # The names of the suite and of its perturbations tell which files are written.
    learners = {"dataset": "digits", "architectures": ["linear"], "modes": ["vanilla"], "seeds": [0]}
    perturbations = [{"name": "noise", "beta": [0]}]
    check_output(folder, Suite.model_validate({"name": "retrain", **learners, "perturbations": perturbations}))


def _check_export(path: Path) -> None:
    """Raise `ConfigError` if a teaching set cannot be exported to a file, or would replace something else."""
    from gtn_bench.store.files import check_file
    from gtn_bench.teaching.encoding import facts

    if os.path.isdir(path):
        raise ConfigError(f"{path} is a folder; --export expects a file")
    check_file(path)
    if os.path.lexists(path):
        try:
            facts(path)
        except ConfigError:
            raise ConfigError(
                f"{path} holds something else than a teaching set; --export does not replace it, choose another file"
            ) from None
