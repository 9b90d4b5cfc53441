"""Locks that save work. Nothing relies on them for correct results: file systems of networks may have none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time execute the block, if the file can be locked; otherwise execute it at once.

    Args:
        path: The file to lock; it is created in a folder that exists.
    """
    from filelock import FileLock

    lock = FileLock(path)
    with suppress(OSError, NotImplementedError):  # a file system without locks, or one that cannot be written to
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
