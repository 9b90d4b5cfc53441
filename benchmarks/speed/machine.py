"""Shared by the speed benchmarks: rate of matrix products, counts of operations and waits, a switch for numba."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
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


# Operations whose result or whose shape the host reads, and methods that copy to the host.
_READS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
_COPIES = {"cpu", "numpy", "tolist", "__array__"}


class Waits:
    """Context that counts where the host would wait for a GPU, on any device.

    Counted are values and shapes that the host reads, masks as indices, and copies to the host.

    Attributes:
        counts: Number of waits by the name of the operation.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._modes = ExitStack()

    @property
    def total(self) -> int:
        """Number of waits."""
        return self.counts.total()

    def __enter__(self) -> Self:
        self._modes.enter_context(_CopiesToHost(self.counts))
        self._modes.enter_context(_ReadsByHost(self.counts))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()


class _ReadsByHost(TorchDispatchMode):
    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        masks = name in _INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if masks or name in _READS:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


class _CopiesToHost(TorchFunctionMode):
    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _COPIES:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


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
