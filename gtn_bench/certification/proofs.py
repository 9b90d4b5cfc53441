"""Proofs that no image in a ball is misclassified, for batches of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gtn_bench.certification.backward import Problem
from gtn_bench.certification.balls import Balls, balls
from gtn_bench.certification.graph import Graph, Node, evaluate
from gtn_bench.certification.layers import Bounds, layer_bounds
from gtn_bench.certification.margins import differences, interval_margins, margins
from gtn_bench.certification.operations import Maximum, Rectifier
from gtn_bench.certification.refutation import refuted
from gtn_bench.certification.relaxation import Slope, choice, lines, planes
from gtn_bench.certification.tracing import trace
from gtn_bench.config.threat import Threat

Method = Callable[[Graph, Balls, Tensor], Tensor]  # lower bounds (N, K - 1) of differences of logits
BUDGET = 2**22  # values of all layers in one batch of images
HOPE = 1.5  # of the clean margin: images whose bound is further below zero are not tried again
SLOPES: tuple[Slope, ...] = ("parallel", "adaptive", "flat", "steep")


def proven(
    network: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], method: Method, *, search: bool
) -> list[Tensor]:
    """Return which images are proven robust.

    Args:
        network: The network.
        x: Images (N, C, H, W) in [0, 1].
        y: True labels (N,).
        threats: Norms and radii.
        method: Lower bounds of the differences between the logit of the label and the others.
        search: Whether to leave out images near which a quick search finds a misclassified one.

    Returns:
        A mask (N,) for each threat.
    """
    graph = trace(network, x)
    size = max(1, BUDGET // sum(map(_cost, graph)))
    masks = [torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in threats]
    correct = torch.cat([evaluate(graph, part.double()).argmax(dim=1) for part in x.split(size)]) == y
    for chosen in correct.nonzero().flatten().split(size) if correct.any() else ():
        for mask, threat in zip(masks, threats, strict=True):
            region, rows = balls(x[chosen].double(), threat), chosen
            if search:
                possible = ~refuted(graph, region, y[chosen])
                region, rows = region.among(possible), chosen[possible]
            if len(rows):
                mask[rows] = (method(graph, region, y[rows]) > 0).all(dim=1)
    return masks


def by_intervals(graph: Graph, region: Balls, y: Tensor) -> Tensor:
    """Return bounds by interval arithmetic.

    Args:
        graph: The network.
        region: The balls around N images.
        y: Labels (N,).

    Returns:
        Lower bounds (N, K - 1) of the differences between the logit of the label and the others.
    """
    return interval_margins(Problem(graph, region, {}), layer_bounds(graph, region, None), y)


def by_linear_bounds(graph: Graph, region: Balls, y: Tensor) -> Tensor:
    """Return linear bounds; better ones for images whose first bounds are not all positive.

    Args:
        graph: The network.
        region: The balls around N images.
        y: Labels (N,).

    Returns:
        Lower bounds (N, K - 1) of the differences between the logit of the label and the others.
    """
    bounds: Bounds | None = None
    remaining = torch.arange(len(y), device=y.device)
    result = torch.full((len(y), graph[-1].size - 1), -torch.inf, dtype=torch.float64, device=y.device)
    logits = evaluate(graph, region.center)
    specification = differences(y, graph[-1].size, logits.dtype)
    clean = (specification @ logits.unsqueeze(2)).squeeze(2).amin(dim=1)
    for layers in ("parallel", "adaptive"):
        bounds = layer_bounds(graph, region, layers, bounds)
        problem = Problem(graph, region, bounds.errors)
        if layers == "parallel":
            result = interval_margins(problem, bounds, y)
        for slope in SLOPES:
            open_ = ~(result[remaining] > 0).all(dim=1)
            if not open_.any():
                return result
            rows = open_.nonzero().flatten()
            found = margins(problem, with_slope(graph, bounds, slope), rows, y[remaining[rows]])
            result[remaining[rows]] = torch.maximum(result[remaining[rows]], found)
        worst = result[remaining].amin(dim=1)
        open_ = (worst <= 0) & (worst > -HOPE * clean)
        remaining, clean, region, bounds = remaining[open_], clean[open_], region.among(open_), bounds.among(open_)
        if not len(remaining):
            break
    return result


def with_slope(graph: Graph, bounds: Bounds, slope: Slope) -> Bounds:
    """Return bounds of all layers with other lower bounds of the rectifiers.

    Args:
        graph: The network.
        bounds: Bounds of all layers.
        slope: Lower bounds of the rectifiers; with `parallel`, those of poolings are parallel, too.
    """
    relaxations = dict(bounds.relaxations)
    for position, (operation, inputs, _) in enumerate(graph):
        if isinstance(operation, Rectifier):
            relaxations[position] = lines(operation, bounds.lows[inputs[0]], bounds.highs[inputs[0]], slope)
        elif isinstance(operation, Maximum):
            planar = choice if slope == "parallel" else planes
            relaxations[position] = planar(operation, bounds.lows[inputs[0]], bounds.highs[inputs[0]])
    return bounds._replace(relaxations=relaxations)


def _cost(node: Node) -> int:
    """Return the number of values that a layer keeps for one image."""
    if isinstance(node.operation, Maximum):
        height, width = node.operation.kernel
        return node.size * (3 + 2 * height * width)
    return node.size * 5
