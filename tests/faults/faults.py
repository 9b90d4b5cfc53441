"""The table of faults: how often each is injected, and what has to happen."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from faults.clusters import KILLED, run_on_dask
from faults.damage import DAMAGES
from faults.damaged import CHECKPOINT_TRIALS, damage_checkpoint, damage_files
from faults.disks import can_mount, fill_disk, limit_files, read_only
from faults.fuzzing import fuzz
from faults.kills import kill_command, kill_worker, orphan_workers, stop_command
from faults.perturbations import harm_processes
from faults.races import race
from faults.sharding import run_shards
from faults.trials import Run


def _always() -> bool:
    return True


class Fault(NamedTuple):
    """A fault.

    Attributes:
        name: Its name on the command line.
        title: Its name in the report.
        trials: Number of trials; several faults can be injected in one.
        run: Runs a trial.
        answer: What happens.
        is_possible: Whether this machine has what the trials need.
    """

    name: str
    title: str
    trials: int
    run: Run
    answer: str
    is_possible: Callable[[], bool] = _always


FAULTS = (
    Fault(
        "kill-command",
        "SIGKILL of the run at a random moment",
        20,
        kill_command,
        "The same command continues; finished results are not computed again.",
    ),
    Fault(
        "kill-worker",
        "SIGKILL of a worker at a random moment",
        20,
        kill_worker,
        "The run starts another worker, repeats the worker's tasks, and succeeds.",
    ),
    Fault(
        "orphans",
        "SIGKILL of the run while its workers compute (counted: workers)",
        5,
        orphan_workers,
        "The workers end within 5 s.",
    ),
    Fault(
        "stop-command",
        "SIGTERM",
        5,
        stop_command,
        "The run says in one line that it was interrupted, and ends with exit code 130. No process stays for 5 s.",
    ),
    Fault(
        "damaged-files",
        "files in the cache with changed bits, zeros, a cut, additions, renamed tensors, the content of another file",
        len(DAMAGES),
        damage_files,
        "A line names the file. It is renamed to `*.corrupt` and computed again.",
    ),
    Fault(
        "damaged-checkpoint",
        "the same damage to the checkpoint of an interrupted meta-training",
        CHECKPOINT_TRIALS,
        damage_checkpoint,
        "A line names the file. It is renamed to `*.corrupt`, and the meta-training starts over.",
    ),
    Fault(
        "races",
        "two runs with different numbers of images in one output folder",
        50,
        race,
        "Both succeed one after the other, or one is refused with one line and exit code 2. "
        "The folder holds the results of one of them.",
    ),
    Fault(
        "limited-files",
        "files larger than the system allows (RLIMIT_FSIZE)",
        4,
        limit_files,
        "The run ends with one line and exit code 1. Stored results stay valid; with space, the same command finishes.",
    ),
    Fault(
        "full-disk",
        "a full disk, of the cache or the output folder",
        4,
        fill_disk,
        "The same.",
        can_mount,
    ),
    Fault(
        "read-only",
        "a read-only cache or output folder",
        4,
        read_only,
        "A cache that holds all results is enough. Everything else is refused with one line and exit code 2.",
    ),
    Fault(
        "perturbations",
        "perturbations that end, kill or block their process, take its memory or change its state",
        2,
        harm_processes,
        "The cell is an error with the reason; if only state was changed, it has results. "
        "The rows of other perturbations do not change.",
    ),
    Fault(
        "hostile-suites",
        "hostile suites, drawn by hypothesis",
        8,
        fuzz,
        "`validate` says in lines what is wrong, with at most 5 s and 100 MiB more than a valid suite of three lines.",
        lambda: find_spec("hypothesis") is not None,
    ),
    Fault(
        "dask",
        "Dask: nothing, a worker or the scheduler killed in the middle",
        len(KILLED),
        run_on_dask,
        "Another worker takes over. Without a scheduler, the run ends with one line and exit code 1, and a local run "
        "continues. The tables are those of one local worker.",
        lambda: find_spec("distributed") is not None,
    ),
    Fault(
        "shards",
        "three shards, at the same time or one after the other; and one of them missing",
        2,
        run_shards,
        "`merge` writes the tables of one run. It names a missing shard, with exit code 2.",
    ),
)
