"""Max pooling on any device: the largest of each window, and gradients back to where it came from.

On a CPU, with numba at hand, windows like the study's are pooled about twice as fast as by PyTorch's own operations.
Either gives the same numbers, to the last bit.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

Window = tuple[int, int, int]  # its size, its stride, and the padding around the images
KNOWN: Window = (3, 2, 1)  # to the kernels
LAYOUT = torch.channels_last  # the fastest on CPU and GPU


def largest(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The largest of each window of (B, C, H, W), and their places, for the other two: (B, C, H', W')."""
    if not _compiled(x, window):
        y, places = F.max_pool2d(x, *window, return_indices=True)
        return y, places
    batch, channels, height, width = x.shape
    size = batch, channels, (height + 1) // 2, (width + 1) // 2
    y, places = (
        torch.empty(size, dtype=dtype, device=x.device, memory_format=LAYOUT) for dtype in (x.dtype, torch.uint8)
    )
    _run("largest", x.contiguous(memory_format=LAYOUT), y, places)
    return y, places


def to_largest(grad: Tensor, places: Tensor, window: Window, out: Tensor) -> Tensor:
    """Each window's gradient to the pixel that was its largest: into `out` (B, C, H, W), channels last."""
    grad = grad.contiguous(memory_format=LAYOUT)
    if places.dtype == torch.uint8:
        _run("to_largest", grad, places, out)
        return out
    sizes = [[size, size] for size in (*window, 1)]
    return torch.ops.aten.max_pool2d_with_indices_backward(grad, out, *sizes, False, places, grad_input=out)


def at_largest(x: Tensor, places: Tensor) -> Tensor:
    """What (B, C, H, W) has where each window's largest was: (B, C, H', W')."""
    x = x.contiguous(memory_format=LAYOUT)
    if places.dtype == torch.uint8:
        y = torch.empty_like(places, dtype=x.dtype)
        _run("at_largest", x, places, y)
        return y
    pixels, chosen = (tensor.permute(0, 2, 3, 1).flatten(1, 2) for tensor in (x, places))
    return pixels.gather(1, chosen).unflatten(1, places.shape[2:]).permute(0, 3, 1, 2)


def _compiled(x: Tensor, window: Window) -> bool:
    known = window == KNOWN and x.dtype in (torch.float32, torch.float64, torch.bfloat16)
    return known and x.device.type == "cpu" and kernels() is not None


@functools.cache
def kernels() -> ModuleType | None:
    """What numba compiles; nothing without it."""
    threads = torch.get_num_threads()
    try:
        compiled = importlib.import_module("gtn_bench.learners.kernels")
        compiled.start_threads()
    except (ImportError, OSError, RuntimeError, ValueError):  # it is not there, or does not go with what is
        return None
    finally:
        torch.set_num_threads(threads)  # which numba's threads change, where they are the same
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)
    return compiled


def _forget() -> None:
    """A forked child goes without, as threads of its parent's kind would end it."""
    global kernels
    kernels = functools.cache(lambda: None)


def _run(kernel: str, *arrays: Tensor) -> None:
    """A kernel with as many threads as PyTorch has; all lies channels last in memory."""
    compiled = kernels()
    assert compiled is not None
    last = (array.detach().permute(0, 2, 3, 1) for array in arrays)
    bits = (array.view(torch.uint16) if array.dtype == torch.bfloat16 else array for array in last)
    compiled.run(kernel, torch.get_num_threads(), *(array.numpy() for array in bits))
