"""From a plan to results. The only module that knows every stage.

Each finished piece is kept in the store under the key of its content, so a run that was
interrupted continues where it stopped, and a changed suite computes only what changed.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import platform
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from ctypes.util import find_library
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from gtn_bench import analysis, evidence
from gtn_bench.cache import (
    Site,
    Store,
    cache_folder,
    installed,
    make_folder,
    read_tensors,
    write_atomically,
    write_tensors,
)
from gtn_bench.cells import Cell, Learner, Plan
from gtn_bench.description import Mistake
from gtn_bench.results import IDENTITY, LEARNER, SUMMARY_COLUMNS, Results, SampleWriter
from gtn_bench.schema import suite_schema
from gtn_bench.suite import ACCEPTED, NO_TEACHER, mapping, mistakes_in

Device = Literal["auto", "cpu", "cuda"]
Progress = Callable[[str, int, int], None]  # stage, parts done, parts in all

# What products are computed with: libraries choose their kernels, and so last digits, by these.
INSTRUCTIONS = "avx2", "avx512f", "avx512_bf16", "amx_bf16", "sve", "bf16", "i8mm"


def run(
    plan: Plan,
    out: str | Path,
    *,
    device: Device = "auto",
    workers: int | None = None,
    cache: str | Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Results:
    """Fill all cells of the plan and write the output folder `out`.

    Args:
        device: `auto` takes a GPU where there is one.
        workers: processes for learners and cells; by default one for each core, or a single one on a GPU.
        cache: the store's folder; by default `GTN_BENCH_CACHE`, else the user's cache folder.
        progress: called with the name of a stage, the number of its finished parts and of all its parts.

    A cell that fails becomes a row with status `error`; its traceback goes to provenance.json.
    Learners and cells are computed with one thread each, so results do not depend on `workers`.
    """
    started = time.time()
    site = Site(Store(Path(cache) if cache else cache_folder()), choose_device(device))
    folder = Path(out)
    for needed in (site.store.folder, folder):
        make_folder(needed)
    _check_folder(folder, plan.suite.name)
    jobs = _Jobs(site, workers or (1 if site.device == "cuda" else os.cpu_count() or 1), progress)
    jobs.meta_train(plan)
    jobs.train(plan)
    jobs.select(plan)
    jobs.measure(plan)

    (folder / "provenance.json").unlink(missing_ok=True)  # written last: without it, what is there is unfinished
    summary, errors = _write_tables(plan, jobs, folder)
    examples = _write_examples(plan, jobs, summary, folder)
    editors = "# yaml-language-server: $schema=suite.schema.json\n"
    write_atomically(folder / "suite.schema.json", json.dumps(suite_schema(), indent=2).encode())
    write_atomically(folder / "suite.yaml", (editors + plan.suite.to_yaml()).encode())
    about = {**_provenance(plan, jobs), "examples": examples, "seconds": time.time() - started, "errors": errors}
    write_atomically(folder / "provenance.json", json.dumps(about, indent=2).encode())
    return Results(folder)


def _check_folder(folder: Path, name: str) -> None:
    """Raise `Mistake` if the folder holds what a run would overwrite, but the results of a suite of that name."""
    if (folder / "teacher.yaml").exists():
        raise Mistake(f"{folder} holds a teacher; choose another folder")
    of_a_run = any((folder / file).exists() for file in ("summary.csv", "suite.schema.json", "provenance.json"))
    for file in ("suite.yaml", "report.md"):
        if (folder / file).exists() and not of_a_run:
            raise Mistake(f"{folder} holds a {file} that is not of a run; choose another folder")
    if (folder / "suite.yaml").exists():
        with mistakes_in(folder / "suite.yaml"):
            there = mapping((folder / "suite.yaml").read_text(encoding="utf-8"), "a suite").get("name")
        if there != name:
            raise Mistake(f"{folder} holds the results of suite '{there}', not of '{name}'; choose another folder")


class _Jobs:
    """The stages of a run.

    `failures` holds the traceback of whatever failed, by key; `rejected`, for learners that are not attacked,
    which test images they classify correctly as they are.
    """

    def __init__(self, site: Site, workers: int, progress: Progress) -> None:
        self.site = site
        self.workers = workers
        self.progress = progress
        self.failures: dict[str, str] = {}
        self.rejected: dict[Learner, np.ndarray[Any, Any]] = {}

    def keys(self, cell: Cell) -> tuple[str, ...]:
        """Of the cell, its learner, its teacher: whatever it fails with."""
        learner_key, *teacher_key = self.learner_keys(cell.learner)
        return (cell.key(self.site.device, learner_key), learner_key, *teacher_key)

    @functools.cache  # noqa: B019 - lives as long as the run
    def learner_keys(self, learner: Learner) -> tuple[str, ...]:
        teacher_key = [learner.taught_by.key(self.site.device)] if learner.taught_by else []
        return (learner.key(self.site.device), *teacher_key)

    def left(
        self, cells: Sequence[tuple[str, ...]]
    ) -> dict[str, tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]]:
        """By its own key what each cell measured, and what is said of it; of those that did not fail."""
        done = [keys[0] for keys in cells if not self.failure(keys)]
        return {key: read_tensors(self.site.store.path("cells", key)) for key in done}

    def failure(self, keys: tuple[str, ...]) -> str | None:
        return next((self.failures[key] for key in keys if key in self.failures), None)

    def meta_train(self, plan: Plan) -> None:
        """Teachers, one after the other, each with all threads."""
        total = sum(taught_by.teacher.work for taught_by in plan.teachers)
        before = 0
        for taught_by in plan.teachers:
            key = taught_by.key(self.site.device)
            if not self.site.store.holds("teachers", key):
                from gtn_bench import work

                tell = functools.partial(self._tell_teacher, before, total)
                self.failures |= _guarded(work.meta_train, [key], self.site, key, taught_by, tell)
            before += taught_by.teacher.work
            self.progress("teachers", before, total)

    def _tell_teacher(self, before: int, total: int, step: int) -> None:
        self.progress("teachers", before + step, total)

    def train(self, plan: Plan) -> None:
        """Learners, side by side in trajectories."""
        trajectories: dict[tuple[Hashable, str | None], dict[str, Learner]] = defaultdict(dict)
        learners = {self.learner_keys(learner): learner for learner in plan.learners}
        for (key, *teacher_key), learner in learners.items():
            if not self.failure(tuple(teacher_key)) and not self.site.store.holds("learners", key):
                trajectories[learner.trajectory, teacher_key[0] if teacher_key else None][key] = learner
        works = [(list(group), (group, teacher_key)) for (_, teacher_key), group in trajectories.items()]
        if works:
            from gtn_bench import work

            work.splits(plan.dataset, self.site.device)  # downloaded once, before any worker asks for it
        self._side_by_side("learners", "train", works, len(learners))

    def select(self, plan: Plan) -> None:
        """With `attack: accepted`, reject the learners of architectures whose clean accuracy is too low."""
        if plan.suite.attack == "all":
            return
        widest: dict[Learner, Cell] = {}
        for cell in plan.cells:
            if cell.learner not in widest or cell.samples > widest[cell.learner].samples:
                widest[cell.learner] = cell
        looks = {}
        for learner, cell in widest.items():
            keys = self.learner_keys(learner)
            if not self.failure(keys):
                looks[learner] = (cell.clean_key(self.site.device, keys[0]), keys[0], cell)
        missing = [look for look in looks.values() if not self.site.store.holds("clean", look[0])]
        self._side_by_side("clean accuracies", "look", [([look[0]], look) for look in missing], len(looks))
        correct, rows = {}, []
        for learner, (key, _, _) in looks.items():
            if key in self.failures:
                self.failures[self.learner_keys(learner)[0]] = self.failures[key]
            else:
                correct[learner] = read_tensors(self.site.store.path("clean", key))[0]["correct"]
                rows.append((*_identity(learner), correct[learner].mean()))
        clean = pd.DataFrame(rows, columns=[*LEARNER, "clean_accuracy"])
        modes = list(dict.fromkeys(learner.mode_label for learner in plan.learners))
        table = analysis.accept(clean, modes, _rule(plan))
        accepted = table.loc[table[ACCEPTED], ["teacher", "architecture"]].itertuples(index=False, name=None)
        pairs = set(accepted)
        pairs |= {(NO_TEACHER, architecture) for _, architecture in pairs}
        self.rejected = {
            learner: seen
            for learner, seen in correct.items()
            if (learner.teacher_label, learner.architecture_label) not in pairs
        }

    def measure(self, plan: Plan) -> None:
        """Cells, side by side in sweeps: one learner, one perturbation."""
        sweeps: dict[tuple[str, str], dict[str, Cell]] = defaultdict(dict)
        wanted = [cell for cell in plan.cells if cell.learner not in self.rejected]
        for cell in wanted:
            keys = self.keys(cell)
            if not self.failure(keys) and not self.site.store.holds("cells", keys[0]):
                sweeps[keys[1], cell.perturbation_label][keys[0]] = cell
        works = [(list(cells), (learner_key, cells)) for (learner_key, _), cells in sweeps.items()]
        self._side_by_side("cells", "measure", works, len(wanted))

    def _side_by_side(
        self, stage: str, task: str, works: Sequence[tuple[list[str], tuple[object, ...]]], total: int
    ) -> None:
        """Do all works; each is a list of the keys it leaves in the store, and what the task takes."""
        done = total - sum(len(parts) for parts, _ in works)
        self.progress(stage, done, total)
        if not works:
            return
        import joblib

        calls = (joblib.delayed(_one)(task, parts, self.site, *arguments) for parts, arguments in works)
        with warnings.catch_warnings():  # joblib replaces workers that have grown; nothing is lost
            warnings.filterwarnings("ignore", category=UserWarning, module=r"(joblib\.externals\.)?loky\.")
            for parts, failures in joblib.Parallel(self.workers, return_as="generator_unordered", batch_size=1)(calls):
                self.failures |= failures
                done += len(parts)
                self.progress(stage, done, total)


def _one(task: str, parts: list[str], *arguments: object) -> tuple[list[str], dict[str, str]]:
    """One work in one thread, in this process or another: its parts, and the tracebacks of those that failed."""
    import torch

    from gtn_bench import work

    work.reuse_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return parts, _guarded(getattr(work, task), parts, *arguments)
    finally:
        torch.set_num_threads(threads)
        work.release_memory()


def _guarded(task: Callable[..., dict[str, str] | None], parts: list[str], *arguments: Any) -> dict[str, str]:
    """Do it; the tracebacks of the parts that failed. What is the user's to mend ends the run."""
    try:
        return task(*arguments) or {}
    except Mistake:
        raise
    except Exception:
        return dict.fromkeys(parts, traceback.format_exc())


