"""Calls of a traced network as operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from gtn_bench.certification.errors import UnsupportedLayerError
from gtn_bench.certification.functions import of_function, unsupported_function
from gtn_bench.certification.graph import Graph, Node
from gtn_bench.certification.operations import Operation, Shape
from gtn_bench.certification.translation import translated


class Measured(NamedTuple):
    """Shapes and constants from a run of a traced network.

    Attributes:
        shapes: Shapes of all values, with the number of images.
        constants: Tensors that are no values of images.
    """

    shapes: dict[fx.Node, tuple[int, ...]]
    constants: dict[fx.Node, Tensor]


def build(traced: fx.Graph, modules: Mapping[str, nn.Module], measured: Measured, who: str) -> Graph:
    """Return the operations of a traced network.

    Args:
        traced: The calls.
        modules: All modules by name; the network is the one of the name "0".
        measured: Shapes and constants.
        who: The network, for messages.

    Raises:
        UnsupportedLayerError: If there are no bounds for one of the calls.
    """
    nodes: list[Node] = []
    positions: dict[fx.Node, int] = {}
    for call in traced.nodes:
        if call.op == "placeholder":
            positions[call] = len(nodes)
            nodes.append(Node(None, (), measured.shapes[call][1:]))
        elif call.op == "output":
            (result,) = call.args
            if not isinstance(result, fx.Node) or result not in positions:
                raise UnsupportedLayerError(f"{who} has no certified bounds: it does not return one tensor")
            return nodes[: positions[result] + 1]
        elif call in measured.shapes:
            sources = [arg for arg in (*call.args, *call.kwargs.values()) if arg in positions]
            if not sources:  # values in a list, or none
                raise unsupported_function(call, who)
            inputs = tuple(positions[source] for source in sources)
            if call.op == "call_module":
                name = str(call.target).removeprefix("0").removeprefix(".")
                operations = translated(modules[str(call.target)], name, nodes[inputs[0]].shape)
            else:
                before, after = measured.shapes[sources[0]], measured.shapes[call]
                operations = of_function(call, before, after, measured.constants, len(inputs), who)
            for operation in operations:
                nodes.append(_node(operation, inputs, nodes))
                inputs = (len(nodes) - 1,)
            positions[call] = inputs[0]
    raise AssertionError("a traced network ends with its output")


def _node(operation: Operation, inputs: tuple[int, ...], nodes: list[Node]) -> Node:
    """Return a new value with its shape."""
    tensors = [value for value in vars(operation).values() if isinstance(value, Tensor)]
    device = tensors[0].device if tensors else "cpu"
    blank = [torch.zeros(1, *nodes[i].shape, dtype=torch.float64, device=device) for i in inputs]
    shape: Shape = tuple(operation.apply(*blank).shape[1:])
    return Node(operation, inputs, shape)


def on_device(graph: Graph, device: torch.device) -> Graph:
    """Return a graph with all its tensors on a device.

    Args:
        graph: The network.
        device: The device.
    """
    operations = [node.operation and _moved(node.operation, device) for node in graph]
    return [node._replace(operation=operation) for node, operation in zip(graph, operations, strict=True)]


def _moved(operation: Operation, device: torch.device) -> Operation:
    tensors = {key: value.to(device) for key, value in vars(operation).items() if isinstance(value, Tensor)}
    return dataclasses.replace(operation, **tensors) if tensors else operation  # type: ignore[type-var]
