"""Operations whose second derivatives are as fast as their first.

Meta-gradients differentiate the training of a network, and so the gradient of each of its layers.
PyTorch works the second derivative of a convolution out by exchanging batch and channels, which
makes kernels as large as the images, and that of max pooling by rearranging memory. Written as what
they are - three convolutions, one selection - they run at full speed. All that has two dimensions
lies channels last in memory, the derivatives too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.learners.pooling import LAYOUT, Window, at_largest, largest, to_largest


def conv2d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """`torch.nn.functional.conv2d` without bias: (B, C, H, W) by (K, C, h, w) to (B, K, H', W')."""
    if weight[0].numel() < 64:
        return _as_matrix_product(x, weight, stride, padding)
    x, weight = x.contiguous(memory_format=LAYOUT), weight.contiguous(memory_format=LAYOUT)
    out: Tensor = _Convolution.apply(x, weight, stride, padding)
    return out


def max_pool2d(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """`torch.nn.functional.max_pool2d`: (B, C, H, W) to (B, C, H', W')."""
    out: Tensor = _MaxPool.apply(x.contiguous(memory_format=LAYOUT), (kernel, stride, padding))
    return out


def flatten(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C H W)."""
    out: Tensor = _Flatten.apply(x)
    return out


def _as_matrix_product(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """For the few inputs of a first layer: patches (B, H' W', C h w) by weights."""
    kernel = weight.shape[2]
    patches = F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)
    width = (x.shape[3] + 2 * padding - kernel) // stride + 1
    return (patches @ weight.flatten(1).T.contiguous()).unflatten(1, (-1, width)).permute(0, 3, 1, 2)


class _Convolution(Function):
    """y = w * x"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_x, to_weight = _ConvolutionGradient.apply(
            grad.contiguous(memory_format=LAYOUT), *ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad[:2]
        )
        return to_x, to_weight, None, None


class _ConvolutionGradient(Function):
    """(dL/dx, dL/dw) from dL/dy, as far as they are wanted. The one is linear in w, the other in x."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple[int, int], wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(grad, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return _pull_back(grad, x, weight, geometry, wanted)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor | None, along_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, x, weight = ctx.saved_tensors
        to_grad = to_x = to_weight = None
        if along_x is not None:
            along_x = along_x.contiguous(memory_format=LAYOUT)
            to_grad = F.conv2d(along_x, weight, None, *ctx.geometry)
            _, to_weight = _pull_back(grad, along_x, weight, ctx.geometry, (False, True))
        if along_weight is not None:
            moved = F.conv2d(x, along_weight, None, *ctx.geometry)
            to_grad = moved if to_grad is None else to_grad + moved
            to_x, _ = _pull_back(grad, x, along_weight, ctx.geometry, (True, False))
        return to_grad, to_x, to_weight, None, None


def _pull_back(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple[int, int], wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    stride, padding = geometry
    to_x, to_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [*wanted, False]
    )
    return to_x, to_weight


class _MaxPool(Function):
    """The largest of every window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        y, places = largest(x, window)
        ctx.save_for_backward(places)
        ctx.window, ctx.shape = window, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _MaxPoolGradient.apply(grad, *ctx.saved_tensors, ctx.window, ctx.shape), None


class _MaxPoolGradient(Function):
    """Every window's gradient, to the pixel that was chosen from it."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, places: Tensor, window: Window, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(places)
        ctx.window, ctx.shape = window, shape
        out = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=LAYOUT)
        return to_largest(grad, places, window, out)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor) -> tuple[Tensor | None, ...]:
        return _AtLargest.apply(along_x, *ctx.saved_tensors, ctx.window, ctx.shape), None, None, None


class _AtLargest(Function):
    """What lies where every window's largest was: the transpose of `_MaxPoolGradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, window: Window, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(places)
        ctx.window, ctx.shape = window, shape
        return at_largest(x, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _MaxPoolGradient.apply(grad, *ctx.saved_tensors, ctx.window, ctx.shape), None, None, None


class _Flatten(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        image: Tensor = _Unflatten.apply(grad, ctx.shape)
        return image


class _Unflatten(Function):
    """The derivative in the layout of the images, which all that comes before is fastest with."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, shape: torch.Size) -> Tensor:
        return grad.view(shape).contiguous(memory_format=LAYOUT)

    @staticmethod
    def backward(ctx: Any, along: Tensor) -> tuple[Tensor, None]:
        return along.flatten(1), None
