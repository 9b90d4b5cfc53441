"""Runs of suites in other processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

PLUGIN = Path(__file__).with_name("faulty.py")

_SCRIPT = """
import signal
import sys
from pathlib import Path
import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.errors import RunError
from gtn_bench.planning.plugins import load_plugin
load_plugin({plugin!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
if __name__ == "__main__":
    plan = gtn_bench.plan(suite.parse(Path({suite!r}).read_text()))
    try:
        gtn_bench.run(plan, {out!r}, cache={cache!r}, workers=2, scheduler={scheduler!r}, device="cpu")
    except RunError as error:
        sys.exit(str(error))
"""


def start_run(text: str, folder: Path, scheduler: str = "processes") -> subprocess.Popen[str]:
    """Start a run in a process of its own; it uses the folders `out` and `cache`.

    Args:
        text: the suite.
        folder: the folder for its files.
        scheduler: the scheduler.
    """
    (folder / "suite.yaml").write_text(text)
    parts = {name: str(folder / name) for name in ("out", "cache")}
    script = _SCRIPT.format(plugin=str(PLUGIN), suite=str(folder / "suite.yaml"), scheduler=scheduler, **parts)
    (folder / "script.py").write_text(script)
    command = [sys.executable, str(folder / "script.py")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_cells(cache: Path, count: int, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait until a cache holds some cells.

    Args:
        cache: the cache.
        count: their number.
        process: the process that computes them.
        seconds: how long at most.
    """
    end = time.monotonic() + seconds
    while len(list(cache.glob("cells/*/*.safetensors"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "no cells"
        time.sleep(0.05)


def descendants(pid: int) -> list[psutil.Process]:
    """Return the processes that a process has started, and those that these have started.

    Args:
        pid: its number.
    """
    return psutil.Process(pid).children(recursive=True)


def left_after(processes: list[psutil.Process], seconds: float) -> list[str]:
    """Return the command lines of the processes that still run after some time.

    Args:
        processes: the processes.
        seconds: how long to wait.
    """
    _, alive = psutil.wait_procs(processes, seconds)
    return [" ".join(process.cmdline()) for process in alive if process.status() != psutil.STATUS_ZOMBIE]
