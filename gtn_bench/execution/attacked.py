"""The jobs that attack learners, prove bounds for them, and check the attacks: those whose results the cache lacks."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from gtn_bench.execution.finished import Finished
from gtn_bench.execution.jobs import Job
from gtn_bench.execution.suitability import who
from gtn_bench.planning.cells import Cell, Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Context

Stage = tuple[list[Job], int]  # jobs, and the number of parts including those that the cache holds


class Attacked(NamedTuple):
    """The learners of a plan that are attacked.

    Attributes:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of the tasks so far.
        context: Cache and device.
        mine: The learners that are attacked here; None for all.
    """

    plan: Plan
    keys: Keys
    finished: Finished
    context: Context
    mine: frozenset[Learner] | None

    def includes(self, learner: Learner) -> bool:
        """Return whether a learner is attacked here.

        Args:
            learner: The learner.
        """
        is_mine = self.mine is None or learner in self.mine
        return is_mine and learner not in self.finished.rejected and learner not in self.finished.duplicates

    def cells(self) -> Stage:
        """Return the jobs that evaluate cells, one per sweep of a learner."""
        holds, finished = self.context.store.holds, self.finished
        sweeps: dict[tuple[str, str], dict[str, Cell]] = defaultdict(dict)
        attacked = 0
        for cell, cell_keys in zip(self.plan.cells, self.keys.cells, strict=True):
            if not self.includes(cell.learner):
                continue
            attacked += 1
            if not finished.failure(cell_keys) and not holds("cells", cell_keys[0]):
                sweeps[cell_keys[1], cell.perturbation_label][cell_keys[0]] = cell
        jobs = []
        if sweeps:
            from gtn_bench.execution import tasks

            for (learner_key, label), group in sweeps.items():
                what = f"'{label}', {who(next(iter(group.values())).learner)}"
                arguments = (learner_key, group)
                jobs.append(Job(tasks.evaluate_sweep, "cells", tuple(group), arguments, divided=1, what=what))
        return jobs, attacked

    def proofs(self) -> Stage | None:
        """Return the jobs that prove lower bounds of the accuracy of learners; None if the suite asks for none."""
        wanted = {
            certification: certification_keys
            for certification, certification_keys in self.keys.certifications.items()
            if not self.finished.failure(certification_keys) and self.includes(certification.learner)
        }
        jobs = []
        for certification, (key, learner_key, *_) in wanted.items():
            if not self.context.store.holds("certificates", key):
                from gtn_bench.execution import tasks

                what = f"'{certification.label}', {who(certification.learner)}"
                arguments = (key, learner_key, certification)
                jobs.append(Job(tasks.certify, "certificates", (key,), arguments, what=what))
        return (jobs, len(wanted)) if wanted else None

    def probes(self) -> Stage:
        """Return the jobs that check the attacks by probes. What is chosen is added to the outcome."""
        from gtn_bench.execution.probing import batch_probes, probings

        finished, store, device = self.finished, self.context.store, self.context.key_device
        jobs = []
        chosen = []
        if self.plan.suite.checks != "none":
            chosen = list(probings(self.plan, self.keys, finished, store, device, self.mine))
        for each in chosen:
            missing = {key: name for key, name in each.probes.items() if not store.holds("probes", key)}
            if missing:
                from gtn_bench.execution import tasks

                what = f"'{each.cell.perturbation_label}', {who(each.cell.learner)}"
                arguments = (each.learner_key, each.cell_key, each.cell, missing, each.others)
                jobs.append(Job(tasks.probe, "probes", tuple(missing), arguments, divided=3, what=what))
        coupled = {
            cell: found
            for cell, found in batch_probes(self.keys, finished, device).items()
            if self.includes(cell.learner)
        }
        for cell, (key, learner_key) in coupled.items():
            if not store.holds("probes", key):
                from gtn_bench.execution import tasks

                job = Job(tasks.probe_batches, "probes", (key,), (key, learner_key, cell), what=who(cell.learner))
                jobs.append(job)
        finished.probings = {each.cell_key: each for each in chosen}
        finished.batch_probes = {cell.learner: key for cell, (key, _) in coupled.items()}
        return jobs, sum(len(each.probes) for each in chosen) + len(coupled)
