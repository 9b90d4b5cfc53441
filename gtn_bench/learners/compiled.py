"""What numba compiles for a CPU, where it is at hand."""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@functools.cache
def kernels() -> ModuleType | None:
    """What numba compiles; nothing without it."""
    threads = torch.get_num_threads()
    try:
        module = importlib.import_module("gtn_bench.learners.kernels")
        module.start_threads()
    except (ImportError, OSError, RuntimeError, ValueError):  # it is not there, or does not go with what is
        return None
    finally:
        torch.set_num_threads(threads)  # which numba's threads change, where they are the same
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)
    return module


def _forget() -> None:
    """A forked child goes without, as threads of its parent's kind would end it."""
    global kernels
    kernels = functools.cache(lambda: None)


def run(kernel: str, *arguments: Tensor | float) -> None:
    """A kernel with as many threads as PyTorch has; images and maps (B, C, H, W) lie channels last in memory."""
    module = kernels()
    assert module is not None
    module.run(kernel, torch.get_num_threads(), *(_as_array(value) for value in arguments))


def _as_array(value: Tensor | float) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach().resolve_neg()
    value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
    return (value.view(torch.uint16) if value.dtype == torch.bfloat16 else value).numpy()
