"""Convolutions of 3x3 pixels with a quarter of the multiplications, by Winograd's algorithm.

Source: Lavin and Gray, https://arxiv.org/abs/1509.09308.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.inference.functions import call, in_float32
from gtn_bench.models import numba_backend
from gtn_bench.models.pooling import LAYOUT

FEWEST_CHANNELS = 48  # with fewer, PyTorch's convolution is as fast (`docs/performance-notes.md`)
LEAST_SAVING = 2.0  # of multiplications; tiles at the margin can be mostly empty
TILES = 256  # that are transformed at a time, so that they stay in the cache; those of an image are not separated
_TILE = 4  # height and width of the outputs of a tile


class WinogradConv2d(nn.Conv2d):
    """A convolution of 3x3 pixels with stride 1.

    The weights are constants: they get no gradient. With a type other than float32, on another device than a CPU, and
    without numba, this is `torch.nn.Conv2d`. Derivatives of the gradient use PyTorch's convolutions, too. Rounding
    errors are about twice as large as those of PyTorch's convolution, and differ between equal patches of an image. A
    value that is not finite makes whole tiles NaN.

    Shape:
        Input (B, C, H, W), output (B, K, H', W').
    """

    _kept: tuple[tuple[int, int], dict[bool, Tensor]] | None = None  # version of the weights, transformed weights

    @classmethod
    def of(cls, layer: nn.Conv2d, size: tuple[int, int]) -> WinogradConv2d | None:
        """Return a layer as a `WinogradConv2d` that shares its weights; None if that is not faster.

        Args:
            layer: The layer.
            size: Height and width of its outputs.
        """
        plain = layer.kernel_size == (3, 3) and layer.stride == layer.dilation == (1, 1) and layer.groups == 1
        padded = layer.padding in ((0, 0), (1, 1), (2, 2)) and layer.padding_mode == "zeros"
        if not (plain and padded and min(layer.in_channels, layer.out_channels) >= FEWEST_CHANNELS):
            return None
        rows, columns = tiles_of(*size)
        if 9 * size[0] * size[1] < LEAST_SAVING * 36 * rows * columns:
            return None
        faster = cls(
            *(layer.in_channels, layer.out_channels, 3),
            padding=int(layer.padding[0]),
            bias=layer.bias is not None,
            device="meta",
        )
        faster.weight, faster.bias = layer.weight, layer.bias
        return faster

    @property
    def margin(self) -> int:
        """Zero padding on each side."""
        return int(self.padding[0])

    @property
    def transformed_size(self) -> int:
        """Size in bytes of the transformed weights of both passes."""
        return 2 * 36 * self.in_channels * self.out_channels * self.weight.element_size()

    def transformed(self, *, gradient: bool) -> Tensor:
        """Return the transformed weights. They are kept until the weights change.

        Args:
            gradient: Whether they are those of the gradient, which is a convolution with flipped kernels.

        Returns:
            Transformed weights (36, C, K), or (36, K, C) of the gradient.
        """
        weight = self.weight
        version = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        if self._kept is None or self._kept[0] != version:
            self._kept = version, {}
        kept = self._kept[1]
        if gradient not in kept:
            kept[gradient] = transformed_weights(weight.flip(2, 3).transpose(0, 1) if gradient else weight)
        return kept[gradient]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies and pickles, without the transformed weights."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def forward(self, x: Tensor) -> Tensor:
        supported = in_float32(x, self.weight)
        fits = x.ndim == 4 and len(x) and x.shape[1] == self.in_channels and min(x.shape[2:]) + 2 * self.margin >= 3
        if not (supported and fits and numba_backend.available()):
            return super().forward(x)
        return call(_WinogradConvolution, x, self)


class _WinogradConvolution(Function):
    """Convolution whose gradient is a convolution of the same kind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: WinogradConv2d) -> Tensor:
        ctx.layer = layer
        bias = x.new_zeros(layer.out_channels) if layer.bias is None else layer.bias
        return convolve(x, layer.transformed(gradient=False), bias, layer.margin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layer: WinogradConv2d = ctx.layer
        if torch.is_grad_enabled():  # the gradient is linear in `grad`
            return F.conv_transpose2d(grad, layer.weight, padding=layer.margin), None
        bias = grad.new_zeros(layer.in_channels)
        return convolve(grad, layer.transformed(gradient=True), bias, 2 - layer.margin), None


def transformed_weights(weight: Tensor) -> Tensor:
    """Return ``G g G^T`` of each kernel g, computed in float64.

    Args:
        weight: Weights (K, C, 3, 3).

    Returns:
        Transformed weights (36, C, K) in the type of the weights.
    """
    from gtn_bench.inference.winograd_kernels import POINTS

    rows = []
    for point in (points := [0.0, *(sign * size for size in POINTS for sign in (1, -1))]):
        scale = math.prod(point - other for other in points if other != point)
        rows.append([point**power / scale for power in range(3)])
    matrix = torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64, device=weight.device)
    both, kernels = torch.kron(matrix, matrix), weight.permute(2, 3, 1, 0).flatten(0, 1)  # (36, 9), (9, C, K)
    parts = [(both @ part.double().flatten(1)).to(weight.dtype) for part in kernels.split(16, dim=1)]  # in the cache
    return torch.cat([part.view(36, -1, kernels.shape[2]) for part in parts], dim=1)


def tiles_of(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of tiles of feature maps.

    Args:
        height: Height of the feature maps.
        width: Width of the feature maps.
    """
    return -(-height // _TILE), -(-width // _TILE)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Return a convolution of 3x3 pixels with stride 1.

    Args:
        x: Images (B, C, H, W) in float32 on a CPU.
        weight: Transformed weights (36, C, K).
        bias: Bias (K,).
        padding: Zero padding on each side.

    Returns:
        Feature maps (B, K, H', W'), channels-last.
    """
    from gtn_bench.inference import winograd_kernels

    x, channels = x.contiguous(memory_format=LAYOUT), weight.shape[2]
    height, width = (size + 2 * padding - 2 for size in x.shape[2:])
    rows, columns = tiles_of(height, width)
    y = torch.empty((len(x), channels, height, width), dtype=x.dtype, memory_format=LAYOUT)
    images = max(1, TILES // (rows * columns))
    for part, out in zip(x.split(images), y.split(images), strict=True):
        tiles = x.new_empty(36, len(part) * rows * columns, x.shape[1])
        numba_backend.run(winograd_kernels.transform_inputs, part, padding, rows, columns, tiles)
        products = torch.bmm(tiles, weight)
        numba_backend.run(winograd_kernels.transform_outputs, products, rows, columns, bias, out)
    return y
