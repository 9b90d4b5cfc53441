"""Group norm or instance norm, ReLU and average pooling of 2x2 pixels, fused."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.inference.functions import call
from gtn_bench.models import numba_backend
from gtn_bench.models.pooling import LAYOUT


class NormBlock(nn.Module):
    """A normalization of groups of channels, and the ReLU and the average pooling behind it.

    On a CPU with numba, only the feature maps and their statistics are saved for the gradient. The gradients for weight
    and bias are not computed. With a type other than float32 and on other devices, the layers are called.

    Args:
        groups: Number of groups of channels.
        weight: Factor of each channel (C,).
        bias: Shift of each channel (C,).
        eps: Number that is added to the variances.
        relu: Whether there is a ReLU.
        pool: Whether there is a pooling.

    Shape:
        Input (B, C, H, W), output (B, C, H, W), or (B, C, H // 2, W // 2) with pooling.
    """

    def __init__(self, groups: int, weight: Tensor, bias: Tensor, eps: float, *, relu: bool, pool: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.relu, self.pool = groups, eps, relu, pool
        self.weight, self.bias = (nn.Parameter(value.detach(), requires_grad=False) for value in (weight, bias))

    @property
    def lowest(self) -> float:
        """Lower bound of the normalized values."""
        return 0.0 if self.relu else -math.inf

    def forward(self, x: Tensor) -> Tensor:
        supported = x.dtype == self.weight.dtype == torch.float32 and x.device.type == "cpu" and x.ndim == 4
        if not supported or x.shape[2] * x.shape[3] < 2 or not numba_backend.available():
            return self.layer_by_layer(x)
        return call(_NormBlock, x.contiguous(memory_format=LAYOUT), self)

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """Run the layers one after another, with derivatives of every order.

        Args:
            x: Feature maps (B, C, H, W).

        Returns:
            Feature maps (B, C, H, W), or (B, C, H // 2, W // 2) with pooling.
        """
        y = F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        y = F.relu(y) if self.relu else y
        return F.avg_pool2d(y, 2) if self.pool else y


class _NormBlock(Function):
    """A normalization block in compiled kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: NormBlock) -> Tensor:
        from gtn_bench.inference import norm_kernels

        factor = 2 if block.pool else 1
        y = torch.empty((*x.shape[:2], x.shape[2] // factor, x.shape[3] // factor), memory_format=LAYOUT)
        mean, scale = x.new_empty(2, *x.shape[:2])
        settings = block.groups, block.eps, block.lowest, block.pool
        numba_backend.run(norm_kernels.norm_block, x, block.weight, block.bias, *settings, y, mean, scale)
        ctx.save_for_backward(x, mean, scale)
        ctx.block = block
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from gtn_bench.inference import norm_kernels

        block: NormBlock = ctx.block
        x, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            with torch.enable_grad():
                return torch.autograd.grad(block.layer_by_layer(x), x, grad, create_graph=True)[0], None
        out = torch.empty_like(x, memory_format=LAYOUT)
        settings = block.groups, block.lowest, block.pool
        grad = grad.contiguous(memory_format=LAYOUT)
        numba_backend.run(
            norm_kernels.norm_block_backward, grad, x, block.weight, block.bias, *settings, mean, scale, out
        )
        return out, None
