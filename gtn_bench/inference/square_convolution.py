"""Convolutions with square kernels, and their gradients that skip zeros."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from gtn_bench.models import numba_backend
from gtn_bench.models.pooling import LAYOUT


class SquareConv2d(nn.Conv2d):
    """A convolution with square kernels, constant weights, and the same stride and padding in both directions."""

    @classmethod
    def sharing(cls, layer: nn.Conv2d) -> Self | None:
        """Return a layer in this class, with the same weights; None if its geometry is another one.

        Args:
            layer: The layer.
        """
        (height, width), (down, right) = layer.kernel_size, layer.stride
        square = height == width and down == right and layer.dilation == (1, 1) and layer.groups == 1
        padded = isinstance(layer.padding, tuple) and layer.padding[0] == layer.padding[1] < height
        if not (square and padded and layer.padding_mode == "zeros"):
            return None
        plain = layer.in_channels, layer.out_channels, height, down, int(layer.padding[0])
        faster = cls(*plain, bias=layer.bias is not None, device="meta")
        faster.weight, faster.bias = layer.weight, layer.bias
        return faster

    @property
    def geometry(self) -> tuple[int, int, int]:
        """Kernel, stride and padding."""
        return self.kernel_size[0], self.stride[0], int(self.padding[0])

    def gradient(self, grad: Tensor, shape: torch.Size) -> Tensor:
        """Return PyTorch's gradient for the inputs, itself differentiable.

        Args:
            grad: Gradient for the outputs (B, K, H', W').
            shape: Shape of the inputs (B, C, H, W).
        """
        x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=LAYOUT)  # its values do not matter
        geometry = self.stride, self.padding, self.dilation, False, (0, 0), 1
        wanted = True, False, False
        out: Tensor = torch.ops.aten.convolution_backward(grad, x, self.weight, None, *geometry, wanted)[0]
        return out

    def sparse_gradient(
        self,
        kernel: Callable[..., None],
        grad: Tensor,
        marks: Tensor,
        shape: torch.Size,
        dense: Callable[[Tensor, Tensor], Tensor],
        share: float,
    ) -> Tensor:
        """Return the gradient for the inputs, computed in the faster of two ways for each image.

        Args:
            kernel: A function from `gtn_bench.inference.sparse_kernels`.
            grad: Gradient (B, K, H', W') for the outputs of what follows the convolution.
            marks: Which elements get a gradient (B, K, H', W'): indices of maxima, or activations.
            shape: Shape of the inputs (B, C, H, W).
            dense: Function from gradients and marks of some images to gradients for their inputs.
            share: Largest share of elements of `grad` that are marked and not zero; images with more are computed by
                `dense`.
        """
        grad, marks = (each.contiguous(memory_format=LAYOUT) for each in (grad, marks))
        out = torch.empty(shape, dtype=grad.dtype, memory_format=LAYOUT)
        done = torch.empty(len(out), dtype=torch.bool)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1).contiguous()
        most = int(share * math.prod(grad.shape[1:]))
        numba_backend.run(kernel, grad, marks, weight, *self.geometry, most, out, done)
        rest: Any = (~done).nonzero().squeeze(1)
        if len(rest) == len(out):
            return dense(grad, marks)
        if len(rest):
            out[rest] = dense(*(each[rest].contiguous(memory_format=LAYOUT) for each in (grad, marks)))
        return out
