"""A linear layer in the matrix products of oneDNN, which use all vector instructions on every processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from gtn_bench.inference.functions import call, in_float32

FEWEST_WEIGHTS = 2**14  # with fewer, PyTorch's layer is as fast (`docs/performance-notes.md`)


class Dense(nn.Linear):
    """A linear layer for two-dimensional inputs.

    PyTorch's layer takes the products of MKL, which are half as fast on processors of other makers than Intel. The
    gradients for weight and bias are not computed. With a type other than float32 and on other devices than a CPU, this
    is `torch.nn.Linear`. So are derivatives of the gradient.

    Shape:
        Input (B, inputs), output (B, outputs).
    """

    @classmethod
    def of(cls, layer: nn.Linear) -> Dense | None:
        """Return a layer as a `Dense` that shares its weights; None if that is not faster.

        Args:
            layer: The layer.
        """
        if layer.weight.numel() < FEWEST_WEIGHTS:
            return None
        faster = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        faster.weight, faster.bias = layer.weight, layer.bias
        return faster

    def forward(self, x: Tensor) -> Tensor:
        supported = in_float32(x, self.weight) and x.ndim == 2
        if not (supported and len(x) and x.shape[1] == self.in_features and has_products()):
            return super().forward(x)
        return call(_Dense, x, self)


class _Dense(Function):
    """Linear layer in oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Dense) -> Tensor:
        ctx.layer = layer
        return product(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        weight = ctx.layer.weight
        if torch.is_grad_enabled():  # the gradient is linear in `grad`
            return grad @ weight, None
        return product(grad.contiguous(), weight.T, None), None


def has_products() -> bool:
    """Return whether this build of PyTorch has the products."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T + bias`` in oneDNN. There has to be one.

    Args:
        x: Rows (B, inputs) in float32.
        weight: Weights (outputs, inputs).
        bias: Bias (outputs,), or None.
    """
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y
