"""Names of the files of figures and tables, whatever a perturbation is called, and of what they show."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

SMALLEST_AREA = "smallest area over perturbations"  # title of the measure `worst` of results
TABLES = "tables"  # the folder of tables for papers
FORMATS = ("pdf", "png", "svg")  # of figures
TABLE_FORMATS = ("md", "tex")
CAPTIONS = "figures/captions.md"
EXAMPLES = "-examples"  # ending of the names of figures of images
COLUMN = "-column"  # ending of the names of figures as wide as a column of text
WHOLE_TABLES = ("areas", "comparisons", "acceptance", "grades", "settings", "targeted")

_LONGEST = 120  # characters; file systems allow 255 bytes with the ending
_ROWS = 5  # of panels in a figure
_RESERVED = re.compile(rf"-(?=({EXAMPLES[1:]}|{COLUMN[1:]}|page\d+)$)")


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """Return a file name for each label, without an ending.

    A label of a suite is its own file name, unless it ends as names of other files do. Names of plug-ins can contain
    anything: characters that are not portable are written as ``~`` and hexadecimal bytes. Names that differ only in
    case get a number, because some file systems do not distinguish them.

    Args:
        labels: The labels, each once.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        plain = re.sub(r"^\.|[^A-Za-z0-9._+-]", _hexadecimal, label)
        plain = _RESERVED.sub("~2d", plain)
        if len(plain) > _LONGEST:
            plain = f"{plain[:_LONGEST]}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}~~{number}", number + 1
        taken.add(name.casefold())
        names[label] = name
    return names


def page_ending(number: int) -> str:
    """Return what the name of a figure ends in if it is one of several with the same content.

    Args:
        number: Its number, from 1.
    """
    return f"-page{number}" if number > 1 else ""


def parts_of(name: str, folders: Iterable[Path]) -> list[str]:
    """Return the names of the figures with the same content: one that is too long for a page continues in others.

    Args:
        name: The name of the first one, without an ending.
        folders: The folders to look in. The first that has the first figure counts.
    """
    for folder in folders:
        found: list[str] = []
        while any((folder / f"{name}{page_ending(len(found) + 1)}.{kind}").is_file() for kind in FORMATS):
            found.append(f"{name}{page_ending(len(found) + 1)}")
        if found:
            return found
    return []


def table_name(perturbation: str) -> str:
    """Return the name of the table of accuracies of a perturbation, without an ending.

    Args:
        perturbation: The name of the files of its figures.
    """
    return f"accuracy-{perturbation}"


def page_files(labels: Iterable[str], teachers: int = 1, architectures: int = 1) -> set[str]:
    """Return the names of all files that the report of a run can write.

    Args:
        labels: The labels of the perturbations, each once.
        teachers, architectures: How many there are at most.
    """
    files = list(file_names(labels).values())
    rows = max(1, teachers) * -(-max(architectures + 1, len(files)) // 2)  # at most, with two panels in a row
    pages = [page_ending(number) for number in range(1, 2 - (-rows // _ROWS))]
    curves = (*files, "over-l2", "over-linf")
    figures = {f"{name}{size}{page}" for name in curves for size in ("", COLUMN) for page in pages}
    figures |= {f"{name}{EXAMPLES}" for name in files}
    tables = {*WHOLE_TABLES, *map(table_name, files)}
    return (
        {"report.md", "report.html", CAPTIONS}
        | {f"figures/{name}.{kind}" for name in figures for kind in FORMATS}
        | {f"{TABLES}/{name}.{kind}" for name in tables for kind in TABLE_FORMATS}
    )


def _hexadecimal(found: re.Match[str]) -> str:
    return "".join(f"~{byte:02x}" for byte in found[0].encode())
