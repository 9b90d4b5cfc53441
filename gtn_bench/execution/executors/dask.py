"""Workers of a Dask scheduler, here or on other machines."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.execution.executors.base import Pool, WorkerDiedError
from gtn_bench.execution.executors.remote import check_answer, describe_worker, facts, run_remotely
from gtn_bench.execution.jobs import Job, Outcome, packed
from gtn_bench.store.cache import Context
from gtn_bench.store.files import make_folder, write_atomically
from gtn_bench.store.listing import RUNNING
from gtn_bench.store.owners import owned_name, remove_abandoned

LOCAL_CLUSTER = "local-cluster"
_CONNECT = 8  # seconds
_FIRST_WORKER = 20  # seconds
_WORKERS_GONE = 60  # seconds without any worker; a worker that restarts is back before
_BETWEEN_CHECKS = 3  # seconds
_AHEAD = 16  # further jobs that the scheduler holds, so that no worker waits: a message to and fro takes about 15 ms
_FILES = "gtn-bench-dask-"  # at the beginning of the names of folders for the files of a local cluster
_LOGGERS = "distributed", "tornado", "asyncio"
_DIED = "its worker was killed or ended (likely out of memory)"


class DaskPool:
    """Workers of a Dask scheduler.

    A worker notes in the shared cache with which job it begins. If the scheduler gives the job to another worker
    because the first has died, that one finds the note and returns, and the run decides what is repeated.

    Args:
        client: The connection to the scheduler.
        address: Its address, for messages.
        notes: Folder in which workers note what they compute, which they share.
        expected: What workers must have in common with this process.
    """

    def __init__(self, client: Any, address: str, notes: Path, expected: dict[str, str]) -> None:
        self.notes: Path | None = notes
        self._folder = notes
        self.slots = self.window = 1
        self._client, self._address, self._expected = client, address, expected
        self._executor = client.get_executor(pure=False, retries=0)
        self._last_check = self._last_worker = time.monotonic()
        self._count_workers()

    def submit(self, job: Job, context: Context, note: str | None, cell_timeout: float | None) -> Future[Outcome]:
        """Give a job to the pool. See `Pool.submit`.

        Args:
            job: The job.
            context: Cache and device.
            note: File in which its worker notes what it computes.
            cell_timeout: Time limit of a part in seconds; None for none.
        """
        content = packed(job, context)
        try:
            inner = self._executor.submit(run_remotely, content, context.plugins, note, cell_timeout, self._expected)
        except Exception:
            self._raise_if_gone()
            raise
        outer: Future[Outcome] = Future()
        inner.add_done_callback(lambda done: _translate(done, outer, self._gone()))
        return outer

    def renew(self) -> None:
        """Dask replaces workers itself."""

    def check(self) -> None:
        """Count the workers. See `Pool.check`."""
        self._raise_if_gone()
        now = time.monotonic()
        if now - self._last_check < _BETWEEN_CHECKS:
            return
        self._last_check = now
        with contextlib.suppress(OSError):
            os.utime(self._folder)  # other machines see that its owner lives
        try:
            self._count_workers()
        except (OSError, RuntimeError, TimeoutError):
            self._raise_if_gone()
            return
        if now - self._last_worker > _WORKERS_GONE:
            raise RunError(
                f"scheduler {self._address}: no worker has been connected for {_WORKERS_GONE} s; workers with a nanny "
                f"start again when they die; {_RESUME}"
            )

    def _count_workers(self) -> None:
        count = len(self._client.nthreads())
        if count:
            self._last_worker = time.monotonic()
        self.slots = max(1, count)
        self.window = 2 * self.slots + _AHEAD

    def _raise_if_gone(self) -> None:
        if error := self._gone():
            raise error

    def _gone(self) -> RunError | None:
        """Return the error that the scheduler has gone; None while it is connected."""
        if self._client.status == "running":
            return None
        return RunError(f"scheduler {self._address}: the connection is lost; {_RESUME}")


_RESUME = "what is finished is stored; run the same command again to resume"


@contextlib.contextmanager
def dask_workers(scheduler: str, workers: int, context: Context) -> Iterator[Pool]:
    """Yield the workers of a Dask scheduler as a pool.

    Args:
        scheduler: Its address, or "local-cluster" for one that is started here.
        workers: Number of processes that a local cluster starts.
        context: Cache and device.

    Raises:
        ConfigError: If Dask is missing, nobody answers, or a worker cannot be used.
    """
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError(f"--scheduler {scheduler} needs Dask, which is not installed; pip install 'gtn-bench[dask]'")
    running = context.store.folder / RUNNING
    folder = running / owned_name()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        address: Any = scheduler
        if scheduler == LOCAL_CLUSTER:
            address = stack.enter_context(_local_cluster(workers))
        client = stack.enter_context(_connected(address, scheduler))
        remove_abandoned(running)
        make_folder(folder)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_cancel, client)
        expected = facts(context.device)
        _check_workers(client, scheduler, folder, expected)
        yield DaskPool(client, scheduler, folder, expected)


def _check_workers(client: Any, scheduler: str, folder: Path, expected: dict[str, str]) -> None:
    """Raise `ConfigError` if a worker cannot be used."""
    try:
        client.wait_for_workers(1, timeout=_FIRST_WORKER)
    except TimeoutError:
        raise ConfigError(
            f"scheduler {scheduler} has no worker; start one on each machine: dask worker {scheduler} "
            "--nworkers auto --nthreads 1"
        ) from None
    nonce = folder / "nonce"
    write_atomically(nonce, uuid.uuid4().hex.encode())
    workers = client.nthreads()  # those that join later are checked with their first job
    answers = client.run(describe_worker, str(nonce), expected["device type"], workers=list(workers), on_error="return")
    for worker, threads in workers.items():
        check_answer(f"worker {worker}", threads, answers.get(worker), nonce, expected)


@contextlib.contextmanager
def _connected(address: Any, scheduler: str) -> Iterator[Any]:
    distributed: Any = importlib.import_module("distributed")
    try:
        client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, TimeoutError):
        raise ConfigError(f"scheduler {scheduler}: no Dask scheduler answers there within {_CONNECT} s") from None
    except ValueError as error:
        raise ConfigError(f"scheduler {scheduler}: expects an address as tcp://host:8786 ({error})") from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)


@contextlib.contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    distributed: Any = importlib.import_module("distributed")
    parent = Path(tempfile.gettempdir())
    remove_abandoned(parent, _FILES)
    folder = parent / owned_name(_FILES)
    try:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(folder),
            silence_logs=logging.CRITICAL,
            memory_limit=0,
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        raise ConfigError(f"scheduler {LOCAL_CLUSTER}: cannot be started ({error})") from None
    try:
        yield cluster
    finally:
        with contextlib.suppress(Exception):
            cluster.close(timeout=2)
        shutil.rmtree(folder, ignore_errors=True)


def _cancel(client: Any) -> None:
    """Take back what waits at the scheduler, if the run ends early."""
    with contextlib.suppress(Exception):
        client.cancel(list(client.futures), force=True)


def _translate(done: Future[Outcome], outer: Future[Outcome], gone: RunError | None) -> None:
    """Pass the result of a Dask task on, with our exceptions."""
    distributed: Any = importlib.import_module("distributed")
    if done.cancelled():
        outer.set_exception(gone or RunError("the Dask scheduler has dropped a task; run the same command again"))
        return
    error = done.exception()
    if isinstance(error, distributed.KilledWorker | FileExistsError):
        outer.set_exception(WorkerDiedError(_DIED))
    elif isinstance(error, CancelledError):
        outer.set_exception(gone or RunError("the Dask scheduler has dropped a task; run the same command again"))
    elif error:
        outer.set_exception(error)
    else:
        outer.set_result(done.result())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the logs of Dask away: what matters becomes one line."""
    importlib.import_module("distributed")  # sets levels of its own
    loggers = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGGERS]
    before = {name: logging.getLogger(name).level for name in (*_LOGGERS, *loggers)}
    try:
        for name in before:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
