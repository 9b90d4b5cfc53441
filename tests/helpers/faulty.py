"""Perturbations that end their process, hang, or raise what no perturbation should. A plug-in of tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import Any

import gtn_bench


@gtn_bench.perturbation
def faulty(model: Any, x: Any, y: Any, beta: float, how: str = "") -> Any:
    if beta < 0.15 or not how:
        return (x + beta).clamp(0, 1)
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        ctypes.string_at(0)
    if how == "sys.exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "stop":
        raise SystemExit("enough")
    if how == "sleep":
        time.sleep(1000)
    if how == "catching":
        while True:
            with contextlib.suppress(Exception):  # as attacks do that try again
                time.sleep(0.01)
    if how == "masked":  # as native code, it does not react to signals
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(1000)
    return x


@gtn_bench.perturbation
def slow(model: Any, x: Any, y: Any, beta: float, seconds: float = 0.5) -> Any:
    time.sleep(seconds)
    return (x + beta).clamp(0, 1)
