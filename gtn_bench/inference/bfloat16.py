"""Conversion of folded networks to bfloat16."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gtn_bench.inference.first_block import FirstBlock, FirstConv2d
from gtn_bench.inference.folding import has_known_layers


class Cast(nn.Module):
    """Conversion of a tensor to another type.

    Args:
        dtype: The type.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class Autocast(nn.Module):
    """A network under PyTorch's autocast to bfloat16. Logits have the type of the images.

    Args:
        network: A network from images (N, C, H, W) to logits (N, K).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits.to(x.dtype)


def in_bfloat16(folded: nn.Module) -> nn.Module:
    """Return a copy of a folded network that computes in bfloat16 behind its first layer.

    The first layer keeps its type, because bfloat16 rounds pixels more coarsely than small attacks change them. Images
    and logits keep their types, too. A network with other layers than PyTorch's and this package's, or without any that
    has weights, runs under autocast.

    Args:
        folded: A network from `gtn_bench.inference.folding.fold`.

    Returns:
        A network from images (N, C, H, W) to logits (N, K).
    """
    if type(folded) is not nn.Sequential or not has_known_layers(folded):
        return Autocast(folded)
    layers = copy.deepcopy(list(folded))
    weighted = nn.Conv2d, nn.Linear, FirstBlock
    first = next((index for index, layer in enumerate(layers) if isinstance(layer, weighted)), None)
    if first is None:
        return Autocast(folded)
    first_layer, casts = layers[first], [Cast(torch.bfloat16)]
    dtype = next(first_layer.parameters()).dtype
    convolution = first_layer.convolution if isinstance(first_layer, FirstBlock) else first_layer
    if isinstance(convolution, FirstConv2d):
        convolution.out_dtype, casts = torch.bfloat16, []
    following = [layer.to(torch.bfloat16) for layer in layers[first + 1 :]]
    return nn.Sequential(*layers[: first + 1], *casts, *following, Cast(dtype))
