"""Execution of CPU kernels that numba compiles, where numba is installed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gtn_bench.config.locks import one_at_a_time

_compiled: set[tuple[Any, ...]] = set()  # kernels and the types that they have been compiled for


@functools.cache
def available() -> bool:
    """Start numba's threads and return whether that succeeded.

    Returns:
        False if numba is not installed, is disabled, or is incompatible with other packages.
    """
    threads = torch.get_num_threads()
    try:
        import numba

        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return False
        numba.set_num_threads(1)
    except (ImportError, OSError, RuntimeError, ValueError):  # not installed, or incompatible with other packages
        return False
    finally:
        torch.set_num_threads(threads)  # numba may share torch's thread pool and change its size
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_disable)
    return True


def _disable() -> None:
    """Disable the backend in a forked child: the threads of the parent do not exist there."""
    global available
    available = functools.cache(lambda: False)


def run(kernel: Callable[..., None], *arguments: Any) -> None:
    """Run a kernel with as many threads as torch has.

    The first call for a combination of types compiles the kernel and saves it, one process at a time.

    Args:
        kernel: A function that numba compiles.
        arguments: Numbers, tensors on the CPU, and their arrays from `as_array`. Images and feature maps (B, C, H, W)
            are channels-last in memory; the kernel receives them as (B, H, W, C). Tensors in bfloat16 arrive as uint16.
    """
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    arrays = [as_array(value) for value in arguments]
    task = (kernel, *(getattr(array, "dtype", None) for array in arrays))
    if task not in _compiled:
        with one_at_a_time(Path(kernel.stats.cache_path, "gtn-bench.lock")):  # type: ignore[attr-defined]
            kernel(*arrays)
        _compiled.add(task)
    else:
        kernel(*arrays)


def as_array(value: Any) -> Any:
    """Return a tensor as a NumPy array that shares its memory, and other values as they are.

    Args:
        value: A tensor on the CPU, a number or an array.
    """
    if not isinstance(value, Tensor):
        return value
    if value.requires_grad:
        value = value.detach()
    if value.is_neg():
        value = value.resolve_neg()
    if value.ndim == 4:
        value = value.permute(0, 2, 3, 1)
    return (value.view(torch.uint16) if value.dtype == torch.bfloat16 else value).numpy()
