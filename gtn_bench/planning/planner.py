"""Planning: resolves and checks a suite, and enumerates its cells. Every problem is found before any training."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeVar

from gtn_bench.certification import Certifier
from gtn_bench.config.description import MAX_PROBLEMS, Description
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.labels import OWN_ARCHITECTURES
from gtn_bench.config.suite import Entry, Named, PerturbationEntry, Suite, salvage
from gtn_bench.data import Dataset
from gtn_bench.models import Architecture
from gtn_bench.modes import Mode
from gtn_bench.modes.given import GivenArchitecture
from gtn_bench.perturbations import Perturbation
from gtn_bench.perturbations.search import GridSearch
from gtn_bench.perturbations.searches import SearchWith
from gtn_bench.planning.cells import Cell, Learner, Plan, TaughtBy, certifications_of
from gtn_bench.planning.fit import check_fit
from gtn_bench.planning.resolving import Problems, resolve, share_grid
from gtn_bench.planning.size import MAX_CELLS, checked_max_cells, problems_before_resolving, problems_of_size
from gtn_bench.teaching import Teacher

N = TypeVar("N", bound=Named)
T = TypeVar("T")

Limit = int | float | None  # of test images: at most this many, or a share of them


@names_keywords
def load(source: str | os.PathLike[str] | Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> Suite:
    """Load a suite.

    If a part of it is wrong, the other parts are resolved and checked too, so that one error reports all problems.

    Args:
        source: Path of a YAML file, or name of a suite that ships with the package, such as ``"demo"``, or the content
            of a suite as a mapping.
        defaults: Values of keys that the source lacks.

    Returns:
        The suite. `plan` resolves the names in it.

    Raises:
        ConfigError: One line per problem: the file, the place in it, what was expected.
    """
    suite, found = salvage(source, defaults)
    if found:
        _resolve_and_check(suite, found)
    return suite


@names_keywords
def plan(suite: Suite, limit: Limit = None, max_cells: int = MAX_CELLS) -> Plan:
    """Resolve and check a suite.

    Args:
        suite: The suite.
        limit: At most this many test images per cell (an integer), or a share of them in (0, 1] (a float).
        max_cells: The largest number of cells. More are refused before any of them is built.

    Returns:
        The plan.

    Raises:
        ConfigError: One line per problem.
    """
    if not isinstance(suite, Suite):
        raise ConfigError(f"plan expects a suite, got {_wrong_suite(suite)}")
    limit = _checked_limit(limit)
    parts = _resolve_and_check(suite, max_cells=checked_max_cells(max_cells))
    if limit is not None:
        for entry in suite.perturbations:
            parts.dataset.check_samples(_samples(entry, parts.dataset, limit))
    cells = tuple(_cells(suite, parts, limit))
    scale = _scale(suite, parts.dataset)
    certifiers = {label: certifier.in_pixels(scale) for label, certifier in parts.certifiers.items()}
    certifications = tuple(certifications_of(cells, certifiers))
    return Plan(_written_out(suite, parts, limit), cells, certifications)


class _Parts(NamedTuple):
    """The descriptions that the names in a valid suite mean, by label."""

    dataset: Dataset
    teachers: dict[str, Teacher]
    architectures: dict[str, Architecture]
    modes: dict[str, Mode]
    sweeps: dict[str, list[Perturbation]]
    certifiers: dict[str, Certifier]


def _resolve_and_check(suite: Suite, found: Sequence[str] = (), max_cells: int = MAX_CELLS) -> _Parts:
    """Return the descriptions that the names in a suite mean.

    Args:
        suite: The suite, or the valid parts of an invalid one.
        found: Problems that are known already.
        max_cells: The largest number of cells.

    Raises:
        ConfigError: With all problems, up to the number that is listed.
    """
    if too_large := problems_before_resolving(suite, max_cells):
        raise suite.error([*found, *too_large])
    problems = Problems(found)
    resolved = resolve(suite, problems)
    if too_large := problems_of_size(suite, resolved, max_cells):
        raise suite.error([*problems, *too_large])
    problems += islice(check_fit(suite, resolved), max(0, MAX_PROBLEMS + 1 - len(problems)))
    if problems or resolved.dataset is None:
        raise suite.error(problems)
    return _Parts(
        resolved.dataset,
        _by_label(suite.teachers, resolved.teachers),
        _by_label(suite.architectures, resolved.architectures) or {OWN_ARCHITECTURES: GivenArchitecture()},
        _by_label((*suite.modes, *suite.controls), resolved.modes),
        _by_label(suite.perturbations, resolved.sweeps),
        _by_label(suite.certify, resolved.certifiers),
    )


def _by_label(entries: Sequence[Entry], found: Mapping[str, T]) -> dict[str, T]:
    """Return the descriptions of the entries of a section, which are in the same order, by label."""
    return dict(zip((entry.title for entry in entries), found.values(), strict=True))


def _wrong_suite(value: object) -> str:
    """Return what was given in place of a suite, with the right call."""
    if isinstance(value, Plan):
        return "a plan; pass it to gtn_bench.run"
    if isinstance(value, str | os.PathLike | Mapping):
        return f"{shown(value)}; call gtn_bench.plan(gtn_bench.load({shown(value)}))"
    return f"{shown(value)}; gtn_bench.load returns one"


def _checked_limit(limit: object) -> Limit:
    """Return a limit as a built-in number, whichever type of number it is."""
    if limit is None:
        return None
    number = None if isinstance(limit, bool) else limit
    if isinstance(number, Integral):
        if number < 1:
            raise ConfigError(f"limit expects at least one image, got {number}")
        return int(number)
    if isinstance(number, Real) and 0 < float(number) <= 1:
        return float(number)
    raise ConfigError(f"limit expects a number of images or a share of them in (0, 1], got {shown(limit)}")


def _cells(suite: Suite, parts: _Parts, limit: Limit) -> Iterator[Cell]:
    taught = [TaughtBy(label, teacher, parts.dataset) for label, teacher in parts.teachers.items()]
    scale = _scale(suite, parts.dataset)
    seeds = list(enumerate(suite.seeds))
    attacks = [
        (entry.title, beta, perturbation, _samples(entry, parts.dataset, limit))
        for entry in suite.perturbations
        for beta, perturbation in zip(entry.beta, _in_pixels(parts.sweeps[entry.title], scale), strict=True)
    ]
    for architecture, (label, mode), (position, seed) in product(
        parts.architectures.items(), parts.modes.items(), seeds
    ):
        if (learned := mode.for_seed(seed, position)) is None:
            continue
        for taught_by in taught if mode.needs_teacher else [None]:
            learner = Learner(parts.dataset, taught_by, *architecture, label, learned, seed)
            for title, beta, perturbation, samples in attacks:
                yield Cell(
                    learner,
                    title,
                    perturbation,
                    beta,
                    samples,
                    precision=suite.precision if perturbation.supports_bfloat16 else "float32",
                    protocol=suite.protocol,
                    eight_bit=suite.eight_bit,
                    keeps_images=suite.save_adversarial,
                )


def _in_pixels(sweep: Sequence[Perturbation], scale: float) -> Sequence[Perturbation]:
    """Return the perturbations of a sweep with all fields in pixel values."""
    if scale == 1.0:
        return sweep
    converted = [perturbation.in_pixels(scale) for perturbation in sweep]
    return share_grid(converted) if isinstance(converted[0], GridSearch) else converted


def _scale(suite: Suite, dataset: Dataset) -> float:
    """Return the unit of strengths in pixel values."""
    return dataset.pixel_scale if suite.units == "normalized" else 1.0


def _written_out(suite: Suite, parts: _Parts, limit: Limit) -> Suite:
    """Return the suite with every default of every part."""

    def entry(old: N, description: Description, **more: Any) -> N:
        if isinstance(description, SearchWith):
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
            "certify": tuple(entry(old, parts.certifiers[old.title]) for old in suite.certify),
        }
    )


def _samples(entry: PerturbationEntry, dataset: Dataset, limit: Limit) -> int:
    samples = entry.samples or dataset.sizes[2]
    if isinstance(limit, float):
        return max(math.ceil(round(samples * limit, 6)), 1)
    return min(samples, limit or samples)
