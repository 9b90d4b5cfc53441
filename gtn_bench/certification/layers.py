"""Bounds of the values of all layers: by intervals, layer after layer, and refined by linear bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.certification.backward import Problem, Relaxations, bound
from gtn_bench.certification.balls import Balls
from gtn_bench.certification.graph import Graph
from gtn_bench.certification.operations import Affine, Maximum, Rectifier, Scale
from gtn_bench.certification.relaxation import Choice, Lines, Planes, Slope, choice, contenders, lines, planes
from gtn_bench.certification.rounding import rounding
from gtn_bench.certification.windows import one_hot

BUDGET = 2**22  # values of the coefficients of one chunk of rows


class Bounds(NamedTuple):
    """Bounds of the values of all layers for N images, by position of the layer.

    Attributes:
        lows: Lower bounds, each (N, ...).
        highs: Upper bounds, each (N, ...).
        relaxations: Linear bounds of the rectifiers and poolings.
        errors: The largest rounding error of one value in float32 (N,), by position.
    """

    lows: list[Tensor]
    highs: list[Tensor]
    relaxations: Relaxations
    errors: dict[int, Tensor]

    def among(self, chosen: Tensor) -> Bounds:
        """Return the bounds for some of the images, without their relaxations.

        Args:
            chosen: Indices or mask of the images.
        """
        lows, highs = ([bound[chosen] for bound in bounds] for bounds in (self.lows, self.highs))
        return Bounds(lows, highs, {}, {position: error[chosen] for position, error in self.errors.items()})


def layer_bounds(graph: Graph, region: Balls, slope: Slope | None, known: Bounds | None = None) -> Bounds:
    """Return bounds of the values of all layers.

    Args:
        graph: The network.
        region: The balls around N images.
        slope: Lower bounds of rectifiers, for linear bounds of the inputs of rectifiers and poolings; None for
            intervals alone.
        known: Other bounds. The result is never wider.
    """
    lows, highs = [region.low], [region.high]
    relaxations: dict[int, Lines | Planes | Choice] = {}
    errors: dict[int, Tensor] = {}
    problem = Problem(graph, region, errors)
    for position, (operation, inputs, _) in enumerate(graph[1:], start=1):
        assert operation is not None
        before = [lows[i] for i in inputs], [highs[i] for i in inputs]
        if isinstance(operation, Rectifier):
            relaxations[position] = lines(operation, before[0][0], before[1][0], slope or "parallel")
        elif isinstance(operation, Maximum):
            planar = planes if slope == "adaptive" else choice
            relaxations[position] = planar(operation, before[0][0], before[1][0])
        low, high = operation.interval(*before)
        if isinstance(operation, Affine) and (relative := rounding(operation)):
            sizes = [torch.maximum(-low, high) for low, high in zip(*before, strict=True)]
            errors[position] = relative * operation.magnitude(*sizes).flatten(1).amax(dim=1)
            error = errors[position].view(-1, *[1] * (low.ndim - 1))
            low, high = low - error, high + error
        if known is not None:
            low, high = torch.maximum(low, known.lows[position]), torch.minimum(high, known.highs[position])
        lows.append(low)
        highs.append(high)
        if is_refined(graph, region, position, slope):
            refine(problem, position, low, high, relaxations, _open(graph, position, low, high))
    return Bounds(lows, highs, relaxations, errors)


def is_refined(graph: Graph, region: Balls, position: int, slope: Slope | None) -> bool:
    """Return whether linear bounds of a layer can be better than its intervals.

    Args:
        graph: The network.
        region: The balls around the images.
        position: Position of the layer.
        slope: Lower bounds of rectifiers; None if only affine operations may lie between the images and the layer.
    """
    users = [node.operation for node in graph if position in node.inputs]
    if not any(isinstance(user, Rectifier | Maximum) for user in users):
        return False
    before, matrices = _history(graph, position)
    if all(isinstance(operation, Affine) for operation in before):
        return region.radius is not None or matrices > 1
    return slope is not None


def _history(graph: Graph, position: int) -> tuple[list[object], int]:
    """Return the operations that a layer depends on, and how many of them mix pixels."""
    needed, waiting = {position}, [position]
    while waiting:
        for source in graph[waiting.pop()].inputs:
            if source not in needed:
                needed.add(source)
                waiting.append(source)
    operations: list[object] = [graph[i].operation for i in sorted(needed - {0})]
    mixing = [operation for operation in operations if not isinstance(operation, Scale) and _terms(operation)]
    return operations, len(mixing)


def _terms(operation: object) -> int:
    return operation.terms if isinstance(operation, Affine) else 1


def _open(graph: Graph, position: int, low: Tensor, high: Tensor) -> Tensor:
    """Return where the bounds of a layer matter, as a mask: where an operation behind it is not linear."""
    mask = torch.zeros_like(low, dtype=torch.bool)
    for node in graph:
        if position in node.inputs and isinstance(node.operation, Rectifier):
            mask |= (low < 0) & (high > 0)
        elif position in node.inputs and isinstance(node.operation, Maximum):
            mask |= contenders(node.operation, low, high)
    return mask


def refine(
    problem: Problem, position: int, low: Tensor, high: Tensor, relaxations: Relaxations, chosen: Tensor
) -> None:
    """Narrow bounds of a layer in place.

    Args:
        problem: Network and images.
        position: Position of the layer.
        low: Lower bounds (N, ...).
        high: Upper bounds (N, ...).
        relaxations: Linear bounds of the rectifiers and poolings in front of the layer.
        chosen: Mask (N, ...) of the values to bound.
    """
    image, index = chosen.flatten(1).nonzero(as_tuple=True)
    flat_low, flat_high = low.flatten(1), high.flatten(1)
    shape = problem.graph[position].shape
    chunks = Chunks(len(image))
    for rows in chunks:
        window = one_hot(index[rows], shape, low.dtype)
        found = bound(problem, position, window, image[rows], relaxations)
        chunks.peak = found.peak
        place = image[rows], index[rows]
        flat_low[place] = torch.maximum(flat_low[place], found.low)
        flat_high[place] = torch.minimum(flat_high[place], found.high)
    low.copy_(flat_low.view_as(low))
    high.copy_(flat_high.view_as(high))


class Chunks:
    """Slices of rows, as large as the memory budget allows.

    Args:
        total: Number of rows.

    Attributes:
        peak: Number of coefficients that the last chunk needed, which sets the size of the following ones.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.peak = 0

    def __iter__(self) -> Iterator[slice]:
        start, size = 0, 16
        while start < self.total:
            yield slice(start, min(start + size, self.total))
            done = min(size, self.total - start)
            start += size
            size = max(1, BUDGET * done // max(1, self.peak))
