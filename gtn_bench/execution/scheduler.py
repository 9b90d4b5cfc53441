"""Scheduling: runs the tasks of a plan that the cache does not hold, in parallel processes."""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, accept
from gtn_bench.analysis.tables import LEARNER
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.execution.accelerator import device_key
from gtn_bench.execution.finished import Finished, learner_identity
from gtn_bench.planning.cells import Cell, Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.planning.plugins import load_plugin
from gtn_bench.store.cache import Context
from gtn_bench.store.files import read_tensors

Progress = Callable[[str, int, int], None]  # stage, finished parts, all parts
Task = Callable[..., dict[str, str] | None]  # returns the errors of failed parts, by key


class Job(NamedTuple):
    """A call of a task.

    Attributes:
        task: The task.
        keys: Keys of the results that the task stores.
        arguments: Arguments of the task after the context.
    """

    task: Task
    keys: list[str]
    arguments: tuple[object, ...]


class Scheduler:
    """Runs the tasks of a plan stage by stage and collects their errors.

    Args:
        context: Cache and device.
        workers: Number of processes.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.
    """

    def __init__(self, context: Context, workers: int, progress: Progress) -> None:
        self.context = context._replace(workers=workers)
        self.workers = workers
        self.progress = progress
        self._finished = Finished()

    def run(self, plan: Plan, keys: Keys, rule: AcceptanceRule) -> Finished:
        """Run all tasks of a plan: teachers, learners, clean accuracies if needed, cells, proofs, probes.

        Args:
            plan: The plan.
            keys: Its content keys.
            rule: When an architecture is accepted. With ``attack: accepted`` the learners of others are not attacked.

        Returns:
            What failed and what was rejected.
        """
        self._finished = Finished()
        self.examine(plan, keys)
        self._refuse_faulty()
        trained = [learner for learner in keys.learners if learner.mode.trains]
        self._meta_train(plan, keys)
        self._train(plan, keys, trained)
        self._examine(keys, _first_seeds(trained))
        self._reject_faulty(keys, trained)
        self._find_duplicates(keys)
        if plan.suite.attack == "accepted":
            self._select(plan, keys, rule)
        self._evaluate(plan, keys)
        self._certify(keys)
        self._probe(plan, keys)
        return self._finished

    def examine(self, plan: Plan, keys: Keys) -> dict[Learner, list[dict[str, Any]]]:
        """Load the existing networks of a plan and check them.

        Args:
            plan: The plan.
            keys: Its content keys.

        Returns:
            The findings about each network, as plain data.
        """
        existing = [learner for learner in keys.learners if not learner.mode.trains]
        self._train(plan, keys, existing)
        self._examine(keys, existing)
        return self._finished.findings

    def _meta_train(self, plan: Plan, keys: Keys) -> None:
        """Meta-train teachers one after another, each with all threads."""
        total = sum(taught_by.teacher.work for taught_by in plan.teachers)
        done = 0
        for taught_by in plan.teachers:
            key = keys.teachers[taught_by.label]
            if not self.context.store.holds("teachers", key):
                from gtn_bench.execution import tasks

                report = functools.partial(self._report_teacher, done, total)
                self._finished.failures.update(
                    catch_errors(tasks.meta_train, [key], self.context, key, taught_by, report)
                )
            done += taught_by.teacher.work
            self.progress("meta-steps", done, total)

    def _train(self, plan: Plan, keys: Keys, learners: Sequence[Learner]) -> None:
        """Train or load learners in parallel. Those that share a trajectory are trained in one pass."""
        if not learners:
            return
        trajectories: dict[tuple[Hashable, str | None], dict[str, Learner]] = defaultdict(dict)
        for learner in learners:
            key, *teacher_key = keys.learners[learner]
            if not self._finished.failure(tuple(teacher_key)) and not self.context.store.holds("learners", key):
                trajectories[learner.trajectory, teacher_key[0] if teacher_key else None][key] = learner
        jobs = []
        if trajectories:
            from gtn_bench.execution import tasks

            tasks.splits(plan.dataset, self.context.device)  # downloads once, before the processes start
            jobs = [
                Job(tasks.train_learners, list(group), (group, teacher_key))
                for (_, teacher_key), group in trajectories.items()
            ]
        self._run_parallel("learners", jobs, len({keys.learners[learner][0] for learner in learners}))

    def _examine(self, keys: Keys, learners: Sequence[Learner]) -> None:
        """Examine learners in parallel and collect what is found."""
        device, store = device_key(self.context.device), self.context.store
        wanted = {
            learner: learner.examination_key(device, keys.learners[learner][0])
            for learner in learners
            if not self._finished.failure(keys.learners[learner])
        }
        jobs = []
        missing = {key: learner for learner, key in wanted.items() if not store.holds("examinations", key)}
        if missing:
            from gtn_bench.execution import tasks

            jobs = [
                Job(tasks.examine, [key], (key, keys.learners[learner][0], learner)) for key, learner in missing.items()
            ]
        if wanted:
            self._run_parallel("checks", jobs, len(set(wanted.values())))
        for learner, key in wanted.items():
            if error := self._finished.failures.get(key):
                self._finished.failures[keys.learners[learner][0]] = error
            else:
                self._finished.findings[learner] = store.metadata("examinations", key)["findings"]

    def _refuse_faulty(self) -> None:
        """Raise `ConfigError` if an existing network cannot be evaluated."""
        finished = self._finished
        lines = [f"{_who(learner)}: {text}" for learner in finished.findings for text in finished.faults(learner)]
        if lines:
            raise ConfigError("\n".join(lines))

    def _reject_faulty(self, keys: Keys, learners: Sequence[Learner]) -> None:
        """Let the learners of an architecture and mode fail if the examined one cannot be evaluated."""
        faults = {_without_seed(learner): found for learner in learners if (found := self._finished.faults(learner))}
        for learner in learners:
            if found := faults.get(_without_seed(learner), []):
                self._finished.failures[keys.learners[learner][0]] = f"ConfigError: {_who(learner)}: {found[0]}"

    def _find_duplicates(self, keys: Keys) -> None:
        """Find learners with the weights of another seed; they count once."""
        first: dict[tuple[Hashable, ...], Learner] = {}
        anywhere: dict[tuple[Hashable, ...], Learner] = {}
        for learner, own_keys in keys.learners.items():
            if not self._finished.failure(own_keys):
                weights = self.context.store.metadata("learners", own_keys[0])["weights"]
                original = first.setdefault((*_without_seed(learner), weights), learner)
                if original is not learner:
                    self._finished.duplicates[learner] = original
                    continue
                twin = anywhere.setdefault((learner.teacher_label, learner.architecture_label, weights), learner)
                if twin is not learner:
                    self._finished.findings.setdefault(learner, []).append(_identical(twin))

    def _select(self, plan: Plan, keys: Keys, rule: AcceptanceRule) -> None:
        """Reject the learners of architectures that are not accepted."""
        trained = {
            learner: clean
            for learner, clean in keys.clean.items()
            if not self._finished.failure(keys.learners[learner]) and learner not in self._finished.duplicates
        }
        jobs = []
        for learner, (key, cell) in trained.items():
            if not self.context.store.holds("clean", key):
                from gtn_bench.execution import tasks

                jobs.append(Job(tasks.evaluate_clean, [key], (key, keys.learners[learner][0], cell)))
        self._run_parallel("clean accuracies", jobs, len(trained))
        correct: dict[Learner, np.ndarray[Any, Any]] = {}
        rows = []
        for learner, (key, _) in trained.items():
            if error := self._finished.failures.get(key):
                self._finished.failures[keys.learners[learner][0]] = error
            else:
                correct[learner] = read_tensors(self.context.store.path("clean", key))[0]["correct"]
                rows.append((*learner_identity(learner), correct[learner].mean()))
        modes = list(dict.fromkeys(learner.mode_label for learner in keys.learners))
        table = accept(pd.DataFrame(rows, columns=[*LEARNER, "clean_accuracy"]), modes, rule)
        accepted = table.loc[table[ACCEPTED], ["teacher", "architecture"]].itertuples(index=False, name=None)
        pairs = set(accepted)
        pairs |= {(NO_TEACHER, architecture) for _, architecture in pairs}
        self._finished.rejected.update(
            (learner, mask)
            for learner, mask in correct.items()
            if (learner.teacher_label, learner.architecture_label) not in pairs
        )

    def _evaluate(self, plan: Plan, keys: Keys) -> None:
        """Evaluate cells in parallel, one sweep of one learner at a time."""
        sweeps: dict[tuple[str, str], dict[str, Cell]] = defaultdict(dict)
        attacked = 0
        for cell, cell_keys in zip(plan.cells, keys.cells, strict=True):
            if cell.learner in self._finished.rejected or cell.learner in self._finished.duplicates:
                continue
            attacked += 1
            if not self._finished.failure(cell_keys) and not self.context.store.holds("cells", cell_keys[0]):
                sweeps[cell_keys[1], cell.perturbation_label][cell_keys[0]] = cell
        jobs = []
        if sweeps:
            from gtn_bench.execution import tasks

            jobs = [
                Job(tasks.evaluate_sweep, list(group), (learner_key, group))
                for (learner_key, _), group in sweeps.items()
            ]
        self._run_parallel("cells", jobs, attacked)

    def _certify(self, keys: Keys) -> None:
        """Prove lower bounds of the accuracy of learners in parallel."""
        wanted = {
            certification: certification_keys
            for certification, certification_keys in keys.certifications.items()
            if not self._finished.failure(certification_keys)
            and certification.learner not in self._finished.rejected
            and certification.learner not in self._finished.duplicates
        }
        jobs = []
        for certification, (key, learner_key, *_) in wanted.items():
            if not self.context.store.holds("certificates", key):
                from gtn_bench.execution import tasks

                jobs.append(Job(tasks.certify, [key], (key, learner_key, certification)))
        if wanted:
            self._run_parallel("proofs", jobs, len(wanted))

    def _probe(self, plan: Plan, keys: Keys) -> None:
        """Check the attacks of learners by probes, in parallel."""
        from gtn_bench.execution.probing import batch_probes, probings

        store, device = self.context.store, device_key(self.context.device)
        jobs = []
        chosen = [] if plan.suite.checks == "none" else list(probings(plan, keys, self._finished, store, device))
        for each in chosen:
            missing = {key: name for key, name in each.probes.items() if not store.holds("probes", key)}
            if missing:
                from gtn_bench.execution import tasks

                jobs.append(
                    Job(tasks.probe, list(missing), (each.learner_key, each.cell_key, each.cell, missing, each.others))
                )
        coupled = batch_probes(keys, self._finished, device)
        for cell, (key, learner_key) in coupled.items():
            if not store.holds("probes", key):
                from gtn_bench.execution import tasks

                jobs.append(Job(tasks.probe_batches, [key], (key, learner_key, cell)))
        self._run_parallel("probes", jobs, sum(len(each.probes) for each in chosen) + len(coupled))
        self._finished.probings = {each.cell_key: each for each in chosen}
        self._finished.batch_probes = {cell.learner: key for cell, (key, _) in coupled.items()}

    def _report_teacher(self, before: int, total: int, step: int) -> None:
        self.progress("meta-steps", before + step, total)

    def _run_parallel(self, stage: str, jobs: Sequence[Job], total: int) -> None:
        """Run jobs in parallel processes, each in one thread."""
        done = total - sum(len(job.keys) for job in jobs)
        self.progress(stage, done, total)
        if not jobs:
            return
        import joblib

        _renew_workers()
        calls = (joblib.delayed(run_task)(job.task, job.keys, self.context, *job.arguments) for job in jobs)
        with warnings.catch_warnings():  # joblib replaces workers whose memory has grown; no result is lost
            warnings.filterwarnings("ignore", category=UserWarning, module=r"(joblib\.externals\.)?loky\.")
            results = joblib.Parallel(self.workers, return_as="generator_unordered", batch_size=1)(calls)
            for keys, failures in results:
                self._finished.failures.update(failures)
                done += len(keys)
                self.progress(stage, done, total)


