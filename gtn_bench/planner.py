"""A suite becomes a plan: the cells to fill, each with everything that determines its numbers.

Every mistake in a suite is found here, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from gtn_bench.cache import key_for, seed_for
from gtn_bench.datasets import DATASETS, Dataset
from gtn_bench.description import Description, Mistake, build, join, lookup, plugin_names
from gtn_bench.learners import LEARNERS, Architecture
from gtn_bench.modes import MODES, Mode
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.suite import Entry, PerturbationEntry, Suite
from gtn_bench.teaching import TEACHERS, Teacher

D = TypeVar("D", bound=Description)

TABLES: dict[str, tuple[str, Mapping[str, type[Description]]]] = {
    "datasets": ("dataset", DATASETS),
    "teachers": ("teacher", TEACHERS),
    "learners": ("architecture", LEARNERS),
    "modes": ("mode", MODES),
    "perturbations": ("perturbation", PERTURBATIONS),
}
NO_TEACHER = "none"

# The modules whose code decides the numbers of each stage, besides those of the descriptions.
_TEACHER_CODE = {"gtn_bench.datasets", "gtn_bench.learners", "gtn_bench.teaching"}
_LEARNER_CODE = _TEACHER_CODE | {"gtn_bench.modes"}
_CELL_CODE = {"gtn_bench.classifiers", "gtn_bench.perturbations.base", "gtn_bench.perturbations.referee"}


@dataclass(frozen=True)
class TaughtBy:
    """A teacher on a data set, and what the results call it."""

    label: str
    teacher: Teacher
    dataset: Dataset

    def key(self, device: str) -> str:
        content = {"dataset": self.dataset.identity(), "teacher": self.teacher.identity()}
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
        return seed_for("training", self.dataset.identity(), self.mode.identity(), self.seed)

    def key(self, device: str) -> str:
        content = {
            "dataset": self.dataset.identity(),
            "teacher": self.taught_by.key(device) if self.taught_by else None,
            "architecture": self.architecture.identity(),
            "mode": self.mode.identity(),
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

    @property
    def noise_seed(self) -> int:
        """Of all randomness in the perturbation: the same for all learners of a seed and all strengths.

        So modes meet the same noise and can be paired, and a sweep scales one draw.
        """
        content = self.perturbation.identity()
        del content["beta"]
        return seed_for("perturbation", self.learner.dataset.identity(), content, self.learner.seed)

    def key(self, device: str, learner_key: str) -> str:
        content = {
            "learner": learner_key,
            "perturbation": self.perturbation.identity(),
            "samples": self.samples,
            "seed": self.learner.seed,
        }
        code = _CELL_CODE | _modules(self.perturbation)
        return key_for(content, code=code, packages=self.perturbation.packages, device=device)


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


def plan(suite: Suite, limit: int | None = None) -> Plan:
    """The cells of a suite, on at most `limit` test images each. Raises `Mistake`, one line for each."""
    mistakes = _Mistakes()
    dataset = Dataset()
    with mistakes.at("dataset"):
        dataset = mistakes.resolve(DATASETS, "dataset", suite.dataset, "dataset")
    teachers = mistakes.resolve_all(TEACHERS, "teacher", suite.teachers, "teachers")
    architectures = mistakes.resolve_all(LEARNERS, "architecture", suite.architectures, "architectures")
    modes = mistakes.resolve_all(MODES, "mode", suite.modes, "modes")
    sweeps = {}
    for position, entry in enumerate(suite.perturbations):
        path = join("perturbations", position)
        with mistakes.at(path):
            sweeps[entry.title] = [_perturbation(entry, beta, path) for beta in entry.beta]
    for kind in ("teachers", "architectures", "modes", "perturbations"):
        mistakes.repeated(kind, getattr(suite, kind))
    mistakes.stop(suite)

    for position, teacher in enumerate(teachers.values()):
        with mistakes.at(join("teachers", position)):
            teacher.check(dataset)
    for position, architecture in enumerate(architectures.values()):
        with mistakes.at(join("architectures", position)):
            architecture.check(dataset)
    for position, mode in enumerate(modes.values()):
        with mistakes.at(join("modes", position)):
            if mode.needs_teacher and not teachers:
                raise Mistake(f"mode '{mode.name}' needs a teacher, the suite has none")
            for teacher in teachers.values():
                mode.check(dataset, teacher)
    if teachers and not any(mode.needs_teacher for mode in modes.values()):
        mistakes.append("teachers: no mode of the suite learns from a teacher")
    if suite.units == "normalized" and len(dataset.std) > 1:
        mistakes.append(
            f"units: 'normalized' needs images of one channel, data set '{dataset.name}' has {len(dataset.std)}"
        )
    for position, entry in enumerate(suite.perturbations):
        if (entry.samples or 0) > dataset.sizes[2]:
            mistakes.append(
                f"{join('perturbations', position, 'samples')}: data set '{dataset.name}' has {dataset.sizes[2]} "
                f"test images, got {entry.samples}"
            )
    mistakes.stop(suite)

    taught = [TaughtBy(label, teacher, dataset) for label, teacher in teachers.items()]
    learners = [
        Learner(dataset, taught_by, architecture_label, architecture, mode_label, mode, seed)
        for (architecture_label, architecture), (mode_label, mode), seed in product(
            architectures.items(), modes.items(), suite.seeds
        )
        for taught_by in (taught if mode.needs_teacher else [None])
    ]
    scale = dataset.std[0] if suite.units == "normalized" else 1.0
    cells = [
        Cell(learner, entry.title, perturbation.in_pixels(scale), beta, _samples(entry, dataset, limit))
        for learner, entry in product(learners, suite.perturbations)
        for perturbation, beta in zip(sweeps[entry.title], entry.beta, strict=True)
    ]
    resolved = suite.model_copy(
        update={
            "dataset": _written_out(suite.dataset, dataset),
            "teachers": _all_written_out(suite.teachers, teachers),
            "architectures": _all_written_out(suite.architectures, architectures),
            "modes": _all_written_out(suite.modes, modes),
            "perturbations": tuple(
                _written_out(entry, sweeps[entry.title][0], beta=entry.beta, samples=_samples(entry, dataset, limit))
                for entry in suite.perturbations
            ),
        }
    )
    return Plan(resolved, tuple(cells))


def catalogue(table: str) -> list[dict[str, str]]:
    """Name, summary, parameters and source of all that one of `TABLES` holds, plug-ins included."""
    kind, known = TABLES[table]
    plugins = {name: lookup(known, kind, name) for name in plugin_names(kind)}
    rows = []
    for name, cls in {**known, **plugins}.items():
        row = {"name": f"{name}.<Class>" if issubclass(cls, LibraryAttack) else name, "about": cls.summary()}
        if issubclass(cls, Perturbation):
            row |= {"norm": cls.norm, "gradients": "yes" if cls.uses_gradient else "no", "beta": cls.meaning}
        row["parameters"] = ", ".join(field for field in cls.model_fields if field not in ("beta", "attack"))
        rows.append({**row, "source": cls.source})
    return rows


def _samples(entry: PerturbationEntry, dataset: Dataset, limit: int | None) -> int:
    return min(entry.samples or dataset.sizes[2], limit or dataset.sizes[2])


def _perturbation(entry: PerturbationEntry, beta: float, path: str) -> Perturbation:
    """The perturbation at one strength; `library.Attack` is the attack of that name in the library."""
    library, _, attack = entry.name.partition(".")
    named = {"attack": attack} if attack and issubclass(PERTURBATIONS.get(library, object), LibraryAttack) else {}
    try:
        cls = lookup(PERTURBATIONS, "perturbation", library if named else entry.name)
    except Mistake as mistake:
        raise Mistake(f"{path}.name: {mistake}") from None
    if issubclass(cls, LibraryAttack) and not named:
        raise Mistake(f"{path}.name: expects the library's attack as '{entry.name}.<class>', got '{entry.name}'")
    return build(cls, {**entry.fields, **named, "beta": beta}, path, also=("label", "samples"))


def _written_out(entry: Entry, description: Description, **more: Any) -> Entry:
    fields = {key: value for key, value in description.identity().items() if key not in ("name", "beta", "attack")}
    return type(entry)(name=entry.name, label=entry.label, **{**fields, **more})


def _all_written_out(entries: tuple[Entry, ...], found: Mapping[str, Description]) -> tuple[Entry, ...]:
    return tuple(_written_out(entry, found[entry.title]) for entry in entries)


def _modules(*descriptions: Description) -> set[str]:
    """Where the descriptions' classes and their bases are written, plug-ins included."""
    bases = {
        base for description in descriptions for base in type(description).__mro__ if issubclass(base, Description)
    }
    return {base.__module__ for base in bases - {Description}}


