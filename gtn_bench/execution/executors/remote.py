"""What runs on workers of a Dask scheduler: the check that they compute as this process does, and jobs."""

from __future__ import annotations

import functools
import importlib
import platform
from pathlib import Path
from typing import Any

from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.accelerator import device_key
from gtn_bench.execution.jobs import Outcome, run_call
from gtn_bench.store.keys import installed

_PACKAGES = "gtn-bench", "torch", "numpy"


@functools.cache
def facts(device: str) -> dict[str, str]:
    """Return what all workers must have in common: versions, and what of the device is part of keys.

    Args:
        device: The device on which jobs compute.
    """
    return {
        "python": platform.python_version(),
        **{name: installed(name) for name in _PACKAGES},
        "device type": device,
        "device": device_key(device),
    }


def describe_worker(nonce: str, device: str) -> dict[str, str]:
    """Describe the worker that runs this.

    Args:
        nonce: A file in the cache.
        device: The device on which jobs compute.

    Returns:
        Versions and device, and the content of the file as `nonce`.
    """
    try:
        content = Path(nonce).read_text()
    except OSError:
        content = ""
    return {**facts(device), "nonce": content}


def check_answer(worker: str, threads: int, answer: Any, nonce: Path, expected: dict[str, str]) -> None:
    """Check what a worker has said of itself.

    Args:
        worker: Its name in messages.
        threads: Number of its threads.
        answer: The answer of `describe_worker`, or the exception that it raised.
        nonce: The file whose content it was to read.
        expected: What it must have in common with this process.

    Raises:
        ConfigError: If it cannot be used.
    """
    _check_threads(worker, threads)
    if isinstance(answer, ModuleNotFoundError):
        raise ConfigError(f"{worker}: {answer}; install gtn-bench {expected['gtn-bench']} there")
    if not isinstance(answer, dict):
        text = " ".join(str(answer).split())
        raise ConfigError(f"{worker} cannot be used ({type(answer).__name__}: {text[:200]})")
    _check_facts(worker, answer, expected)
    if answer["nonce"] != nonce.read_text():
        raise ConfigError(
            f"{worker} does not see the cache {nonce.parents[2]}; put it in a folder that all workers share"
        )


def run_remotely(
    content: bytes, plugins: tuple[str, ...], note: str | None, limit: float | None, expected: dict[str, str]
) -> Outcome:
    """Run a job in a worker, which may have joined after the others were checked.

    Args:
        content: The packed job and context.
        plugins: Files whose descriptions the process has to know.
        note: File in which the process notes what it computes.
        limit: Time limit of a part in seconds; None for none.
        expected: What the worker must have in common with the process that started the run.

    Returns:
        What happened.
    """
    here: Any = importlib.import_module("distributed").get_worker()
    _check_threads(f"worker {here.address}", here.state.nthreads)
    _check_facts(f"worker {here.address}", facts(expected["device type"]), expected)
    return run_call(content, plugins, note, limit)


def _check_threads(worker: str, threads: int) -> None:
    if threads != 1:
        raise ConfigError(f"{worker} has {threads} threads, tasks need a process each; start it with --nthreads 1")


def _check_facts(worker: str, found: dict[str, str], expected: dict[str, str]) -> None:
    for name, value in expected.items():
        if found.get(name) != value:
            raise ConfigError(f"{worker} has {name} {found.get(name)}, this process has {value}; they must be the same")
