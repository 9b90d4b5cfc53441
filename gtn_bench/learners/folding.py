"""Folding: a trained network in evaluation mode as plain convolutions and linear layers.

Weight normalisation is worked out once, batch norm moves into the weights before it. The result
computes the same function with less arithmetic, in the memory layout that convolutions like best,
and on request in bfloat16 behind its first layer.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.learners import compiled
from gtn_bench.learners.layers import (
    BatchStatistics,
    Conv2d,
    Flatten,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    MeanBatchNorm,
    weight_normalised,
)
from gtn_bench.learners.pooling import KNOWN, LAYOUT, Window, largest, to_largest

aten = torch.ops.aten
_POOLS = nn.MaxPool2d, MaxPool2d


@torch.no_grad()
def fold(network: nn.Module) -> nn.Module:
    """The same function as `network` in evaluation mode.

    Networks built from this package's layers become faster; any other comes back as it is, and a layer that only
    derives from one of them stays as it is.
    """
    if type(network) is not nn.Sequential:
        return network
    layers: list[nn.Module] = []
    weighted: nn.Conv2d | nn.Linear | None = None  # the layer that a following batch norm may move into
    ours: nn.Module | None = None  # the last layer whose output nobody else has
    channels = None  # of the last convolution, as long as they are those of the images
    for layer, following in zip(network, [*network[1:], None], strict=True):
        if type(layer) in (Conv2d, Linear):
            assert isinstance(layer, Conv2d | Linear)
            ours = weighted = _plain(layer)
            if isinstance(weighted, nn.Conv2d):
                channels = weighted.out_channels
            elif layers and isinstance(layers[-1], FlattenLast):
                weighted.weight.copy_(weighted.weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1))
            layers.append(weighted)
        elif type(layer) is Flatten and channels and type(following) is Linear:
            layers.append(FlattenLast())
        elif type(layer) in (MeanBatchNorm, FullBatchNorm) and weighted is not None:
            assert isinstance(layer, BatchStatistics)
            scale, shift = _affine(layer)
            pooled = type(layers[-1]) in _POOLS
            if pooled and bool((scale < 0).any()):
                layers.append(layer)  # a maximum does not commute with a negative factor
            else:
                weighted.weight.mul_(scale.view(-1, *[1] * (weighted.weight.ndim - 1)))
                assert weighted.bias is not None
                weighted.bias.mul_(scale).add_(shift)
            weighted = None
        elif _rises(layer) and layers and layers[-1] is ours and not _in_place(following):
            assert isinstance(layer, nn.LeakyReLU)
            layers.append(nn.LeakyReLU(layer.negative_slope, inplace=True))  # its result says which side it was on
            weighted = None
        else:
            layers.append(nn.Flatten() if type(layer) is Flatten else layer)
            ours = layer if type(layer) is MaxPool2d else None
            weighted = weighted if type(layer) in _POOLS else None
            channels = channels if type(layer) in (*_POOLS, nn.LeakyReLU, nn.AdaptiveAvgPool2d) else None
    return nn.Sequential(*_with_first_block(layers)).to(memory_format=torch.channels_last).eval()


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

    def added_up(self, products: Tensor, shape: torch.Size) -> Tensor:
        """Products of gradients and weights (B, C k k, H', W'), patch by patch, as a gradient of images of a shape."""
        batch, channels, height, width = shape
        (kernel, _), (stride, _), padding = self.kernel_size, self.stride, int(self.padding[0])
        patches = products.unflatten(1, (channels, kernel, kernel))  # (B, C, k, k, H', W')
        x = self.weight.new_zeros(batch, channels, height + 2 * padding, width + 2 * padding)
        high, wide = (stride * size for size in products.shape[2:])
        for i in range(kernel):
            for j in range(kernel):
                x[..., i : i + high : stride, j : j + wide : stride] += patches[:, :, i, j]
        return x[..., padding : padding + height, padding : padding + width]


class _FirstConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FirstConv2d) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding).to(layer.out_dtype or x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layer: FirstConv2d = ctx.layer
        products = F.conv2d(grad, layer.weight.flatten(1).T[:, :, None, None].to(grad.dtype))
        return layer.added_up(products, ctx.shape), None


class FirstBlock(nn.Module):
    """A first convolution, the largest of each window, and a leaky ReLU.

    What lies between them is several times the size of what they give. On a CPU it stays in the cache, both ways: with
    numba at hand blocks like the study's are compiled, a few rows at a time; others take a few images at a time.
    """

    images_at_once = 32

    def __init__(self, convolution: FirstConv2d, pool: nn.MaxPool2d, activation: nn.LeakyReLU) -> None:
        super().__init__()
        self.convolution, self.pool, self.activation = convolution, pool, activation
        self.window = cast(Window, (pool.kernel_size, pool.stride, pool.padding))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self.layer_by_layer(x)
        y: Tensor = (_CompiledFirstBlock if self._compiled(x) else _FirstBlock).apply(x, self)
        return y

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """The same, with derivatives of every order. The largest is chosen before it is rounded."""
        layer = self.convolution
        maps = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)
        y: Tensor = self.activation(self.pool(maps)).to(layer.out_dtype or x.dtype)
        return y

    def _compiled(self, x: Tensor) -> bool:
        layer = self.convolution
        geometry = *layer.kernel_size, layer.stride[0], layer.padding[0], layer.out_channels % 4, *self.window
        known = geometry == (3, 3, 1, 1, 0, *KNOWN) and layer.weight.dtype in (torch.float32, torch.float64)
        fits = x.ndim == 4 and x.shape[1] == layer.in_channels and x.dtype == layer.weight.dtype
        return known and fits and compiled.kernels() is not None


class _CompiledFirstBlock(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: FirstBlock) -> Tensor:
        layer, (batch, _, height, width) = block.convolution, x.shape
        size = batch, layer.out_channels, (height + 1) // 2, (width + 1) // 2
        y = torch.empty(size, dtype=layer.out_dtype or x.dtype, memory_format=LAYOUT)
        places = torch.empty(size, dtype=torch.uint8, memory_format=LAYOUT)
        weight = layer.weight.flatten(2).permute(1, 2, 0).contiguous()  # (C, 9, K)
        slope, bias = float(block.activation.negative_slope), cast(Tensor, layer.bias)
        compiled.run("first_block", x.contiguous(memory_format=LAYOUT), weight, bias, slope, y, places)
        ctx.block = block
        ctx.save_for_backward(x, y, places, weight)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, y, places, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _gradient_layer_by_layer(ctx.block, x, grad), None
        grad, pixels = grad.contiguous(memory_format=LAYOUT), torch.empty_like(x, memory_format=LAYOUT)
        slope = float(ctx.block.activation.negative_slope)
        compiled.run("from_first_block", grad, y, places, weight, slope, pixels)
        return pixels, None


class _FirstBlock(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, block: FirstBlock) -> Tensor:
        layer, slope = block.convolution, block.activation.negative_slope
        outputs, places = [], []
        for images in x.split(block.images_at_once):
            maps = F.conv2d(images, layer.weight, layer.bias, layer.stride, layer.padding)
            pooled, place = largest(maps, block.window)
            outputs.append(F.leaky_relu_(pooled, slope).to(layer.out_dtype or x.dtype))
            places.append(place)
        y = torch.cat(outputs)
        ctx.block, ctx.map_size = block, maps.shape[2:]
        ctx.save_for_backward(x, y, *places)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        block: FirstBlock = ctx.block
        x, y, *places = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _gradient_layer_by_layer(block, x, grad), None
        layer, slope = block.convolution, block.activation.negative_slope
        weight = layer.weight.flatten(1).to(grad.dtype)
        maps = grad.new_empty(block.images_at_once, *ctx.map_size, len(weight)).permute(0, 3, 1, 2)
        products = grad.new_empty(len(grad), *ctx.map_size, weight.shape[1])
        parts = (tensor.split(block.images_at_once) for tensor in (grad, y, products))
        for part, output, product, place in zip(*parts, places, strict=True):
            part, here = aten.leaky_relu_backward(part, output, slope, True), maps[: len(part)]
            to_largest(part, place, block.window, out=here)
            torch.mm(here.permute(0, 2, 3, 1).flatten(0, 2), weight, out=product.flatten(0, 2))
        return layer.added_up(products.permute(0, 3, 1, 2), x.shape), None


def _gradient_layer_by_layer(block: FirstBlock, x: Tensor, grad: Tensor) -> Tensor:
    """For derivatives of a higher order."""
    with torch.enable_grad():
        return torch.autograd.grad(block.layer_by_layer(x), x, grad, create_graph=True)[0]


def _with_first_block(layers: list[nn.Module]) -> list[nn.Module]:
    """The layers, but for a first convolution with its pool and a rising leaky ReLU, which become one."""
    place = next((place for place, layer in enumerate(layers) if type(layer) is FirstConv2d), len(layers))
    block, behind = layers[place : place + 3], layers[place + 3 :]
    match block:
        case [
            FirstConv2d() as convolution,
            nn.MaxPool2d(
                kernel_size=int(), stride=int(), padding=int(), dilation=1, ceil_mode=False, return_indices=False
            ) as pool,
            nn.LeakyReLU() as activation,
        ] if type(pool) in _POOLS and _rises(activation) and not (behind and _in_place(behind[0])):
            return [*layers[:place], FirstBlock(convolution, pool, activation), *behind]
    return layers


def _rises(layer: nn.Module) -> bool:
    """Whether it is a leaky ReLU whose outputs say on which side of zero their inputs were."""
    return type(layer) is nn.LeakyReLU and layer.negative_slope >= 0


def _in_place(layer: nn.Module | None) -> bool:
    """Whether it overwrites what it is given, which the layer before it may need for its gradient."""
    return bool(getattr(layer, "inplace", False))


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
    kinds = nn.Conv2d, nn.Linear, FirstBlock
    first = next((place for place, layer in enumerate(layers) if isinstance(layer, kinds)), None)
    if first is None:
        return Autocast(folded)
    reader, rounding = layers[first], [Cast(torch.bfloat16)]
    dtype = next(reader.parameters()).dtype
    convolution = reader.convolution if isinstance(reader, FirstBlock) else reader
    if isinstance(convolution, FirstConv2d):
        convolution.out_dtype, rounding = torch.bfloat16, []
    behind = [layer.to(torch.bfloat16) for layer in layers[first + 1 :]]
    return nn.Sequential(*layers[: first + 1], *rounding, *behind, Cast(dtype))


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
