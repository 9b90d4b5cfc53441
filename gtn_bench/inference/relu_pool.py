"""ReLU and max pooling of 2x2 pixels, fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.inference.functions import call
from gtn_bench.models import numba_backend
from gtn_bench.models.pooling import LAYOUT


class ReluPool(nn.Module):
    """Maximum of zero and of each 2x2 window with stride 2.

    On a CPU with numba, the activations before the pooling are neither written nor saved. Values and gradients are
    bitwise those of the two layers. With a type other than float32 and on other devices, these are called.

    Shape:
        Input (B, C, H, W), output (B, C, H // 2, W // 2).
    """

    def forward(self, x: Tensor) -> Tensor:
        compiled = x.dtype == torch.float32 and x.device.type == "cpu" and x.ndim == 4 and numba_backend.available()
        if not compiled:
            return self.layer_by_layer(x)
        return call(_ReluPool, x, self)

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """Run the two layers one after another, with derivatives of every order.

        Args:
            x: Feature maps (B, C, H, W).

        Returns:
            Feature maps (B, C, H // 2, W // 2).
        """
        return F.max_pool2d(F.relu(x), 2)


class _ReluPool(Function):
    """ReLU and max pooling in compiled kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: ReluPool) -> Tensor:
        y, indices = maxima(x)
        ctx.save_for_backward(indices)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (indices,) = ctx.saved_tensors
        function = scattered if torch.is_grad_enabled() else gradient
        return function(grad, indices, ctx.shape), None


def maxima(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maximum of zero and of each window, and its index.

    Args:
        x: Feature maps (B, C, H, W) in float32 on a CPU.

    Returns:
        Maxima and indices (B, C, H // 2, W // 2), channels-last. An index is the place in the window, row by row, or 4
        without a positive element.
    """
    from gtn_bench.inference import relu_pool_kernels

    size = *x.shape[:2], x.shape[2] // 2, x.shape[3] // 2
    y = torch.empty(size, dtype=x.dtype, memory_format=LAYOUT)
    indices = torch.empty(size, dtype=torch.uint8, memory_format=LAYOUT)
    numba_backend.run(relu_pool_kernels.relu_pool, x.contiguous(memory_format=LAYOUT), y, indices)
    return y, indices


def gradient(grad: Tensor, indices: Tensor, shape: torch.Size) -> Tensor:
    """Return the gradient for feature maps.

    Args:
        grad: Gradient of the maxima (B, C, H // 2, W // 2) in float32 on a CPU.
        indices: Their indices (B, C, H // 2, W // 2).
        shape: Shape of the feature maps (B, C, H, W).
    """
    from gtn_bench.inference import relu_pool_kernels

    x = torch.empty(shape, dtype=grad.dtype, memory_format=LAYOUT)
    grad, indices = (each.contiguous(memory_format=LAYOUT) for each in (grad, indices))
    numba_backend.run(relu_pool_kernels.relu_pool_backward, grad, indices, x)
    return x


def scattered(grad: Tensor, indices: Tensor, shape: torch.Size) -> Tensor:
    """Return the gradient for feature maps, linear in the gradient of the maxima and differentiable.

    Args:
        grad: Gradient of the maxima (B, C, H // 2, W // 2).
        indices: Their indices (B, C, H // 2, W // 2).
        shape: Shape of the feature maps (B, C, H, W).
    """
    parts = [grad * (indices == index) for index in range(4)]  # by place in the window
    rows = [torch.stack(parts[k : k + 2], dim=-1).flatten(-2) for k in (0, 2)]
    x = torch.stack(rows, dim=-2).flatten(2, 3)
    return F.pad(x, (0, shape[3] - x.shape[3], 0, shape[2] - x.shape[2]))
