"""Fusion of the first block of a network: a convolution with few input channels, max pooling and a leaky ReLU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gtn_bench.inference.functions import call
from gtn_bench.models import numba_backend
from gtn_bench.models.layers import MaxPool2d
from gtn_bench.models.pooling import COMPILED, LAYOUT, Window, max_pool, max_pool_backward

aten = torch.ops.aten
POOLS = nn.MaxPool2d, MaxPool2d


class FirstConv2d(nn.Conv2d):
    """A convolution with few input channels, whose gradient on a CPU is several times faster than PyTorch's.

    The gradient for the input is the product of gradient and weights, summed patch by patch. The gradient for the
    weights is not computed. Arguments are those of `torch.nn.Conv2d`.

    Attributes:
        out_dtype: Type of the outputs and of the products; None for that of the input.
    """

    out_dtype: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x).to(self.out_dtype or x.dtype)
        return call(_FirstConvolution, x, self)

    def sum_patches(self, products: Tensor, shape: torch.Size) -> Tensor:
        """Add each product to the pixel of its patch that it is the gradient for.

        Args:
            products: Products of gradient and weights (B, C * k * k, H', W').
            shape: Shape of the images (B, C, H, W).

        Returns:
            Gradient of the images (B, C, H, W).
        """
        batch, channels, height, width = shape
        (kernel, _), (stride, _), padding = self.kernel_size, self.stride, int(self.padding[0])
        patches = products.unflatten(1, (channels, kernel, kernel))  # (B, C, k, k, H', W')
        x = self.weight.new_zeros(batch, channels, height + 2 * padding, width + 2 * padding)
        rows, columns = (stride * size for size in products.shape[2:])
        for i in range(kernel):
            for j in range(kernel):
                x[..., i : i + rows : stride, j : j + columns : stride] += patches[:, :, i, j]
        return x[..., padding : padding + height, padding : padding + width]


class _FirstConvolution(Function):
    """Convolution with the gradient of `FirstConv2d`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FirstConv2d) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding).to(layer.out_dtype or x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        layer: FirstConv2d = ctx.layer
        products = F.conv2d(grad, layer.weight.flatten(1).T[:, :, None, None].to(grad.dtype))
        return layer.sum_patches(products, ctx.shape), None


class FirstBlock(nn.Module):
    """A first convolution, max pooling and a leaky ReLU, fused.

    The feature maps of the convolution are several times as large as the outputs. On a CPU they stay in the cache, in
    the forward and the backward pass. With numba installed, blocks with the geometry of the reference study are
    compiled and computed a few rows at a time; others are computed `images_at_once` images at a time.

    Args:
        convolution: The convolution.
        pool: The pooling.
        activation: The activation, with a slope that is not negative.

    Shape:
        Input (B, C, H, W), output (B, K, H', W').
    """

    images_at_once = 32

    def __init__(self, convolution: FirstConv2d, pool: nn.MaxPool2d, activation: nn.LeakyReLU) -> None:
        super().__init__()
        self.convolution, self.pool, self.activation = convolution, pool, activation
        self.window = cast(Window, (pool.kernel_size, pool.stride, pool.padding))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self.layer_by_layer(x)
        return call(_CompiledFirstBlock if self._compiled(x) else _FirstBlock, x, self)

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """Run the three layers one after another, with derivatives of every order.

        Maxima are taken before the conversion to the type of the outputs.

        Args:
            x: Images (B, C, H, W).

        Returns:
            Feature maps (B, K, H', W').
        """
        layer = self.convolution
        maps = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)
        y: Tensor = self.activation(self.pool(maps)).to(layer.out_dtype or x.dtype)
        return y

    def _compiled(self, x: Tensor) -> bool:
        layer = self.convolution
        geometry = *layer.kernel_size, layer.stride[0], layer.padding[0], layer.out_channels % 4, *self.window
        supported = geometry == (3, 3, 1, 1, 0, *COMPILED) and layer.weight.dtype in (torch.float32, torch.float64)
        fits = x.ndim == 4 and x.shape[1] == layer.in_channels and x.dtype == layer.weight.dtype
        return supported and fits and numba_backend.available()


