"""The teachers and learners of a plan, each with the key and the seeds of its content."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtn_bench.config.description import Description
from gtn_bench.config.labels import NO_TEACHER
from gtn_bench.data.base import Dataset
from gtn_bench.models import Architecture
from gtn_bench.modes.base import Mode
from gtn_bench.modes.gtn import GTN
from gtn_bench.store.hashing import seed_for
from gtn_bench.store.keys import key_for
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TaughtBy:
    """A teacher on a data set, with its label.

    Attributes:
        label: Name of the teacher in results.
        teacher: The teacher.
        dataset: The data set that it teaches.
    """

    label: str
    teacher: Teacher
    dataset: Dataset

    def key(self, device: str) -> str:
        """Return the key of the teaching set.

        Args:
            device: Type of the device.
        """
        content = {"dataset": self.dataset.content(), "teacher": self.teacher.content()}
        parts = self.dataset, self.teacher
        return key_for(content, code=modules_of(*parts), packages=packages_of(*parts), device=device)


@dataclass(frozen=True)
class Learner:
    """One network to train: an architecture in a mode, from one seed.

    Attributes:
        dataset: The data set.
        taught_by: The teacher, if the mode needs one.
        architecture_label: Name of the architecture in results.
        architecture: The architecture.
        mode_label: Name of the mode in results.
        mode: The mode.
        seed: The seed in the suite.
    """

    dataset: Dataset
    taught_by: TaughtBy | None
    architecture_label: str
    architecture: Architecture
    mode_label: str
    mode: Mode
    seed: int

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.dataset, self.taught_by, self.architecture, self.mode, self.mode_label, self.seed))

    def __hash__(self) -> int:
        return self._hash  # stored, because runs look up learners for every cell

    def __getstate__(self) -> dict[str, Any]:
        # Hashes of text differ between processes.
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    @property
    def teacher_label(self) -> str:
        """Name of the teacher in results; `NO_TEACHER` without one."""
        return self.taught_by.label if self.taught_by else NO_TEACHER

    @property
    def initial_seed(self) -> int:
        """Seed of the initial weights: the same for all modes and teachers, so that learners can be paired."""
        return seed_for("initial weights", self.dataset.content(), self.architecture.content(), self.seed)

    @property
    def training_seed(self) -> int:
        """Seed of the random draws of the training."""
        return seed_for("training", self.dataset.content(), self.mode.content(), self.seed)

    @property
    def trajectory(self) -> Hashable:
        """Identity of the training pass. Learners that differ only in their number of inner steps share it."""
        if isinstance(self.mode, GTN) and self.mode.follows_curriculum:
            return (self.taught_by, self.architecture, self.seed, self.mode.lr_factor)
        return self

    def key(self, device: str) -> str:
        """Return the key of the state dict.

        Args:
            device: Type of the device.
        """
        content = {
            "dataset": self.dataset.content(),
            "teacher": self.taught_by.key(device) if self.taught_by else None,
            "architecture": self.architecture.content(),
            "mode": self.mode.content(),
            "seed": self.seed,
            "seeds": [self.initial_seed, self.training_seed],
        }
        parts = self.dataset, self.architecture, self.mode
        code = {"gtn_bench.modes.training"} | modules_of(*parts)
        return key_for(content, code=code, packages=packages_of(*parts), device=device)

    def examination_key(self, device: str, learner_key: str) -> str:
        """Return the key of what the checks of a model find in the learner.

        Args:
            device: Type of the device.
            learner_key: Key of the learner.
        """
        content = {"learner": learner_key, "forward_samples": self.mode.forward_samples}
        return key_for(content, code={"gtn_bench.checks.doctor"}, device=device)

    def network(self) -> nn.Module:
        """Return the network with its initial weights, in the form that the mode trains or loads."""
        return self.mode.network(self.architecture, self.dataset, self.initial_seed)


def modules_of(*descriptions: Description) -> set[str]:
    """Return the modules that compute the numbers of descriptions, plug-ins included."""
    return set().union(*(description.code_modules() for description in descriptions))


def packages_of(*descriptions: Description) -> tuple[str, ...]:
    """Return the installed packages that the numbers of descriptions depend on."""
    parts = (part for description in descriptions for part in (description, *description.parts()))
    return tuple(sorted({package for part in parts for package in part.packages}))
