"""Convolutions with few input channels, whose gradient on a CPU is up to four times as fast as PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.inference.dense import has_products, product
from gtn_bench.inference.functions import call, in_float32
from gtn_bench.inference.square_convolution import SquareConv2d
from gtn_bench.models import numba_backend
from gtn_bench.models.pooling import LAYOUT

MOST_CHANNELS = 4  # of the input; with more, PyTorch's gradient is as fast (`docs/performance-notes.md`)
LARGEST_SHARE = 1 / 8  # of elements with a gradient; with more, matrix products are as fast
CACHED = 2**19  # bytes
MULTIPLE = 16  # values of a patch are filled up to a multiple, for vector instructions


class PatchConv2d(SquareConv2d):
    """A convolution, and possibly the ReLU behind it.

    The gradient is a matrix product, summed patch by patch. That of an image with few elements other than zero behind
    the ReLU is computed from these alone. The gradient for the weights is not computed. With a type other than float32,
    on another device than a CPU, and without numba, this is `torch.nn.Conv2d`. So are derivatives of the gradient.

    Attributes:
        relu: Whether there is a ReLU.

    Shape:
        Input (B, C, H, W), output (B, K, H', W').
    """

    relu = False

    @classmethod
    def of(cls, layer: nn.Conv2d) -> PatchConv2d | None:
        """Return a layer as a `PatchConv2d` that shares its weights; None if that is not faster.

        Args:
            layer: The layer.
        """
        return cls.sharing(layer) if layer.in_channels <= MOST_CHANNELS else None

    @property
    def lowest(self) -> float:
        """Lower bound of the outputs."""
        return 0.0 if self.relu else -math.inf

    def forward(self, x: Tensor) -> Tensor:
        supported = in_float32(x, self.weight)
        fits = (
            x.ndim == 4
            and x.shape[1] == self.in_channels
            and min(x.shape[2:]) + 2 * self.geometry[2] >= self.geometry[0]
        )
        if not (supported and fits and numba_backend.available()):
            return self.layer_by_layer(x)
        return call(_PatchConvolution, x.contiguous(memory_format=LAYOUT), self)

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """Run the layers one after another, with derivatives of every order.

        Args:
            x: Images (B, C, H, W).

        Returns:
            Feature maps (B, K, H', W').
        """
        y = super().forward(x)
        return F.relu(y) if self.relu else y


class _PatchConvolution(Function):
    """Convolution and ReLU whose gradient is a matrix product, summed patch by patch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PatchConv2d) -> Tensor:
        y = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)
        y = y.relu_() if layer.relu else y
        ctx.layer = layer
        ctx.save_for_backward(x, y if layer.relu else None)  # without a ReLU, others may overwrite the output
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from gtn_bench.inference import sparse_kernels

        layer: PatchConv2d = ctx.layer
        x, y = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_gradient(layer, x, grad), None
        if y is None:
            return _by_products(layer, grad.contiguous(memory_format=LAYOUT), None, x.shape), None

        def dense(grad: Tensor, y: Tensor) -> Tensor:
            return _by_products(layer, grad, y, torch.Size([len(grad), *x.shape[1:]]))

        return layer.sparse_gradient(sparse_kernels.behind_relu, grad, y, x.shape, dense, LARGEST_SHARE), None


def _by_products(layer: PatchConv2d, grad: Tensor, y: Tensor | None, shape: torch.Size) -> Tensor:
    """Return the gradient of a layer for its input.

    Args:
        layer: The layer.
        grad: Gradient (B, K, H', W') for the outputs, channels-last.
        y: Outputs (B, K, H', W'), if there is a ReLU, channels-last.
        shape: Shape of the input (B, C, H, W).
    """
    from gtn_bench.inference import patch_kernels

    out = torch.empty(shape, dtype=grad.dtype, memory_format=LAYOUT)
    weight = _by_patch(layer)
    weight = F.pad(weight, (0, 0, 0, -len(weight) % MULTIPLE))
    size = max(1, CACHED // max(1, grad[:1].nbytes))  # images whose gradients stay in the cache
    parts = (tensor.split(size) for tensor in (grad, grad if y is None else y, out))
    for part, active, pixels in zip(*parts, strict=True):
        if y is not None:
            part = torch.ops.aten.threshold_backward(part, active, 0)
        rows = part.permute(0, 2, 3, 1).flatten(0, 2)
        products = product(rows, weight, None) if has_products() else rows @ weight.T
        products = products.unflatten(0, (len(part), *grad.shape[2:])).permute(0, 3, 1, 2)
        numba_backend.run(patch_kernels.sum_patches, products, *layer.geometry, pixels)
    return out


def _by_patch(layer: PatchConv2d) -> Tensor:
    """Return the weights (k * k * C, K), ordered as patches are."""
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()


def _differentiable_gradient(layer: PatchConv2d, x: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of a layer for its input x (B, C, H, W), itself differentiable."""
    with torch.enable_grad():
        return torch.autograd.grad(layer.layer_by_layer(x), x, grad, create_graph=True)[0]
