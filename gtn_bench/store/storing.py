"""Errors of the operating system while something is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gtn_bench.store.files import StorageError


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Raise `StorageError` for an error of the operating system in the block.

    Args:
        path: What the block writes.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None
