"""Progress as lines of text, for output that is no terminal: what is done, and what is running."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

INTERVAL = 30.0  # seconds between two lines
_SHOWN = 3  # running tasks that a line names


class Running(NamedTuple):
    """A task that is running.

    Attributes:
        what: What it computes, for readers.
        seconds: How long it has been computing its present part.
    """

    what: str
    seconds: float


class PlainProgress:
    """A progress callback that writes a line when a stage ends, and every 30 seconds before.

    Args:
        write: Writes a line.
        clock: Returns the time in seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._start = self._last = clock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note that a part has finished.

        Args:
            stage: Name of the stage.
            done: Number of its finished parts.
            total: Number of all its parts.
        """
        if total and (done == total or self._is_due()):
            self._line(stage, done, total, ())

    def wait(self, stage: str, done: int, total: int, running: Callable[[], Sequence[Running]]) -> None:
        """Note that time has passed in which no part need have finished.

        Args:
            stage: Name of the stage.
            done: Number of its finished parts.
            total: Number of all its parts.
            running: Returns the tasks that are running. It is called if a line is written.
        """
        if self._is_due():
            self._line(stage, done, total, running())

    def _is_due(self) -> bool:
        return self._clock() - self._last >= INTERVAL

    def _line(self, stage: str, done: int, total: int, running: Sequence[Running]) -> None:
        self._last = self._clock()
        longest = sorted(running, key=lambda task: -task.seconds)
        named = [f"{task.what} for {duration(task.seconds)}" for task in longest[:_SHOWN]]
        further = [f"{len(longest) - _SHOWN} more"] if len(longest) > _SHOWN else []
        what = f"; running: {'; '.join([*named, *further])}" if named else ""
        self._write(f"{stage}: {done} of {total} after {duration(self._last - self._start)}{what}")


def duration(seconds: float) -> str:
    """Return a time as text, such as "2 min 5 s".

    Args:
        seconds: The time in seconds.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
