"""Hashes of plain data, from which cache keys and seeds are derived."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(content: Any) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of plain data. The order of keys does not matter.

    Args:
        content: Mappings, lists and scalars.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def seed_for(*content: Any) -> int:
    """Return a seed in [0, 2^63) that depends on the given plain data and on nothing else."""
    return int(digest(list(content))[:16], 16) >> 1


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