def _write_tables(plan: Plan, jobs: _Jobs, folder: Path) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """samples.parquet, summary.csv, curves.csv, measures.csv, comparisons.csv; returns the summary and the errors."""
    rows: list[dict[str, Any]] = []
    errors, correct = [], {}
    with SampleWriter(folder / "samples.parquet") as samples:
        for learner, cells in itertools.groupby(plan.cells, key=attrgetter("learner")):
            planned = [(cell, jobs.keys(cell)) for cell in cells]
            left = {} if learner in jobs.rejected else jobs.left([keys for _, keys in planned])
            everything = [measured for measured, _ in left.values()]
            for cell, keys in planned:
                names = (*_identity(learner), cell.perturbation_label, cell.beta)
                identity = dict(zip(IDENTITY, names, strict=True))
                row = {**identity, "n": cell.samples, "grade": "unknown"}
                error = jobs.failure(keys)
                if error:
                    row |= {"status": "error"}
                    errors.append({**identity, "traceback": error})
                elif learner in jobs.rejected:
                    row |= {"status": "rejected", "clean_accuracy": jobs.rejected[learner][: cell.samples].mean()}
                else:
                    measured, about = left[keys[0]]
                    samples.write(identity, measured)
                    correct[len(rows)] = measured["prediction"] == measured["label"]
                    row |= {"status": "done", **_accuracies(cell, measured, about, everything)}
                rows.append(row)
    summary = pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
    rule = _rule(plan)
    curves = analysis.curves(summary, rule, correct)
    tables = {
        "summary": summary,
        "curves": curves,
        "measures": analysis.measures(summary, rule, correct, curves),
        "comparisons": analysis.comparisons(summary, rule, correct),
    }
    for name, table in tables.items():
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False).encode())
    return summary, errors


