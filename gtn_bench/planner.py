"""A suite becomes a plan: the cells to fill, each with everything that determines its numbers.

Every mistake in a suite is found here, before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple, TypeVar

from gtn_bench.cells import Cell, Learner, Plan, TaughtBy
from gtn_bench.datasets import DATASETS, Dataset
from gtn_bench.description import Description, Mistake, build, join, lookup
from gtn_bench.learners import LEARNERS, Architecture
from gtn_bench.modes import MODES, Mode
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.library import RADIUS, Radius
from gtn_bench.perturbations.search import Search
from gtn_bench.reference import protocol as reference
from gtn_bench.reference.curves import check_overlay
from gtn_bench.suite import ACCEPTED, NO_TEACHER, WORST, Entry, Named, PerturbationEntry, Suite
from gtn_bench.teaching import TEACHERS, Teacher

_TAKEN = {  # names that tables and figures have for something else
    "teachers": (NO_TEACHER,),
    "architectures": (ACCEPTED,),
    "modes": ("teacher", "architecture", ACCEPTED, "reason"),
    "controls": ("teacher", "architecture", ACCEPTED, "reason"),
    "perturbations": (WORST, "over-l2", "over-linf", "teacher", "architecture", "mode"),
}
D = TypeVar("D", bound=Description)
N = TypeVar("N", bound=Named)
E = TypeVar("E", bound=Entry)

Limit = int | float | None  # of test images: at most so many, or a share of them


def plan(suite: Suite, limit: Limit = None) -> Plan:
    """The cells of a suite, on at most `limit` test images each, or on that share of them (a float).

    Raises `Mistake`, one line for each.
    """
    if isinstance(limit, float) and not 0 < limit <= 1:
        raise Mistake(f"limit expects a number of images or a share of them in (0, 1], got {limit!r}")
    if isinstance(limit, int) and limit < 1:
        raise Mistake(f"limit expects at least one image, got {limit}")
    parts = _resolve(suite)
    _check(suite, parts)
    return Plan(_written_out(suite, parts, limit), tuple(_cells(suite, parts, limit)))


class _Parts(NamedTuple):
    """What the names in a suite mean, by label."""

    dataset: Dataset
    teachers: dict[str, Teacher]
    architectures: dict[str, Architecture]
    modes: dict[str, Mode]
    sweeps: dict[str, list[Perturbation]]


def _resolve(suite: Suite) -> _Parts:
    mistakes = _Mistakes()
    dataset = Dataset()
    with mistakes.at("dataset"):
        dataset = _described(DATASETS, "dataset", suite.dataset, "dataset")
    sweeps = {}
    for place, entry in mistakes.each("perturbations", suite.perturbations):
        with mistakes.at(place):
            sweeps[entry.title] = [_perturbation(entry, beta, place) for beta in entry.beta]
    mistakes.repeated("perturbations", suite.perturbations)
    parts = _Parts(
        dataset,
        mistakes.resolve(TEACHERS, "teacher", "teachers", suite.teachers),
        mistakes.resolve(LEARNERS, "architecture", "architectures", suite.architectures),
        mistakes.resolve(MODES, "mode", "modes", suite.modes)
        | mistakes.resolve(MODES, "mode", "controls", suite.controls, suite.modes),
        sweeps,
    )
    mistakes.stop(suite)
    return parts


def _check(suite: Suite, parts: _Parts) -> None:
    """Whether the parts fit each other."""
    mistakes, dataset = _Mistakes(), parts.dataset
    for place, entry in mistakes.each("teachers", suite.teachers):
        with mistakes.at(place):
            parts.teachers[entry.title].check(dataset)
    for place, entry in mistakes.each("architectures", suite.architectures):
        with mistakes.at(place):
            parts.architectures[entry.title].check(dataset)
    for place, entry in [*mistakes.each("modes", suite.modes), *mistakes.each("controls", suite.controls)]:
        with mistakes.at(place):
            mode = parts.modes[entry.title]
            if mode.needs_teacher and not parts.teachers:
                raise Mistake(f"mode '{mode.name}' needs a teacher, the suite has none")
            for teacher in parts.teachers.values() if mode.needs_teacher else [None]:
                mode.check(dataset, teacher)
            if suite.protocol == "published":
                reference.check_mode(mode.name)
    if parts.teachers and not any(mode.needs_teacher for mode in parts.modes.values()):
        mistakes.append("teachers: no mode of the suite learns from a teacher")
    if suite.units == "normalized" and len(dataset.std) > 1:
        mistakes.append(
            f"units: 'normalized' needs images of one channel, data set '{dataset.name}' has {len(dataset.std)}"
        )
    for place, sweep in mistakes.each("perturbations", suite.perturbations):
        with mistakes.at(place):
            for perturbation in parts.sweeps[sweep.title]:
                perturbation.check(dataset)
            if suite.protocol == "published":
                reference.check_perturbation(parts.sweeps[sweep.title][0], sweep.samples or dataset.sizes[2])
        if (sweep.samples or 0) > dataset.sizes[2]:
            mistakes.append(
                f"{place}.samples: data set '{dataset.name}' has {dataset.sizes[2]} test images, got {sweep.samples}"
            )
    if suite.protocol == "published" and suite.precision != "float32":
        mistakes.append(f"precision: protocol 'published' computes in float32, got '{suite.precision}'")
    if suite.overlay:
        with mistakes.at("overlay"):
            check_overlay(dataset.name, suite.units, list(parts.teachers))
    mistakes.stop(suite)


def _cells(suite: Suite, parts: _Parts, limit: Limit) -> Iterator[Cell]:
    taught = [TaughtBy(label, teacher, parts.dataset) for label, teacher in parts.teachers.items()]
    scale = parts.dataset.std[0] if suite.units == "normalized" else 1.0
    for architecture, mode, seed in product(parts.architectures.items(), parts.modes.items(), suite.seeds):
        for taught_by in taught if mode[1].needs_teacher else [None]:
            learner = Learner(parts.dataset, taught_by, *architecture, *mode, seed)
            for entry in suite.perturbations:
                samples = _samples(entry, parts.dataset, limit)
                for beta, perturbation in zip(entry.beta, parts.sweeps[entry.title], strict=True):
                    precision = suite.precision if perturbation.tolerates_bfloat16 else "float32"
                    strength = perturbation.in_pixels(scale)
                    yield Cell(learner, entry.title, strength, beta, samples, precision, suite.protocol)


def _written_out(suite: Suite, parts: _Parts, limit: Limit) -> Suite:
    """The suite with every default of every part."""

    def entry(old: N, description: Description, **more: Any) -> N:
        if isinstance(description, Search | Radius):
            description = description.of
        fields = {key: value for key, value in description.identity().items() if key not in ("name", "beta", "attack")}
        return type(old)(**{**old.model_dump(include={"name", "label", "search"}), **fields, **more})

    sweeps = [
        entry(old, parts.sweeps[old.title][0], beta=old.beta, samples=_samples(old, parts.dataset, limit))
        for old in suite.perturbations
    ]
    return suite.model_copy(
        update={
            "dataset": entry(suite.dataset, parts.dataset),
            "teachers": tuple(entry(old, parts.teachers[old.title]) for old in suite.teachers),
            "architectures": tuple(entry(old, parts.architectures[old.title]) for old in suite.architectures),
            "modes": tuple(entry(old, parts.modes[old.title]) for old in suite.modes),
            "controls": tuple(entry(old, parts.modes[old.title]) for old in suite.controls),
            "perturbations": tuple(sweeps),
        }
    )


def _samples(entry: PerturbationEntry, dataset: Dataset, limit: Limit) -> int:
    samples = entry.samples or dataset.sizes[2]
    if isinstance(limit, float):
        return max(math.ceil(round(samples * limit, 6)), 1)
    return min(samples, limit or samples)


def _perturbation(entry: PerturbationEntry, beta: float, path: str) -> Perturbation:
    """The perturbation at one strength; `library.Attack` is the attack of that name in the library."""
    library, _, attack = entry.name.partition(".")
    named = {"attack": attack} if attack and issubclass(PERTURBATIONS.get(library, object), LibraryAttack) else {}
    try:
        cls = lookup(PERTURBATIONS, "perturbation", library if named else entry.name)
    except Mistake as mistake:
        raise Mistake(f"{path}.name: {mistake}") from None
    if issubclass(cls, LibraryAttack):
        if not named:
            raise Mistake(f"{path}.name: expects the library's attack as '{entry.name}.<class>', got '{entry.name}'")
        own = cls.model_construct(attack=attack).parameters()
        for key in entry.fields:
            if key == "attack" or (key in own and key not in cls.model_fields):
                where = "is said by name" if key == "attack" else "is a parameter of the attack and belongs into params"
                raise Mistake(f"{path}.{key}: {where}")
    perturbation = build(cls, {**entry.fields, **named, "beta": beta}, path, also=("label", "samples", "search"))
    if isinstance(perturbation, LibraryAttack) and perturbation.drives == RADIUS:
        perturbation = Radius(of=perturbation, beta=beta)
    return build(Search, {"of": perturbation, "grid": entry.beta, "beta": beta}, path) if entry.search else perturbation


def _described(table: Mapping[str, type[D]], kind: str, entry: Named, place: str) -> D:
    try:
        cls = lookup(table, kind, entry.name)
    except Mistake as mistake:
        raise Mistake(f"{place}.name: {mistake}") from None
    return build(cls, entry.fields, place, also=("label",) if isinstance(entry, Entry) else ())


class _Mistakes(list[str]):
    """Lines `place: what is wrong`, gathered so that a user sees all of them at once."""

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        try:
            yield
        except Mistake as mistake:
            self += [line if line.startswith(path) else f"{path}: {line}" for line in str(mistake).splitlines()]

    def each(self, key: str, entries: Sequence[E]) -> Iterator[tuple[str, E]]:
        """The entries with their places in the file."""
        for position, entry in enumerate(entries):
            yield join(key, position), entry

    def resolve(
        self, table: Mapping[str, type[D]], kind: str, key: str, entries: Sequence[Entry], beside: Sequence[Entry] = ()
    ) -> dict[str, D]:
        """The descriptions by label, which is not that of an entry `beside` them."""
        found = {}
        for place, entry in self.each(key, entries):
            with self.at(place):
                found[entry.title] = _described(table, kind, entry, place)
        self.repeated(key, entries, beside)
        return found

    def repeated(self, key: str, entries: Sequence[Entry], beside: Sequence[Entry] = ()) -> None:
        seen = {entry.title for entry in beside}
        for position, title in enumerate(entry.title for entry in entries):
            if title in _TAKEN.get(key, ()) or (key == "perturbations" and title.endswith("-examples")):
                self.append(f"{join(key, position)}: results call something else '{title}'; give it another label")
            if title in seen:
                self.append(f"{join(key, position)}: '{title}' is there already; give one of them a label of its own")
            seen.add(title)

    def stop(self, suite: Suite) -> None:
        if self:
            raise Mistake("\n".join(f"{suite.where}: {line}" for line in self))
