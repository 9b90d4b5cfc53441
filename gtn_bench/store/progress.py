"""Progress of long work that starts before a command knows of it, such as the decoding of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Report = Callable[[str, int, int], None]  # the stage, the number of its finished parts and of all its parts

_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def reporting_to(report: Report) -> Iterator[None]:
    """Let `report` be called about long work, in the block.

    Args:
        report: Called with the name of a stage, the number of its finished parts and of all its parts.
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def advance(stage: str, done: int, total: int) -> None:
    """Report progress to whoever has asked for it.

    Args:
        stage: Name of the stage.
        done: Number of its finished parts.
        total: Number of all its parts.
    """
    if report := _report.get():
        report(stage, done, total)
