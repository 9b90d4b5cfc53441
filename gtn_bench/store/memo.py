"""Memos: plain data that takes seconds to compute and depends on installed code alone, such as signatures.

A memo is a JSON file in the folder `memo` of the cache. It is data: reading one runs no code. Its name contains a hash
of its stamp, which states all that the data depend on, so versions never mix. A memo that is missing, damaged or of
another stamp is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gtn_bench.store.cache import cache_folder
from gtn_bench.store.files import write_atomically
from gtn_bench.store.hashing import digest


def memo_path(kind: str, stamp: Mapping[str, Any]) -> Path:
    """Return the file of a memo, whether it exists or not.

    Args:
        kind: The kind of data, such as "signatures-art".
        stamp: All that the data depend on, as plain data.
    """
    return cache_folder() / "memo" / f"{kind}-{digest(stamp)}.json"


def recall(kind: str, stamp: Mapping[str, Any]) -> Any:
    """Return the content of a memo; None if there is no intact memo of this stamp.

    Args:
        kind: The kind of data.
        stamp: All that the data depend on.
    """
    with suppress(OSError, ValueError, RecursionError):
        memo = json.loads(memo_path(kind, stamp).read_bytes())
        if isinstance(memo, dict) and memo.get("stamp") == stamp and memo.get("digest") == digest(memo.get("content")):
            return memo["content"]
    return None


def remember(kind: str, stamp: Mapping[str, Any], content: Any) -> None:
    """Write a memo. Without a cache folder that can be written to, nothing is stored.

    Args:
        kind: The kind of data.
        stamp: All that the data depend on.
        content: The plain data.
    """
    memo = {"stamp": stamp, "digest": digest(content), "content": content}
    with suppress(OSError):
        write_atomically(memo_path(kind, stamp), json.dumps(memo).encode())
