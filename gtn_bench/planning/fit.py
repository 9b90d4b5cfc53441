"""Checks that the parts of a suite fit the data set and each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gtn_bench.config.errors import ConfigError, at_place
from gtn_bench.config.suite import Suite
from gtn_bench.config.threat import Norm
from gtn_bench.data import Dataset
from gtn_bench.models import Architecture
from gtn_bench.modes import Mode
from gtn_bench.modes.given import GivenArchitecture
from gtn_bench.perturbations import Perturbation
from gtn_bench.perturbations.searches import SearchWith
from gtn_bench.planning.resolving import Resolved
from gtn_bench.reference import protocol as reference
from gtn_bench.reference.curves import check_overlay


def check_fit(suite: Suite, resolved: Resolved) -> Iterator[str]:
    """Yield a line ``place: problem`` for everything in a suite that does not fit.

    Args:
        suite: The suite, or the valid parts of an invalid one.
        resolved: The descriptions that its names mean. Without a data set nothing is checked.
    """
    if resolved.dataset is None:
        return
    yield from _check_teachers_and_modes(suite, resolved.dataset, resolved)
    yield from _check_perturbations(suite, resolved.dataset, resolved)
    yield from _check_certifiers(suite, resolved)
    if suite.protocol == "published" or suite.overlay:
        yield from _check_reference(suite, resolved.dataset, resolved)


def _check_teachers_and_modes(suite: Suite, dataset: Dataset, resolved: Resolved) -> Iterator[str]:
    for place, teacher in resolved.teachers.items():
        yield from _problems(place, teacher.check, dataset)
    for place, mode in resolved.modes.items():
        if mode.needs_teacher and not suite.teachers and "teachers" not in suite.unread:
            yield f"{place}: mode '{mode.name}' needs a teacher, the suite has none"
        if mode.trains:
            yield from _problems(place, dataset.check_training, f"mode '{mode.name}'")
        for taught_by in resolved.teachers.values() if mode.needs_teacher else [None]:
            yield from _problems(place, mode.check, dataset, taught_by)
    all_modes = len(resolved.modes) == len(suite.modes) + len(suite.controls)
    all_modes = all_modes and not suite.unread & {"modes", "controls"}
    if suite.teachers and all_modes and not any(mode.needs_teacher for mode in resolved.modes.values()):
        yield "teachers: no mode of the suite learns from a teacher"
    fitting: dict[Architecture, None] = {} if suite.architectures else {GivenArchitecture(): None}
    for place, architecture in resolved.architectures.items():
        if architecture in fitting:  # the same one with another label
            continue
        problems = _problems(place, architecture.check, dataset)
        yield from problems
        if not problems:
            fitting[architecture] = None
    if "architectures" not in suite.unread:
        yield from _check_own_architectures(suite, resolved)
    checked: set[Mode] = set()
    for place, mode in resolved.modes.items() if "seeds" not in suite.unread else ():
        problems = _problems(place, mode.check_seeds, suite.seeds)
        yield from problems
        learned = [] if problems else [mode.for_seed(seed, position) for position, seed in enumerate(suite.seeds)]
        for each in dict.fromkeys(filter(None, learned)):
            if each in checked:
                continue
            checked.add(each)
            for architecture in fitting if mode.has_architecture != bool(suite.architectures) else ():
                yield from _problems(place, each.check_architecture, architecture, dataset)


def _check_own_architectures(suite: Suite, resolved: Resolved) -> Iterator[str]:
    own = [place for place, mode in resolved.modes.items() if mode.has_architecture]
    if suite.architectures:
        yield from (
            f"{place}.architecture: the suite has architectures, too; leave one of the two out" for place in own
        )
        return
    places = (*suite.places("modes"), *suite.places("controls"))
    labels = dict(zip(places, (entry.title for entry in (*suite.modes, *suite.controls)), strict=True))
    without = next((labels[place] for place in resolved.modes if place not in own), None)
    if without:
        yield f"architectures: needs at least one, because mode '{without}' has no architecture of its own"


def _check_perturbations(suite: Suite, dataset: Dataset, resolved: Resolved) -> Iterator[str]:
    for place, entry in zip(suite.places("perturbations"), suite.perturbations, strict=True):
        sweep = resolved.sweeps.get(place, [])
        for perturbation in sweep:
            yield from _problems(place, perturbation.check, dataset)
        if "units" not in suite.unread:
            scale = dataset.pixel_scale if suite.units == "normalized" else None
            yield from _check_sizes(place, sweep, dataset, scale)
        if (entry.samples or 0) > dataset.sizes[2]:
            yield f"{place}.samples: data set '{dataset.name}' has {dataset.sizes[2]} test images, got {entry.samples}"
        if entry.samples:
            yield from _problems(f"{place}.samples", dataset.check_samples, entry.samples)
    if len(resolved.sweeps) < len(suite.perturbations) or "perturbations" in suite.unread:
        return
    perturbations = [sweep[0] for sweep in resolved.sweeps.values()]
    if suite.units == "normalized" and not any(map(_has_pixel_fields, perturbations)):
        yield "units: no perturbation of the suite has strengths in 'normalized' units; leave units out"
    if suite.precision == "bfloat16" and not any(each.supports_bfloat16 for each in perturbations):
        yield "precision: no perturbation of the suite sees learners in 'bfloat16'; leave precision out"


def _check_certifiers(suite: Suite, resolved: Resolved) -> Iterator[str]:
    if len(resolved.sweeps) < len(suite.perturbations) or "perturbations" in suite.unread:
        return
    regions = [perturbation.search_region for sweep in resolved.sweeps.values() for perturbation in sweep]
    norms = {region.norm for region in regions if region}
    for place, certifier in resolved.certifiers.items():
        if not norms & set(certifier.norms):
            expected = " or ".join(certifier.norms)
            yield f"{place}: certifier '{certifier.name}' needs an untargeted attack in an {expected} ball, got none"


def _check_sizes(place: str, sweep: Iterable[Perturbation], dataset: Dataset, scale: float | None) -> Iterator[str]:
    """Yield a line for each field of a sweep whose length exceeds the distance between a black and a white image.

    Args:
        place: The place of the sweep.
        sweep: The perturbation at each strength.
        dataset: The data set.
        scale: The unit of the suite in pixel values, if it is normalized.
    """
    told = set()
    values = math.prod(dataset.input_shape)
    for perturbation in sweep:
        given = perturbation.pixel_sizes
        for field, size in (perturbation.in_pixels(scale) if scale else perturbation).pixel_sizes.items():
            limit = size.limit(values)
            if size.value <= limit * (1 + 1e-9) or field in told:
                continue
            told.add(field)
            value = given[field].value
            whole = value == int(value) and size.norm != "l0" and value / 255 <= limit
            levels = f"{value:g}/255" if whole else ""
            whole_range = _range_of(size.norm, dataset, limit)
            text = f"{size.what} {value:g} exceeds {whole_range}"
            hint = f"; did you mean {levels}?" if levels else ""
            if scale is not None and value != size.value:
                unit = "normalized units" if "deviation" in size.what else "standard deviations"
                text = f"{size.what} {value:g} {unit} is {size.value:.3g} in pixel values, which exceeds "
                text += whole_range.replace("the range of pixel values", "their range")
                text += f"; expects at most {limit / scale:.3g}"
                hint = f", or {levels} with units: pixel" if levels else ""
            yield f"{place}.{field}: {text}{hint}"


def _range_of(norm: Norm, dataset: Dataset, limit: float) -> str:
    shape = " x ".join(map(str, dataset.input_shape))
    if norm == "linf":
        return "the range of pixel values, 0 to 1"
    if norm == "l0":
        return f"the number of values of images of {shape}, {limit:g}"
    return f"the distance from black to white of images of {shape}, {limit:.4g}"


def _check_reference(suite: Suite, dataset: Dataset, resolved: Resolved) -> Iterator[str]:
    """Yield what does not fit the reference study, if its protocol or its curves are requested."""
    if suite.protocol == "published":
        for place, mode in resolved.modes.items():
            yield from _problems(place, reference.check_mode, mode.name)
        for place, entry in zip(suite.places("perturbations"), suite.perturbations, strict=True):
            for perturbation in resolved.sweeps.get(place, [])[:1]:
                samples = entry.samples or dataset.sizes[2]
                yield from _problems(place, reference.check_perturbation, perturbation, samples)
        if suite.precision != "float32":
            yield f"precision: protocol 'published' computes in float32, got '{suite.precision}'"
    every_teacher = len(resolved.teachers) == len(suite.teachers)
    if suite.overlay and every_teacher and not suite.unread & {"teachers", "units"}:
        labels = [teacher.title for teacher in suite.teachers]
        yield from _problems("overlay", check_overlay, dataset.name, suite.units, labels)


def _problems(place: str, check: Callable[..., None], *arguments: Any) -> list[str]:
    """Return the problems that a check raises, each with its place in the file."""
    try:
        check(*arguments)
    except ConfigError as error:
        return at_place(error, place)
    return []


def _has_pixel_fields(perturbation: Perturbation) -> bool:
    return bool((perturbation.of if isinstance(perturbation, SearchWith) else perturbation).pixel_fields)
