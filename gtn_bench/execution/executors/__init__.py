"""Executors: the processes that run jobs, here or on other machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.execution.executors.base import Pool
from gtn_bench.execution.interrupts import noticing_interrupts
from gtn_bench.store.cache import Context

_NAMES = "processes", "local-cluster"
_PROTOCOLS = "tcp://", "tls://"


def open_pool(scheduler: str | None, workers: int, context: Context) -> AbstractContextManager[Pool]:
    """Return a pool of workers. Those of this machine start with the first job.

    Args:
        scheduler: "processes" of this machine; "local-cluster" for a Dask cluster that is started here; the address of
            a Dask scheduler, such as "tcp://host:8786". None: processes, but with one worker this process itself, which
            a task can end.
        workers: Number of processes of this machine. The workers of a Dask scheduler are those connected to it.
        context: Cache and device.

    Returns:
        A context manager. Inside of it, Ctrl-C is told apart from exceptions that user code raises. If an exception
        leaves it, processes of this machine end at once.

    Raises:
        ConfigError: If the scheduler has another form; on entry, if it cannot be used.
    """
    check_scheduler(scheduler)
    return _noticing(_pool(scheduler, workers, context))


@contextmanager
def _noticing(pool: AbstractContextManager[Pool]) -> Iterator[Pool]:
    with noticing_interrupts(), pool as opened:
        yield opened


def _pool(scheduler: str | None, workers: int, context: Context) -> AbstractContextManager[Pool]:
    """Return what `open_pool` opens."""
    if scheduler is None and workers == 1:
        from gtn_bench.execution.executors.local import ThisProcess

        return nullcontext(ThisProcess())
    if scheduler in (None, "processes"):
        from gtn_bench.execution.executors.local import local_processes

        return local_processes(workers)
    from gtn_bench.execution.executors.dask import dask_workers

    return dask_workers(scheduler, workers, context)


def check_scheduler(scheduler: str | None) -> None:
    """Check the form of what names a scheduler.

    Args:
        scheduler: See `open_pool`.

    Raises:
        ConfigError: If it has another form.
    """
    known = scheduler is None or (
        isinstance(scheduler, str)
        and (scheduler in _NAMES or any(scheduler.startswith(each) and len(scheduler) > 6 for each in _PROTOCOLS))
    )
    if not known:
        raise ConfigError(
            f"scheduler expects one of {', '.join(_NAMES)}, or an address as tcp://host:8786, got {shown(scheduler)}"
            f"{did_you_mean(scheduler, _NAMES)}"
        )
