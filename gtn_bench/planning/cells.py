"""The parts of a plan: teachers, learners and cells, each with the key and the seeds of its content."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtn_bench.certification import Certifier
from gtn_bench.config.description import Description, Precision, Protocol
from gtn_bench.config.labels import NO_TEACHER
from gtn_bench.config.suite import Suite
from gtn_bench.config.threat import Threat
from gtn_bench.data.base import Dataset
from gtn_bench.models import Architecture
from gtn_bench.modes.base import Mode
from gtn_bench.modes.gtn import GTN
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.reference import protocol as reference
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
        return key_for(content, code=_modules(*parts), packages=_packages(*parts), device=device)


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
        code = {"gtn_bench.modes.training"} | _modules(*parts)
        return key_for(content, code=code, packages=_packages(*parts), device=device)

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


@dataclass(frozen=True)
class Cell:
    """One learner under one perturbation at one strength: a row of the summary.

    Attributes:
        learner: The learner.
        perturbation_label: Name of the perturbation in results.
        perturbation: The perturbation, with all its fields in pixel values.
        beta: The strength, in the units of the suite.
        samples: Number of test images, the first ones of the split.
        precision: Precision in which the perturbation sees the learner.
        protocol: How the learner is measured.
        eight_bit: Whether perturbed images are rounded to 8 bits before they are judged.
        keeps_images: Whether all perturbed images are kept.
    """

    learner: Learner
    perturbation_label: str
    perturbation: Perturbation
    beta: float
    samples: int
    precision: Precision
    protocol: Protocol
    eight_bit: bool = False
    keeps_images: bool = False

    @property
    def noise_seed(self) -> int:
        """Seed of all randomness of the perturbation: the same for all learners of a seed and for all strengths.

        Modes therefore meet the same noise and can be paired, and a sweep scales one draw.
        """
        content = self.perturbation.rng_identity()
        return seed_for("perturbation", self.learner.dataset.content(), content, self.learner.seed)

    @property
    def in_train_mode(self) -> bool:
        """True if the batch norms of the learner use the statistics of the evaluated batch."""
        return self.protocol == "published" and reference.TRAIN_MODE[self.learner.mode.name]

    @property
    def search_region(self) -> Threat | None:
        """The ball in which the perturbation searches for any misclassified image, if there is one.

        With statistics of the batch, the class of an image depends on the other images, so there is none. Rounding to
        8 bits enlarges the ball.
        """
        region = None if self.in_train_mode else self.perturbation.search_region
        if region and self.eight_bit:
            return region.after_rounding(math.prod(self.learner.dataset.input_shape))
        return region

    def key(self, device: str, learner_key: str) -> str:
        """Return the key of the cell's result.

        Args:
            device: Type of the device.
            learner_key: Key of the learner.
        """
        content = {
            "learner": learner_key,
            "perturbation": self.perturbation.content(),
            "samples": self.samples,
            "precision": self.precision,
            "batch_statistics": self.in_train_mode,
            "eight_bit": self.eight_bit,
            "keeps_images": self.keeps_images,
            "seeds": [self.learner.seed, self.noise_seed],
        }
        code = self._code(_modules(self.perturbation))
        return key_for(content, code=code, packages=self.perturbation.packages, device=device)

    def clean_key(self, device: str, learner_key: str) -> str:
        """Return the key of the learner's predictions on clean images.

        Args:
            device: Type of the device.
            learner_key: Key of the learner.
        """
        content = {"learner": learner_key, "samples": self.samples, "batch_statistics": self.in_train_mode}
        return key_for(content, code=self._code(()), device=device)

    def _code(self, modules: Iterable[str]) -> set[str]:
        classifier = "gtn_bench.inference.classifier"
        if self.in_train_mode:
            classifier = "gtn_bench.reference.batch_classifier"
        return {"gtn_bench.evaluation.evaluate", classifier, "gtn_bench.inference.random_classifier", *modules}


@dataclass(frozen=True)
class Certification:
    """One learner under one certifier: proofs that no image of a ball is misclassified.

    Attributes:
        learner: The learner.
        label: Name of the certifier in results.
        certifier: The certifier.
        balls: The balls in which the perturbations of the suite search, in a norm of the certifier.
        samples: Number of test images, the first ones of the split.
    """

    learner: Learner
    label: str
    certifier: Certifier
    balls: tuple[Threat, ...]
    samples: int

    def key(self, device: str, learner_key: str) -> str:
        """Return the key of the proofs.

        Args:
            device: Type of the device.
            learner_key: Key of the learner.
        """
        content = {
            "learner": learner_key,
            "certifier": self.certifier.content(),
            "balls": self.balls,
            "samples": self.samples,
            "seed": self.seed,
        }
        code = _modules(self.certifier)
        return key_for(content, code=code, packages=self.certifier.packages, device=device)

    @property
    def seed(self) -> int:
        """Seed of the random draws of the certifier."""
        return seed_for("certifier", self.learner.dataset.content(), self.certifier.content(), self.learner.seed)


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, in the order of its file, and the suite with every default written out."""

    suite: Suite
    cells: tuple[Cell, ...]
    certifications: tuple[Certification, ...] = ()

    @property
    def dataset(self) -> Dataset:
        """The data set of all cells."""
        return self.cells[0].learner.dataset

    @property
    def packages(self) -> tuple[str, ...]:
        """Installed packages that the numbers depend on."""
        trained = [part for learner in self.learners for part in (learner.architecture, learner.mode)]
        teachers = [taught_by.teacher for taught_by in self.teachers]
        return _packages(self.dataset, *teachers, *trained, *(cell.perturbation for cell in self.cells))

    @property
    def axes(self) -> dict[str, str]:
        """Label of the beta axis, by perturbation."""
        unit = {"pixel": "pixel value", "normalized": "normalized value"}[self.suite.units]
        return {cell.perturbation_label: cell.perturbation.axis_label(unit) for cell in self.cells}

    @property
    def details(self) -> dict[str, str]:
        """The parameter that figures and tables show beside the label, by perturbation; empty for most."""
        return {cell.perturbation_label: cell.perturbation.detail for cell in self.cells}

    @property
    def learners(self) -> tuple[Learner, ...]:
        """All learners, each once."""
        return tuple(dict.fromkeys(cell.learner for cell in self.cells))

    @property
    def teachers(self) -> tuple[TaughtBy, ...]:
        """All teachers, each once."""
        return tuple(dict.fromkeys(learner.taught_by for learner in self.learners if learner.taught_by))


def _modules(*descriptions: Description) -> set[str]:
    """Return the modules that compute the numbers of descriptions, plug-ins included."""
    return set().union(*(description.code_modules() for description in descriptions))


def _packages(*descriptions: Description) -> tuple[str, ...]:
    """Return the installed packages that the numbers of descriptions depend on."""
    parts = (part for description in descriptions for part in (description, *description.parts()))
    return tuple(sorted({package for part in parts for package in part.packages}))