class _CompiledFirstBlock(Function):
    """First block in compiled kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: FirstBlock) -> Tensor:
        from gtn_bench.inference import first_block_kernels

        layer, (batch, _, height, width) = block.convolution, x.shape
        size = batch, layer.out_channels, (height + 1) // 2, (width + 1) // 2
        y = torch.empty(size, dtype=layer.out_dtype or x.dtype, memory_format=LAYOUT)
        indices = torch.empty(size, dtype=torch.uint8, memory_format=LAYOUT)
        weight = layer.weight.flatten(2).permute(1, 2, 0).contiguous()  # (C, 9, K)
        slope, bias = float(block.activation.negative_slope), cast(Tensor, layer.bias)
        numba_backend.run(
            first_block_kernels.first_block, x.contiguous(memory_format=LAYOUT), weight, bias, slope, y, indices
        )
        ctx.block = block
        ctx.save_for_backward(x, y, indices, weight)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from gtn_bench.inference import first_block_kernels

        x, y, indices, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _gradient_layer_by_layer(ctx.block, x, grad), None
        grad, grad_x = grad.contiguous(memory_format=LAYOUT), torch.empty_like(x, memory_format=LAYOUT)
        slope = float(ctx.block.activation.negative_slope)
        numba_backend.run(first_block_kernels.first_block_backward, grad, y, indices, weight, slope, grad_x)
        return grad_x, None


class _FirstBlock(Function):
    """First block in PyTorch's operations, a few images at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: FirstBlock) -> Tensor:
        layer, slope = block.convolution, block.activation.negative_slope
        outputs, indices = [], []
        for images in x.split(block.images_at_once):
            maps = F.conv2d(images, layer.weight, layer.bias, layer.stride, layer.padding)
            pooled, chosen = max_pool(maps, block.window)
            outputs.append(F.leaky_relu_(pooled, slope).to(layer.out_dtype or x.dtype))
            indices.append(chosen)
        y = torch.cat(outputs)
        ctx.block, ctx.map_size = block, maps.shape[2:]
        ctx.save_for_backward(x, y, *indices)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        block: FirstBlock = ctx.block
        x, y, *indices = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _gradient_layer_by_layer(block, x, grad), None
        layer, slope = block.convolution, block.activation.negative_slope
        weight = layer.weight.flatten(1).to(grad.dtype)
        maps = grad.new_empty(block.images_at_once, *ctx.map_size, len(weight)).permute(0, 3, 1, 2)
        products = grad.new_empty(len(grad), *ctx.map_size, weight.shape[1])
        parts = (tensor.split(block.images_at_once) for tensor in (grad, y, products))
        for part, output, product, chosen in zip(*parts, indices, strict=True):
            part, grad_maps = aten.leaky_relu_backward(part, output, slope, True), maps[: len(part)]
            max_pool_backward(part, chosen, block.window, out=grad_maps)
            torch.mm(grad_maps.permute(0, 2, 3, 1).flatten(0, 2), weight, out=product.flatten(0, 2))
        return layer.sum_patches(products.permute(0, 3, 1, 2), x.shape), None


def _gradient_layer_by_layer(block: FirstBlock, x: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient of a block for its input x (B, C, H, W), itself differentiable."""
    with torch.enable_grad():
        return torch.autograd.grad(block.layer_by_layer(x), x, grad, create_graph=True)[0]


def fuse_first_block(layers: list[nn.Module]) -> list[nn.Module]:
    """Replace a first convolution and the max pooling and leaky ReLU behind it by a `FirstBlock`.

    Args:
        layers: The layers of a network.

    Returns:
        The layers with the block. The given layers if they contain none, if the activation has a negative slope, or if
        the layer behind the block overwrites its input.
    """
    start = next((index for index, layer in enumerate(layers) if type(layer) is FirstConv2d), len(layers))
    block, following = layers[start : start + 3], layers[start + 3 :]
    match block:
        case [
            FirstConv2d() as convolution,
            nn.MaxPool2d(
                kernel_size=int(), stride=int(), padding=int(), dilation=1, ceil_mode=False, return_indices=False
            ) as pool,
            nn.LeakyReLU() as activation,
        ] if type(pool) in POOLS and is_increasing(activation) and not (following and is_in_place(following[0])):
            return [*layers[:start], FirstBlock(convolution, pool, activation), *following]
    return layers


def is_increasing(layer: nn.Module) -> bool:
    """Return whether a layer is a leaky ReLU whose inputs have the signs of its outputs.

    Args:
        layer: The layer.
    """
    return type(layer) is nn.LeakyReLU and layer.negative_slope >= 0


def is_in_place(layer: nn.Module | None) -> bool:
    """Return whether a layer overwrites its input, which the preceding layer may need for its gradient.

    Args:
        layer: The layer, or None behind the last one.
    """
    return bool(getattr(layer, "inplace", False))
