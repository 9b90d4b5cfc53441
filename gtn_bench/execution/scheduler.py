"""Scheduling: which tasks of a plan run, and in which order. What the cache holds needs no task."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, accept
from gtn_bench.analysis.tables import LEARNER
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.execution.attacked import Attacked
from gtn_bench.execution.dispatch import Dispatcher, Progress
from gtn_bench.execution.events import Event
from gtn_bench.execution.executors.base import Pool
from gtn_bench.execution.finished import Finished, learner_identity
from gtn_bench.execution.jobs import Job, event_of, stopwatch
from gtn_bench.execution.suitability import find_duplicates, first_seeds, refuse_faulty, reject_faulty, who
from gtn_bench.planning.cells import Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Context
from gtn_bench.store.files import make_folder

__all__ = ["Progress", "Scheduler"]


class Scheduler:
    """Runs the tasks of a plan stage by stage and collects their errors.

    Args:
        context: Cache and device.
        pool: The workers.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.
        observe: Called with an event for each task that finished or is repeated.
        cell_timeout: Time limit in seconds of a cell, a probe or a proof; None for none.
    """

    def __init__(
        self,
        context: Context,
        pool: Pool,
        progress: Progress,
        observe: Callable[[Event], None] = lambda event: None,
        cell_timeout: float | None = None,
    ) -> None:
        self.context = context._replace(workers=pool.slots)
        self.progress = progress
        self.observe = observe
        self._dispatcher = Dispatcher(self.context, pool, progress, observe, cell_timeout)
        self._finished = Finished()
        self._skipped: frozenset[Learner] = frozenset()  # those of others that nothing here needs

    def run(self, plan: Plan, keys: Keys, rule: AcceptanceRule, mine: frozenset[Learner] | None = None) -> Finished:
        """Run all tasks of a plan: teachers, learners, clean accuracies if needed, cells, proofs, probes.

        Args:
            plan: The plan.
            keys: Its content keys.
            rule: When an architecture is accepted. With ``attack: accepted`` the learners of others are not attacked.
            mine: The learners that are attacked here; None for all. Further ones are trained where these need them.

        Returns:
            What failed and what was rejected.
        """
        self._finished = Finished()
        self._skipped = frozenset() if mine is None else _not_needed(plan, keys, mine)
        self.examine(plan, keys)
        refuse_faulty(self._finished)
        trained = [learner for learner in self._learners(keys) if learner.mode.trains]
        self._meta_train(plan, keys)
        self._train(plan, keys, trained)
        self._examine(keys, first_seeds(trained))
        reject_faulty(self._finished, keys, trained)
        find_duplicates(self._finished, keys, self._learners(keys), self.context.store)
        if plan.suite.attack == "accepted":
            self._select(keys, rule)
        self._attack(plan, keys, mine)
        return self._finished

    def examine(self, plan: Plan, keys: Keys) -> dict[Learner, list[dict[str, Any]]]:
        """Load the existing networks of a plan and check them.

        Args:
            plan: The plan.
            keys: Its content keys.

        Returns:
            The findings about each network, as plain data.
        """
        existing = [learner for learner in self._learners(keys) if not learner.mode.trains]
        self._train(plan, keys, existing)
        self._examine(keys, existing)
        return self._finished.findings

    def _learners(self, keys: Keys) -> list[Learner]:
        return [learner for learner in keys.learners if learner not in self._skipped]

    def _meta_train(self, plan: Plan, keys: Keys) -> None:
        """Meta-train teachers one after another in this process, each with all threads."""
        wanted = {learner.taught_by for learner in self._learners(keys)}
        teachers = [taught_by for taught_by in plan.teachers if taught_by in wanted]
        total = sum(taught_by.teacher.work for taught_by in teachers)
        done = 0
        for taught_by in teachers:
            key = keys.teachers[taught_by.label]
            if not self.context.store.holds("teachers", key):
                make_folder(self.context.store.folder)
                from gtn_bench.execution import tasks
                from gtn_bench.execution.parts import run_part

                steps: list[int] = []
                report = functools.partial(self._report_teacher, done, total, steps)
                train = functools.partial(tasks.meta_train, self.context, key, taught_by, report)
                watch = stopwatch()
                if error := run_part([key], train, limited=False, raised=(ConfigError,)):
                    self._finished.failures[key] = error
                what = f"teacher '{taught_by.label}', {len(steps)} meta-steps"
                failures = {key: error} if error else {}
                self.observe(event_of("meta-steps", what, (key,), watch(failures)))
            done += taught_by.teacher.work
            self.progress("meta-steps", done, total)

    def _report_teacher(self, before: int, total: int, steps: list[int], step: int) -> None:
        steps.append(step)
        self.progress("meta-steps", before + step, total)

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
            from gtn_bench.execution import loading, tasks

            loading.splits(plan.dataset, self.context.device)  # downloads once, before the processes start
            for (_, taught), group in trajectories.items():
                what = _who_together(list(group.values()))
                arguments = (group, taught)
                jobs.append(Job(tasks.train_learners, "learners", tuple(group), arguments, what=what, limited=False))
        self._run("learners", jobs, len({keys.learners[learner][0] for learner in learners}))

    def _examine(self, keys: Keys, learners: Sequence[Learner]) -> None:
        """Examine learners in parallel and collect what is found."""
        device, store = self.context.key_device, self.context.store
        wanted = {
            learner: learner.examination_key(device, keys.learners[learner][0])
            for learner in learners
            if not self._finished.failure(keys.learners[learner])
        }
        jobs = []
        missing = {key: learner for learner, key in wanted.items() if not store.holds("examinations", key)}
        if missing:
            from gtn_bench.execution import tasks

            for key, learner in missing.items():
                arguments = (key, keys.learners[learner][0], learner)
                jobs.append(Job(tasks.examine, "examinations", (key,), arguments, what=who(learner), limited=False))
        if wanted:
            self._run("checks", jobs, len(set(wanted.values())))
        for learner, key in wanted.items():
            if error := self._finished.failures.get(key):
                self._finished.failures[keys.learners[learner][0]] = error
            else:
                self._finished.findings[learner] = store.metadata("examinations", key)["findings"]

    def _select(self, keys: Keys, rule: AcceptanceRule) -> None:
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

                arguments = (key, keys.learners[learner][0], cell)
                jobs.append(Job(tasks.evaluate_clean, "clean", (key,), arguments, what=who(learner)))
        self._run("clean accuracies", jobs, len(trained))
        correct: dict[Learner, np.ndarray[Any, Any]] = {}
        rows = []
        for learner, (key, _) in trained.items():
            if error := self._finished.failures.get(key):
                self._finished.failures[keys.learners[learner][0]] = error
            else:
                correct[learner] = self.context.store.load("clean", key, "np")[0]["correct"]
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

    def _attack(self, plan: Plan, keys: Keys, mine: frozenset[Learner] | None) -> None:
        """Evaluate cells, prove lower bounds and check the attacks, each in parallel."""
        attacked = Attacked(plan, keys, self._finished, self.context, mine)
        self._run("cells", *attacked.cells())
        if proofs := attacked.proofs():
            self._run("proofs", *proofs)
        self._run("probes", *attacked.probes())

    def _run(self, stage: str, jobs: Sequence[Job], total: int) -> None:
        if jobs:  # else a cache that cannot be written to is enough
            make_folder(self.context.store.folder)
        self._finished.failures.update(self._dispatcher.run(stage, jobs, total))


def _who_together(learners: Sequence[Learner]) -> str:
    """Return the names of learners that are trained in one pass: they differ in their modes."""
    _, *others = dict.fromkeys(f"'{learner.mode_label}'" for learner in learners)
    return f"{who(learners[0])}, together with {', '.join(others)}" if others else who(learners[0])


def _not_needed(plan: Plan, keys: Keys, mine: frozenset[Learner]) -> frozenset[Learner]:
    """Return the learners that are neither mine nor needed by them: for the choice of accepted ones, or by probes."""
    if plan.suite.attack == "accepted":
        return frozenset()
    needed = set(mine)
    if plan.suite.checks != "none":
        from gtn_bench.execution.probing import others_among

        others_of = others_among(keys.learners)
        needed.update(other for learner in keys.learners if learner in mine for other in others_of(learner))
    return frozenset(keys.learners) - needed
