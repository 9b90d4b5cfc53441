"""Functions and methods that the forward of a network calls, as operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from gtn_bench.certification.errors import UnsupportedLayerError
from gtn_bench.certification.operations import Operation, Reshape, Scale, Shape, Sum
from gtn_bench.certification.translation import average, translated

MODULES: dict[str, type[nn.Module]] = {  # that take the same parameters in the same order, up to the fourth
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "leaky_relu_": nn.LeakyReLU,
    "max_pool2d": nn.MaxPool2d,
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
}
RESHAPING = ("flatten", "view", "reshape")
UNCHANGED = ("contiguous", "dropout", "dropout2d", "clone")
SUMS = ("add", "iadd", "add_")
ARITHMETIC = {name: name.strip("_i") for name in ("add", "sub", "mul", "iadd", "isub", "imul", "add_", "sub_", "mul_")}
ARITHMETIC |= {name: "div" for name in ("truediv", "itruediv", "div", "div_")}


def of_function(
    call: fx.Node,
    before: tuple[int, ...],
    after: tuple[int, ...],
    constants: Mapping[fx.Node, Tensor],
    inputs: int,
    who: str,
) -> list[Operation]:
    """Return the operations of a function.

    Args:
        call: The call, in evaluation mode.
        before: Shape of its first input.
        after: Shape of its result.
        constants: Tensors that are no values of images.
        inputs: Number of inputs that are values of images.
        who: The network, for messages.

    Raises:
        UnsupportedLayerError: If there are no bounds for it.
    """
    name, shape = _name(call), before[1:]
    parameters = call.args[1:]
    if inputs == 1 and name in MODULES and len(parameters) <= 4:
        options = {key: value for key, value in call.kwargs.items() if key not in ("inplace", "input")}
        module = MODULES[name](*([] if name.startswith("relu") else parameters), **options)
        return translated(module, f"{name}()", shape)
    if inputs == 1 and name in RESHAPING and after[0] == before[0]:
        return [] if after == before else [Reshape(after[1:])]
    if inputs == 1 and name in UNCHANGED:
        return []
    if inputs == 1 and name == "mean" and _dims(call) == {2, 3} and len(shape) == 3:
        pooling = average((shape[1], shape[2]), (1, 1), (0, 0), shape[0])
        return [pooling] if len(after) == 4 else [pooling, Reshape(after[1:])]
    if inputs == 2 and name in SUMS and not call.kwargs and after == before:
        return [Sum()]
    if inputs == 1 and name in ARITHMETIC and not call.kwargs and after == before:
        values = [constants.get(arg) if isinstance(arg, fx.Node) else arg for arg in call.args]  # None for the input
        scale = _scale(ARITHMETIC[name], values, shape)
        if scale is not None:
            return [scale]
    raise unsupported_function(call, who)


def unsupported_function(call: fx.Node, who: str) -> UnsupportedLayerError:
    """Return the error about a function without bounds.

    Args:
        call: The call.
        who: The network.
    """
    return UnsupportedLayerError(f"{who} has no certified bounds for the function '{_name(call)}' in its forward")


def _name(call: fx.Node) -> str:
    return str(getattr(call.target, "__name__", call.target))


def _dims(call: fx.Node) -> set[int]:
    """Return the dimensions of the mean of feature maps."""
    dims: Any = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", ())
    return {dim % 4 for dim in dims} if isinstance(dims, tuple | list) else set()


def _scale(name: str, values: list[Any], shape: Shape) -> Operation | None:
    """Return a calculation with one constant for each channel, or one for all."""
    if len(values) != 2 or (values[0] is None) == (values[1] is None):
        return None
    is_first = values[1] is None  # the constant
    constant = torch.as_tensor(values[0] if is_first else values[1]).detach().double()
    form = (shape[0], *[1] * (len(shape) - 1))
    if constant.numel() == 1:
        constant = constant.reshape([1] * len(shape)).expand(form)
    elif tuple(constant.shape) in (form, (1, *form)):
        constant = constant.reshape(form)
    else:
        return None
    one, zero = torch.ones_like(constant), torch.zeros_like(constant)
    if name == "add":
        return Scale(one, constant)
    if name == "sub":
        return Scale(-one, constant) if is_first else Scale(one, -constant)
    if name == "mul":
        return Scale(constant, zero)
    return None if is_first else Scale(1 / constant, zero)
