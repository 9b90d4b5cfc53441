"""A network as a list of operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.certification.operations import Operation, Shape


class Node(NamedTuple):
    """A value of a network.

    Attributes:
        operation: The operation that computes it; None for the images.
        inputs: Positions of the values that it is computed from.
        shape: Its shape for one image.
    """

    operation: Operation | None
    inputs: tuple[int, ...]
    shape: Shape

    @property
    def size(self) -> int:
        """Number of values for one image."""
        return torch.Size(self.shape).numel()


Graph = Sequence[Node]  # from the images to the logits, each node behind its inputs


def evaluate(graph: Graph, x: Tensor) -> Tensor:
    """Return the logits of images.

    Args:
        graph: The network.
        x: Images (N, C, H, W).

    Returns:
        Logits (N, K).
    """
    values = [x]
    for node in graph[1:]:
        assert node.operation is not None
        values.append(node.operation.apply(*(values[i] for i in node.inputs)))
    return values[-1]