class _Mistakes(list[str]):
    """Lines `place: what is wrong`, gathered so that a user sees all of them at once."""

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        try:
            yield
        except Mistake as mistake:
            self += [line if line.startswith(path) else f"{path}: {line}" for line in str(mistake).splitlines()]

    def resolve(self, table: Mapping[str, type[D]], kind: str, entry: Entry, path: str) -> D:
        try:
            cls = lookup(table, kind, entry.name)
        except Mistake as mistake:
            raise Mistake(f"{path}.name: {mistake}") from None
        return build(cls, entry.fields, path, also=("label",))

    def resolve_all(
        self, table: Mapping[str, type[D]], kind: str, entries: tuple[Entry, ...], path: str
    ) -> dict[str, D]:
        found = {}
        for position, entry in enumerate(entries):
            with self.at(join(path, position)):
                found[entry.title] = self.resolve(table, kind, entry, join(path, position))
        return found

    def repeated(self, kind: str, entries: tuple[Entry, ...]) -> None:
        titles = [entry.title for entry in entries]
        for position, title in enumerate(titles):
            if title in titles[:position]:
                self.append(f"{join(kind, position)}: '{title}' is there already; give one of them a label of its own")

    def stop(self, suite: Suite) -> None:
        if self:
            raise Mistake("\n".join(f"{suite.where}: {line}" for line in self))
