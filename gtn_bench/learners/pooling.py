"""Max pooling as attacks need it: the largest of each window, and its gradient back to where it came from.

On a CPU, with numba at hand, windows like the study's are pooled two or three times as fast as by PyTorch's own
operations. Either gives the same numbers, to the last bit.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

aten = torch.ops.aten


class Pool(nn.MaxPool2d):
    """The largest of each window: (B, C, H, W) to (B, C, H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        if not _compiled(x, self):
            return super().forward(x)
        y: Tensor = _Largest.apply(x, self)
        return y


def largest(x: Tensor, pool: nn.MaxPool2d) -> tuple[Tensor, Tensor]:
    """The largest of each window (B, C, H', W'), and their places, for `to_largest`."""
    if not _compiled(x, pool):
        y, places = F.max_pool2d(x, pool.kernel_size, pool.stride, pool.padding, return_indices=True)
        return y, places
    batch, channels, height, width = x.shape
    y = x.new_empty(batch, (height + 1) // 2, (width + 1) // 2, channels)
    places = torch.empty_like(y, dtype=torch.uint8)
    _run("largest", x.permute(0, 2, 3, 1).contiguous(), y, places)
    return y.permute(0, 3, 1, 2), places.permute(0, 3, 1, 2)


def to_largest(grad: Tensor, places: Tensor, pool: nn.MaxPool2d, out: Tensor) -> Tensor:
    """Each window's gradient to the pixel that was its largest: into `out` (B, C, H, W), channels last."""
    if places.dtype != torch.uint8:
        window = [[size, size] for size in (pool.kernel_size, pool.stride, pool.padding, 1)]
        return aten.max_pool2d_with_indices_backward(grad, out, *window, False, places, grad_input=out)
    _run("to_largest", *(tensor.permute(0, 2, 3, 1).contiguous() for tensor in (grad, places)), out.permute(0, 2, 3, 1))
    return out


class _Largest(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: Pool) -> Tensor:
        y, places = largest(x, pool)
        ctx.pool, ctx.shape = pool, x.shape
        ctx.save_for_backward(places)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        to_x: Tensor = _ToLargest.apply(grad, *ctx.saved_tensors, ctx.pool, ctx.shape)
        return to_x, None


class _ToLargest(Function):
    """Linear in the gradients; its own derivative selects."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, places: Tensor, pool: Pool, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(places)
        batch, channels, height, width = shape
        out = grad.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        return to_largest(grad, places, pool, out)

    @staticmethod
    def backward(ctx: Any, along: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        height, width = (torch.arange(size).mul(2).sub(1) for size in places.shape[2:])
        pixels = (height[:, None] + places.long() // 3) * along.shape[3] + width + places.long() % 3
        return along.flatten(2).gather(2, pixels.flatten(2)).view(places.shape), None, None, None


def _compiled(x: Tensor, pool: nn.MaxPool2d) -> bool:
    """Whether there is a kernel for it."""
    window = pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, pool.return_indices
    known = window == (3, 2, 1, 1, False, False) and x.dtype in (torch.float32, torch.float64, torch.bfloat16)
    return x.device.type == "cpu" and x.ndim == 4 and known and kernels() is not None


@functools.cache
def kernels() -> ModuleType | None:
    """What numba compiles; nothing without it."""
    try:
        return importlib.import_module("gtn_bench.learners.kernels")
    except (ImportError, RuntimeError):  # no numba, not for this NumPy, or no folder for what it compiles
        return None


def _run(kernel: str, *arrays: Tensor) -> None:
    """A kernel with as many threads as PyTorch has."""
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    bits = (array.view(torch.uint16) if array.dtype == torch.bfloat16 else array for array in arrays)
    getattr(kernels(), kernel)(*(array.detach().numpy() for array in bits))
