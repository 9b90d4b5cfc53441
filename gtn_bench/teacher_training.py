"""A teacher by itself: meta-training it, retraining learners from it, exporting it.

Everything lies in one folder: the specification (`teacher.yaml`), the checkpoint, the teaching set
(`teacher.safetensors`), the accuracy of learners retrained from it (`accuracy.csv`), `provenance.json`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import pandas as pd
import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from gtn_bench import planner, runner, suite
from gtn_bench.cache import make_folder, read_tensors, write_atomically, write_tensors
from gtn_bench.datasets import DATASETS, Dataset
from gtn_bench.description import Failure, Mistake, build, choose, explain
from gtn_bench.suite import Label, Suite
from gtn_bench.teaching import FEW_STEPS, TEACHERS, MetaTrained, Teacher, Trained
from gtn_bench.teaching.zoo import facts

if TYPE_CHECKING:
    from gtn_bench.teaching.meta_training import History


class TeacherSpec(BaseModel):
    """A teacher, and the data set it is meta-trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    name: Label
    description: str = ""
    dataset: Annotated[Dataset, BeforeValidator(lambda entry: choose(DATASETS, "dataset", entry))]
    teacher: Annotated[MetaTrained, BeforeValidator(lambda entry: _meta_trained(entry))]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.teacher.check(self.dataset)
        return self

    def to_yaml(self) -> str:
        """With every default written out."""
        parts = {"dataset": self.dataset.identity(), "teacher": self.teacher.identity()}
        data = {"name": self.name, "description": self.description, **parts}
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


def load_teacher(source: str | Path) -> TeacherSpec:
    """The teacher that a YAML file describes, or the one that ships under this name.

    Raises `Mistake`, one line for each mistake.
    """
    path = suite.find(source, "teacher", suite.teacher_specs())
    with suite.mistakes_in(path):
        try:
            spec = TeacherSpec.model_validate(suite.mapping(path.read_text(encoding="utf-8"), "a teacher"))
        except ValidationError as error:
            raise Mistake("\n".join(explain(error, TeacherSpec, ""))) from None
    return spec


def _meta_trained(entry: object) -> Teacher:
    teacher = choose(TEACHERS, "teacher", entry)
    if not isinstance(teacher, MetaTrained):
        raise Mistake(f"teacher '{teacher.name}' is not meta-trained")
    return teacher


def teach(
    spec: TeacherSpec,
    out: str | Path,
    *,
    device: runner.Device = "auto",
    checkpoint_every: int = 10,
    check_every: int = 20,
    progress: Callable[[History], None] = lambda _: None,
) -> Path:
    """Meta-train the teacher in the folder `out`; the path of its teaching set.

    Interrupted at any point, the same call continues from the checkpoint in the folder and ends with
    the same teacher. Started by `torchrun`, every process unrolls its share of the learners; the
    folder must be one that all processes see.

    Raises:
        Mistake: if the folder holds another teacher, or another process is at work in it.
        Diverged: if the meta-loss is no longer finite; the checkpoint stays.
    """
    from gtn_bench import work
    from gtn_bench.teaching.meta_training import Watch

    if checkpoint_every < 1:
        raise Mistake(f"checkpoint_every expects at least one meta-step, got {checkpoint_every}")
    folder = Path(out)
    taught, provenance = folder / "teacher.safetensors", folder / "provenance.json"
    with _processes(runner.choose_device(device)) as group, ExitStack() as held:

        def begin() -> bool:
            make_folder(folder)
            held.enter_context(_alone_in(folder))
            return _prepare(folder, spec)

        if group.first(begin):
            return taught
        group.first(lambda: work.splits(spec.dataset, group.device))  # downloaded once
        splits = work.splits(spec.dataset, group.device)
        started, before = time.time(), _seconds(provenance)

        def tell(history: History) -> None:
            if group.rank == 0:
                spent = before + time.time() - started
                about = {**_provenance(spec, group, spent), "made_by": history.made_by}
                write_atomically(provenance, json.dumps(about, indent=2).encode())
            progress(history)

        if group.device == "cpu":
            work.reuse_memory()
        checkpoint = folder / "checkpoint.safetensors"
        watch = Watch(checkpoint, checkpoint_every, check_every, tell, group.rank, group.ranks)
        teaching_set = spec.teacher(spec.dataset, splits, device=group.device, watch=watch)
        group.first(lambda: teaching_set.save(taught))
        group.first(lambda: checkpoint.unlink(missing_ok=True))
    return taught


