"""A teacher by itself: meta-training it, retraining learners from it, exporting it.

Everything lies in one folder: the specification (`teacher.yaml`), the checkpoint, the teaching set
(`teacher.safetensors`), the accuracy of learners retrained from it (`accuracy.csv`), `provenance.json`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gtn_bench import planner, runner, suite
from gtn_bench.cache import installed, write_atomically
from gtn_bench.datasets import DATASETS, Dataset
from gtn_bench.description import Mistake, choose, explain
from gtn_bench.suite import Label, Suite
from gtn_bench.teaching import TEACHERS, MetaTrained, Teacher, Trained
from gtn_bench.teaching.zoo import facts

if TYPE_CHECKING:
    from gtn_bench.teaching.meta_training import History

CHECKED_ON = 10  # inner steps after which learners are looked at, besides all of them


class TeacherSpec(BaseModel):
    """A teacher, and the data set it is meta-trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    name: Label
    description: str = ""
    dataset: Annotated[Dataset, BeforeValidator(lambda entry: choose(DATASETS, "dataset", entry))]
    teacher: Annotated[Teacher, BeforeValidator(lambda entry: choose(TEACHERS, "teacher", entry))]

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
        if not isinstance(spec.teacher, MetaTrained):
            raise Mistake(f"teacher: '{spec.teacher.name}' is not meta-trained")
        spec.teacher.check(spec.dataset)
    return spec


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
    the same teacher. Started by `torchrun`, every process unrolls its share of the learners.

    Raises:
        Mistake: if the folder holds another teacher.
        Diverged: if the meta-loss is no longer finite; the checkpoint stays.
    """
    from gtn_bench import work
    from gtn_bench.teaching.meta_training import Watch

    folder = Path(out)
    taught, provenance = folder / "teacher.safetensors", folder / "provenance.json"
    with _processes(runner.choose_device(device)) as (where, first):
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            _claim(folder / "teacher.yaml", spec)
        if taught.exists():
            return taught
        started, before = time.time(), _seconds(provenance)

        def tell(history: History) -> None:
            if first:
                write_atomically(
                    provenance, json.dumps(_provenance(spec, where, before + time.time() - started)).encode()
                )
            progress(history)

        watch = Watch(folder / "checkpoint.safetensors", checkpoint_every, check_every, tell)
        work.reuse_memory()
        teaching_set = spec.teacher(spec.dataset, work.splits(spec.dataset, where), device=where, watch=watch)
        if first:
            teaching_set.save(taught)
            (folder / "checkpoint.safetensors").unlink()
    return taught


def retrain(
    taught: str | Path,
    out: str | Path,
    *,
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
    after all; learners are cached by their content. Writes `out` as every run does, and `accuracy.csv`.
    """
    plan = planner.plan(_retraining(Trained(teaching_set=str(taught)), architectures, seeds))
    summary = runner.run(plan, out, device=device, workers=workers, progress=progress).summary
    failed = summary[summary["status"] != "done"]
    if len(failed):
        raise RuntimeError(f"{len(failed)} of {len(summary)} learners failed; {Path(out) / 'provenance.json'} says why")
    steps, statistics = zip(*(mode.split("-") for mode in summary["mode"]), strict=True)
    summary = summary.assign(inner_steps=[int(step) for step in steps], statistics=statistics)
    accuracy = summary.groupby(["architecture", "inner_steps", "statistics"], sort=False)["clean_accuracy"]
    table = accuracy.agg(accuracy="mean", std="std", learners="count").reset_index()
    write_atomically(Path(out) / "accuracy.csv", table.to_csv(index=False, float_format="%.6g").encode())
    return table


def finish(folder: Path, accuracy: pd.DataFrame, export: Path | None = None) -> None:
    """Leave the accuracy in a teacher's folder; `export` gets a file for others, with provenance and accuracy."""
    from gtn_bench.teaching.teaching_set import TeachingSet

    write_atomically(folder / "accuracy.csv", accuracy.to_csv(index=False, float_format="%.6g").encode())
    if export:
        taught = TeachingSet.load(folder / "teacher.safetensors")
        provenance = json.loads((folder / "provenance.json").read_text())
        about = {**taught.about, "accuracy": accuracy.to_dict("records"), "provenance": provenance}
        TeachingSet(taught.lesson, taught.optimizer, about).save(export)


def first_process() -> bool:
    """Whether this is the process that writes, among those that `torchrun` has started."""
    return int(os.environ.get("RANK", 0)) == 0


def _retraining(teacher: Trained, architectures: Sequence[str], seeds: int) -> Suite:
    """Every architecture, seed, number of inner steps and kind of statistics, without any perturbation."""
    known = facts(teacher.path)
    entries = list(architectures) or known.about["teacher"]["architecture"]
    lengths = sorted({length for length in (CHECKED_ON, known.inner_steps) if length <= known.inner_steps})
    modes = [
        {"name": "gtn", "label": f"{length}-{statistics}", "inner_steps": length, "statistics": statistics}
        for length in lengths
        for statistics in ("real", "teaching")
    ]
    return Suite.model_validate(
        {
            "name": "retrain",
            "dataset": known.about["dataset"],
            "teachers": [teacher.identity()],
            "architectures": entries,
            "modes": modes,
            "seeds": list(range(seeds)),
            "perturbations": [{"name": "noise", "beta": [0]}],
        }
    )


def _claim(path: Path, spec: TeacherSpec) -> None:
    """Write the specification into the folder; a folder with another teacher is left alone."""
    if path.exists() and load_teacher(path).teacher.content() != spec.teacher.content():
        raise Mistake(f"{path.parent} holds another teacher; choose another folder")
    write_atomically(path, spec.to_yaml().encode())


def _seconds(provenance: Path) -> float:
    return float(json.loads(provenance.read_text())["seconds"]) if provenance.exists() else 0.0


def _provenance(spec: TeacherSpec, device: str, seconds: float) -> dict[str, Any]:
    return {
        "teacher": spec.name,
        "seconds": round(seconds, 1),
        "machine": runner.machine(device),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "versions": {name: installed(name) for name in ("gtn-bench", "torch")},
    }


@contextmanager
def _processes(device: str) -> Iterator[tuple[str, bool]]:
    """Join the group that `torchrun` has started, if it has: this process's device, whether it is the first."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device, True
        return
    import torch
    from torch import distributed

    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield device, distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()
