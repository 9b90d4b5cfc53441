"""Errors that say that memory has run out."""

from __future__ import annotations

import torch

# What PyTorch says in a RuntimeError: its allocator for CPUs, CUDA and its libraries, C++.
_MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)


class DoesNotFitError(MemoryError):
    """A batch does not fit into memory, and must not be smaller. The message is one line."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory has run out.

    Args:
        error: The exception.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)
