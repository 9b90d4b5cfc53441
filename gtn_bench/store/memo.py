"""Memos: plain data that takes seconds to compute and depends on installed code alone, such as signatures.

A memo is a JSON file in the folder `memo` of the cache, which begins with a checksum of all that follows. It is data:
reading one runs no code. Its name contains a hash of its stamp, which states all that the data depend on, so versions
never mix. A memo that is missing, damaged or of another stamp is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gtn_bench.store.cache import cache_folder
from gtn_bench.store.files import MISSING, DamagedFileError, StorageError, write_atomically
from gtn_bench.store.hashing import digest
from gtn_bench.store.intact import report_damage

_FORMAT = 2  # of the files; other numbers have other names
_START = b'{"digest": "'
_DIGITS = 32


def memo_path(kind: str, stamp: Mapping[str, Any]) -> Path:
    """Return the file of a memo, whether it exists or not.

    Args:
        kind: The kind of data, such as "signatures-art".
        stamp: All that the data depend on, as plain data.
    """
    return cache_folder() / "memo" / f"{kind}-{digest([_FORMAT, stamp])}.json"


def recall(kind: str, stamp: Mapping[str, Any]) -> Any:
    """Return the content of a memo; None if there is no intact memo of this stamp. A damaged one is set aside.

    Args:
        kind: The kind of data.
        stamp: All that the data depend on.
    """
    path = memo_path(kind, stamp)
    try:
        memo = read_memo(path)
        if memo["stamp"] != stamp:
            raise DamagedFileError(path, "it has another stamp")
        return memo["content"]
    except MISSING:
        return None
    except DamagedFileError as error:
        report_damage(error, path)
        return None


def read_memo(path: Path) -> dict[str, Any]:
    """Read a memo and verify it.

    Args:
        path: The file.

    Returns:
        Its `stamp` and `content`.

    Raises:
        FileNotFoundError: If there is no file.
        DamagedFileError: If it is damaged.
    """
    try:
        text = path.read_bytes()
    except MISSING:
        raise
    except OSError as error:
        raise DamagedFileError(path, f"it cannot be read ({error.strerror})") from None
    start = len(_START) + _DIGITS
    if text[:start] != _START + _hash(text[start:]):
        raise DamagedFileError(path, "its checksum does not match")
    memo: dict[str, Any] = json.loads(text)
    return memo


def remember(kind: str, stamp: Mapping[str, Any], content: Any) -> None:
    """Write a memo. Without a cache folder that can be written to, nothing is stored.

    Args:
        kind: The kind of data.
        stamp: All that the data depend on.
        content: The plain data.
    """
    rest = f'", {json.dumps({"stamp": stamp, "content": content})[1:]}'.encode()
    with suppress(StorageError):
        write_atomically(memo_path(kind, stamp), _START + _hash(rest) + rest)


def _hash(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGITS // 2).hexdigest().encode()
