"""Modules of networks in evaluation mode as operations, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gtn_bench.certification.errors import UnsupportedLayerError
from gtn_bench.certification.operations import (
    Convolution,
    Dense,
    Maximum,
    Operation,
    Pair,
    Rectifier,
    Reshape,
    Scale,
    Shape,
)
from gtn_bench.models import layers
from gtn_bench.models.normalized import Normalized


def translated(module: nn.Module, name: str, shape: Shape) -> list[Operation]:
    """Return the operations of a layer.

    Args:
        module: The layer.
        name: Its name, for messages.
        shape: Shape of its input for one image.

    Raises:
        UnsupportedLayerError: If there are no bounds for the layer.
    """
    if type(module) not in TRANSLATIONS:
        raise UnsupportedLayerError(f"{described(name, module)} has no certified bounds; supported: {supported()}")
    problem = _problem(module, shape)
    if problem:
        raise UnsupportedLayerError(f"{described(name, module)} has no certified bounds with {problem}")
    return TRANSLATIONS[type(module)](module, shape)


def described(name: str, module: nn.Module) -> str:
    """Return the subject of a message: ``layer 'features.1' (GroupNorm)``.

    Args:
        name: Name of the module.
        module: The module.
    """
    return f"layer '{name}' ({type(module).__name__})" if name else f"network {type(module).__name__}"


def supported() -> str:
    """Return the names of all supported layers."""
    return ", ".join(sorted({cls.__name__ for cls in TRANSLATIONS}))


def average(size: Pair, stride: Pair, padding: Pair, channels: int) -> Operation:
    """Return average pooling as a convolution.

    Args:
        size: Height and width of the pooling windows.
        stride: Stride.
        padding: Padding; the zeros count.
        channels: Number of channels.
    """
    weight = torch.full((channels, 1, *size), 1 / (size[0] * size[1]), dtype=torch.float64)
    return Convolution(weight, weight.new_zeros(channels), stride, padding, channels)


def adaptive_average(size: object, shape: Shape) -> Operation:
    """Return adaptive average pooling, whose output size has to divide the input size.

    Args:
        size: Height and width of the result, or one number for both.
        shape: Shape of the input for one image.
    """
    height, width = pair(size)
    window = shape[1] // (height or shape[1]), shape[2] // (width or shape[2])
    return average(window, window, (0, 0), shape[0])


def pair(value: Any) -> Pair:
    """Return a parameter of two dimensions.

    Args:
        value: One number for both, or two.
    """
    return (value, value) if isinstance(value, int) else (value[0] or 0, value[1] or 0)


def _problem(module: Any, shape: Shape) -> str:
    """Return the parameter of a layer for which there are no bounds, if there is one."""
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            return f"padding_mode={module.padding_mode!r}"
        if module.padding == "same":
            return "padding='same'"
    if isinstance(module, nn.Conv2d | nn.MaxPool2d) and pair(module.dilation) != (1, 1):
        return f"dilation={module.dilation}"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and module.ceil_mode:
        return "ceil_mode=True"
    if isinstance(module, nn.MaxPool2d) and module.return_indices:
        return "return_indices=True"
    if isinstance(module, nn.AvgPool2d) and (module.divisor_override is not None):
        return f"divisor_override={module.divisor_override}"
    if isinstance(module, nn.AvgPool2d) and pair(module.padding) != (0, 0) and not module.count_include_pad:
        return "count_include_pad=False"
    if isinstance(module, nn.AdaptiveAvgPool2d):
        size = pair(module.output_size)
        if shape[1] % (size[0] or shape[1]) or shape[2] % (size[1] or shape[2]):
            return f"output_size={module.output_size} on maps of {shape[1]}x{shape[2]}"
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        return f"start_dim={module.start_dim}, end_dim={module.end_dim}"
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is None:
        return "track_running_stats=False"
    if isinstance(module, nn.LeakyReLU) and not 0 <= module.negative_slope <= 1:
        return f"negative_slope={module.negative_slope}"
    if isinstance(module, nn.Linear | nn.BatchNorm1d) and len(shape) != 1:
        return f"an input of {len(shape)} dimensions for each image"
    return ""


def _convolution(module: Any, shape: Shape) -> list[Operation]:
    padding = (0, 0) if module.padding == "valid" else pair(module.padding)
    weight, bias = _weights(module)
    return [Convolution(weight, bias, pair(module.stride), padding, module.groups)]


def _dense(module: Any, shape: Shape) -> list[Operation]:
    return [Dense(*_weights(module))]


def _weights(module: Any) -> tuple[Tensor, Tensor]:
    weight = module.weight.detach().double()
    if isinstance(module, layers.Conv2d | layers.Linear):
        weight = layers.weight_normalized(weight, module.gain.detach().double())
    return weight, weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach().double()


def _batch_norm(module: Any, shape: Shape) -> list[Operation]:
    mean = module.running_mean.detach().double()
    if isinstance(module, layers.MeanBatchNorm):
        scale, bias = torch.ones_like(mean), module.bias.detach().double()
    else:
        is_own = isinstance(module, layers.FullBatchNorm)
        scale = (module.running_var.detach().double() + (1e-5 if is_own else module.eps)).rsqrt()
        gain = module.gain if is_own else module.weight
        scale = scale if gain is None else scale * gain.detach().double()
        bias = torch.zeros_like(mean) if module.bias is None else module.bias.detach().double()
    return [_scale(scale, bias - mean * scale, shape)]


def _normalize(module: Any, shape: Shape) -> list[Operation]:
    scale = 1 / module.std.detach().double()
    return [Scale(scale, -module.mean.detach().double() * scale)]


def _scale(scale: Tensor, shift: Tensor, shape: Shape) -> Operation:
    form = (-1, *[1] * (len(shape) - 1))
    return Scale(scale.view(form), shift.view(form))


def _maximum(module: Any, shape: Shape) -> list[Operation]:
    return [Maximum(pair(module.kernel_size), pair(module.stride), pair(module.padding))]


def _average(module: Any, shape: Shape) -> list[Operation]:
    size, stride, padding = (pair(value) for value in (module.kernel_size, module.stride, module.padding))
    return [average(size, stride, padding, shape[0])]


def _nothing(module: Any, shape: Shape) -> list[Operation]:
    return []


def _flatten(module: Any, shape: Shape) -> list[Operation]:
    if len(shape) == 1:
        return []
    return [Reshape((torch.Size(shape).numel(),))]


TRANSLATIONS: dict[type[nn.Module], Callable[[Any, Shape], list[Operation]]] = {
    nn.Conv2d: _convolution,
    layers.Conv2d: _convolution,
    nn.Linear: _dense,
    layers.Linear: _dense,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    layers.MeanBatchNorm: _batch_norm,
    layers.FullBatchNorm: _batch_norm,
    layers.Normalize: _normalize,
    Normalized: _normalize,
    nn.ReLU: lambda module, shape: [Rectifier(0.0)],
    nn.LeakyReLU: lambda module, shape: [Rectifier(float(module.negative_slope))],
    nn.MaxPool2d: _maximum,
    layers.MaxPool2d: _maximum,
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: lambda module, shape: [adaptive_average(module.output_size, shape)],
    nn.Flatten: _flatten,
    layers.Flatten: _flatten,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
    nn.Identity: _nothing,
}