_import_path: list[str] = []  # of the worker processes, which are kept for later runs


def _renew_workers() -> None:
    """Stop worker processes that were started with another import path: a plug-in's folder may be missing in it."""
    from joblib.externals.loky import get_reusable_executor

    if _import_path and _import_path != sys.path:
        get_reusable_executor().shutdown(wait=True)
    _import_path[:] = sys.path


def _without_seed(learner: Learner) -> tuple[str, str, str]:
    return learner.teacher_label, learner.architecture_label, learner.mode_label


def _identical(twin: Learner) -> dict[str, Any]:
    """Return the finding that a learner has the weights of a learner of another mode."""
    sentence = (
        f"The weights are those of mode '{twin.mode_label}', seed {twin.seed}; check that the modes name the models "
        "that you mean"
    )
    return {"name": "identical", "severity": "warning", "measured": 0.0, "sentence": sentence}


def _first_seeds(learners: Sequence[Learner]) -> list[Learner]:
    """Return the first learner of each teacher, architecture and mode."""
    first: dict[Hashable, Learner] = {}
    for learner in learners:
        first.setdefault(_without_seed(learner), learner)
    return list(first.values())


def _who(learner: Learner) -> str:
    """Return the name of a learner in messages."""
    if not learner.mode.trains:
        return f"model '{learner.mode_label}', seed {learner.seed}"
    return f"mode '{learner.mode_label}' of '{learner.architecture_label}', seed {learner.seed}"


