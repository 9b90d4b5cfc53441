"""What the runner needs of the processes that run its jobs."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from gtn_bench.execution.jobs import Job, Outcome
from gtn_bench.store.cache import Context

_EXIT_CODE = re.compile(r"\((-?\d+)\)")  # as in "{SIGKILL(-9)}"


class WorkerDiedError(RuntimeError):
    """A worker died while it had a job. The message says how, in one line."""


class Pool(Protocol):
    """Processes that run jobs, over `concurrent.futures.Executor`.

    Attributes:
        slots: Number of jobs that run at the same time.
        window: Number of jobs that may be given to the pool at the same time.
        notes: Folder in which workers note what they compute; None where no worker can die.
    """

    slots: int
    window: int
    notes: Path | None

    def submit(self, job: Job, context: Context, note: str | None, cell_timeout: float | None) -> Future[Outcome]:
        """Give a job to the pool.

        Args:
            job: The job.
            context: Cache and device.
            note: File in which its worker notes what it computes.
            cell_timeout: Time limit of a part in seconds; None for none.

        Returns:
            Its outcome. Its exception is a `WorkerDiedError` if its worker died.
        """

    def renew(self) -> None:
        """Replace workers that have died."""

    def check(self) -> None:
        """Check from time to time that there is somebody left to run jobs.

        Raises:
            RunError: If not.
        """


def killed(exit_codes: str) -> str:
    """Return how a worker ended, as a part of a sentence.

    Args:
        exit_codes: Text that holds its exit code in parentheses, negative for a signal.
    """
    found = _EXIT_CODE.findall(exit_codes)
    if not found:
        return "its worker was killed (likely out of memory)"
    code = next((int(each) for each in found if int(each) != 0), int(found[0]))
    if code == -9:
        return "its worker was killed (signal 9; likely out of memory)"
    if code < 0:
        return f"its worker was killed (signal {-code})"
    return f"its worker ended with exit code {code}"
