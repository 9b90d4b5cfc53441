"""The files in the folder of a teacher, and the table of retrained learners: none of somebody else is replaced."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from gtn_bench.analysis.manifest import FIGURES, PAGES, differences
from gtn_bench.analysis.tables import VERSION_COLUMN, to_csv
from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.store.files import write_atomically
from gtn_bench.store.records import is_there, read_json

ACCURACY = "accuracy.csv"
_NUMBER = r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?"
_COLUMNS = {  # of the table, with the form of their values
    "architecture": ".+",
    "inner_steps": "[0-9]+",
    "statistics": "real|teaching",
    "accuracy": _NUMBER,
    "std": f"({_NUMBER})?",  # a single learner has none
    "learners": "[0-9]+",
    VERSION_COLUMN: "[0-9]+",
}
_SPECIFICATION, _TEACHER, _CHECKPOINT = "teacher.yaml", "teacher.safetensors", "checkpoint.safetensors"
_PROVENANCE, _LOCK = "provenance.json", ".lock"
_PAGES = (
    "report.md",
    *(f"{FIGURES}/{name}.{kind}" for name in ("learning", "curriculum", "rates") for kind in ("pdf", "png", "svg")),
)
_HELP = "rename or remove them, or choose another folder"


def check_accuracy(folder: Path) -> None:
    """Check that the table of retrained learners can be written to a folder.

    Args:
        folder: The folder, which need not exist.

    Raises:
        ConfigError: If the table is a link, or a file that no retraining has written.
    """
    with _readable(folder):
        foreign = [ACCURACY] if is_there(folder, ACCURACY) and not _is_accuracy(folder / ACCURACY) else []
    _refuse(folder, foreign, "retraining")


def write_accuracy(folder: Path, accuracy: pd.DataFrame) -> None:
    """Write the table of retrained learners.

    Args:
        folder: The folder.
        accuracy: The table.

    Raises:
        ConfigError: If `check_accuracy` refuses the folder.
        StorageError: If the file cannot be written.
    """
    check_accuracy(folder)
    write_atomically(folder / ACCURACY, to_csv(accuracy, "%.6g"))


def check_teacher_files(folder: Path) -> None:
    """Check that a teacher can be meta-trained in a folder. The specification and the checkpoint check themselves.

    Args:
        folder: The folder, which need not exist.

    Raises:
        ConfigError: If a file in the way is a link, or one that no meta-training, retraining or report has written.
    """
    names = (_SPECIFICATION, _TEACHER, _CHECKPOINT, _PROVENANCE, ACCURACY, _LOCK, *_PAGES)
    with _readable(folder):
        found = {name for name in names if is_there(folder, name)}
        foreign = {name for name in found & _FORMS.keys() if not _FORMS[name](folder / name)}
        if _SPECIFICATION in found:
            differing = differences(folder, PAGES, found & {*_PAGES})
            foreign |= differing.foreign | differing.changed
        else:
            foreign |= found - {_LOCK}  # a process that starts at the same time can have made it
        if _TEACHER not in found and not (folder / PAGES).is_file():
            foreign |= found & {*_PAGES}  # no report precedes the teacher
    _refuse(folder, foreign, "meta-training")


def _refuse(folder: Path, foreign: Collection[str], writer: str) -> None:
    """Raise `ConfigError` if there are files that something else has written."""
    if foreign:
        files = listed(sorted(foreign), str)
        raise ConfigError(f"{folder} holds files that no {writer} has written: {files}; {_HELP}")


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Raise `ConfigError` for an error of the operating system in the block."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: cannot be read ({error.strerror or error})") from None


def _is_accuracy(path: Path) -> bool:
    """Return whether a file has the header and the forms of values of the table of retrained learners."""
    try:
        header, *rows = csv.reader(io.StringIO(path.read_bytes().decode(), newline=""))
    except (UnicodeDecodeError, ValueError, csv.Error):
        return False
    forms = _COLUMNS.values()
    return tuple(header) == tuple(_COLUMNS) and all(
        len(row) == len(forms) and all(map(re.fullmatch, forms, row)) for row in rows
    )


def _is_provenance(path: Path) -> bool:
    """Return whether a file says how long the meta-training of a teacher took, and where."""
    content = read_json(path) or {}
    kinds = {"teacher": str, "seconds": int | float, "machine": dict}
    return all(isinstance(content.get(name), kind) for name, kind in kinds.items())


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline(10) == b"# Teacher "


def _is_empty(path: Path) -> bool:
    return path.stat().st_size == 0


# Files with a form of their own.
_FORMS: dict[str, Callable[[Path], bool]] = {
    ACCURACY: _is_accuracy,
    _PROVENANCE: _is_provenance,
    "report.md": _is_page,
    _LOCK: _is_empty,
}
