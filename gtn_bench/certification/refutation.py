"""A quick search for misclassified images, for which no proof exists."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.certification.balls import Balls
from gtn_bench.certification.graph import Graph, evaluate

STEPS = 8


def refuted(graph: Graph, region: Balls, y: Tensor) -> Tensor:
    """Return the images near which the search finds a misclassified one.

    The search saves the time of bounds that cannot succeed. It does not change what is proven.

    Args:
        graph: The network.
        region: The balls around N images.
        y: Labels (N,).

    Returns:
        Mask (N,).
    """
    x = region.center
    found = torch.zeros_like(y, dtype=torch.bool)
    others = torch.nn.functional.one_hot(y, graph[-1].size) == 0
    for step in range(STEPS + 1):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = evaluate(graph, x)
            best = logits.where(others, -torch.inf).amax(dim=1)
            margin = logits.gather(1, y.unsqueeze(1)).squeeze(1) - best
            found |= margin.detach() < 0
            if step == STEPS:
                return found
            (gradient,) = torch.autograd.grad(margin.sum(), x)
        x = _inside(region, x.detach() - _step(region, gradient) * (2 / (step + 2)))
    return found


def _step(region: Balls, gradient: Tensor) -> Tensor:
    """Return the longest step within the radius."""
    if region.radius is None:
        return gradient.sign() * (region.high - region.low)
    norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-300).view(-1, 1, 1, 1)
    return gradient / norm * region.radius


def _inside(region: Balls, x: Tensor) -> Tensor:
    """Return the images moved into their balls."""
    if region.radius is not None:
        change = x - region.center
        norm = change.flatten(1).norm(dim=1).clamp(min=1e-300).view(-1, 1, 1, 1)
        x = region.center + change * (region.radius / norm).clamp(max=1)
    return torch.minimum(torch.maximum(x, region.low), region.high)
