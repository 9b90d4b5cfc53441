"""Processes of this machine, and this process itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from gtn_bench.execution.executors.base import Pool, WorkerDiedError, killed
from gtn_bench.execution.executors.workers import prepare_worker
from gtn_bench.execution.jobs import Job, Outcome, packed, run_call, run_job
from gtn_bench.store.cache import Context
from gtn_bench.store.owners import owned_name, remove_abandoned

_NOTES = "gtn-bench-notes-"  # at the beginning of the names of folders for notes
_IDLE = 300  # seconds after which a worker without work ends; until then later runs use it

# Threads of the libraries under NumPy and SciPy, whose sums depend on their number. PyTorch's are set for each job.
_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)

_import_path: list[str] = []  # of the worker processes, which are kept for later runs


class LocalPool:
    """Processes of this machine, by loky: no ``if __name__ == "__main__":`` is necessary.

    Loky replaces a worker whose memory has grown by 1 GB. Workers stay for later runs of this process.

    Args:
        workers: Number of processes.
        notes: Folder in which they note what they compute.
    """

    def __init__(self, workers: int, notes: Path) -> None:
        self.slots = self.window = workers
        self.notes: Path | None = notes
        self._executor: Executor | None = None

    def submit(self, job: Job, context: Context, note: str | None, cell_timeout: float | None) -> Future[Outcome]:
        """Give a job to the pool. See `Pool.submit`.

        Args:
            job: The job.
            context: Cache and device.
            note: File in which its worker notes what it computes.
            cell_timeout: Time limit of a part in seconds; None for none.
        """
        arguments = packed(job, context), context.plugins, note, cell_timeout
        try:
            inner = self._running().submit(run_call, *arguments)
        except BrokenProcessPool:  # a worker died while there was nothing to do
            self.renew()
            inner = self._running().submit(run_call, *arguments)
        outer: Future[Outcome] = Future()
        inner.add_done_callback(lambda done: self._translate(done, outer))
        return outer

    def renew(self) -> None:
        """Replace all workers, unless that was done already."""
        self._executor = None  # loky replaces one that is broken

    def check(self) -> None:
        """Local workers are always there."""

    def kill(self) -> None:
        """End all workers at once."""
        if self._executor is not None:
            _kill(self._executor)
            self._executor = None

    def _running(self) -> Executor:
        if self._executor is None:
            from joblib.externals.loky import get_reusable_executor

            _renew_workers()
            threads = {name: os.environ.get(name, "1") for name in _THREADS}
            self._executor = get_reusable_executor(
                self.slots, timeout=_IDLE, initializer=prepare_worker, initargs=(os.getpid(),), env=threads
            )
        return self._executor

    def _translate(self, done: Future[Outcome], outer: Future[Outcome]) -> None:
        error = done.exception()
        if isinstance(error, BrokenProcessPool):
            outer.set_exception(WorkerDiedError(killed(str(error))))
        elif error:
            outer.set_exception(error)
        else:
            outer.set_result(done.result())


class ThisProcess:
    """This process as a pool of one worker. A task that ends the process ends the run."""

    slots = window = 1
    notes: Path | None = None

    def submit(self, job: Job, context: Context, note: str | None, cell_timeout: float | None) -> Future[Outcome]:
        """Run a job. See `Pool.submit`.

        Args:
            job: The job.
            context: Cache and device.
            note: File in which its worker notes what it computes.
            cell_timeout: Time limit of a part in seconds; None for none.
        """
        future: Future[Outcome] = Future()
        future.set_result(run_job(job, context, cell_timeout))
        return future

    def renew(self) -> None:
        """There is nothing to replace."""

    def check(self) -> None:
        """This process is always there."""


@contextlib.contextmanager
def local_processes(workers: int) -> Iterator[Pool]:
    """Yield processes of this machine as a pool. If an exception ends the run, they end at once.

    Args:
        workers: Number of processes. They start with the first job.
    """
    remove_abandoned(Path(tempfile.gettempdir()), _NOTES)
    notes = Path(tempfile.gettempdir()) / owned_name(_NOTES)
    notes.mkdir(mode=0o700)
    pool = LocalPool(workers, notes)
    try:
        with warnings.catch_warnings():  # loky replaces workers whose memory has grown; no result is lost
            warnings.filterwarnings("ignore", category=UserWarning, module=r"(joblib\.externals\.)?loky\.")
            yield pool
    except BaseException:
        pool.kill()
        raise
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def idle_workers() -> Executor | None:
    """Return the workers that stay for later runs of this process; None if there are none."""
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    return getattr(loky, "_executor", None)


def end_workers() -> None:
    """End the workers that stay for later runs of this process, at once: Python takes seconds to finalize PyTorch."""
    if (executor := idle_workers()) is not None:
        _kill(executor)


def _kill(executor: Executor) -> None:
    for process in list(getattr(executor, "_processes", {}).values()):
        with contextlib.suppress(OSError):
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


def _renew_workers() -> None:
    """Stop worker processes that were started with another import path: a plug-in's folder may be missing in it."""
    from joblib.externals.loky import get_reusable_executor

    if _import_path and _import_path != sys.path:
        get_reusable_executor().shutdown(wait=True)
    _import_path[:] = sys.path
