"""Resolution of the names in a suite to descriptions."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from gtn_bench.certification import CERTIFIERS, Certifier
from gtn_bench.config.description import MAX_PROBLEMS, Description, build, lookup, resolve_name
from gtn_bench.config.errors import ConfigError, at_place
from gtn_bench.config.labels import RESERVED
from gtn_bench.config.paths import relative_to
from gtn_bench.config.suite import Entry, Named, PerturbationEntry, Suite
from gtn_bench.data import DATASETS, Dataset
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.modes import MODES, Mode
from gtn_bench.modes.given import Given
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.search import Bisection, GridSearch, Search
from gtn_bench.teaching import TEACHERS, Teacher

D = TypeVar("D", bound=Description)
T = TypeVar("T")


class Problems(list[str]):
    """Lines ``place: problem``, collected so that one error reports all of them."""

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Collect a `ConfigError` of the block as problems at a place in the file.

        Args:
            place: The place, such as ``modes[0]``.
        """
        try:
            yield
        except ConfigError as error:
            self += at_place(error, place)

    def each(self, entries: Iterable[T]) -> Iterator[T]:
        """Yield entries until there are more problems than an error message lists.

        Args:
            entries: The entries.
        """
        for entry in entries:
            if len(self) > MAX_PROBLEMS:
                return
            yield entry


def placed_entries(suite: Suite, section: str) -> list[tuple[str, Entry]]:
    """Return the entries of a section with their places in the file.

    Args:
        suite: The suite.
        section: The key of the section, such as "modes".
    """
    return list(zip(suite.places(section), getattr(suite, section), strict=True))


def placed_perturbations(suite: Suite) -> list[tuple[str, PerturbationEntry]]:
    """Return the entries of `perturbations` with their places in the file.

    Args:
        suite: The suite.
    """
    return list(zip(suite.places("perturbations"), suite.perturbations, strict=True))


class Resolved(NamedTuple):
    """The descriptions that the names in a suite mean, by place in the file. Invalid ones are left out.

    Attributes:
        dataset: The data set; None if it is invalid.
        teachers: The teachers.
        architectures: The architectures.
        modes: The modes, followed by the controls.
        sweeps: For each perturbation its instances, one per strength.
        certifiers: The certifiers.
    """

    dataset: Dataset | None
    teachers: dict[str, Teacher]
    architectures: dict[str, Architecture]
    modes: dict[str, Mode]
    sweeps: dict[str, list[Perturbation]]
    certifiers: dict[str, Certifier]


def resolve(suite: Suite, problems: Problems) -> Resolved:
    """Resolve the names in a suite. Relative paths start at its folder.

    Args:
        suite: The suite, or the valid parts of an invalid one.
        problems: The list to which problems are added.
    """
    with relative_to(suite.folder):
        resolved = _resolved(suite, problems)
    _check_labels(suite, "teachers", resolved.teachers, problems)
    _check_labels(suite, "architectures", resolved.architectures, problems)
    _check_labels(suite, "modes", resolved.modes, problems)
    _check_labels(suite, "controls", resolved.modes, problems, others=suite.modes)
    _check_labels(suite, "perturbations", resolved.sweeps, problems)
    _check_labels(suite, "certify", resolved.certifiers, problems)
    return resolved


def _resolved(suite: Suite, problems: Problems) -> Resolved:
    dataset = None
    if "dataset" not in suite.unread:
        with problems.at("dataset"):
            dataset = _described(DATASETS, "dataset", suite.dataset, "dataset")
    sweeps = {}
    for place, entry in problems.each(placed_perturbations(suite)):
        with problems.at(place):
            sweeps[place] = _sweep(entry, place)
    return Resolved(
        dataset,
        _resolve_section(TEACHERS, "teacher", suite, "teachers", problems),
        _resolve_section(ARCHITECTURES, "architecture", suite, "architectures", problems),
        _resolve_section(MODES, "mode", suite, "modes", problems, Given)
        | _resolve_section(MODES, "mode", suite, "controls", problems),
        sweeps,
        _resolve_section(CERTIFIERS, "certifier", suite, "certify", problems),
    )


