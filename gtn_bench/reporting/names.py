"""Names of figure files, whatever a perturbation is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

_LONGEST = 120  # characters; file systems allow 255 bytes with the ending


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """Return a file name for each label, without an ending.

    A label of a suite is its own file name. Names of plug-ins can contain anything: characters that are not portable
    are written as ``~`` and hexadecimal bytes. Names that differ only in case get a number, because some file systems
    do not distinguish them.

    Args:
        labels: The labels, each once.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        plain = re.sub(r"^\.|[^A-Za-z0-9._+-]", _hexadecimal, label)
        if len(plain) > _LONGEST:
            plain = f"{plain[:_LONGEST]}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}~~{number}", number + 1
        taken.add(name.casefold())
        names[label] = name
    return names


def page_files(labels: Iterable[str]) -> set[str]:
    """Return the names of all files that the report of a run can write.

    Args:
        labels: The labels of the perturbations, each once.
    """
    figures = {name for label in file_names(labels).values() for name in (label, f"{label}-examples")}
    figures |= {"over-l2", "over-linf"}
    return {"report.md"} | {f"figures/{name}.{kind}" for name in figures for kind in ("png", "svg")}


def _hexadecimal(found: re.Match[str]) -> str:
    return "".join(f"~{byte:02x}" for byte in found[0].encode())
