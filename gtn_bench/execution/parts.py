"""Parts of a task that fail on their own: a cell of a sweep, a probe of an attack."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from gtn_bench.execution.interrupts import interrupted
from gtn_bench.execution.isolation import isolated_settings
from gtn_bench.execution.notes import Notebook
from gtn_bench.execution.time_limit import TimeLimitError, exceeded, time_limit
from gtn_bench.store.files import StorageError

_LONGEST = 20_000  # characters of a traceback


@dataclass(frozen=True)
class Surroundings:
    """The facts about a process that the parts of a job need.

    Attributes:
        notebook: Where the process notes which part it computes.
        cell_timeout: Time limit of a part in seconds; None for none.
        may_exit: Whether the process may end if a part does not react to its time limit.
    """

    notebook: Notebook = field(default_factory=lambda: Notebook(None))
    cell_timeout: float | None = None
    may_exit: bool = False


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


@contextmanager
def surrounded_by(surroundings: Surroundings) -> Iterator[None]:
    """Let the parts that run inside use these surroundings.

    Args:
        surroundings: The surroundings.
    """
    token = _surroundings.set(surroundings)
    try:
        yield
    finally:
        _surroundings.reset(token)


def run_part(
    keys: Sequence[str],
    task: Callable[[], object],
    *,
    limited: bool = True,
    raised: tuple[type[Exception], ...] = (),
) -> str | None:
    """Run a part of a task: global settings are restored afterwards, and every exception becomes an error.

    Args:
        keys: Keys of the results of the part.
        task: The part.
        limited: Whether the time limit applies, once for each key.
        raised: Exceptions that are raised, in addition to those of storing results.

    Returns:
        The traceback, or what else went wrong in one line; None if nothing did.

    Raises:
        StorageError: If a result cannot be stored.
        KeyboardInterrupt: If the user interrupts the process. One that user code raises is an error.
    """
    around = _surroundings.get() or Surroundings()
    seconds = around.cell_timeout * len(keys) if limited and around.cell_timeout else None
    try:
        with around.notebook.computing(keys):
            with isolated_settings(), time_limit(seconds, around.notebook.file if around.may_exit else None):
                task()
    except TimeLimitError:
        where = traceback.format_exc()[-_LONGEST:].rstrip().rpartition("\n")[0]  # without the exception itself
        return f"{where}\nTimeoutError: {exceeded(seconds or 0)}"
    except BaseException as error:
        if isinstance(error, (StorageError, *raised)):
            raise
        if isinstance(error, KeyboardInterrupt | SystemExit) and interrupted():
            raise
        return traceback.format_exc()[-_LONGEST:]
    return None
