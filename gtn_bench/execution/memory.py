"""Reuse of freed memory, and its return."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h


def reuse_memory() -> None:
    """Keep freed memory in the process.

    By default glibc returns every large tensor to the system. Requesting it again takes a third of a meta-step. Other C
    libraries are left unchanged.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, size in ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(option, size)


def release_gpu_memory(device: str) -> None:
    """Return the memory that PyTorch keeps for later tensors to the GPU, for other processes.

    Args:
        device: "cpu", or a GPU.
    """
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()


def release_memory() -> None:
    """Return the memory that `reuse_memory` keeps to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