def _accuracies(
    cell: Cell, measured: evidence.Measured, about: dict[str, Any], everything: Sequence[evidence.Measured]
) -> dict[str, Any]:
    """What a cell's row says of its images, and why not to believe it, by `everything` its learner's cells left."""
    right, known = (measured[name] == measured["label"] for name in ("prediction", "clean_prediction"))
    ball = None if cell.in_training_mode else cell.perturbation.claim  # there an image's class depends on its batch
    missed = evidence.missed(measured, ball, everything)
    flags = [*about["flags"], *evidence.flags(measured, missed, cell.perturbation.needs_slope)]
    return {
        "clean_accuracy": known.mean(),
        "accuracy": right.mean(),
        "mean_linf": measured["linf"].mean(dtype=float),
        "mean_l2": measured["l2"].mean(dtype=float),
        **about,
        "grade": "suspect" if flags else "unknown",
        "flags": "; ".join(flags),
        "accuracy_given_correct": right[known].mean() if known.any() else np.nan,
        "missed": np.nan if missed is None else missed.mean(),
    }


def _rule(plan: Plan) -> analysis.Rule:
    return analysis.Rule(plan.suite.acceptance, tuple(control.title for control in plan.suite.controls))


def _identity(learner: Learner) -> tuple[Any, ...]:
    """Its values of the columns `LEARNER`."""
    where = (learner.dataset.name, learner.teacher_label, learner.architecture_label, learner.mode_label)
    return (*where, learner.seed)


