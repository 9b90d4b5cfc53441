"""The outcome of the tasks of a plan, beside the results in the cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gtn_bench.planning.cells import Cell, Learner


@dataclass(frozen=True)
class Probing:
    """The probes of the attack of one cell.

    Attributes:
        cell: The cell.
        cell_key: Its key.
        learner_key: Key of its learner.
        others: Other learners whose adversarial examples are transferred, by key.
        checks: For each probe the names of the checks that it measures.
        probes: Names of the probes that run, by key.
        skipped: For each other probe the reason why it does not run.
    """

    cell: Cell
    cell_key: str
    learner_key: str
    others: dict[str, Learner]
    checks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    probes: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class Finished:
    """The outcome of all tasks of a plan; results are in the cache.

    Attributes:
        failures: Traceback of each failed teacher, learner or cell, by key.
        rejected: For each learner that is not attacked, the mask of clean images that it classifies correctly.
        findings: What the checks of a model find, for each examined learner, as plain data.
        duplicates: For each learner with the weights of another seed, the learner that counts.
        probings: The probes of the cells whose attacks are checked, by key of the cell.
        batch_probes: For each learner in train mode, the key of the probe of its dependence on the batch.
    """

    failures: dict[str, str] = field(default_factory=dict)
    rejected: dict[Learner, np.ndarray[Any, Any]] = field(default_factory=dict)
    findings: dict[Learner, list[dict[str, Any]]] = field(default_factory=dict)
    duplicates: dict[Learner, Learner] = field(default_factory=dict)
    probings: dict[str, Probing] = field(default_factory=dict)
    batch_probes: dict[Learner, str] = field(default_factory=dict)

    def failure(self, keys: tuple[str, ...]) -> str | None:
        """Return the traceback of the first of some keys that failed, or None.

        Args:
            keys: Keys of a result and of its inputs.
        """
        return next((self.failures[key] for key in keys if key in self.failures), None)

    def faults(self, learner: Learner) -> list[str]:
        """Return what makes the evaluation of an examined learner meaningless, one sentence each.

        Args:
            learner: The learner.
        """
        return [found["sentence"] for found in self.findings.get(learner, ()) if found["severity"] == "error"]


def learner_identity(learner: Learner) -> tuple[Any, ...]:
    """Return the values of the columns `LEARNER`.

    Args:
        learner: The learner.
    """
    labels = (learner.dataset.name, learner.teacher_label, learner.architecture_label, learner.mode_label)
    return (*labels, learner.seed)
