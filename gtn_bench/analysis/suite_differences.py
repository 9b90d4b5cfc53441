"""Differences between two suites, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gtn_bench.config.suite import SECTIONS

ABSENT = "absent"  # stands for a field or an entry that one side does not have
_CHECKSUM = re.compile(r"^.*#sha256=([0-9a-f]{64})$")
_DIGITS = 12  # of a checksum that are shown


class FieldDifference(NamedTuple):
    """A field with different values in two runs.

    Attributes:
        field: Place of the field: ``perturbations[fgsm].steps``.
        first: Its value in the first run; `ABSENT` if there is none.
        second: Its value in the second run.
    """

    field: str
    first: Any
    second: Any


def suite_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[FieldDifference]:
    """Return the fields in which two resolved suites differ. Entries of a section are matched by their labels.

    Files are compared by their checksums, not by their paths.

    Args:
        first: The content of a resolved suite.
        second: The content of the other one.
    """
    return list(_differences(_by_label(first), _by_label(second), ""))


def same_test_images(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two suites describe the same test images.

    What concerns training images and the normalization inside of models does not count.

    Args:
        first: The content of a resolved suite.
        second: The content of the other one.
    """
    return bool(comparable_content(first)["dataset"] == comparable_content(second)["dataset"])


def comparable_content(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a suite decides whether two runs are comparable: checksums in place of files, labels as keys.

    Of the data set, only the test images count.

    Args:
        suite: The content of a resolved suite, or some of its fields.
    """
    content = {key: _plain(value) for key, value in _by_label(suite).items()}
    dataset = {key: value for key, value in content["dataset"].items() if key not in _ABOUT_TRAINING}
    return {**content, "dataset": dataset}


_ABOUT_TRAINING = {"train", "validation", "mean", "std"}


def _by_label(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return a suite whose sections are mappings from label to entry. Entries without a label of their own are equal
    to entries that are labeled with their names."""
    content = dict(suite)
    for section in SECTIONS:
        entries = content.get(section) or ()
        content[section] = {str(entry.get("label") or entry["name"]): _unlabeled(entry) for entry in entries}
    return content


def _unlabeled(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "label"}


def _differences(first: Mapping[str, Any], second: Mapping[str, Any], place: str) -> Iterator[FieldDifference]:
    for key in dict.fromkeys((*first, *second)):
        where = f"{place}[{key}]" if place in SECTIONS else f"{place}.{key}" if place else str(key)
        ours, theirs = (_plain(side.get(key, ABSENT)) for side in (first, second))
        if ours == theirs:
            continue
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from _differences(ours, theirs, where)
        else:
            yield FieldDifference(where, _summarized(ours, where), _summarized(theirs, where))


def _summarized(value: Any, where: str) -> Any:
    """Return a value that is shown; of an entry that one side lacks, nothing but that it is there."""
    return "present" if isinstance(value, Mapping) and where.endswith("]") else value


def _plain(value: Any) -> Any:
    """Return a value with checksums in place of files."""
    if isinstance(value, str) and (match := _CHECKSUM.match(value)):
        return f"sha256:{match[1][:_DIGITS]}"
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value
