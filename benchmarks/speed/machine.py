"""What the speed scripts share: the machine's rate in matrix products, counting arithmetic, doing without numba."""

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
    """Counts the multiplications and additions of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.flop += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def matmul_rate(dtype: torch.dtype, device: str, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product: what the machine can do."""
    size *= 4 if device == "cuda" else 1
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(7):
        synchronise(device)
        started = time.perf_counter()
        a @ b
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds) / 1e9


def without_numba() -> AbstractContextManager[Any]:
    """In which PyTorch computes all that numba would."""
    return mock.patch("gtn_bench.learners.compiled.kernels", return_value=None)


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.cuda.synchronize()
