"""The running of jobs by a pool of workers, some of which may die."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.execution.events import Event
from gtn_bench.execution.executors.base import Pool, WorkerDiedError
from gtn_bench.execution.interrupts import interrupted
from gtn_bench.execution.jobs import Job, Outcome, event_of, last_line
from gtn_bench.execution.notes import Note, age_of_note, read_note
from gtn_bench.execution.plain_progress import PlainProgress, Running
from gtn_bench.execution.time_limit import exceeded
from gtn_bench.store.cache import Context

Progress = Callable[[str, int, int], None]  # stage, finished parts, all parts

RETRIES = 2  # of a job whose worker has died, alone
_AT_START = 5  # workers in a row that may die before they begin with a job
_PATIENCE = 1.0  # seconds between checks that workers are left


class _Given(NamedTuple):
    job: Job
    note: str | None


class Dispatcher:
    """Runs the jobs of a stage, and decides what happens to those whose workers died.

    Only a few jobs are given to the pool at a time. If a worker dies, the parts that the workers were computing run
    again one after another, each alone, so that the guilty part becomes an error and all others get results.

    Args:
        context: Cache and device.
        pool: The workers.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.
        observe: Called with an event for each job that finished or is repeated.
        cell_timeout: Time limit of a part in seconds; None for none.
    """

    def __init__(
        self,
        context: Context,
        pool: Pool,
        progress: Progress,
        observe: Callable[[Event], None],
        cell_timeout: float | None,
    ) -> None:
        self.context, self.pool, self.progress, self.observe = context, pool, progress, observe
        self.cell_timeout = cell_timeout
        self._waiting: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._running: dict[Future[Outcome], _Given] = {}
        self._failures: dict[str, str] = {}
        self._stage = ""
        self._done = self._total = self._submitted = self._unbegun = 0

    def run(self, stage: str, jobs: Sequence[Job], total: int) -> dict[str, str]:
        """Run the jobs of a stage.

        Args:
            stage: Its name.
            jobs: The jobs.
            total: Number of parts, those included that the cache holds.

        Returns:
            The error of each part that failed, by key.

        Raises:
            ConfigError: If the user can correct what is wrong.
            RunError: If results cannot be stored, or no worker is left.
        """
        self._stage, self._total, self._failures = stage, total, {}
        self._done = total - sum(len(job.keys) for job in jobs)
        self.progress(stage, self._done, total)
        self._waiting.extend(jobs)
        while self._waiting or self._alone or self._running:
            self._submit()
            finished, _ = wait(self._running, _PATIENCE, FIRST_COMPLETED)
            if isinstance(self.progress, PlainProgress):
                self.progress.wait(stage, self._done, total, self._computing)
            for future in finished:
                self._collect(future)
            self.pool.check()
            if interrupted():  # and what catches all exceptions has caught that one
                raise KeyboardInterrupt
        return self._failures

    def _submit(self) -> None:
        """Give jobs to the pool: as many as it may hold, or one that has to run alone."""
        if any(job.deaths for job, _ in self._running.values()):
            return
        if self._alone:
            if not self._running:
                self._start(self._alone.popleft())
            return
        while self._waiting and len(self._running) < self.pool.window:
            self._start(self._waiting.popleft())

    def _start(self, job: Job) -> None:
        self._submitted += 1
        note = str(self.pool.notes / f"{os.getpid()}-{self._submitted}") if self.pool.notes else None
        self._running[self.pool.submit(job, self.context, note, self.cell_timeout)] = _Given(job, note)

    def _computing(self) -> list[Running]:
        """Return the jobs with which workers have begun. The others wait at the scheduler."""
        ages = [(job.what, age_of_note(note)) for job, note in self._running.values() if note]
        return [Running(what, age) for what, age in ages if age is not None]

    def _collect(self, future: Future[Outcome]) -> None:
        """Take the outcome of a job."""
        job, note = self._running.pop(future)
        error = future.exception()
        if error is None:
            self._unbegun = 0
            self._finish(job, future.result())
        elif isinstance(error, WorkerDiedError):
            self._repeat(job, read_note(note) if note else None, str(error))
            self.pool.renew()
        elif isinstance(error, ConfigError | RunError) or not isinstance(error, Exception):
            raise error
        else:  # the job did not reach its worker, or its outcome did not come back
            self._fail(job.keys, job, f"{type(error).__name__}: {error}")

    def _repeat(self, job: Job, note: Note | None, how: str) -> None:
        """Decide about a job whose worker has died: repeat the parts that it has not stored, or let one fail."""
        missing = [key for key in job.keys if not self.context.store.holds(job.kind, key)]
        if stored := [key for key in job.keys if key not in missing]:
            self._advance(job._replace(keys=tuple(stored)), "done")
        if not missing:
            return
        job = job.only(missing)
        if note is None:  # it had not begun, or had ended and could not tell any more
            self._unbegun += not stored
            if self._unbegun > _AT_START * self.pool.slots:
                raise RunError(f"workers die before they begin with a task: {how}")
            self._waiting.appendleft(job)
            return
        self._unbegun = 0
        computing = missing
        if note.keys and job.divided is not None:
            computing = [key for key in note.keys if key in missing]
        if others := [key for key in missing if key not in computing]:
            self._waiting.appendleft(job.only(others)._replace(deaths=0))
        if not computing:
            return
        guilty = job.only(computing)
        if note.timed_out and self.cell_timeout:
            limit = self.cell_timeout * len(computing)
            self._fail(computing, guilty, f"{note.report}\nTimeoutError: {exceeded(limit)}")
        elif job.deaths >= RETRIES:
            self._fail(computing, guilty, f"{note.report}\nWorkerDiedError: {how}")
        else:
            self._alone.append(guilty._replace(deaths=job.deaths + 1))
            self._tell(guilty, "retried", how)

    def _finish(self, job: Job, outcome: Outcome) -> None:
        self._failures.update(outcome.failures)
        self._done += len(job.keys)
        self.observe(event_of(self._stage, job.what, job.keys, outcome))
        self.progress(self._stage, self._done, self._total)

    def _fail(self, keys: Sequence[str], job: Job, error: str) -> None:
        self._failures.update(dict.fromkeys(keys, error))
        self._advance(job, "error", last_line(error))

    def _advance(self, job: Job, status: str, message: str = "") -> None:
        self._done += len(job.keys)
        self._tell(job, status, message)
        self.progress(self._stage, self._done, self._total)

    def _tell(self, job: Job, status: str, message: str) -> None:
        """Observe a job of which no worker has told what it took."""
        self.observe(Event(self._stage, job.what, job.keys, status, 0.0, 0, "", 0, message))
