"""Folding of a trained network in evaluation mode into plain convolutions and linear layers.

Normalized weights are computed once, and batch norms are folded into the preceding weights. The folded network computes
the same function with less arithmetic, in the channels-last layout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtn_bench.inference.copying import independent_copy
from gtn_bench.inference.first_block import POOLS, FirstConv2d, fuse_first_block, is_in_place, is_increasing
from gtn_bench.models.layers import (
    BatchStatistics,
    Conv2d,
    Flatten,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    MeanBatchNorm,
    weight_normalized,
)

_REPLACED = (Conv2d, Linear, Flatten, MeanBatchNorm, FullBatchNorm, nn.LeakyReLU, *POOLS)  # layers, by folding
KNOWN = ("torch.nn.modules.", "gtn_bench.models.layers", "gtn_bench.inference.")  # modules that define layers


@torch.no_grad()
def fold(network: nn.Module) -> nn.Module:
    """Return a faster network that computes the same function as a network in evaluation mode.

    Args:
        network: The network. It does not change. Only a `torch.nn.Sequential` with layers of this package becomes
            faster. Other layers, subclasses among them, are copied.

    Returns:
        The folded network; a copy of the given one if it is not a `torch.nn.Sequential`, or if it has hooks.
    """
    network = independent_copy(network)
    if not is_foldable(network):
        return network
    assert isinstance(network, nn.Sequential)
    layers: list[nn.Module] = []
    foldable: nn.Conv2d | nn.Linear | None = None  # the layer into which a following batch norm can be folded
    writable: nn.Module | None = None  # the last layer whose output may be overwritten: no other code can access it
    channels = None  # channels of the last convolution, while the following layers preserve them
    for layer, following in zip(network, [*network[1:], None], strict=True):
        if type(layer) in (Conv2d, Linear):
            assert isinstance(layer, Conv2d | Linear)
            writable = foldable = without_normalization(layer)
            if isinstance(foldable, nn.Conv2d):
                channels = foldable.out_channels
            elif layers and isinstance(layers[-1], FlattenChannelsLast):
                foldable.weight.copy_(foldable.weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1))
            layers.append(foldable)
        elif type(layer) is Flatten and channels and type(following) is Linear:
            layers.append(FlattenChannelsLast())
        elif type(layer) in (MeanBatchNorm, FullBatchNorm) and foldable is not None:
            assert isinstance(layer, BatchStatistics)
            scale, shift = affine(layer)
            pooled = type(layers[-1]) in POOLS
            if pooled and bool((scale < 0).any()):
                layers.append(layer)  # a maximum does not commute with a negative factor
            else:
                foldable.weight.mul_(scale.view(-1, *[1] * (foldable.weight.ndim - 1)))
                assert foldable.bias is not None
                foldable.bias.mul_(scale).add_(shift)
            foldable = None
        elif is_increasing(layer) and layers and layers[-1] is writable and not is_in_place(following):
            assert isinstance(layer, nn.LeakyReLU)
            layers.append(nn.LeakyReLU(layer.negative_slope, inplace=True))  # its gradient needs only its output
            foldable = None
        else:
            layers.append(nn.Flatten() if type(layer) is Flatten else layer)
            writable = layer if type(layer) is MaxPool2d else None
            foldable = foldable if type(layer) in POOLS else None
            channels = channels if type(layer) in (*POOLS, nn.LeakyReLU, nn.AdaptiveAvgPool2d) else None
    folded = nn.Sequential(*fuse_first_block(layers))
    return (folded.to(memory_format=torch.channels_last) if has_known_layers(folded) else folded).eval()


def has_known_layers(network: nn.Module) -> bool:
    """Return whether a network consists of layers of PyTorch and this package for images.

    Other layers, and hooks, may require contiguous tensors or tensors of one type.

    Args:
        network: The network.
    """
    for module in network.modules():
        if not type(module).__module__.startswith(KNOWN) or is_altered(module):
            return False
    return all(parameter.ndim != 5 for parameter in network.parameters())  # weights of 3d convolutions


def is_foldable(network: nn.Module) -> bool:
    """Return whether a network calls its layers in order, and does nothing else.

    Args:
        network: The network.
    """
    if type(network) is not nn.Sequential or len(network) == 0:
        return False
    return not any(map(is_altered, (network, *(layer for layer in network if type(layer) in _REPLACED))))


def is_altered(module: nn.Module) -> bool:
    """Return whether an instance does something that its class does not: it has hooks or its own `forward`.

    Args:
        module: The module.
    """
    hooks = module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks
    return any(hooks) or "forward" in vars(module)


class FlattenChannelsLast(nn.Module):
    """Flattening of channels-last images (B, C, H, W) to (B, H * W * C): a view, without a copy in either pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def without_normalization(layer: Conv2d | Linear) -> nn.Conv2d | nn.Linear:
    """Return a plain layer with the normalized weights of a layer, and with a bias.

    Args:
        layer: The layer.
    """
    plain: nn.Conv2d | nn.Linear
    if isinstance(layer, Conv2d):
        kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        few_inputs = layer.in_channels * kernel**2 < 64
        plain = (FirstConv2d if few_inputs else nn.Conv2d)(
            layer.in_channels, layer.out_channels, kernel, stride, padding
        )
    else:
        plain = nn.Linear(layer.in_features, layer.out_features)
    plain.to(layer.weight)
    plain.weight.copy_(weight_normalized(layer.weight, layer.gain))
    assert plain.bias is not None
    if layer.bias is None:
        plain.bias.zero_()
    else:
        plain.bias.copy_(layer.bias)
    return plain


def affine(norm: BatchStatistics) -> tuple[Tensor, Tensor]:
    """Return scale and shift (C,) of a batch norm in evaluation mode.

    Args:
        norm: The batch norm.
    """
    if isinstance(norm, FullBatchNorm):
        scale = norm.gain * (norm.running_var + 1e-5).rsqrt()
        return scale, norm.bias - norm.running_mean * scale
    return torch.ones_like(norm.bias), norm.bias - norm.running_mean
