"""A teacher without a suite: meta-train it, retrain learners on it, export it.

Its folder holds the specification (`teacher.yaml`), the checkpoint, the teaching set (`teacher.safetensors`), the
accuracy of learners retrained on it (`accuracy.csv`) and `provenance.json`.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from gtn_bench.analysis.teacher_files import check_accuracy, check_teacher_files, write_accuracy
from gtn_bench.config.description import build, choose, explain
from gtn_bench.config.errors import ConfigError, RunError, shown
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.labels import Label
from gtn_bench.config.paths import user_path
from gtn_bench.config.shipped import find, teacher_specs
from gtn_bench.config.suite import Suite
from gtn_bench.config.yaml import errors_in, parse_mapping, to_yaml
from gtn_bench.data import DATASETS, Dataset
from gtn_bench.execution.accelerator import check_bfloat16, reproducible
from gtn_bench.execution.distributed import ProcessGroup, process_group
from gtn_bench.execution.environment import Device, choose_device, machine
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.execution.runner import run
from gtn_bench.execution.scheduler import Progress
from gtn_bench.planning.planner import plan
from gtn_bench.store.files import make_folder, read_tensors, write_atomically, write_tensors
from gtn_bench.teaching import TEACHERS, MetaTrained, Teacher
from gtn_bench.teaching.encoding import facts
from gtn_bench.teaching.history import FEW_STEPS, History, Monitor
from gtn_bench.teaching.zoo import Trained


class TeacherSpec(BaseModel):
    """The specification of a teacher: what to meta-train, on which data set.

    Attributes:
        name: Name of the teacher and of its default folder.
        description: What the teacher is for.
        dataset: The data set to teach.
        teacher: The teacher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    name: Label
    description: str = ""
    dataset: Annotated[Dataset, BeforeValidator(lambda entry: choose(DATASETS, "dataset", entry))]
    teacher: Annotated[MetaTrained, BeforeValidator(lambda entry: _meta_trained(entry))]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.teacher.check(self.dataset)
        self.dataset.check_training(f"teacher '{self.teacher.name}'", validation=True)
        return self

    def to_yaml(self) -> str:
        """Return the specification as YAML text, with every default."""
        parts = {"dataset": self.dataset.identity(), "teacher": self.teacher.identity()}
        return to_yaml({"name": self.name, "description": self.description, **parts})


@names_keywords
def load_teacher(source: str | Path) -> TeacherSpec:
    """Load the specification of a teacher.

    Args:
        source: Path of a YAML file, or name of a specification that ships with the package.

    Raises:
        ConfigError: One line per problem.
    """
    path = find(source, "teacher", teacher_specs())
    with errors_in(path):
        try:
            spec = TeacherSpec.model_validate(parse_mapping(path.read_text(encoding="utf-8"), "a teacher"))
        except ValidationError as error:
            raise ConfigError("\n".join(explain(error, TeacherSpec, ""))) from None
    return spec


def _meta_trained(entry: object) -> Teacher:
    teacher = choose(TEACHERS, "teacher", entry)
    if not isinstance(teacher, MetaTrained):
        raise ConfigError(f"teacher '{teacher.name}' is not meta-trained")
    return teacher


@names_keywords
def teach(
    spec: TeacherSpec,
    out: str | Path,
    *,
    device: Device = "auto",
    checkpoint_every: int = 10,
    check_every: int = 20,
    progress: Callable[[History], None] = lambda _: None,
) -> Path:
    """Meta-train a teacher.

    An interrupted call resumes from the checkpoint in the folder and ends with the same teacher. Under torchrun every
    process unrolls its share of the learners; all processes must see the same folder.

    Args:
        spec: The specification.
        out: The folder of the teacher.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        checkpoint_every: Meta-steps between checkpoints.
        check_every: Meta-steps between validations of a fresh learner; 0 for none.
        progress: Called with the history after every meta-step.

    Returns:
        The path of the teaching set.

    Raises:
        ConfigError: If the folder holds another teacher or files of somebody else, or another process uses it.
        DivergenceError: If the meta-training diverges. The checkpoint stays.
    """
    from gtn_bench.execution import loading

    if not isinstance(spec, TeacherSpec):
        raise ConfigError(
            f"teach expects the specification of a teacher, got {shown(spec)}; "
            f"call gtn_bench.teach(gtn_bench.load_teacher({shown(spec)}), ...)"
        )
    if checkpoint_every < 1:
        raise ConfigError(f"checkpoint_every expects at least one meta-step, got {checkpoint_every}")
    folder = user_path(out)
    taught, provenance = folder / "teacher.safetensors", folder / "provenance.json"
    with process_group(choose_device(device)) as group, ExitStack() as held:
        if spec.teacher.precision == "bfloat16":
            check_bfloat16(group.device, f"teacher '{spec.name}'")

        def begin() -> bool:
            check_teacher_files(folder)
            make_folder(folder)
            held.enter_context(_locked(folder))
            return _prepare(folder, spec)

        if group.run_first(begin):
            return taught
        group.run_first(lambda: loading.splits(spec.dataset, group.device))  # downloads once
        splits = loading.splits(spec.dataset, group.device)
        started, before = time.time(), _seconds(provenance)

        def report(history: History) -> None:
            if group.rank == 0:
                spent = before + time.time() - started
                content = {**_provenance(spec, group, spent), "made_by": history.made_by}
                write_atomically(provenance, json.dumps(content, indent=2).encode())
            progress(history)

        if group.device == "cpu":
            reuse_memory()
        checkpoint = folder / "checkpoint.safetensors"
        monitor = Monitor(checkpoint, checkpoint_every, check_every, report, group.rank, group.ranks)
        with reproducible(group.device):
            teaching_set = spec.teacher(spec.dataset, splits, device=group.device, monitor=monitor)
        group.run_first(lambda: teaching_set.save(taught))
        group.run_first(lambda: checkpoint.unlink(missing_ok=True))
    return taught


