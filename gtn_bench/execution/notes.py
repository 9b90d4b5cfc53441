"""Notes of workers: which parts of a job are being computed, for the case that the worker dies."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

_TIMEOUT, _CRASH = "Timeout (", "Fatal Python error"  # faulthandler begins its reports with one of them
_FRAME = '  File "'
_OF_A_PART = "/execution/parts.py"  # in the stack of the thread that computes it


class Note(NamedTuple):
    """The content of a note that a worker left behind.

    Attributes:
        keys: Keys of the parts that it was computing; empty if it had not begun with any.
        report: The stack when the process crashed, or when a part exceeded its time limit; empty if neither happened.
    """

    keys: tuple[str, ...]
    report: str

    @property
    def timed_out(self) -> bool:
        """True if the worker ended because a part exceeded its time limit."""
        return self.report.startswith(_TIMEOUT)


class Notebook:
    """A file that holds the keys of the parts that are being computed. It is absent when no job runs.

    If the process crashes, its stack is added. If the disk is full, nothing is noted.

    Args:
        path: The file; None to note nothing.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.file: IO[bytes] | None = None
        self._keys: tuple[str, ...] = ()
        self._stacks_on_stderr = False

    def __enter__(self) -> Self:
        """Create the file.

        Raises:
            FileExistsError: If another worker has begun with the same job.
        """
        if self.path:
            try:
                self.file = open(self.path, "xb", buffering=0)
            except FileExistsError:
                raise
            except OSError:
                self.file = None
        if self.file:
            self._stacks_on_stderr = faulthandler.is_enabled()
            faulthandler.enable(self.file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.file and self.path:
            faulthandler.disable()
            if self._stacks_on_stderr:
                with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
                    faulthandler.enable()
            with contextlib.suppress(OSError):
                self.file.close()
                os.unlink(self.path)
            self.file = None

    @contextlib.contextmanager
    def computing(self, keys: Sequence[str]) -> Iterator[None]:
        """Note that parts are being computed, in place of those before.

        Args:
            keys: Keys of the parts.
        """
        before = self._keys
        self._write(tuple(keys))
        try:
            yield
        finally:
            self._write(before)

    def _write(self, keys: tuple[str, ...]) -> None:
        self._keys = keys
        if self.file:
            with contextlib.suppress(OSError):
                self.file.seek(0)
                self.file.write(("".join(f"{key}\n" for key in keys) + "\n").encode())
                self.file.truncate()


def age_of_note(path: str) -> float | None:
    """Return for how many seconds a worker has been computing the parts that it noted last.

    Args:
        path: The file.

    Returns:
        The time; None if the worker has not begun with the job.
    """
    try:
        return max(0.0, time.time() - os.stat(path).st_mtime)
    except OSError:
        return None


def read_note(path: str) -> Note | None:
    """Read and remove what a worker has noted.

    Args:
        path: The file.

    Returns:
        The note; None if the worker had not begun with the job.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.unlink(path)
    places = [place for word in (_TIMEOUT, _CRASH) if (place := text.find(word)) >= 0]
    begin = min(places, default=len(text))
    return Note(tuple(text[:begin].split()), _stack(text[begin:]))


def _stack(report: str) -> str:
    """Return a report of faulthandler in the form of a traceback, for the thread that computed the part."""
    first, *_ = report.splitlines() or [""]
    threads = [part for part in report.split("\n\n") if _OF_A_PART in part]
    if not threads:
        return first
    frames = [line for line in threads[-1].splitlines() if line.startswith(_FRAME)]
    return "\n".join([first, "Stack (most recent call last):", *reversed(frames)])
