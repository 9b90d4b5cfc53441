"""Signals to stop that arrive when the work of a command is done."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import gtn_bench

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
