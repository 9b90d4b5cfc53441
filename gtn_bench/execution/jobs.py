"""Jobs: calls of tasks that store results under keys, and how a process runs one."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.events import Event
from gtn_bench.execution.notes import Notebook
from gtn_bench.planning.plugins import load_plugin
from gtn_bench.store.cache import Context

Task = Callable[..., dict[str, str] | None]  # returns the errors of failed parts, by key


class Job(NamedTuple):
    """A call of a task.

    Attributes:
        task: The task.
        kind: The kind of its results in the cache.
        keys: Keys of the results that the task stores.
        arguments: Arguments of the task after the context.
        divided: Place of the argument that holds the parts by key, if they can be computed one by one.
        what: What it computes, for readers.
        limited: Whether the time limit applies to it.
        deaths: How many workers have died while they computed it alone.
    """

    task: Task
    kind: str
    keys: tuple[str, ...]
    arguments: tuple[Any, ...]
    divided: int | None = None
    what: str = ""
    limited: bool = True
    deaths: int = 0

    def only(self, keys: Sequence[str]) -> Self:
        """Return a job for some of the parts. If they cannot be computed one by one, it computes the others again.

        Args:
            keys: Keys of the parts, some or all of `keys`.
        """
        if self.divided is None:
            return self._replace(keys=tuple(keys))
        parts = self.arguments[self.divided]
        chosen = {key: parts[key] for key in keys}
        before, after = self.arguments[: self.divided], self.arguments[self.divided + 1 :]
        return self._replace(keys=tuple(keys), arguments=(*before, chosen, *after))


class Outcome(NamedTuple):
    """The outcome of a job, as the process that ran it tells. Results are in the cache.

    Attributes:
        failures: The error of each part that failed, by key.
        seconds: Duration.
        memory: Peak memory of the process in bytes.
        host: Name of the machine.
        process: The process id.
    """

    failures: dict[str, str]
    seconds: float
    memory: int
    host: str
    process: int


def packed(job: Job, context: Context) -> bytes:
    """Return a job and its context as bytes, for `run_call`.

    Args:
        job: The job. Its task may be defined anywhere, in a notebook too.
        context: Cache and device.
    """
    import cloudpickle

    return cloudpickle.dumps((job, context))


def run_call(content: bytes, plugins: tuple[str, ...], note: str | None, limit: float | None) -> Outcome:
    """Run a job in a process that may end.

    Args:
        content: The packed job and context.
        plugins: Files whose descriptions the process has to know.
        note: File in which the process notes what it computes; None for none.
        limit: Time limit of a part in seconds; None for none.

    Returns:
        What happened.

    Raises:
        FileExistsError: If another process has begun with the job.
    """
    with Notebook(note) as notebook:
        for plugin in plugins:
            load_plugin(plugin)
        job, context = pickle.loads(content)
        return run_job(job, context, limit, notebook, may_exit=note is not None)


def run_job(
    job: Job,
    context: Context,
    cell_timeout: float | None = None,
    notebook: Notebook | None = None,
    *,
    may_exit: bool = False,
) -> Outcome:
    """Run a job in one thread.

    Args:
        job: The job.
        context: Cache and device.
        cell_timeout: Time limit of a part in seconds; None for none.
        notebook: Where the process notes what it computes.
        may_exit: Whether the process may end if a part does not react to its time limit.

    Returns:
        What happened.

    Raises:
        ConfigError: If the task raises one: the user can correct it.
        StorageError: If a result cannot be stored.
    """
    import torch

    from gtn_bench.execution.accelerator import reproducible, select_gpu
    from gtn_bench.execution.memory import release_memory, reuse_memory
    from gtn_bench.execution.parts import Surroundings, run_part, surrounded_by

    watch = stopwatch()
    select_gpu(context.device, context.workers)
    reuse_memory()
    threads = torch.get_num_threads()
    failures: dict[str, str] = {}

    def task() -> None:
        failures.update(job.task(context, *job.arguments) or {})

    with ExitStack() as stack:
        stack.enter_context(surrounded_by(Surroundings(notebook or Notebook(None), cell_timeout, may_exit)))
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(1)
        stack.enter_context(reproducible(context.device))
        limited = job.limited and job.divided is None  # else each part has a limit of its own
        error = run_part(job.keys, task, limited=limited, raised=(ConfigError,))
    release_memory()
    if error:
        failures = dict.fromkeys(job.keys, error)
    return watch(failures)


def stopwatch() -> Callable[[dict[str, str]], Outcome]:
    """Return a function of the failures of a task that begins now. It returns the outcome when the task has ended."""
    started = time.perf_counter()
    return lambda failures: Outcome(
        failures, time.perf_counter() - started, peak_memory(), socket.gethostname(), os.getpid()
    )


def event_of(stage: str, what: str, keys: tuple[str, ...], outcome: Outcome) -> Event:
    """Return the event of a task that ended.

    Args:
        stage: The stage of the run.
        what: What was computed, for readers.
        keys: Keys of the results.
        outcome: What happened.
    """
    message = next((last_line(error) for error in outcome.failures.values()), "")
    return Event(stage, what, keys, "error" if outcome.failures else "done", *outcome[1:], message)


def last_line(error: str) -> str:
    """Return the last line of a traceback, which names the exception.

    Args:
        error: The traceback.
    """
    return error.strip().splitlines()[-1].strip() if error.strip() else ""


def peak_memory() -> int:
    """Return the largest memory in bytes that this process has used; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
