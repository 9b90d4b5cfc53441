"""Files of the cache that were verified, and what happens to damaged ones: they are renamed and computed again.

A process remembers which files it has verified, by their size, times and number on the disk, so that asking for a
result again costs no reading. Reading a result verifies it each time.
"""

from __future__ import annotations

import os
import stat
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gtn_bench.store.files import MISSING, DamagedFileError, OlderFileError, verify
from gtn_bench.store.format import Header

CORRUPT = ".corrupt"  # the suffix of damaged files that were set aside
_RECENT = 2_000_000_000  # nanoseconds in which a second change might leave the times of a file as they are


class Stamp(NamedTuple):
    """The state of a file, as far as the file system tells it."""

    inode: int
    size: int
    modified: int
    changed: int


class Verified(NamedTuple):
    """A file that was verified: its state at that time, its key and the origin that it records (empty if unknown)."""

    stamp: Stamp
    key: str
    origin: dict[str, Any]


_verified: dict[Path, Verified] = {}
_older: set[str] = set()  # whether older files were reported


def is_intact(path: Path, key: str, check: Callable[[Path, str], Header | None] = verify) -> bool:
    """Check that a file of the cache exists and holds what was written. A damaged one is set aside, with a warning.

    Args:
        path: The file.
        key: Key that it must have.
        check: Verifies the file and returns its header if it has one.
    """
    stamp = None
    try:
        stamp = stamp_of(path)
        known = _verified.get(path)
        if known is not None and (known.stamp, known.key) == (stamp, key):
            return True
        header = check(path, key)
    except MISSING:
        return False
    except DamagedFileError as error:
        report_damage(error, path, stamp)
        return False
    if time.time_ns() - max(stamp.modified, stamp.changed) > _RECENT:
        _verified[path] = Verified(stamp, key, header.origin if header else {})
    return True


def known_origin(path: Path, key: str) -> dict[str, Any] | None:
    """Return the origin that a file records, if this process has verified the file; else None.

    Args:
        path: The file.
        key: Its key.
    """
    known = _verified.get(path)
    return known.origin if known is not None and known.key == key else None


def stamp_of(path: Path) -> Stamp:
    """Return the state of a file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no file.
        DamagedFileError: If there is something else in its place, or nothing can be found out about it.
    """
    try:
        found = os.stat(path)
    except MISSING:
        raise
    except OSError as error:
        raise DamagedFileError(path, f"it cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
        raise DamagedFileError(path, "it is no file")
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def report_damage(error: DamagedFileError, path: Path, stamp: Stamp | None = None) -> None:
    """Set a damaged file aside, and warn that it is recomputed. Files without checksums stay, with one warning for all.

    Args:
        error: What is wrong with the file.
        path: The file.
        stamp: Its state when it was read; None if it is unknown.
    """
    if not isinstance(error, OlderFileError):
        warnings.warn(f"{error}; {set_aside(path, stamp)} and is recomputed", RuntimeWarning, stacklevel=3)
    elif not _older:
        _older.add(str(path))
        text = f"{error}; it and all others that an earlier version of gtn-bench wrote are recomputed"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def set_aside(path: Path, stamp: Stamp | None = None) -> str:
    """Rename a damaged file, unless another process has replaced it.

    Args:
        path: The file.
        stamp: Its state when it was read; None if it is unknown.

    Returns:
        What happened to the file, as part of a sentence.
    """
    aside = path.with_name(path.name + CORRUPT)
    try:
        if stamp is not None and stamp_of(path) != stamp:
            return "it was replaced by another process"
        os.replace(path, aside)
    except (OSError, DamagedFileError) as error:
        return f"it cannot be renamed ({getattr(error, 'strerror', None) or error})"
    return f"it was renamed to {aside.name}"
