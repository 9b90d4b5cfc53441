"""Shared by the speed benchmarks: rate of matrix products, count of operations, a switch for numba."""

from __future__ import annotations

import statistics
import time
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Arithmetic(TorchDispatchMode):
    """Context that counts the floating-point operations of convolutions and matrix products.

    Attributes:
        flop: Number of multiplications and additions so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.flop += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def matmul_rate(dtype: torch.dtype, device: str, size: int = 2048) -> float:
    """Return the rate of a square matrix product in GFLOP/s.

    Args:
        dtype: Type of the matrices.
        device: "cpu" or "cuda".
        size: Number of rows and columns on a CPU; four times as many on a GPU.
    """
    size *= 4 if device == "cuda" else 1
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(7):
        synchronize(device)
        started = time.perf_counter()
        a @ b
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds) / 1e9


def without_numba() -> AbstractContextManager[Any]:
    """Return a context in which PyTorch replaces all kernels that numba compiles."""
    return mock.patch("gtn_bench.models.numba_backend.available", return_value=False)


def synchronize(device: str) -> None:
    """Wait until the device has finished.

    Args:
        device: "cpu" or "cuda".
    """
    if device != "cpu":
        torch.cuda.synchronize()
