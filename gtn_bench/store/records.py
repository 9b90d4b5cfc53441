"""Records: which files a folder holds, with their digests.

The record of a folder is a JSON file. It names every file with the digest of its content. While files are replaced, it
says so: it holds `complete: false`, and the digests of the old files beside those of the new ones. So a folder that was
left in between is recognized, and a mixture of files of two writers matches no record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from gtn_bench.config.errors import ConfigError
from gtn_bench.store.files import write_atomically
from gtn_bench.store.hashing import digest, file_digest

_CHECKSUM = "checksum"  # of the record itself


class Record(NamedTuple):
    """The record of a folder.

    Attributes:
        content: All of it.
        files: The digests that each file can have: one, or also older ones while files are being replaced.
        complete: Whether all files have been replaced.
        intact: Whether nobody has changed the record.
    """

    content: Mapping[str, Any]
    files: Mapping[str, frozenset[str]]
    complete: bool
    intact: bool

    def accepts(self, name: str, found: str) -> bool:
        """Return whether a file is as it was written.

        Args:
            name: Name of the file.
            found: Its digest.
        """
        return found in self.files.get(name, ())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the mapping in a JSON file; None if the file holds something else.

    Args:
        path: The file.

    Raises:
        OSError: If the file cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_record(path: Path) -> Record | None:
    """Return the record in a file; None if the file does not hold one.

    Args:
        path: The JSON file.

    Raises:
        OSError: If the file cannot be read.
    """
    content = read_json(path)
    return parse_record(content) if content is not None else None


def parse_record(content: Mapping[str, Any]) -> Record | None:
    """Return a record; None if the content of a JSON file is none.

    Args:
        content: The content.
    """
    if not isinstance(content.get("manifest"), dict):
        return None
    others = {key: value for key, value in content.items() if key != _CHECKSUM}
    files: dict[str, set[str]] = {}
    previous = content.get("previous")
    for part in (content["manifest"], previous if isinstance(previous, dict) else {}):
        for name, found in part.items():
            if _is_inside(name):  # a record can come from anybody
                files.setdefault(name, set()).update(map(str, found if isinstance(found, list) else [found]))
    digests = {name: frozenset(found) for name, found in files.items()}
    return Record(content, digests, content.get("complete") is True, content.get(_CHECKSUM) == digest(others))


def _is_inside(name: str) -> bool:
    """Return whether a name is that of a file in a folder, or in a folder of it, none of them hidden."""
    path = PurePosixPath(name)
    plain = str(path) == name and "\\" not in name and not path.is_absolute()
    return plain and 1 <= len(path.parts) <= 2 and not any(part.startswith(".") for part in path.parts)


def digests_in(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return the digests of those files that exist.

    Args:
        folder: The folder.
        names: Names of files in the folder, or in a folder of it.

    Raises:
        ConfigError: If a file, or the folder that it is in, is a symbolic link or something else.
    """
    return {name: file_digest(folder / name) for name in names if is_there(folder, name)}


def is_there(folder: Path, name: str) -> bool:
    """Return whether a file exists. No link is followed.

    Args:
        folder: The folder.
        name: Name of a file in the folder, or in a folder of it.

    Raises:
        ConfigError: If the file, or the folder that it is in, is a symbolic link or something else.
    """
    path = folder / name
    if path.parent != folder and not has_folder(folder, path.parent.name):
        return False
    if not os.path.lexists(path):
        return False
    if path.is_symlink() or not path.is_file():
        raise ConfigError(f"{path}: expects a file, got {_kind(path)}; remove it, or choose another folder")
    return True


def has_folder(folder: Path, name: str) -> bool:
    """Return whether there is a folder in a folder. No link is followed.

    Args:
        folder: The folder.
        name: Name of the inner one.

    Raises:
        ConfigError: If the name is that of a symbolic link or something else.
    """
    path = folder / name
    if not os.path.lexists(path):
        return False
    if path.is_symlink() or not path.is_dir():
        raise ConfigError(f"{path}: expects a folder, got {_kind(path)}; remove it, or choose another folder")
    return True


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a symbolic link"
    return "a folder" if path.is_dir() else "a file" if path.is_file() else "a device or pipe"


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record.

    Args:
        path: The JSON file.
        content: The record, with `manifest` and `complete`. A checksum of all of it is added.
    """
    write_atomically(path, encode_record(content))


def encode_record(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a record.

    Args:
        content: See `write_record`.
    """
    plain = json.loads(json.dumps(content))
    return json.dumps({**plain, _CHECKSUM: digest(plain)}, indent=2).encode()