def _write_examples(plan: Plan, jobs: _Jobs, summary: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Perturbed images of one learner for each mode, first accepted architecture, first teacher and seed."""
    accepted = analysis.acceptance(summary, _rule(plan))
    first = [plan.teachers[0].label if plan.teachers else NO_TEACHER, plan.cells[0].learner.architecture_label]
    pairs = accepted.loc[accepted[ACCEPTED], ["teacher", "architecture"]].to_numpy().tolist()
    teacher, chosen = [*pairs, first][0]
    teachers = list(dict.fromkeys([NO_TEACHER, teacher]))
    images = {}
    for cell in plan.cells:
        learner, keys = cell.learner, jobs.keys(cell)
        if learner.architecture_label != chosen or learner.seed != plan.suite.seeds[0]:
            continue
        if learner.teacher_label not in teachers or jobs.failure(keys) or learner in jobs.rejected:
            continue
        tensors, _ = read_tensors(jobs.site.store.path("cells", keys[0]))
        images["clean"] = tensors["clean"]
        images[f"{cell.perturbation_label}/{learner.mode_label}/{cell.beta!r}"] = tensors["examples"]
    write_tensors(folder / "examples.safetensors", images)
    return {"architecture": chosen, "seed": plan.suite.seeds[0], "teachers": teachers}


def _provenance(plan: Plan, jobs: _Jobs) -> dict[str, Any]:
    """Where the numbers come from: versions, machine, keys, and what every beta means."""
    packages = ("gtn-bench", "torch", "torchvision", "numpy", "scipy", *plan.packages)
    device = jobs.site.device
    return {
        "suite": plan.suite.name,
        "cells": len(plan.cells),
        "acceptance": plan.suite.acceptance,
        "controls": [control.title for control in plan.suite.controls],
        "protocol": plan.suite.protocol,
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in packages}},
        "machine": machine(device),
        "workers": jobs.workers,
        "teachers": {taught_by.label: taught_by.key(device) for taught_by in plan.teachers},
        "perturbations": plan.axes,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def choose_device(device: Device) -> str:
    """`cpu` or `cuda`. Where there is no CUDA driver, torch need not be asked (it takes seconds to import)."""
    if device == "cpu" or (device == "auto" and find_library("cuda") is None):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise Mistake("device 'cuda' is not available here; use 'cpu' or 'auto'")
    return "cpu"


def machine(device: str) -> dict[str, Any]:
    """What computed: system, processor, cores, device. With the same versions on the same, last digits repeat."""
    name, known = _processor()
    return {
        "system": platform.system(),
        "processor": name,
        "instructions": [platform.machine(), *(instruction for instruction in INSTRUCTIONS if instruction in known)],
        "cores": os.cpu_count(),
        "device": _cuda_name(device),
    }


def _processor() -> tuple[str, list[str]]:
    """The processor's name and what it can do, as far as Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = about.get("model name") or platform.processor() or platform.machine()
    return name, about.get("flags", about.get("Features", "")).split()


def _cuda_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name()
