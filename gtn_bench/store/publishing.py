"""Files that appear together: written into a hidden folder, renamed into place, and recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gtn_bench.store.hashing import file_digest
from gtn_bench.store.one_writer import HIDDEN
from gtn_bench.store.owners import owned_name, remove_abandoned
from gtn_bench.store.records import digests_in, encode_record, is_there, read_record
from gtn_bench.store.storing import storing

_STAGE = "stage-"  # at the beginning of the names of hidden folders


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Make an empty hidden folder for files that are to be published, and remove it after the block.

    Args:
        folder: The folder in which the files are to appear. `one_writer` holds its lock.

    Raises:
        StorageError: If it cannot be made.
    """
    hidden = folder / HIDDEN
    with storing(hidden):
        hidden.mkdir(exist_ok=True)
        remove_abandoned(hidden, _STAGE)
        stage = hidden / owned_name(_STAGE)
        stage.mkdir(mode=0o700)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(
    stage: Path, folder: Path, record: Path, content: Mapping[str, Any], keep: Collection[str] = frozenset()
) -> None:
    """Rename all files of a hidden folder into place, remove the others of the record, and write the new record.

    The caller has checked that the files in the way may be replaced.

    Args:
        stage: The folder from `staged`.
        folder: The folder in which the files appear.
        record: The JSON file that records them. It is replaced before the first file is renamed, and after the last.
        content: What else the record holds.
        keep: Files in the folder that stay and are recorded.

    Raises:
        StorageError: If a file cannot be written. The record tells whether some have been.
        ConfigError: If something else than a file is in the way of one.
    """
    with storing(folder):
        new = {file.relative_to(stage).as_posix(): file_digest(file) for file in _files_in(stage)}
        before = read_record(record) if record.is_file() else None
        old = before.files if before else {}
        present = digests_in(folder, {*new, *old, *keep})
        manifest = {**{name: present[name] for name in sorted(keep) if name in present}, **new}
        previous = {name: sorted({*old.get(name, ()), found}) for name, found in sorted(present.items())}
        unfinished, finished = stage / ".unfinished", stage / ".finished"
        unfinished.write_bytes(
            encode_record({**content, "manifest": manifest, "previous": previous, "complete": False})
        )
        finished.write_bytes(
            encode_record({**content, "manifest": manifest, "complete": True})
        )  # a full disk is full now
        os.replace(unfinished, record)
        for name in new:
            (folder / name).parent.mkdir(exist_ok=True)
            is_there(folder, name)  # raises for a link that has appeared since then
            os.replace(stage / name, folder / name)
        for name in old.keys() - manifest.keys():
            if name in present and present[name] in old[name]:
                _remove(folder, name)
        os.replace(finished, record)


def _files_in(stage: Path) -> list[Path]:
    files = [path for path in sorted(stage.rglob("*")) if path.is_file()]
    for path in files:
        path.chmod(0o644)
    return files


def _remove(folder: Path, name: str) -> None:
    """Remove a file, and the folder that it is in if that is empty."""
    (folder / name).unlink()
    if (folder / name).parent != folder:
        with suppress(OSError):
            (folder / name).parent.rmdir()