def run_task(task: Task, keys: list[str], *arguments: object) -> tuple[list[str], dict[str, str]]:
    """Run a task in one thread.

    Args:
        task: The task.
        keys: Keys of its results.
        arguments: Its arguments.

    Returns:
        The keys, and the tracebacks of those that failed.
    """
    import torch

    from gtn_bench.execution.accelerator import reproducible, select_gpu
    from gtn_bench.execution.memory import release_memory, reuse_memory

    context = arguments[0]
    assert isinstance(context, Context)
    for plugin in context.plugins:
        load_plugin(plugin)
    select_gpu(context.device, context.workers)
    reuse_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with reproducible(context.device):
            return keys, catch_errors(task, keys, *arguments)
    finally:
        torch.set_num_threads(threads)
        release_memory()


def catch_errors(task: Task, keys: list[str], *arguments: Any) -> dict[str, str]:
    """Run a task and return its errors.

    Args:
        task: The task.
        keys: Keys of its results.
        arguments: Its arguments.

    Returns:
        The traceback of each result that failed, by key.

    Raises:
        ConfigError: If the task raises one: the user can correct it.
    """
    try:
        return task(*arguments) or {}
    except ConfigError:
        raise
    except Exception:
        return dict.fromkeys(keys, traceback.format_exc())