def _resolve_section(
    table: Mapping[str, type[D]],
    kind: str,
    suite: Suite,
    section: str,
    problems: Problems,
    in_memory: type[D] | None = None,
) -> dict[str, D]:
    """Return the descriptions that the entries of a section mean, by place in the file.

    `in_memory` describes networks in memory, which `gtn_bench.evaluate` enters into a suite. Files cannot name it.
    """
    found = {}
    for place, entry in problems.each(placed_entries(suite, section)):
        with problems.at(place):
            if in_memory and entry.name == in_memory.name:
                found[place] = build(in_memory, entry.fields, place)
            else:
                found[place] = _described(table, kind, entry, place)
    return found


def _check_labels(
    suite: Suite, section: str, resolved: Container[str], problems: Problems, others: Sequence[Entry] = ()
) -> None:
    """Collect labels that are reserved, or that occur twice in a section and other entries."""
    seen = {entry.title for entry in others}
    for place, entry in problems.each(placed_entries(suite, section)):
        title = entry.title
        if place not in resolved and entry.label is None and difflib.get_close_matches("label", entry.fields, n=1):
            continue  # the label is misspelt
        if title in RESERVED.get(section, ()) or (section == "perturbations" and title.endswith("-examples")):
            problems.append(f"{place}: label '{title}' is reserved; choose another label")
        if title in seen:
            problems.append(f"{place}: duplicate label '{title}'; give one of them another label")
        seen.add(title)


def _sweep(entry: PerturbationEntry, path: str) -> list[Perturbation]:
    """Return the perturbation of an entry at each strength."""
    sweep = [_perturbation(entry, beta, path) for beta in entry.beta]
    if not entry.search:
        return sweep
    kind: type[GridSearch] = Search if entry.search == "minimal" else Bisection
    first = build(kind, {"of": sweep[0], "grid": entry.beta, "beta": entry.beta[0]}, path)
    # Copies share one grid: each strength has all of them.
    return [first.model_copy(update={"of": of, "beta": beta}) for of, beta in zip(sweep, entry.beta, strict=True)]


def share_grid(sweep: Sequence[Perturbation]) -> list[Perturbation]:
    """Return the searches of a sweep with one grid for all, because each of them states all strengths.

    Args:
        sweep: One `GridSearch` for each strength.
    """
    grid = dict(sweep[0])["grid"]
    return [each.model_copy(update={"grid": grid}) for each in sweep]


def _perturbation(entry: PerturbationEntry, beta: float, path: str) -> Perturbation:
    """Return the perturbation of an entry at one strength, without a search.

    The name ``library.Attack`` is an attack of a library.
    """
    library, _, attack = entry.name.partition(".")
    named = {"attack": attack} if attack and issubclass(PERTURBATIONS.get(library, object), LibraryAttack) else {}
    try:
        cls = lookup(PERTURBATIONS, "perturbation", library if named else entry.name)
    except ConfigError as error:
        raise ConfigError(f"{path}.name: {error}") from None
    fields, problems = dict(entry.fields), Problems()
    if issubclass(cls, LibraryAttack):
        if not named:
            raise ConfigError(f"{path}.name: expects an attack class as '{entry.name}.<class>', got '{entry.name}'")
        if fields.pop("attack", None) is not None:
            problems.append(f"{path}.attack: set the attack through 'name'")
        own = cls.model_construct(attack=attack).parameters()
        misplaced = {key: fields.pop(key) for key in list(fields) if key in own and key not in cls.model_fields}
        problems += [f"{path}.{key}: is a parameter of the attack; move it to params" for key in misplaced]
        if misplaced and isinstance(fields.get("params", {}), Mapping):
            fields["params"] = {**misplaced, **fields.get("params", {})}
    with problems.at(path):
        perturbation = build(cls, {**fields, **named, "beta": beta}, path, also=("label", "samples", "search"))
        if isinstance(perturbation, LibraryAttack) and perturbation.minimal_norm:
            perturbation = Radius(of=perturbation, beta=beta)
    if problems:
        raise ConfigError("\n".join(problems))
    return perturbation


def _described(table: Mapping[str, type[D]], kind: str, entry: Named, place: str) -> D:
    try:
        cls, fields = resolve_name(table, kind, entry.name, entry.fields)
    except ConfigError as error:
        raise ConfigError(f"{place}.name: {error}") from None
    return build(cls, fields, place, also=("label",) if isinstance(entry, Entry) else ())
