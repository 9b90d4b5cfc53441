"""Upkeep of the cache: what it holds, whether it is intact, and the removal of what is no longer needed.

Only files that gtn-bench has written are read or removed, and symbolic links are not followed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.store.cache import Store
from gtn_bench.store.downloads import verify_digest
from gtn_bench.store.files import MISSING, DamagedFileError, OlderFileError
from gtn_bench.store.files import verify as verify_file
from gtn_bench.store.intact import set_aside, stamp_of
from gtn_bench.store.listing import KINDS, RUNNING, StoredFile, stored_files
from gtn_bench.store.memo import read_memo
from gtn_bench.store.owners import abandoned

_DAY = 86_400.0  # seconds


class Entry(NamedTuple):
    """The files of a kind.

    Attributes:
        kind: The kind of result, or "data", "downloads", "memo"; or "corrupt" and "leftover" of all kinds.
        files: Their number.
        bytes: Their size.
        oldest: When the first of them was written, in seconds since 1970.
        newest: When the last of them was written.
    """

    kind: str
    files: int
    bytes: int
    oldest: float
    newest: float


class Verification(NamedTuple):
    """The findings of `verify` about the files of a cache.

    Attributes:
        files: Number of files that were read.
        bytes: Their size.
        damaged: For each damaged file what is wrong with it, and whether it was renamed.
        older: Number of files of earlier versions, which have no checksums and are computed again.
    """

    files: int
    bytes: int
    damaged: dict[Path, str]
    older: int

    @property
    def exit_code(self) -> int:
        """1 if a file is damaged, else 0."""
        return int(bool(self.damaged))


class Pruned(NamedTuple):
    """A file that was removed, or would be.

    Attributes:
        path: The file, or the folder with notes of a run.
        bytes: Its size; 0 for a folder, whose notes are small.
        reason: Why: it is old, it is corrupt, or it is the leftover of a process that was killed.
    """

    path: Path
    bytes: int
    reason: Literal["old", "corrupt", "leftover"]


def entries(store: Store) -> list[Entry]:
    """Return the files of a cache by kind, in the order in which a run writes them. Kinds without files are left out.

    Args:
        store: The cache.
    """
    groups: dict[str, list[StoredFile]] = {kind: [] for kind in (*KINDS, "corrupt", "leftover")}
    for file in stored_files(store.folder):
        groups[file.kind if file.state == "whole" else file.state].append(file)
    found = []
    for kind, files in groups.items():
        if files:
            times = [file.written for file in files]
            found.append(Entry(kind, len(files), sum(file.bytes for file in files), min(times), max(times)))
    return found


def verify(
    store: Store, *, rename: bool = True, progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> Verification:
    """Read and verify all files of a cache.

    Args:
        store: The cache.
        rename: Whether damaged files are set aside, so that the next run computes them again.
        progress: Called with "files", the number of verified files and of all files.
    """
    files = [file for file in stored_files(store.folder) if file.state == "whole"]
    damaged: dict[Path, str] = {}
    read = older = size = 0
    for done, file in enumerate(files, start=1):
        progress("files", done, len(files))
        try:
            stamp = stamp_of(file.path)
            _verify(file)
        except MISSING:  # removed in the meantime
            continue
        except OlderFileError:
            older += 1
        except DamagedFileError as error:
            damaged[file.path] = f"{error.reason}; {set_aside(file.path, stamp)}" if rename else error.reason
        read, size = read + 1, size + file.bytes
    return Verification(read, size, damaged, older)


def prune(
    store: Store,
    *,
    older_than_days: float | None = None,
    by: Literal["use", "write"] = "use",
    corrupt: bool = False,
    dry: bool = False,
) -> list[Pruned]:
    """Remove files of a cache. Temporary files of processes that were killed are removed after a day.

    The notes of a run that was killed are removed, too: at once on its machine, on others after a day.

    Args:
        store: The cache.
        older_than_days: Remove files that were not used, or written, for so many days; None for none.
        by: Whether the last use counts or the last write. Many file systems note a use once a day, some never.
        corrupt: Whether damaged files that were set aside are removed.
        dry: Whether files are only listed.

    Returns:
        The files that were removed; with `dry`, those that would be.

    Raises:
        ConfigError: If the number of days is none.
    """
    if older_than_days is not None and not older_than_days >= 0:
        raise ConfigError(f"expects a number of days from 0 on, got {shown(older_than_days)}")
    now, found = time.time(), []
    for file in stored_files(store.folder):
        last = max(file.used, file.written) if by == "use" else file.written
        is_old = older_than_days is not None and now - last > older_than_days * _DAY
        if file.state == "leftover" and now - file.written > _DAY:
            found.append(Pruned(file.path, file.bytes, "leftover"))
        elif file.state == "corrupt" and corrupt:
            found.append(Pruned(file.path, file.bytes, "corrupt"))
        elif file.state == "whole" and is_old:
            found.append(Pruned(file.path, file.bytes, "old"))
    for folder in abandoned(store.folder / RUNNING):
        found.append(Pruned(folder, 0, "leftover"))
    return found if dry else [file for file in found if _removed(file.path)]


def _removed(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _verify(file: StoredFile) -> None:
    """Raise `DamagedFileError` if a file is damaged."""
    if file.kind == "downloads":
        verify_digest(file.path, file.path.name[:64])
    elif file.kind == "memo":
        read_memo(file.path)
    else:
        verify_file(file.path, f"{file.kind}/{file.path.stem}")
