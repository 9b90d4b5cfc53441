"""Differences between two runs: suites, cells and provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from gtn_bench.analysis.reading import reading
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.suite_differences import ABSENT, FieldDifference, suite_differences
from gtn_bench.analysis.tables import IDENTITY
from gtn_bench.config.yaml import parse_mapping
from gtn_bench.store.hashing import digest


class CellDifferences(NamedTuple):
    """The cells of two runs.

    Attributes:
        shared: Number of cells that both runs have planned.
        only_first, only_second: Numbers of cells that only one of them has planned.
        labels: For each column of `IDENTITY` the values that only one run has.
        statuses: Number of shared cells whose status differs, by the two statuses: ``("done", "error")``.
    """

    shared: int
    only_first: int
    only_second: int
    labels: tuple[FieldDifference, ...]
    statuses: Mapping[tuple[str, str], int]


class RunDifferences(NamedTuple):
    """The differences between two runs.

    Attributes:
        suite: The fields of the suites.
        cells: The cells.
        provenance: Versions, hardware and code, the latter as one field ``code.<module>`` for each module that both
            runs use.
    """

    suite: tuple[FieldDifference, ...]
    cells: CellDifferences
    provenance: tuple[FieldDifference, ...]


def run_differences(first: Results, second: Results) -> RunDifferences:
    """Return the differences between two runs.

    Args:
        first: The results of a run.
        second: The results of the other one.

    Raises:
        ConfigError: If a file of a run cannot be read.
    """
    suites = suite_of(first), suite_of(second)
    cells = cell_differences(first.summary, second.summary)
    of_provenance = [*_provenance(first.provenance, second.provenance)]
    of_provenance += _code(first.provenance, second.provenance, same_parts=_parts(suites[0]) == _parts(suites[1]))
    return RunDifferences(tuple(suite_differences(*suites)), cells, tuple(of_provenance))


def suite_of(results: Results) -> dict[str, Any]:
    """Return the content of the resolved suite of a run, as plain data.

    Args:
        results: The results.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    with reading(results.folder / "suite.yaml") as path:
        content = parse_mapping(path.read_text(encoding="utf-8"), "a suite")
        if not isinstance(content.get("dataset"), dict):
            raise ValueError("no data set")
    results.files.verify(path.name)
    return content


def cell_differences(first: pd.DataFrame, second: pd.DataFrame) -> CellDifferences:
    """Return how the cells of two runs differ.

    Args:
        first: The summary of a run.
        second: The summary of the other one.
    """
    ours, theirs = (dict(zip(_identities(table), table["status"], strict=True)) for table in (first, second))
    shared = [cell for cell in ours if cell in theirs]
    labels = []
    for column in IDENTITY:
        known, others = (list(dict.fromkeys(table[column].tolist())) for table in (first, second))
        only, only_theirs = ([value for value in a if value not in b] for a, b in ((known, others), (others, known)))
        if only or only_theirs:
            labels.append(FieldDifference(column, only, only_theirs))
    statuses: dict[tuple[str, str], int] = {}
    for cell in shared:
        pair = ours[cell], theirs[cell]
        if pair[0] != pair[1]:
            statuses[pair] = statuses.get(pair, 0) + 1
    counts = len(shared), len(ours) - len(shared), len(theirs) - len(shared)
    return CellDifferences(*counts, tuple(labels), statuses)


def _identities(summary: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    return summary[IDENTITY].itertuples(index=False, name=None)


# What can change numbers. The number of cores and of workers cannot.
_MACHINE = "system", "processor", "instructions", "device", "accelerator"


def _provenance(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[FieldDifference]:
    yield from _of_mappings("versions", first.get("versions", {}), second.get("versions", {}))
    machines = [{key: side.get("machine", {}).get(key, ABSENT) for key in _MACHINE} for side in (first, second)]
    yield from _of_mappings("machine", *machines)
    yield from _of_mappings("teachers", first.get("teachers", {}), second.get("teachers", {}))


def _code(first: Mapping[str, Any], second: Mapping[str, Any], *, same_parts: bool) -> Iterator[FieldDifference]:
    """Yield what differs in the code. Each run has only recorded the modules that it uses.

    Runs of earlier versions recorded one digest of all modules, which is compared if both runs use the same ones.
    """
    ours, theirs = first.get("code"), second.get("code")
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        shared = [module for module in ours if module in theirs]
        yield from _of_mappings("code", *({module: code[module] for module in shared} for code in (ours, theirs)))
        return
    digests = [digest(code) if isinstance(code, Mapping) else code for code in (ours, theirs)]
    if digests[0] != digests[1] and (same_parts or None in digests):
        yield FieldDifference("code", *(code or "not recorded" for code in digests))


_PARTS = ("dataset", "teachers", "architectures", "modes", "controls", "perturbations")  # what decides the modules


def _parts(suite: Mapping[str, Any]) -> set[str]:
    """Return the names of everything that the numbers of a suite are computed with."""
    return {f"{part} {name}" for part in _PARTS for name in _names(suite.get(part))}


def _names(content: object) -> Iterator[str]:
    """Yield the names in a part of a suite, those of nested parts included."""
    if isinstance(content, Mapping):
        yield from [str(content["name"])] if "name" in content else []
        yield from (name for value in content.values() for name in _names(value))
    elif isinstance(content, list):
        yield from (name for value in content for name in _names(value))


def _of_mappings(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[FieldDifference]:
    for key in dict.fromkeys((*first, *second)):
        ours, theirs = first.get(key, ABSENT), second.get(key, ABSENT)
        if ours != theirs:
            yield FieldDifference(f"{name}.{key}", ours, theirs)