def retrain(
    taught: str | Path,
    out: str | Path,
    *,
    sha256: str | None = None,
    architectures: Sequence[str] = (),
    seeds: int = 5,
    device: runner.Device = "auto",
    workers: int | None = None,
    progress: runner.Progress = lambda stage, done, total: None,
) -> pd.DataFrame:
    """Test accuracy of fresh learners from a teaching set (a file, URL or name in the zoo).

    One row for each architecture (by default those that the teacher was meta-trained on), number of
    inner steps (ten, and all) and kind of batch-norm statistics: mean and standard deviation over
    `seeds` learners, on all test images. A learner after ten inner steps is the beginning of the one
    after all; learners are cached by their content. A URL needs its `sha256`. Writes `out` as every
    run does, and `accuracy.csv`.
    """
    teacher = build(Trained, {"teaching_set": str(taught), "sha256": sha256}, "")
    plan = planner.plan(_retraining(teacher, architectures, seeds))
    summary = runner.run(plan, out, device=device, workers=workers, progress=progress).summary
    failed = summary[summary["status"] != "done"]
    if len(failed):
        raise Failure(f"{len(failed)} of {len(summary)} learners failed; {Path(out) / 'provenance.json'} says why")
    steps, statistics = zip(*(mode.split("-") for mode in summary["mode"]), strict=True)
    summary = summary.assign(inner_steps=[int(step) for step in steps], statistics=statistics)
    accuracy = summary.groupby(["architecture", "inner_steps", "statistics"], sort=False)["clean_accuracy"]
    table = accuracy.agg(accuracy="mean", std="std", learners="count").reset_index()
    write_atomically(Path(out) / "accuracy.csv", table.to_csv(index=False, float_format="%.6g").encode())
    return table


def finish(folder: Path, accuracy: pd.DataFrame, export: Path | None = None) -> None:
    """Leave the accuracy beside a teacher, for its report; `export` gets a file for others, with provenance."""
    write_atomically(folder / "accuracy.csv", accuracy.to_csv(index=False, float_format="%.6g").encode())
    if export:
        tensors, about = read_tensors(folder / "teacher.safetensors")
        provenance = json.loads((folder / "provenance.json").read_text())
        rows = accuracy.astype(object).where(accuracy.notna(), None).to_dict("records")  # one learner has no deviation
        write_tensors(export, tensors, {**about, "accuracy": rows, "provenance": provenance})


def first_process() -> bool:
    """Whether this is the process that writes, among those that `torchrun` has started."""
    return int(os.environ.get("RANK", 0)) == 0


def _retraining(teacher: Trained, architectures: Sequence[str], seeds: int) -> Suite:
    """Every architecture, seed, number of inner steps and kind of statistics, without any perturbation."""
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
                "dataset": known.about["dataset"],
                "teachers": [teacher.identity()],
                "architectures": list(architectures) or _labelled(known.about["teacher"]["architecture"]),
                "modes": modes,
                "seeds": list(range(seeds)),
                "perturbations": [{"name": "noise", "beta": [0]}],
            }
        )
    except (AttributeError, LookupError, TypeError, ValidationError):
        raise Mistake(f"{teacher.path} does not say what it was made for") from None


def _labelled(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The architectures of a teacher, each once; of several with one name all but the first get a number."""
    labelled: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for entry in entries:
        if entry not in seen:
            before = sum(other["name"] == entry["name"] for other in seen)
            labelled.append({**entry, "label": f"{entry['name']}-{before + 1}"} if before else entry)
            seen.append(entry)
    return labelled


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other process meta-trains in the folder meanwhile; raises `Mistake` if one does."""
    path = folder / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise Mistake(f"{folder}: another process is meta-training there; choose another folder, or stop it") from None
    try:
        yield
    finally:
        with suppress(OSError):  # some systems do not remove an open file
            path.unlink()
        lock.release()


def _prepare(folder: Path, spec: TeacherSpec) -> bool:
    """Write the specification into the folder, if it is not there; whether its teacher is finished."""
    path = folder / "teacher.yaml"
    if path.exists():
        there = load_teacher(path)
        if (there.dataset, there.teacher.content()) != (spec.dataset, spec.teacher.content()):
            raise Mistake(f"{folder} holds another teacher; choose another folder")
    else:
        write_atomically(path, spec.to_yaml().encode())
    return (folder / "teacher.safetensors").exists()


def _seconds(provenance: Path) -> float:
    return float(json.loads(provenance.read_text())["seconds"]) if provenance.exists() else 0.0


def _provenance(spec: TeacherSpec, group: _Group, seconds: float) -> dict[str, Any]:
    return {
        "teacher": spec.name,
        "seconds": round(seconds, 1),
        "machine": runner.machine(group.device),
        "processes": group.ranks,
    }


class _Group(NamedTuple):
    """The processes that meta-train together, as one of them sees them."""

    device: str
    rank: int = 0
    ranks: int = 1

    def first(self, work: Callable[[], object]) -> bool:
        """Let the first process do the work while the others wait; all learn whether it came to anything.

        A mistake or failure that it meets is raised in all of them.
        """
        if self.ranks == 1:
            return bool(work())
        from torch import distributed

        shared: list[bool | Exception] = [False]
        if self.rank == 0:
            try:
                shared = [bool(work())]
            except (Mistake, Failure) as error:
                shared = [error]
        distributed.broadcast_object_list(shared)
        if isinstance(shared[0], Exception):
            raise shared[0]
        return shared[0]


@contextmanager
def _processes(device: str) -> Iterator[_Group]:
    """Join the group that `torchrun` has started, if it has."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield _Group(device)
        return
    import torch
    from torch import distributed

    if device == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise Mistake(f"{local + 1} processes need as many GPUs here, there are {torch.cuda.device_count()}")
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield _Group(device, distributed.get_rank(), distributed.get_world_size())
        distributed.barrier()  # a process that leaves early takes the others' connections with it
        # gloo's own thread lets go of a work a moment after `barrier` has returned. If the group is
        # destroyed in between, the process may abort when it ends (pytorch/pytorch#190489 looks the same).
        time.sleep(0.2)
    finally:
        distributed.destroy_process_group()
