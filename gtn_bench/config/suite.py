"""Suites: what to compare, as a YAML file. This module knows the grammar, not the names in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from gtn_bench.config.description import (
    MAX_PROBLEMS,
    MORE_PROBLEMS,
    PositiveInt,
    Precision,
    Probability,
    Protocol,
    explain,
)
from gtn_bench.config.errors import ConfigError, escaped, listed, shortened, shown
from gtn_bench.config.labels import Label
from gtn_bench.config.numbers import with_numbers
from gtn_bench.config.salvage import in_file_order, remains
from gtn_bench.config.shipped import find, suites
from gtn_bench.config.sweeps import MAX_STRENGTHS, count_strengths, repeated, sweep
from gtn_bench.config.yaml import errors_in, salvage_mapping, to_yaml

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # a signed 64-bit column holds it


class Named(BaseModel):
    """A name from one of the tables, and the fields of the named description."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, ser_json_inf_nan="constants")

    name: str

    @property
    def fields(self) -> dict[str, Any]:
        """All keys but `name` and those that the entry itself declares."""
        return dict(self.__pydantic_extra__ or {})


class Entry(Named):
    """A named description with an optional label for the results."""

    label: Label | None = None

    @property
    def title(self) -> str:
        """The label, or else the name."""
        return self.label or self.name


def _unique(values: Any) -> Any:
    if isinstance(values, list | tuple) and (twice := repeated(values)):
        raise ValueError(f"expects each seed once, got {listed(twice)} again")
    return values


def _entries(values: Any) -> Any:
    """Accept a bare name in place of an entry without fields."""
    return [_entry(value) for value in values] if isinstance(values, list | tuple) else values


def _entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class PerturbationEntry(Entry):
    """A perturbation, the strengths to evaluate and the number of test images to evaluate them on.

    With ``search: minimal`` the strengths are the grid on which each image's smallest successful one is searched. With
    ``search: bisection`` the grid is bisected.
    """

    beta: Annotated[tuple[float, ...], BeforeValidator(sweep)]
    samples: PositiveInt | None = None
    search: Literal["minimal", "bisection"] | None = None


Entries = Annotated[tuple[Entry, ...], BeforeValidator(_entries), Field(strict=False)]

_MAX_LINE = 1_000  # characters of a problem

# The keys that hold lists of entries.
SECTIONS = ("teachers", "architectures", "modes", "controls", "perturbations", "certify")


@dataclass(frozen=True)
class Origin:
    """The source of a suite, for error messages.

    Attributes:
        file: Name of the file; empty if there is none.
        folder: Folder of the file, where relative paths in it start; None if there is none.
        data: The content of the file as plain data, keys in their order.
        places: The places in the file of the entries of a section, if it lacks entries of the file.
        unread: Top-level keys of which something is wrong and was left out.
        has_full_places: Whether the places name their files themselves, so that messages need no other start.
    """

    file: str = field(default="", compare=False)
    folder: Path | None = field(default=None, compare=False)
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    unread: frozenset[str] = field(default=frozenset(), compare=False)
    has_full_places: bool = field(default=False, compare=False)


