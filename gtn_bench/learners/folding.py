"""Folding: a trained network in evaluation mode as plain convolutions and linear layers.

Weight normalisation is worked out once, batch norm moves into the weights before it. The result
computes the same function with less arithmetic, in the memory layout that convolutions like best,
and on request in bfloat16 behind its first layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.learners.layers import (
    BatchStatistics,
    Conv2d,
    Flatten,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    weight_normalised,
)


@torch.no_grad()
def fold(network: nn.Module) -> nn.Module:
    """The same function as `network` in evaluation mode.

    Networks built from this package's layers become faster; any other comes back as it is.
    """
    if not isinstance(network, nn.Sequential):
        return network
    layers: list[nn.Module] = []
    weighted: nn.Conv2d | nn.Linear | None = None  # the layer that a following batch norm may move into
    channels = None  # of the last convolution, as long as they are those of the images
    for layer, following in zip(network, [*network[1:], None], strict=True):
        if isinstance(layer, Conv2d | Linear):
            weighted = _plain(layer)
            if isinstance(weighted, nn.Conv2d):
                channels = weighted.out_channels
            elif layers and isinstance(layers[-1], FlattenLast):
                weighted.weight.copy_(weighted.weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1))
            layers.append(weighted)
        elif isinstance(layer, Flatten) and channels and isinstance(following, Linear):
            layers.append(FlattenLast())
        elif isinstance(layer, BatchStatistics) and weighted is not None:
            scale, shift = _affine(layer)
            pooled = isinstance(layers[-1], nn.MaxPool2d)
            if pooled and bool((scale < 0).any()):
                layers.append(layer)  # a maximum does not commute with a negative factor
            else:
                weighted.weight.mul_(scale.view(-1, *[1] * (weighted.weight.ndim - 1)))
                assert weighted.bias is not None
                weighted.bias.mul_(scale).add_(shift)
            weighted = None
        else:
            layers.append(_PLAIN[type(layer)](layer) if type(layer) in _PLAIN else layer)
            weighted = weighted if isinstance(layer, nn.MaxPool2d) else None
            channels = channels if isinstance(layer, nn.MaxPool2d | nn.LeakyReLU | nn.AdaptiveAvgPool2d) else None
    return nn.Sequential(*layers).to(memory_format=torch.channels_last).eval()


class FlattenLast(nn.Module):
    """(B, C, H, W) to (B, H W C), the order in memory, so that nothing moves there or back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class FirstConv2d(nn.Conv2d):
    """A convolution of few inputs, whose gradient is a product with the weights, added up patch by patch.

    On a CPU that is several times faster. Outputs, and with them the products, may have a lower precision.
    """

    out_dtype: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x).to(self.out_dtype or x.dtype)
        y: Tensor = _FirstConvolution.apply(x, self)
        return y


class _FirstConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FirstConv2d) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding).to(layer.out_dtype or x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layer: FirstConv2d = ctx.layer
        batch, channels, height, width = ctx.shape
        (kernel, _), (stride, _), padding = layer.kernel_size, layer.stride, int(layer.padding[0])
        products = F.conv2d(grad, layer.weight.flatten(1).T[:, :, None, None].to(grad.dtype))
        patches = products.unflatten(1, (channels, kernel, kernel))  # (B, C, k, k, H', W')
        x = layer.weight.new_zeros(batch, channels, height + 2 * padding, width + 2 * padding)
        high, wide = (stride * size for size in grad.shape[2:])
        for i in range(kernel):
            for j in range(kernel):
                x[..., i : i + high : stride, j : j + wide : stride] += patches[:, :, i, j]
        return x[..., padding : padding + height, padding : padding + width], None


class Cast(nn.Module):
    """The same numbers in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class Autocast(nn.Module):
    """A network whose layers choose where bfloat16 is enough, as PyTorch thinks best."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits.to(x.dtype)


def in_bfloat16(folded: nn.Module) -> nn.Module:
    """A folded network that computes in bfloat16, but for its first weights; images and logits stay as they are.

    The first layer reads the pixels in their own precision, as bfloat16 would round them more coarsely than small
    attacks move them.
    """
    if not isinstance(folded, nn.Sequential):
        return Autocast(folded)
    layers = copy.deepcopy(list(folded))
    first = next((place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)), None)
    if first is None:
        return Autocast(folded)
    reader = layers[first]
    dtype = next(reader.parameters()).dtype
    cast: list[nn.Module] = [Cast(torch.bfloat16)]
    if isinstance(reader, FirstConv2d):
        reader.out_dtype, cast = torch.bfloat16, []
    behind = [layer.to(torch.bfloat16) for layer in layers[first + 1 :]]
    return nn.Sequential(*layers[: first + 1], *cast, *behind, Cast(dtype))


# What attacks need no second derivatives of.
_PLAIN: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    MaxPool2d: lambda layer: nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding),
    Flatten: lambda layer: nn.Flatten(),
}


def _plain(layer: Conv2d | Linear) -> nn.Conv2d | nn.Linear:
    """The layer with its normalised weight written out, and with a bias."""
    plain: nn.Conv2d | nn.Linear
    if isinstance(layer, Conv2d):
        kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        few = layer.in_channels * kernel**2 < 64
        plain = (FirstConv2d if few else nn.Conv2d)(layer.in_channels, layer.out_channels, kernel, stride, padding)
    else:
        plain = nn.Linear(layer.in_features, layer.out_features)
    plain.to(layer.weight)
    plain.weight.copy_(weight_normalised(layer.weight, layer.gain))
    assert plain.bias is not None
    if layer.bias is None:
        plain.bias.zero_()
    else:
        plain.bias.copy_(layer.bias)
    return plain


def _affine(norm: BatchStatistics) -> tuple[Tensor, Tensor]:
    """Scale and shift (channels,) of a batch norm in evaluation mode."""
    if isinstance(norm, FullBatchNorm):
        scale = norm.gain * (norm.running_var + 1e-5).rsqrt()
        return scale, norm.bias - norm.running_mean * scale
    return torch.ones_like(norm.bias), norm.bias - norm.running_mean
