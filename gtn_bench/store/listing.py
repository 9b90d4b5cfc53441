"""The files that a cache holds. Names that gtn-bench does not write are left out; symbolic links are not followed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from gtn_bench.store.cache import RESULTS
from gtn_bench.store.intact import CORRUPT

State = Literal["whole", "corrupt", "leftover"]


class _Names(NamedTuple):
    """The form of the names of files of a kind, relative to its folder.

    Attributes:
        whole: The names of files.
        begun: The first 40 characters of a name without its folder, with which those of temporary files begin.
    """

    whole: str
    begun: str


_RESULT = _Names(r"([0-9a-f]{2})/(?=\1)[0-9a-f]{32}\.safetensors", r"[0-9a-f]{32}\.safeten")
_NAMES = {
    **dict.fromkeys(RESULTS, _RESULT),
    "data": _Names(r"(arrays-)?[0-9a-f]{32}\.safetensors", r"(arrays-[0-9a-f]{32}\.|[0-9a-f]{32}\.safeten)"),
    "downloads": _Names(r"[0-9a-f]{64}(\.[A-Za-z0-9_.-]{1,40})?", r"[0-9a-f]{40}"),
    "memo": _Names(r"[a-z0-9_-]+-[0-9a-f]{32}\.json", r"[a-z0-9_-]+-[0-9a-f]*(\.j?s?o?n?)?"),
}
RUNNING = "running"  # the folder for notes of runs whose workers are on several machines
KINDS = tuple(_NAMES)  # in the order in which a run writes them


class StoredFile(NamedTuple):
    """A file of the cache.

    Attributes:
        kind: The name of its folder.
        path: The file.
        state: What its name says: a whole file, a damaged one that was set aside, or the leftover of a process that
            was killed while it wrote.
        bytes: Its size.
        written: When it was written, in seconds since 1970.
        used: When it was read last, as far as the file system notes that.
    """

    kind: str
    path: Path
    state: State
    bytes: int
    written: float
    used: float


def stored_files(folder: Path) -> Iterator[StoredFile]:
    """Yield the files that gtn-bench has written to a cache, in the order of kinds and names.

    Args:
        folder: The folder of the cache.
    """
    for kind, names in _NAMES.items():
        top = folder / kind
        if top.is_symlink():
            continue
        for place in [top, *(top / entry.name for entry in _entries(top) if entry.is_dir(follow_symlinks=False))]:
            for entry in _entries(place):
                state = _state(str(Path(entry.path).relative_to(top).as_posix()), names)
                if state and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):  # removed in the meantime
                        facts = entry.stat(follow_symlinks=False)
                        yield StoredFile(kind, Path(entry.path), state, facts.st_size, facts.st_mtime, facts.st_atime)


def _state(name: str, names: _Names) -> State | None:
    """Return what a name relative to the folder of a kind stands for; None if gtn-bench writes no such name."""
    if re.fullmatch(names.whole, name):
        return "whole"
    if name.endswith(CORRUPT) and re.fullmatch(names.whole, name.removesuffix(CORRUPT)):
        return "corrupt"
    if re.fullmatch(rf"([0-9a-f]{{2}}/)?\.{names.begun}-[a-z0-9_]{{8}}", name):
        return "leftover"
    return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder by name; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []
