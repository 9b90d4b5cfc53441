"""The cells of a plan, each with the key and the seeds of its content, and the plan."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gtn_bench.certification import Certifier
from gtn_bench.config.description import Precision, Protocol
from gtn_bench.config.suite import Suite
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.planning.learners import Learner, TaughtBy, modules_of, packages_of
from gtn_bench.planning.restriction import chosen_cells, suite_of
from gtn_bench.reference import protocol as reference
from gtn_bench.store.hashing import seed_for
from gtn_bench.store.keys import key_for

__all__ = ["Cell", "Certification", "Learner", "Plan", "TaughtBy", "certifications_of"]


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
        code = self._code(modules_of(self.perturbation))
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
        code = modules_of(self.certifier)
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
        perturbations = {id(cell.perturbation): cell.perturbation for cell in self.cells}  # learners share them
        return packages_of(self.dataset, *teachers, *trained, *perturbations.values())

    @property
    def axes(self) -> dict[str, str]:
        """Label of the beta axis, by perturbation."""
        unit = {"pixel": "pixel value", "normalized": "normalized value"}[self.suite.units]
        return {cell.perturbation_label: cell.perturbation.axis_label(unit) for cell in self.cells}

    @property
    def details(self) -> dict[str, str]:
        """The parameter that figures and tables show beside the label, by perturbation; empty for most."""
        return {cell.perturbation_label: cell.perturbation.detail for cell in self.cells}

    @functools.cached_property
    def learners(self) -> tuple[Learner, ...]:
        """All learners, each once."""
        return tuple(dict.fromkeys(cell.learner for cell in self.cells))

    @functools.cached_property
    def teachers(self) -> tuple[TaughtBy, ...]:
        """All teachers, each once."""
        return tuple(dict.fromkeys(learner.taught_by for learner in self.learners if learner.taught_by))

    def only(self, chosen: Mapping[str, Sequence[str]]) -> Plan:
        """Return the plan restricted to some of its cells, with the teachers and learners that these need.

        Args:
            chosen: Labels to keep, by kind: `perturbation`, `beta`, `mode`, `architecture`, `teacher` or `seed`.

        Raises:
            ConfigError: One line for each unknown kind or label, with the nearest one, or if no cell remains.
        """
        cells = chosen_cells(self.cells, chosen)
        certifiers = {each.label: each.certifier for each in self.certifications}
        certifications = tuple(certifications_of(cells, certifiers))
        suite = suite_of(self.suite, cells, {each.label for each in certifications})
        return Plan(suite, cells, certifications)


def certifications_of(cells: Sequence[Cell], certifiers: Mapping[str, Certifier]) -> Iterator[Certification]:
    """Yield the certifications of every learner, in the balls of its cells.

    Args:
        cells: The cells of a plan.
        certifiers: The certifiers with all their fields in pixel values, by label.
    """
    of_learner: dict[Learner, list[Cell]] = {}
    for cell in cells if certifiers else ():
        of_learner.setdefault(cell.learner, []).append(cell)
    for learner, attacked in of_learner.items():
        regions = [cell.search_region for cell in attacked]
        balls_in: dict[frozenset[Norm], tuple[tuple[Threat, ...], int]] = {}  # and the number of images, by norms
        for label, certifier in certifiers.items():
            norms = frozenset(certifier.norms)
            if norms not in balls_in:
                found = {ball: None for ball in regions if ball and ball.norm in norms and ball.epsilon > 0}
                samples = (cell.samples for cell, region in zip(attacked, regions, strict=True) if region in found)
                balls_in[norms] = tuple(found), max(samples, default=0)
            balls, most = balls_in[norms]
            if balls:
                yield Certification(learner, label, certifier, balls, min(most, certifier.samples or most))
