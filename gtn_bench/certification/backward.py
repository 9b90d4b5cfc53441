"""Bounds of linear functions of any layer, by going back through the network to the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.certification.balls import Balls, bounds
from gtn_bench.certification.graph import Graph
from gtn_bench.certification.operations import Affine, Maximum, Sum, moved
from gtn_bench.certification.relaxation import Choice, Lines, Planes
from gtn_bench.certification.windows import Window, added, look_up

Relaxations = Mapping[int, Lines | Planes | Choice]  # by the position of the rectifier or pooling


class Problem(NamedTuple):
    """A network and N images with the balls around them.

    Attributes:
        graph: The network.
        region: The balls around the images.
        errors: For each layer, the largest rounding error of one value in float32 (N,), by position.
    """

    graph: Graph
    region: Balls
    errors: Mapping[int, Tensor]


class Rows(NamedTuple):
    """Linear functions on their way back.

    Attributes:
        image: Image of each function (B,).
        low: Constant of the lower bound (B,).
        high: Constant of the upper bound (B,) that has the same coefficients; None if there is no such bound.
    """

    image: Tensor
    low: Tensor
    high: Tensor | None


class Found(NamedTuple):
    """Bounds of linear functions.

    Attributes:
        low: Lower bounds (B,).
        high: Upper bounds (B,); without meaning if they were not asked for.
        coefficients: Coefficients of the lower bounds for the pixels.
        peak: Size of the largest coefficients on the way, in values.
    """

    low: Tensor
    high: Tensor
    coefficients: Window
    peak: int


def bound(
    problem: Problem, node: int, window: Window, image: Tensor, relaxations: Relaxations, *, upper: bool = True
) -> Found:
    """Return bounds of linear functions of a layer.

    Args:
        problem: Network and images.
        node: Position of the layer.
        window: Coefficients of the functions for its values.
        image: Image of each function (B,).
        relaxations: Bounds of the rectifiers and poolings in front of the layer.
        upper: Whether upper bounds are needed.
    """
    graph, count, peak = problem.graph, len(image), 0
    zero = torch.zeros_like(problem.region.low[:1].flatten()[:1]).expand(count)
    rows = Rows(image, zero, zero if upper else None)
    waiting = {node: window}
    for position in range(node, 0, -1):
        if position not in waiting:
            continue
        window = waiting.pop(position)
        operation, inputs, _ = graph[position]
        peak = max(peak, window.values.numel())
        if isinstance(operation, Affine):
            rows = _shifted(rows, operation.offset(window), window, problem.errors.get(position))
            pulled = operation.pull(window, graph[inputs[0]].shape)
        else:
            relaxation = relaxations[position]
            if rows.high is not None and not _is_parallel(relaxation):
                rows, window, waiting = _split(rows, window, waiting)
            shape = graph[inputs[0]].shape
            if isinstance(relaxation, Lines):
                rows, pulled = _through_lines(rows, window, relaxation)
            else:
                assert isinstance(operation, Maximum)
                through = _through_choice if isinstance(relaxation, Choice) else _through_planes
                rows, pulled = through(rows, window, relaxation, operation, shape)  # type: ignore[arg-type]
        for source in inputs if isinstance(operation, Sum) else inputs[:1]:
            known = waiting.get(source)
            waiting[source] = pulled if known is None else added(known, pulled, graph[source].shape)
    pixels = waiting[0]
    peak = max(peak, pixels.values.numel())
    low, high = bounds(problem.region, rows.image, pixels, upper=rows.high is not None)
    low = low + rows.low
    if rows.high is not None:
        return Found(low, high + rows.high, pixels, peak)
    return Found(low[:count], -low[count:] if upper else low, pixels, peak)


def _shifted(rows: Rows, offset: Tensor | float, window: Window, error: Tensor | None) -> Rows:
    """Return rows with the constants of an affine operation and a bound on its rounding errors."""
    low, high = rows.low + offset, None if rows.high is None else rows.high + offset
    if error is not None:
        wrong = window.values.flatten(1).abs().sum(dim=1) * error[rows.image]
        low, high = low - wrong, None if high is None else high + wrong
    return Rows(rows.image, low, high)


def _split(rows: Rows, window: Window, waiting: dict[int, Window]) -> tuple[Rows, Window, dict[int, Window]]:
    """Return rows that have lower bounds only: those of the functions, then those of their negatives."""
    assert rows.high is not None

    def both(window: Window) -> Window:
        corner = None if window.corner is None else torch.cat([window.corner, window.corner])
        return Window(torch.cat([window.values, -window.values]), corner)

    split = Rows(torch.cat([rows.image, rows.image]), torch.cat([rows.low, -rows.high]), None)
    return split, both(window), {position: both(other) for position, other in waiting.items()}


def _is_parallel(relaxation: Lines | Planes | Choice) -> bool:
    """Return whether lower and upper bounds have the same coefficients."""
    return isinstance(relaxation, Choice) or (isinstance(relaxation, Lines) and relaxation.lower is relaxation.upper)


def _with_intercept(rows: Rows, constants: Tensor) -> Rows:
    """Return rows behind parallel bounds: each constant counts for the upper bound if positive, else for the lower."""
    total = constants.flatten(1).sum(dim=1)
    size = constants.abs().flatten(1).sum(dim=1)
    high = None if rows.high is None else rows.high + (total + size) / 2
    return Rows(rows.image, rows.low + (total - size) / 2, high)


def _through_lines(rows: Rows, window: Window, relaxation: Lines) -> tuple[Rows, Window]:
    image, values = rows.image, window.values
    upper, intercept = (look_up(tensor, image, window) for tensor in (relaxation.upper, relaxation.intercept))
    if relaxation.lower is relaxation.upper:
        return _with_intercept(rows, values * intercept), window._replace(values=values * upper)
    lower = look_up(relaxation.lower, image, window)
    positive, negative = values.clamp(min=0), values.clamp(max=0)
    low = rows.low + (negative * intercept).flatten(1).sum(dim=1)
    return Rows(image, low, None), window._replace(values=positive * lower + negative * upper)


def _through_choice(
    rows: Rows, window: Window, relaxation: Choice, operation: Maximum, shape: tuple[int, ...]
) -> tuple[Rows, Window]:
    rows = _with_intercept(rows, window.values * look_up(relaxation.intercept, rows.image, window))
    place = look_up(relaxation.place, rows.image, window).long()
    (height, width), (down, right) = operation.kernel, operation.stride
    maps = [torch.arange(size, device=place.device) for size in window.values.shape[2:]]
    high, wide = down * (len(maps[0]) - 1) + height, right * (len(maps[1]) - 1) + width
    flat = (maps[0].view(-1, 1) * down + place // width) * wide + maps[1] * right + place % width
    values = window.values.new_zeros(*window.values.shape[:2], high * wide)
    values.scatter_add_(2, flat.flatten(2), window.values.flatten(2))
    values = values.unflatten(2, (high, wide))
    return rows, moved(values, window.corner, operation.stride, operation.padding, shape)


def _through_planes(
    rows: Rows, window: Window, relaxation: Planes, operation: Maximum, shape: tuple[int, ...]
) -> tuple[Rows, Window]:
    image = rows.image
    positive, negative = window.values.clamp(min=0), window.values.clamp(max=0)
    low = rows.low + (negative * look_up(relaxation.intercept, image, window)).flatten(1).sum(dim=1)
    (height, width), (down, right) = operation.kernel, operation.stride
    maps = window.values.shape[2:]
    bottom, end = down * (maps[0] - 1), right * (maps[1] - 1)
    values = window.values.new_zeros(*window.values.shape[:2], bottom + height, end + width)
    for place in range(height * width):
        top, left = divmod(place, width)
        part = positive * look_up(relaxation.lower[:, :, place], image, window)
        part += negative * look_up(relaxation.upper[:, :, place], image, window)
        values[:, :, top : top + bottom + 1 : down, left : left + end + 1 : right] += part
    return Rows(image, low, None), moved(values, window.corner, operation.stride, operation.padding, shape)
