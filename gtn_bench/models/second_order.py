"""Convolution, max pooling and flattening whose second derivatives are as fast as their first.

A meta-gradient differentiates the training of a network, and therefore the gradient of each layer. PyTorch computes
the second derivative of a convolution by exchanging batch and channels, so that kernels become as large as the images,
and that of max pooling by copying memory. Here they are three convolutions and one gather. All images, feature maps
and their derivatives are channels-last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.models.pooling import LAYOUT, Window, gather_indices, max_pool, max_pool_backward


def conv2d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Apply a 2d convolution without bias, as `torch.nn.functional.conv2d`.

    Args:
        x: Images (B, C, H, W).
        weight: Kernels (K, C, h, w).
        stride: Stride.
        padding: Zero padding on each side.

    Returns:
        Feature maps (B, K, H', W'), channels-last.
    """
    if weight[0].numel() < 64 and x.device.type == "cpu":  # a GPU would copy the patches image by image
        return _as_matrix_product(x, weight, stride, padding)
    x, weight = x.contiguous(memory_format=LAYOUT), weight.contiguous(memory_format=LAYOUT)
    out: Tensor = _Convolution.apply(x, weight, stride, padding)
    return out


def max_pool2d(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Apply 2d max pooling, as `torch.nn.functional.max_pool2d`.

    Args:
        x: Feature maps (B, C, H, W).
        kernel: Height and width of a window.
        stride: Stride.
        padding: Padding on each side with negative infinity.

    Returns:
        Maxima (B, C, H', W'), channels-last.
    """
    out: Tensor = _MaxPool.apply(x.contiguous(memory_format=LAYOUT), (kernel, stride, padding))
    return out


def flatten(x: Tensor) -> Tensor:
    """Flatten images.

    Args:
        x: Images (B, C, H, W).

    Returns:
        Rows (B, C * H * W), whose derivative is channels-last images.
    """
    out: Tensor = _Flatten.apply(x)
    return out


def _as_matrix_product(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Apply a convolution as the product of patches (B, H' * W', C * h * w) and weights, faster for few channels."""
    kernel = weight.shape[2]
    patches = F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)
    width = (x.shape[3] + 2 * padding - kernel) // stride + 1
    return (patches @ weight.flatten(1).T.contiguous()).unflatten(1, (-1, width)).permute(0, 3, 1, 2)


class _Convolution(Function):
    """Convolution ``y = weight * x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight = _ConvolutionGradient.apply(
            grad.contiguous(memory_format=LAYOUT), *ctx.saved_tensors, ctx.geometry, ctx.needs_input_grad[:2]
        )
        return grad_x, grad_weight, None, None


class _ConvolutionGradient(Function):
    """Gradients for x and weight from the gradient for y, where `output_mask` requests them.

    The gradient for x is linear in the weight, that for the weight is linear in x, both are linear in the gradient for
    y. So the second derivatives are convolutions again.
    """

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple[int, int], output_mask: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(grad, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return _convolution_backward(grad, x, weight, geometry, output_mask)

    @staticmethod
    def backward(ctx: Any, grad_grad_x: Tensor | None, grad_grad_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, x, weight = ctx.saved_tensors
        grad_grad = grad_x = grad_weight = None
        if grad_grad_x is not None:
            grad_grad_x = grad_grad_x.contiguous(memory_format=LAYOUT)
            grad_grad = F.conv2d(grad_grad_x, weight, None, *ctx.geometry)
            _, grad_weight = _convolution_backward(grad, grad_grad_x, weight, ctx.geometry, (False, True))
        if grad_grad_weight is not None:
            term = F.conv2d(x, grad_grad_weight, None, *ctx.geometry)
            grad_grad = term if grad_grad is None else grad_grad + term
            grad_x, _ = _convolution_backward(grad, x, grad_grad_weight, ctx.geometry, (True, False))
        return grad_grad, grad_x, grad_weight, None, None


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple[int, int], output_mask: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients for x and weight that `output_mask` requests. `geometry` is stride and padding."""
    stride, padding = geometry
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [*output_mask, False]
    )
    return grad_x, grad_weight


class _MaxPool(Function):
    """Maximum of each window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        y, indices = max_pool(x, window)
        ctx.save_for_backward(indices)
        ctx.window, ctx.shape = window, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _MaxPoolGradient.apply(grad, *ctx.saved_tensors, ctx.window, ctx.shape), None


class _MaxPoolGradient(Function):
    """Gradient of max pooling: the gradient of each window, added to the pixel of its maximum."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, indices: Tensor, window: Window, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.window, ctx.shape = window, shape
        out = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=LAYOUT)
        return max_pool_backward(grad, indices, window, out)

    @staticmethod
    def backward(ctx: Any, grad_grad_x: Tensor) -> tuple[Tensor | None, ...]:
        return _GatherIndices.apply(grad_grad_x, *ctx.saved_tensors, ctx.window, ctx.shape), None, None, None


class _GatherIndices(Function):
    """Elements at the indices of the maxima: the transpose of `_MaxPoolGradient`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor, window: Window, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.window, ctx.shape = window, shape
        return gather_indices(x, indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _MaxPoolGradient.apply(grad, *ctx.saved_tensors, ctx.window, ctx.shape), None, None, None


class _Flatten(Function):
    """Images as rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad_x: Tensor = _Unflatten.apply(grad, ctx.shape)
        return grad_x


class _Unflatten(Function):
    """Rows as channels-last images, the layout in which the preceding layers are fastest."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, shape: torch.Size) -> Tensor:
        return grad.view(shape).contiguous(memory_format=LAYOUT)

    @staticmethod
    def backward(ctx: Any, grad_grad_x: Tensor) -> tuple[Tensor, None]:
        return grad_grad_x.flatten(1), None
