"""Perturbations that harm the process in which they run. The suite of `faults.perturbations` names them."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

import gtn_bench

Perturb = Callable[[Any, Tensor, Tensor, float], Any]


def _register(function: Perturb) -> Perturb:
    return gtn_bench.perturbation(function)


@_register
def ends_process(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    os._exit(1)


@_register
def ends_process_well(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    os._exit(0)


@_register
def killed(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    """Do what the kernel does to a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return x


@_register
def reads_address_zero(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    ctypes.string_at(0)
    return x


@_register
def exits(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    sys.exit(3)


@_register
def exits_well(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    sys.exit()


@_register
def interrupts(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    raise KeyboardInterrupt


class _Odd(BaseException):
    """An exception that no `except Exception` catches, and that has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled")


@_register
def raises_odd_exception(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    raise _Odd


@_register
def hangs(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    while True:
        pass


@_register
def sleeps(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    time.sleep(3600)
    return x


@_register
def hangs_and_catches_everything(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            continue


@_register
def takes_all_memory(model: Any, x: Tensor, y: Tensor, beta: float) -> NoReturn:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
    taken = []
    try:
        while True:
            taken.append(bytearray(2**24))
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, limits)


@_register
def recurses(model: Any, x: Tensor, y: Tensor, beta: float) -> Any:
    return recurses(model, x, y, beta)


@_register
def returns_text(model: Any, x: Tensor, y: Tensor, beta: float) -> str:
    return "images"


@_register
def returns_nan(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    return torch.full_like(x, float("nan"))


@_register
def changes_inputs(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    x.zero_()
    y.zero_()
    return x


@_register
def changes_torch(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(3)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    torch.backends.mkldnn.set_flags(False)
    torch.manual_seed(123)
    np.random.seed(123)
    np.seterr(all="raise")
    return x


@_register
def changes_process(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    os.chdir("/")
    os.environ["OMP_NUM_THREADS"] = "7"
    os.environ["GTN_BENCH_CACHE"] = "/nowhere"
    os.environ.pop("HOME", None)
    warnings.simplefilter("error")
    sys.setrecursionlimit(200)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return x


@_register
def closes_streams(model: Any, x: Tensor, y: Tensor, beta: float) -> Tensor:
    print("x" * 1_000_000)
    sys.stdout.close()
    sys.stderr.close()
    return x
