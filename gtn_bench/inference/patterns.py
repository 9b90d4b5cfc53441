"""Patterns in a graph of layers: activations, poolings, and values that may be overwritten."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from gtn_bench.inference.dense import Dense
from gtn_bench.inference.first_block import FirstConv2d
from gtn_bench.inference.patch_convolution import PatchConv2d
from gtn_bench.inference.simplification import Affine, layer_of
from gtn_bench.inference.winograd import WinogradConv2d

_SAVE_INPUTS = (  # layers that return a new tensor and do not need it for their gradient
    *(nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool2d, nn.MaxPool2d),
    *(FirstConv2d, PatchConv2d, WinogradConv2d, Affine, Dense),
)
_RELUS = {F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_"}
_ADDS, ADDS_IN_PLACE = {operator.add, torch.add, "add"}, {operator.iadd, "add_"}
_TWO: tuple[Any, ...] = 2, (2, 2), [2, 2]
_POOL_NAMES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
}
_POOL_DEFAULTS = {"padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
Shapes = dict[fx.Node, tuple[int, ...]]


def only_user(node: object) -> fx.Node | None:
    """Return the only node that uses a node; None if there are others.

    Args:
        node: The node, or another argument of one.
    """
    return next(iter(node.users)) if isinstance(node, fx.Node) and len(node.users) == 1 else None


def is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node is a ReLU.

    Args:
        graph: The graph.
        node: The node.
    """
    return slope_of(graph, node) == 0


def slope_of(graph: fx.GraphModule, node: fx.Node) -> float | None:
    """Return the negative slope of a ReLU or leaky ReLU; None for other nodes, and for a negative one.

    Args:
        graph: The graph.
        node: The node.
    """
    layer = layer_of(graph, node)
    if type(layer) is nn.LeakyReLU:
        assert isinstance(layer, nn.LeakyReLU)
        return layer.negative_slope if layer.negative_slope >= 0 else None
    function = node.op in ("call_function", "call_method") and node.target in _RELUS
    return 0 if type(layer) is nn.ReLU or (function and isinstance(node.args[0], fx.Node)) else None


def is_pool(graph: fx.GraphModule, node: fx.Node, kind: type[nn.Module]) -> bool:
    """Return whether a node is a pooling of 2x2 windows with stride 2.

    Args:
        graph: The graph.
        node: The node.
        kind: `torch.nn.MaxPool2d` or `torch.nn.AvgPool2d`.
    """
    layer: Any = layer_of(graph, node)
    functions: dict[type[nn.Module], Callable[..., Any]] = {
        nn.MaxPool2d: F.max_pool2d,
        nn.AvgPool2d: F.avg_pool2d,
    }
    if layer is None:
        if node.op != "call_function" or node.target is not functions[kind] or not isinstance(node.args[0], fx.Node):
            return False
        given = {**_POOL_DEFAULTS, **dict(zip(_POOL_NAMES[kind], node.args[1:], strict=False)), **node.kwargs}
        window = given.pop("kernel_size", None) in _TWO and given.pop("stride", None) in (*_TWO, None)
        return window and all(value in (_POOL_DEFAULTS.get(name), None) for name, value in given.items())
    plain = type(layer) is kind and layer.kernel_size in (2, (2, 2)) and layer.stride in (2, (2, 2))
    if not plain or layer.padding not in (0, (0, 0)) or layer.ceil_mode:
        return False
    if kind is nn.MaxPool2d:
        return layer.dilation in (1, (1, 1)) and not layer.return_indices
    return layer.divisor_override is None


def is_fresh(graph: fx.GraphModule, node: object, shapes: Shapes) -> bool:
    """Return whether the value of a node is a new tensor that one other node reads, and no backward pass.

    Args:
        graph: The graph.
        node: The node, or another argument of one.
        shapes: The shapes of all values.
    """
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return False
    layer = layer_of(graph, node)
    if type(layer) in _SAVE_INPUTS:
        return not (isinstance(layer, PatchConv2d) and layer.relu)  # its gradient needs the activations
    if node.op not in ("call_function", "call_method") or node.target not in (*_ADDS, *ADDS_IN_PLACE) or node.kwargs:
        return False
    terms = [each for each in node.args if isinstance(each, fx.Node) and shapes.get(each) == shapes.get(node)]
    if len(node.args) != 2 or len(terms) != 2:
        return False
    return node.target in _ADDS or (terms[0] is not terms[1] and is_fresh(graph, terms[0], shapes))
