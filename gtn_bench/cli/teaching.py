"""Commands about teachers: teach, retrain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtn_bench import console
from gtn_bench.cli import showing
from gtn_bench.cli.options import EXECUTION, OUTPUT, Device, Json, Learners, OnDevice, Plugins, Quiet, Workers
from gtn_bench.cli.values import folder_of, load_plugins
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path

if TYPE_CHECKING:
    import pandas as pd


def teach(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or the name of a shipped teacher.")],
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder; by default teachers/<name of the teacher>.", rich_help_panel=OUTPUT),
    ] = None,
    device: OnDevice = Device.auto,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Meta-steps between checkpoints.", rich_help_panel=EXECUTION)
    ] = 10,
    check_every: Annotated[
        int, typer.Option(min=0, help="Meta-steps between validations; 0 for none.", rich_help_panel=EXECUTION)
    ] = 20,
    learners: Learners = 5,
    export: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File to which the teaching set is exported.", rich_help_panel=OUTPUT),
    ] = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
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
    steps, done = described.teacher.work, 0
    silent = quiet or not is_first_process()
    with console.progress(quiet=silent) as report_stage:

        def report_step(history: Any) -> None:
            nonlocal done
            done = len(history.losses)
            report_stage("meta-steps", done, steps)
            validated = history.checks and history.checks[-1].meta_step == done
            if validated and not silent:
                showing.show_validation(history)

        taught = teaching.teach(
            described,
            folder,
            device=device.value,
            checkpoint_every=checkpoint_every,
            check_every=check_every,
            progress=report_step,
        )
        if done < steps:  # an earlier call has finished it
            report_stage("meta-steps", steps, steps)
    if not is_first_process():
        return
    accuracy = _retrain(str(taught), folder / "retrain", quiet=quiet, learners=learners, device=device.value)
    teaching.finish(folder, accuracy, exported)

    from gtn_bench.reporting import teacher_report

    page = teacher_report(folder)
    if not quiet:
        console.say(f"report: {page}")


def retrain(
    teaching_set: Annotated[str, typer.Argument(metavar="TEACHER", help="A teaching set: zoo name, file or URL.")],
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Output folder; by default results/retrain-<name>.", rich_help_panel=OUTPUT),
    ] = None,
    architecture: Annotated[list[str] | None, typer.Option(help="Repeatable; by default the teacher's.")] = None,
    learners: Learners = 5,
    sha256: Annotated[str | None, typer.Option(help="Checksum of the teaching set; required for a URL.")] = None,
    device: OnDevice = Device.auto,
    workers: Workers = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
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
        quiet=quiet or as_json,
        sha256=sha256,
        architectures=architecture or (),
        learners=learners,
        device=device.value,
        workers=workers,
    )
    if as_json:
        print(accuracy.to_json(orient="records"))


def _retrain(taught: str, folder: Path, *, quiet: bool = False, **options: Any) -> pd.DataFrame:
    """Retrain learners and print their accuracies."""
    from gtn_bench.execution import teach as teaching

    with console.progress(quiet=quiet) as report_stage:
        accuracy = teaching.retrain(taught, folder, progress=report_stage, **options)
    if not quiet:
        showing.show_table(accuracy)
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