@names_keywords
def retrain(
    taught: str | Path,
    out: str | Path,
    *,
    sha256: str | None = None,
    architectures: Sequence[str] = (),
    learners: int = 5,
    device: Device = "auto",
    workers: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> pd.DataFrame:
    """Measure the test accuracy of fresh learners from a teaching set.

    Learners are cached by their content. The folder is an output folder like that of a suite, with `accuracy.csv`.

    Args:
        taught: The teaching set: a file, a URL, or a name in the zoo.
        out: The output folder.
        sha256: Checksum of the teaching set; a URL requires it.
        architectures: Names of architectures; by default those that the teacher was meta-trained on.
        learners: Number of learners per row.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        workers: Number of processes; by default one per core.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        One row per architecture, number of inner steps (ten, and all) and type of batch-norm statistics: mean and
        standard deviation of the accuracy on all test images.

    Raises:
        ConfigError: If the teaching set is not found or invalid, or the folder holds files of somebody else.
        RunError: If a learner fails.
    """
    folder = user_path(out)
    check_accuracy(folder)
    teacher = build(Trained, {"teaching_set": str(taught), "sha256": sha256}, "")
    retraining = plan(_retraining(teacher, architectures, learners))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ of \d+ cells failed", RuntimeWarning)  # an error below
        summary = run(retraining, folder, device=device, workers=workers, progress=progress).summary
    failed = summary[summary["status"] != "done"]
    if len(failed):
        raise RunError(f"{len(failed)} of {len(summary)} learners failed; see {folder / 'provenance.json'}")
    steps, statistics = zip(*(mode.split("-") for mode in summary["mode"]), strict=True)
    summary = summary.assign(inner_steps=[int(step) for step in steps], statistics=statistics)
    accuracy = summary.groupby(["architecture", "inner_steps", "statistics"], sort=False)["clean_accuracy"]
    table = accuracy.agg(accuracy="mean", std="std", learners="count").reset_index()
    write_accuracy(folder, table)
    return table


def finish(folder: Path, accuracy: pd.DataFrame, export: Path | None = None) -> None:
    """Write the accuracy of retrained learners beside a teacher.

    Args:
        folder: The folder of the teacher.
        accuracy: The table that `retrain` returns.
        export: File to which the teaching set is exported, with accuracy and provenance; None for none.
    """
    write_accuracy(folder, accuracy)
    if export:
        tensors, metadata = read_tensors(folder / "teacher.safetensors")
        provenance = json.loads((folder / "provenance.json").read_text())
        rows = accuracy.astype(object).where(accuracy.notna(), None).to_dict("records")  # one learner has no deviation
        write_tensors(export, tensors, {**metadata, "accuracy": rows, "provenance": provenance})


def _retraining(teacher: Trained, architectures: Sequence[str], learners: int) -> Suite:
    """Return a suite of every architecture, learner, number of inner steps and type of statistics, without attacks."""
    known = facts(teacher.fetch())
    lengths = sorted({length for length in (FEW_STEPS, known.inner_steps) if length <= known.inner_steps})
    modes = [
        {"name": "gtn", "label": f"{length}-{statistics}", "inner_steps": length, "statistics": statistics}
        for length in lengths
        for statistics in ("real", "teaching")
    ]
    try:
        return Suite.model_validate(
            {
                "name": "retrain",
                "dataset": known.metadata["dataset"],
                "teachers": [teacher.identity()],
                "architectures": list(architectures) or _labeled(known.metadata["teacher"]["architecture"]),
                "modes": modes,
                "seeds": list(range(learners)),
                "perturbations": [{"name": "noise", "beta": [0]}],
            }
        )
    except (AttributeError, LookupError, TypeError, ValidationError):
        raise ConfigError(f"{teacher.path} does not say what it was made for") from None


def _labeled(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the architectures of a teacher, each once; further ones of the same name get a number as label."""
    labeled: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for entry in entries:
        if entry not in seen:
            before = sum(other["name"] == entry["name"] for other in seen)
            labeled.append({**entry, "label": f"{entry['name']}-{before + 1}"} if before else entry)
            seen.append(entry)
    return labeled


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes. Raises `ConfigError` if one holds the lock."""
    path = folder / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"{folder}: another process is meta-training there; choose another folder, or stop it"
        ) from None
    except (OSError, NotImplementedError):
        pass  # a file system without locks: two processes would write the same files, each of them whole
    try:
        yield
    finally:
        with suppress(OSError):  # some systems cannot remove an open file
            path.unlink()
        lock.release()


def _prepare(folder: Path, spec: TeacherSpec) -> bool:
    """Write the specification into the folder unless it exists; return whether its teacher is finished."""
    path = folder / "teacher.yaml"
    if path.exists():
        existing = load_teacher(path)
        if (existing.dataset, existing.teacher.content()) != (spec.dataset, spec.teacher.content()):
            raise ConfigError(f"{folder} holds another teacher; choose another folder")
    else:
        write_atomically(path, spec.to_yaml().encode())
    return (folder / "teacher.safetensors").exists()


def _seconds(provenance: Path) -> float:
    return float(json.loads(provenance.read_text())["seconds"]) if provenance.exists() else 0.0


def _provenance(spec: TeacherSpec, group: ProcessGroup, seconds: float) -> dict[str, Any]:
    return {
        "teacher": spec.name,
        "seconds": round(seconds, 1),
        "machine": machine(group.device),
        "processes": group.ranks,
    }
