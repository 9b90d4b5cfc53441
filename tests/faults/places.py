"""Folders of trials: a suite, a cache, an output folder, and the command line that runs in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faults.processes import survivors

PACKAGE = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        code: The exit code; negative for a signal.
        out: What it printed.
        errors: The lines of standard error that are not empty.
        seconds: Wall time.
    """

    code: int
    out: str
    errors: tuple[str, ...]
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Whether an exception reached the user."""
        return any("Traceback (most recent call last)" in line for line in (*self.errors, *self.out.splitlines()))

    def __str__(self) -> str:
        last = self.errors[-1][:200] if self.errors else "no message"
        return f"exit code {self.code}, {len(self.errors)} lines, the last: {last}"


class Command:
    """A command in the background, in a session of its own.

    Args:
        process: Its process.
        log: Path of its output, without suffix.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.session = process.pid
        self._log = log
        self._start = time.monotonic()

    def wait(self, seconds: float = 180) -> Outcome:
        """Wait for the end. A command that takes longer is ended, with all its processes; its exit code is -9.

        Args:
            seconds: The longest time to wait.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            survivors(self.session, 0)
            code = self.process.wait()
        out, errors = (self._log.with_suffix(suffix).read_text(errors="replace") for suffix in (".out", ".err"))
        lines = tuple(line for line in errors.splitlines() if line.strip())
        return Outcome(code, out, lines, time.monotonic() - self._start)


@dataclass(frozen=True)
class Place:
    """A folder with a suite, a cache and an output folder.

    Attributes:
        folder: The folder.
        workers: Number of workers of its runs.
    """

    folder: Path
    workers: int = 2

    @property
    def suite(self) -> Path:
        """The file of the suite."""
        return self.folder / "suite.yaml"

    @property
    def cache(self) -> Path:
        """The folder of the cache."""
        return self.folder / "cache"

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.folder / "out"

    def clear(self) -> None:
        """Remove what runs have written."""
        for folder in (self.cache, self.out):
            shutil.rmtree(folder, ignore_errors=True)
        self.cache.mkdir()

    def start(
        self,
        *arguments: str | Path,
        prepare: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Command:
        """Start ``gtn-bench`` in this place.

        Args:
            arguments: The arguments of the command line.
            prepare: Called in the new process before the program starts.
            environment: Further variables of its environment.
        """
        log = self.folder / f"command-{len(list(self.folder.glob('command-*.out')))}"
        variables = {**os.environ, "GTN_BENCH_CACHE": str(self.cache), "MPLBACKEND": "agg", **(environment or {})}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
        with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "gtn_bench", *map(str, arguments)],
                cwd=self.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                preexec_fn=prepare,
            )
        return Command(process, log)

    def start_run(self, *options: str | Path, prepare: Callable[[], None] | None = None) -> Command:
        """Start the run of the suite.

        Args:
            options: Further options of ``gtn-bench run``.
            prepare: Called in the new process before the program starts.
        """
        chosen = ("--out", self.out, "--device", "cpu", "--workers", str(self.workers), "--quiet", *options)
        return self.start("run", self.suite, *chosen, prepare=prepare)

    def run(self, *options: str | Path, prepare: Callable[[], None] | None = None) -> Outcome:
        """Run the suite.

        Args:
            options: Further options of ``gtn-bench run``.
            prepare: Called in the new process before the program starts.
        """
        return self.start_run(*options, prepare=prepare).wait()


def make_place(folder: Path, suite: str, cache: Path | None = None, workers: int = 2) -> Place:
    """Return a new place.

    Args:
        folder: Its folder, which must not exist.
        suite: The suite, as YAML text.
        cache: A cache that is copied, with the times of its files.
        workers: Number of workers of its runs.
    """
    place = Place(folder, workers)
    folder.mkdir(parents=True)
    place.suite.write_text(suite, encoding="utf-8")
    if cache is None:
        place.cache.mkdir()
    else:
        shutil.copytree(cache, place.cache)
    return place
