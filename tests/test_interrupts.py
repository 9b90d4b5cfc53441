"""Signals to stop: while a teacher is trained in the main process, and when the work of a command is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.suites import TINY

import gtn_bench
from gtn_bench.config import suite

_SCRIPT = """
import atexit, os, sys, torch
from gtn_bench.cli import main

def stop(kill=os.kill, process=os.getpid()):
    kill(process, {number})
    kill(process, 0)  # Python calls handlers between two instructions

class Late:
    def __del__(self, stop=stop):
        stop()

if {late}:
    kept = Late()  # Python removes it after the default actions of signals are restored
else:
    atexit.register(stop)
sys.argv = ["gtn-bench", {option!r}]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("option", "code"), [("--version", 0), ("--versoin", 2)])
def test_a_signal_after_the_work_changes_neither_exit_code_nor_output(
    option: str, code: int, number: signal.Signals, late: bool
) -> None:
    script = _SCRIPT.format(number=int(number), late=late, option=option)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == (f"{gtn_bench.__version__}\n" if code == 0 else "")
    assert ended.stderr.count("\n") == (0 if code == 0 else 1) and "Traceback" not in ended.stderr


_STOPPED = """
import importlib, os, signal, time
cli = importlib.import_module("gtn_bench.cli.app")

def stopped(**_):
    exec("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)")

cli.app = stopped
cli.main()
"""


def test_an_interruption_of_evaluated_text_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """Dataclasses and named tuples evaluate text. Python notes the interruption there and ends by SIGINT later."""
    (tmp_path / "stopped.py").write_text(_STOPPED)
    command = [sys.executable, "-m", "stopped"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130 and ended.stderr.startswith("Interrupted."), ended


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_during_the_meta_training_ends_the_run(
    workers: int, caught: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure of the teacher, also if a library catches all exceptions."""

    def interrupted(*_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except BaseException:
            if not caught:
                raise

    monkeypatch.setattr("gtn_bench.execution.tasks.meta_train", interrupted)
    (tmp_path / "suite.yaml").write_text(TINY)
    plan = gtn_bench.plan(suite.load(tmp_path / "suite.yaml"))
    with pytest.raises(KeyboardInterrupt):
        gtn_bench.run(plan, tmp_path / "out", workers=workers, scheduler="processes", cache=tmp_path / "cache")
    assert not (tmp_path / "out" / "summary.csv").exists()
