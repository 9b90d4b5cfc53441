"""Suites: what to compare, as a YAML file. This module knows the grammar, not the names in it."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from gtn_bench.description import Mistake, PositiveInt, Precision, Probability, Protocol, did_you_mean, explain

# What results call the teacher of a mode without one, the accepted architectures together, the perturbation that is
# the worst of all, image by image.
NO_TEACHER, ACCEPTED, WORST = "none", "accepted", "worst"
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what a column of integers holds
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]  # files are called so, too


class Named(BaseModel):
    """A name from one of the tables, and the fields of what is named."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, ser_json_inf_nan="constants")

    name: str

    @property
    def fields(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class Entry(Named):
    """The same with an optional label for the results."""

    label: Label | None = None

    @property
    def title(self) -> str:
        """What the results call it."""
        return self.label or self.name


def sweep(value: object) -> object:
    """Strengths from a list, or from `{linspace: [first, last, count]}` or `{geomspace: ...}`; sorted."""
    if isinstance(value, dict):
        value = _spaced(value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"expects a list of strengths, or a linspace or geomspace, got {value!r}")
    if not value:
        raise ValueError("expects at least one strength, got an empty sweep")
    for beta in value:
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= sys.float_info.max:
            raise ValueError(f"expects finite strengths of at least 0, got {beta!r}")
    betas = sorted(float(beta) for beta in value)
    for beta, following in itertools.pairwise(betas):
        if beta == following:
            raise ValueError(f"expects each strength once, got {beta:g} again")
    return tuple(betas)


def _spaced(value: dict[str, Any]) -> list[float]:
    spaces: dict[str, Callable[..., Any]] = {"linspace": np.linspace, "geomspace": np.geomspace}
    if len(value) != 1 or next(iter(value)) not in spaces:
        wrong = next((key for key in value if key not in spaces), "two kinds of space")
        raise ValueError(f"does not know the sweep '{wrong}'{did_you_mean(wrong, spaces)}")
    kind, numbers = next(iter(value.items()))
    match numbers:
        case [int() | float() as first, int() | float() as last, int(count)] if count >= 1 and count is not True:
            pass
        case _:
            raise ValueError(f"expects {kind}: [first, last, count], got {numbers!r}")
    if not (0 <= first <= sys.float_info.max and 0 <= last <= sys.float_info.max):
        raise ValueError(f"expects finite strengths of at least 0, got {kind}: {numbers!r}")
    if kind == "geomspace" and min(first, last) <= 0:
        raise ValueError(f"expects geomspace between strengths greater than 0, got {numbers!r}")
    return [float(f"{beta:.12g}") for beta in spaces[kind](first, last, count)]  # 0.4, not 0.4000000000000001


def _unique(values: Any) -> Any:
    for value in values if isinstance(values, list | tuple) else ():
        if list(values).count(value) > 1:
            raise ValueError(f"expects each seed once, got {value!r} again")
    return values


def _entries(values: Any) -> Any:
    """A bare name stands for an entry without fields."""
    return [_entry(value) for value in values] if isinstance(values, list) else values


def _entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class PerturbationEntry(Entry):
    """A perturbation with the strengths to try and the number of test images to try them on.

    With `search: minimal` the strengths are a grid in which each image's smallest successful one is searched.
    """

    beta: Annotated[tuple[float, ...], BeforeValidator(sweep)]
    samples: PositiveInt | None = None
    search: Literal["minimal"] | None = None


Entries = Annotated[tuple[Entry, ...], BeforeValidator(_entries), Field(strict=False)]


class Suite(BaseModel):
    """What to compare: which learners, trained in which modes, under which perturbations.

    A learner is trained for every architecture, mode and seed, and for every teacher where the
    mode needs one; every learner is put under every perturbation at every strength. `controls` are
    modes, too: anchors and variants to compare with, which do not decide which architectures count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    name: Label
    description: str = ""
    dataset: Annotated[Named, BeforeValidator(_entry)]
    teachers: Entries = ()
    architectures: Annotated[Entries, Field(min_length=1)]
    modes: Annotated[Entries, Field(min_length=1)]
    controls: Entries = ()
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), BeforeValidator(_unique)]
    perturbations: Annotated[tuple[PerturbationEntry, ...], Field(strict=False, min_length=1)]
    units: Literal["pixel", "normalized"] = "pixel"
    acceptance: Probability = 0.7
    attack: Literal["all", "accepted"] = "all"  # learners of which architectures
    precision: Precision = "float32"  # in which gradient attacks see a learner; it is judged in float32
    protocol: Protocol = "evaluation"  # how learners are measured; `published` is the reference study's way
    overlay: Literal["published"] | None = None  # the reference study's curves, drawn beside those of the same labels
    _file: str = PrivateAttr("")

    @property
    def where(self) -> str:
        """What messages call the suite: its file, else its name."""
        return self._file or self.name

    def only(self, architectures: Sequence[str]) -> Suite:
        """The suite with these of its architectures alone. Raises `Mistake` for others."""
        there = {entry.title: entry for entry in self.architectures}
        for title in architectures:
            if title not in there:
                raise Mistake(f"{self.where}: architectures: has no '{title}'{did_you_mean(title, there)}")
        return self.model_copy(update={"architectures": tuple(there[title] for title in dict.fromkeys(architectures))})

    def to_yaml(self) -> str:
        data = self.model_dump(mode="json")
        for part in ("teachers", "architectures", "modes", "controls", "perturbations"):
            for entry in data[part]:
                for key in ("label", "search"):
                    if entry.get(key, "") is None:
                        del entry[key]
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


def load(source: str | Path) -> Suite:
    """The suite in a YAML file, or the one that ships under this name (`demo`).

    Raises `Mistake`, one line for each mistake: the file, the place in it, what was expected.
    """
    path = find(source, "suite", suites())
    with mistakes_in(path):
        suite = parse(path.read_text(encoding="utf-8"))
    suite._file = path.name
    return suite


@contextmanager
def mistakes_in(path: Path) -> Iterator[None]:
    """Put the file's name before every mistake that is found in it."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake("\n".join(f"{path.name}: {line}" for line in str(mistake).splitlines())) from None
    except UnicodeDecodeError:
        raise Mistake(f"{path.name}: expects a text file in UTF-8") from None
    except OSError as error:
        raise Mistake(f"{path.name}: cannot be read ({error.strerror})") from None


def parse(text: str) -> Suite:
    """The suite that YAML text describes. Raises `Mistake`."""
    try:
        return Suite.model_validate(mapping(text, "a suite"))
    except ValidationError as error:
        raise Mistake("\n".join(explain(error, Suite, ""))) from None


def mapping(text: str, what: str) -> dict[str, Any]:
    """The keys of YAML text, read as data. Raises `Mistake`."""
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Mistake(f"{line}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter of a date or a number that cannot be one
        raise Mistake(f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise Mistake(f"expects a mapping with the keys of {what}, got {type(data).__name__}")
    return data


def find(source: str | Path, kind: str, shipped: Mapping[str, Path]) -> Path:
    """The file of a suite or another `kind`, by path or by the name of one that ships with the package."""
    path = Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise Mistake(f"{str(source)[:40]}: expects a file or the name of a {kind} ({error.strerror})") from None
    if is_file:
        return path
    if str(source) in shipped:
        return shipped[str(source)]
    if is_folder:
        raise Mistake(f"{source}: expects a file, got a folder")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise Mistake(f"{source}: no such file")
    raise Mistake(f"unknown {kind} '{source}'{did_you_mean(source, shipped)}")


def suites() -> dict[str, Path]:
    """The suites that ship with the package: name and file."""
    return {path.stem: path for path in sorted(_benchmarks().glob("*.yaml"))}


def teacher_specs() -> dict[str, Path]:
    """The teachers whose specifications ship with the package: name and file."""
    return {path.stem: path for path in sorted((_benchmarks() / "teachers").glob("*.yaml"))}


def _benchmarks() -> Path:
    installed = Path(str(files("gtn_bench"))) / "suites"
    checkout = Path(str(files("gtn_bench"))).parent / "benchmarks"
    return installed if installed.is_dir() else checkout


class _StrictLoader(yaml.SafeLoader):
    """YAML as data: no duplicate keys, and 1e-3 is a number as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"expects keys to be text, got {key!r}", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' occurs twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
