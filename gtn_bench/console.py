"""Terminal output: messages and progress bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.text import Text

from gtn_bench.config.errors import escaped
from gtn_bench.execution.plain_progress import PlainProgress

if TYPE_CHECKING:
    from rich.progress import Progress

# Names and paths are printed as they are: "[x]" and ":x:" have no meaning.
_output = Console(markup=False, emoji=False, highlight=False)
_errors = Console(markup=False, emoji=False, highlight=False, stderr=True)


def say(text: str) -> None:
    """Print a line.

    Args:
        text: The line.
    """
    _output.print(escaped(text), soft_wrap=True)


def show(what: RenderableType, *, wrap: bool = True) -> None:
    """Print a table or a styled line.

    Args:
        what: What rich can print.
        wrap: Whether lines end at the width of the terminal.
    """
    _output.print(what, soft_wrap=not wrap)


def warn(text: str) -> None:
    """Print a line in red.

    Args:
        text: The line.
    """
    _output.print(escaped(text), style="red", soft_wrap=True)


def complain(text: str, prefix: str = "") -> None:
    """Print a line to standard error.

    Args:
        text: The line.
        prefix: A word in red that precedes it.
    """
    line = Text.assemble((prefix, "red"), " " if prefix else "", escaped(text))
    _errors.print(line, soft_wrap=True)


def in_bytes(size: float) -> str:
    """Return a size as text, with the unit that fits.

    Args:
        size: Number of bytes.
    """
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


@contextmanager
def bar_for_long_work() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback that shows a bar on a terminal for a stage that takes longer than a second."""
    from rich.errors import LiveError

    starts: dict[str, float] = {}
    shown: dict[str, Progress] = {}
    with ExitStack() as stack:

        def report(stage: str, done: int, total: int) -> None:
            start = starts.setdefault(stage, time.monotonic())
            if stage not in shown and has_bars() and time.monotonic() - start > 1:
                with suppress(LiveError):  # another bar is on the screen
                    shown[stage] = stack.enter_context(progress_bars())
                    shown[stage].add_task(stage, total=total)
            if stage in shown:
                shown[stage].update(shown[stage].task_ids[0], completed=done, total=total)
            if done == total:
                stack.close()
                starts.clear()
                shown.clear()

        yield report


def progress_bars(*, quiet: bool = False) -> Progress:
    """Return progress bars that show parts done, elapsed and remaining time.

    Args:
        quiet: Whether to show nothing.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    return Progress(*columns, console=_errors, disable=quiet or not has_bars())


def has_bars() -> bool:
    """Return True if standard error is a terminal that can show bars: no pipe, no file, no ``TERM=dumb``."""
    return _errors.is_terminal and not _errors.is_dumb_terminal


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback that shows one bar per stage on a terminal, and else prints a line every 30 seconds.

    Args:
        quiet: Whether to show nothing.
    """
    if not quiet and not has_bars():
        yield PlainProgress(complain)
        return
    with progress_bars(quiet=quiet) as bars:
        yield stage_reporter(bars)


def stage_reporter(bars: Progress) -> Callable[[str, int, int], None]:
    """Return a progress callback that shows one bar per stage.

    Args:
        bars: The progress bars.
    """
    tasks: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if total == 0:
            return
        if stage not in tasks:
            for task in tasks.values():
                bars.stop_task(task)
            tasks[stage] = bars.add_task(stage, total=total, completed=done)
        bars.update(tasks[stage], completed=done)

    return report


def count(counts: Mapping[str, int]) -> str:
    """Return counts as text: ``2 teachers, 1 learner``.

    Args:
        counts: Numbers by plural name.
    """
    return ", ".join(f"{number} {what if number != 1 else what[:-1]}" for what, number in counts.items())