class Suite(BaseModel):
    """A comparison of learners that several modes train, under several perturbations.

    The run trains one learner per architecture, mode and seed, and per teacher if the mode needs one. It evaluates
    every learner under every perturbation at every strength.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    name: Label = Field(description="Name of the suite and of its default output folder.")
    description: str = Field("", description="The question that the suite answers; printed in the report.")
    dataset: Annotated[Named, BeforeValidator(_entry)] = Field(description="Data set: a name, or name and parameters.")
    teachers: Entries = Field((), description="Teachers to meta-train or to load.")
    architectures: Entries = Field(
        (), description="Architectures of the learners. Absent if every mode has an architecture of its own."
    )
    modes: Annotated[Entries, Field(min_length=1)] = Field(description="How the learners are obtained.")
    controls: Entries = Field(
        (), description="More modes to compare with. They do not decide which architectures are accepted."
    )
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), BeforeValidator(_unique)] = Field(
        description="One learner per architecture, mode and seed."
    )
    perturbations: Annotated[tuple[PerturbationEntry, ...], Field(strict=False, min_length=1)] = Field(
        description="Perturbations, each with its sweep of strengths `beta`."
    )
    units: Literal["pixel", "normalized"] = Field(
        "pixel", description="Unit of strengths: pixel values in [0, 1], or standard deviations of the training pixels."
    )
    acceptance: Annotated[Probability, BeforeValidator(with_numbers)] = Field(
        0.7, description="An architecture is accepted if its mean clean accuracy exceeds this in every mode."
    )
    attack: Literal["all", "accepted"] = Field("all", description="The architectures whose learners are evaluated.")
    precision: Precision = Field(
        "float32", description="Precision in which gradient attacks see a learner. Success is judged in float32."
    )
    protocol: Protocol = Field(
        "evaluation", description="How learners are measured. `published` reproduces the reference study."
    )
    eight_bit: bool = Field(
        False, description="Round perturbed images to 8 bits per pixel before they are judged, as a file would."
    )
    save_adversarial: bool = Field(
        False, description="Keep all perturbed images, in the folder `adversarial` of the output."
    )
    checks: Literal["none", "basic", "full"] = Field(
        "basic",
        description="Extra attacks on a part of the test images that check the attacks of the suite. `basic` takes at "
        "most a quarter of the passes of the suite itself, `full` what it needs.",
    )
    certify: Entries = Field((), description="Certifiers that prove lower bounds of the accuracy in the same balls.")
    overlay: Literal["published"] | None = Field(
        None, description="Draw the curves of the reference study beside those of teachers with the same labels."
    )
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def where(self) -> str:
        """The file of the suite, or else its name: the start of error messages."""
        if self._origin.has_full_places:
            return ""
        return self._origin.file or ("" if "name" in self.unread else self.name)

    @property
    def folder(self) -> Path | None:
        """The folder of the file, where relative paths in it start; None if the suite is from no file."""
        return self._origin.folder

    @property
    def unread(self) -> frozenset[str]:
        """Top-level keys of which something is wrong and was left out; empty unless `salvage` has read the suite."""
        return self._origin.unread

    def places(self, section: str) -> tuple[str, ...]:
        """Return the places in the file of the entries of a section, such as ``modes[0]``.

        Args:
            section: One of `SECTIONS`.
        """
        count = len(getattr(self, section))
        return self._origin.places.get(section) or tuple(f"{section}[{position}]" for position in range(count))

    def error(self, problems: Iterable[str]) -> ConfigError:
        """Return the error that reports problems of the suite, in the order of its file.

        Args:
            problems: Lines ``place: problem``.
        """
        prefix = f"{self.where}: " if self.where else ""
        lines = in_file_order(problems, self._origin.data)
        if len(lines) > MAX_PROBLEMS:
            lines = [*lines[:MAX_PROBLEMS], MORE_PROBLEMS]
        return ConfigError("\n".join(prefix + shortened(escaped(line), _MAX_LINE) for line in lines))

    def to_yaml(self) -> str:
        """Return the suite as YAML text that `parse` reads back."""
        data = self.model_dump(mode="json")
        for part in SECTIONS:
            for entry in data[part]:
                for key in ("label", "search"):
                    if entry.get(key, "") is None:
                        del entry[key]
        return to_yaml(data)


def load(source: str | os.PathLike[str] | Mapping[str, Any]) -> Suite:
    """Load a suite.

    Args:
        source: Path of a YAML file, or name of a suite that ships with the package, such as ``"demo"``, or the content
            of a suite as a mapping.

    Returns:
        The suite. Names in it are resolved by `plan`.

    Raises:
        ConfigError: One line per problem: the file, the place in it, what was expected.
    """
    suite, problems = salvage(source)
    if problems:
        raise suite.error(problems)
    return suite


def parse(text: str) -> Suite:
    """Parse YAML text as a suite.

    Args:
        text: The content of a suite file.

    Returns:
        The suite. Names in it are resolved by `plan`.

    Raises:
        ConfigError: One line per problem.
    """
    suite, problems = _salvage(*salvage_mapping(text, "a suite"), path=None)
    if problems:
        raise suite.error(problems)
    return suite


def salvage(
    source: str | os.PathLike[str] | Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[Suite, list[str]]:
    """Load the parts of a suite that are right.

    Args:
        source: As for `load`.
        defaults: Values of keys that the source lacks.

    Returns:
        The suite without what is wrong, and one line ``place: problem`` for each problem. Without problems it is the
        whole suite.

    Raises:
        ConfigError: If there is no such file, or it holds no mapping.
    """
    if isinstance(source, Mapping):
        return _salvage({**(defaults or {}), **source}, [], path=None)
    if isinstance(source, Suite):
        raise ConfigError("expects a file, the name of a suite or a mapping, got a loaded suite; call gtn_bench.plan")
    if not isinstance(source, str | os.PathLike):
        raise ConfigError(f"expects a file, the name of a suite or a mapping, got {shown(source)}")
    path = find(source, "suite", suites())
    with errors_in(path):
        data, problems = salvage_mapping(path.read_text(encoding="utf-8"), "a suite")
    return _salvage({**(defaults or {}), **data}, problems, path=path)


def _salvage(data: dict[str, Any], problems: list[str], *, path: Path | None) -> tuple[Suite, list[str]]:
    """Validate a suite; leave out what is wrong and add a line for it to the problems of the parser."""
    file, folder = (path.name, path.absolute().parent) if path else ("", None)
    strengths = count_strengths(data.get("perturbations"))
    if strengths > MAX_STRENGTHS:  # they are not written out to find other problems
        where = f"{file}: " if file else ""
        raise ConfigError(f"{where}perturbations: expects at most {MAX_STRENGTHS} strengths, got {strengths}")
    unread = frozenset(SECTIONS) if problems else frozenset()  # a key that occurs twice may have had more entries
    try:
        suite = Suite.model_validate(data)
        suite._origin = Origin(file, folder, data, unread=unread)
        return suite, problems
    except ValidationError as error:
        found = explain(error, Suite, "")
        left = remains(data, error, Suite, SECTIONS)
    suite = Suite.model_validate({**_PLACEHOLDERS, **{key: value for key, value in left.data.items() if value != []}})
    suite = suite.model_copy(update={key: () for key in SECTIONS if not left.data.get(key)})
    suite._origin = Origin(file, folder, data, left.places, left.unread | unread)
    return suite, [*problems, *found]


# For what is wrong or missing; nothing is computed from them.
_PLACEHOLDERS = {
    "name": "suite",
    "dataset": "",
    "seeds": [0],
    "architectures": [""],
    "modes": [""],
    "perturbations": [{"name": "", "beta": [1.0]}],
}
