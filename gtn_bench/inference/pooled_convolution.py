"""Convolutions in front of ReLU and 2x2 max pooling, whose gradient is mostly zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.inference import relu_pool
from gtn_bench.inference.functions import call, in_float32
from gtn_bench.inference.square_convolution import SquareConv2d
from gtn_bench.models import numba_backend
from gtn_bench.models.pooling import LAYOUT

MOST_CHANNELS = 128  # of a layer whose gradient is always sparse (`docs/performance-notes.md`)
LARGEST_SHARE = 0.5  # of the maxima with a gradient in layers with more; beyond, PyTorch's gradient is as fast


class PooledConv2d(SquareConv2d):
    """A convolution, a ReLU and a max pooling of 2x2 windows with stride 2.

    Three of four elements of the gradient for the convolution are zeros, because they are not the largest of their
    windows. With those that the ReLU blocks, they are often more than nine of ten. The gradient is computed from the
    others alone. The gradient for the weights is not computed. With a type other than float32, on another device than a
    CPU, and without numba, these are PyTorch's layers. So are derivatives of the gradient.

    Shape:
        Input (B, C, H, W), output (B, K, H' // 2, W' // 2), where H' and W' are the size behind the convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        supported = in_float32(x, self.weight) and x.ndim == 4
        if not (supported and len(x) and numba_backend.available()):
            return F.max_pool2d(super().forward(x).relu(), 2)
        return call(_PooledConvolution, x.contiguous(memory_format=LAYOUT), self)


class _PooledConvolution(Function):
    """Convolution, ReLU and max pooling whose gradient skips zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PooledConv2d) -> Tensor:
        maps = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)
        y, indices = relu_pool.maxima(maps)
        ctx.save_for_backward(indices)
        ctx.layer, ctx.shape, ctx.maps = layer, x.shape, maps.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from gtn_bench.inference import sparse_kernels

        (indices,), layer, size = ctx.saved_tensors, ctx.layer, ctx.maps[1:]
        if torch.is_grad_enabled():  # the gradient is linear in `grad`
            return layer.gradient(relu_pool.scattered(grad, indices, ctx.maps), ctx.shape), None

        def dense(grad: Tensor, indices: Tensor) -> Tensor:
            maps = relu_pool.gradient(grad, indices, torch.Size([len(grad), *size]))
            out: Tensor = layer.gradient(maps, torch.Size([len(grad), *ctx.shape[1:]]))
            return out

        share = LARGEST_SHARE if max(layer.in_channels, layer.out_channels) > MOST_CHANNELS else 1.0
        kernel = sparse_kernels.behind_pool
        return layer.sparse_gradient(kernel, grad, indices, ctx.shape, dense, share), None
