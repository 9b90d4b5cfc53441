"""What a plan consists of: teachers, learners and cells, each with the key and the seeds of its content."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from gtn_bench.cache import key_for, seed_for, with_imports
from gtn_bench.datasets import Dataset
from gtn_bench.description import Description, Precision, Protocol
from gtn_bench.learners import Architecture
from gtn_bench.modes import GTN, Mode
from gtn_bench.perturbations import Perturbation
from gtn_bench.reference import protocol as reference
from gtn_bench.suite import NO_TEACHER, Suite
from gtn_bench.teaching import Teacher

# The modules whose code decides the numbers of each stage, besides those of the descriptions.
_TEACHER_CODE = {"gtn_bench.datasets", "gtn_bench.learners", "gtn_bench.teaching"}
_LEARNER_CODE = _TEACHER_CODE | {"gtn_bench.modes"}
_CELL_CODE = {
    "gtn_bench.classifiers",
    "gtn_bench.losses",
    "gtn_bench.perturbations.base",
    "gtn_bench.perturbations.library",
    "gtn_bench.perturbations.referee",
}


@dataclass(frozen=True)
class TaughtBy:
    """A teacher on a data set, and what the results call it."""

    label: str
    teacher: Teacher
    dataset: Dataset

    def key(self, device: str) -> str:
        content = {"dataset": self.dataset.identity(), "teacher": self.teacher.content()}
        return key_for(content, code=_TEACHER_CODE | _modules(self.dataset, self.teacher), device=device)


@dataclass(frozen=True)
class Learner:
    """One network to train: an architecture in a mode, from one seed."""

    dataset: Dataset
    taught_by: TaughtBy | None
    architecture_label: str
    architecture: Architecture
    mode_label: str
    mode: Mode
    seed: int

    @property
    def teacher_label(self) -> str:
        return self.taught_by.label if self.taught_by else NO_TEACHER

    @property
    def initial_seed(self) -> int:
        """Of the fresh weights: the same for all modes and teachers, so that they can be paired."""
        return seed_for("initial weights", self.dataset.identity(), self.architecture.identity(), self.seed)

    @property
    def training_seed(self) -> int:
        return seed_for("training", self.dataset.identity(), self.mode.content(), self.seed)

    @property
    def trajectory(self) -> Hashable:
        """What is trained in one pass: learners of one teacher, at its rates, that differ only in where they stop."""
        if isinstance(self.mode, GTN) and self.mode.follows_lessons:
            return (self.taught_by, self.architecture, self.seed, self.mode.lr_factor)
        return self

    def key(self, device: str) -> str:
        content = {
            "dataset": self.dataset.identity(),
            "teacher": self.taught_by.key(device) if self.taught_by else None,
            "architecture": self.architecture.identity(),
            "mode": self.mode.content(),
            "seed": self.seed,
        }
        return key_for(
            content, code=_LEARNER_CODE | _modules(self.dataset, self.architecture, self.mode), device=device
        )


@dataclass(frozen=True)
class Cell:
    """One learner under one perturbation at one strength: a row of the summary.

    `beta` is in the suite's units; `perturbation` has all its lengths in pixel values.
    """

    learner: Learner
    perturbation_label: str
    perturbation: Perturbation
    beta: float
    samples: int  # the first so many test images
    precision: Precision  # in which the perturbation sees the learner
    protocol: Protocol  # how the learner is measured

    @property
    def noise_seed(self) -> int:
        """Of all randomness in the perturbation: the same for all learners of a seed and all strengths.

        So modes meet the same noise and can be paired, and a sweep scales one draw.
        """
        return seed_for("perturbation", self.learner.dataset.identity(), self.perturbation.draws(), self.learner.seed)

    @property
    def in_training_mode(self) -> bool:
        """Whether the learner's batch norms subtract the statistics of the images it is shown."""
        return self.protocol == "published" and reference.TRAINING_MODE[self.learner.mode.name]

    def key(self, device: str, learner_key: str) -> str:
        content = {
            "learner": learner_key,
            "perturbation": self.perturbation.identity(),
            "samples": self.samples,
            "precision": self.precision,
            "batch_statistics": self.in_training_mode,
            "seed": self.learner.seed,
        }
        return key_for(
            content, code=self._code(_modules(self.perturbation)), packages=self.perturbation.packages, device=device
        )

    def clean_key(self, device: str, learner_key: str) -> str:
        """Of what the learner makes of the unperturbed images."""
        content = {"learner": learner_key, "samples": self.samples, "batch_statistics": self.in_training_mode}
        return key_for(content, code=self._code(set()), device=device)

    def _code(self, modules: set[str]) -> set[str]:
        """The modules whose code decides the numbers, besides those of the learner."""
        written_in = _CELL_CODE | modules
        if self.in_training_mode:
            written_in |= {"gtn_bench.reference.batch_classifier"}
        return {module for start in written_in for module in with_imports(start)}


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, in the order of its file, and the suite with every default written out."""

    suite: Suite
    cells: tuple[Cell, ...]

    @property
    def dataset(self) -> Dataset:
        return self.cells[0].learner.dataset

    @property
    def packages(self) -> tuple[str, ...]:
        """Installed packages that the perturbations rest on."""
        return tuple(sorted({package for cell in self.cells for package in cell.perturbation.packages}))

    @property
    def axes(self) -> dict[str, str]:
        """What beta means, for each perturbation: the label of an axis."""
        unit = {"pixel": "pixel value", "normalized": "normalised value"}[self.suite.units]
        return {cell.perturbation_label: cell.perturbation.axis.replace("pixel value", unit) for cell in self.cells}

    @property
    def learners(self) -> tuple[Learner, ...]:
        return tuple(dict.fromkeys(cell.learner for cell in self.cells))

    @property
    def teachers(self) -> tuple[TaughtBy, ...]:
        return tuple(dict.fromkeys(learner.taught_by for learner in self.learners if learner.taught_by))


def _modules(*descriptions: Description) -> set[str]:
    """Where the classes of the descriptions, of their parts and their bases are written, plug-ins included."""
    whole = [part for description in descriptions for part in (description, *description.parts())]
    bases = {base for part in whole for base in type(part).__mro__ if issubclass(base, Description)}
    return {base.__module__ for base in bases - {Description}}
