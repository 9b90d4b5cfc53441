"""Max pooling on any device: the largest of each window, and gradients back to where it came from.

On a CPU, with numba at hand, windows like the study's are pooled about twice as fast as by PyTorch's own operations.
Either gives the same numbers, to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_bench.learners import compiled

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
    compiled.run("largest", x.contiguous(memory_format=LAYOUT), y, places)
    return y, places


def to_largest(grad: Tensor, places: Tensor, window: Window, out: Tensor) -> Tensor:
    """Each window's gradient to the pixel that was its largest: into `out` (B, C, H, W), channels last."""
    grad = grad.contiguous(memory_format=LAYOUT)
    if places.dtype == torch.uint8:
        compiled.run("to_largest", grad, places, out)
        return out
    sizes = [[size, size] for size in (*window, 1)]
    return torch.ops.aten.max_pool2d_with_indices_backward(grad, out, *sizes, False, places, grad_input=out)


def at_largest(x: Tensor, places: Tensor) -> Tensor:
    """What (B, C, H, W) has where each window's largest was: (B, C, H', W')."""
    x = x.contiguous(memory_format=LAYOUT)
    if places.dtype == torch.uint8:
        y = torch.empty_like(places, dtype=x.dtype)
        compiled.run("at_largest", x, places, y)
        return y
    pixels, chosen = (tensor.permute(0, 2, 3, 1).flatten(1, 2) for tensor in (x, places))
    return pixels.gather(1, chosen).unflatten(1, places.shape[2:]).permute(0, 3, 1, 2)


def _compiled(x: Tensor, window: Window) -> bool:
    known = window == KNOWN and x.dtype in (torch.float32, torch.float64, torch.bfloat16)
    return known and x.device.type == "cpu" and compiled.kernels() is not None
