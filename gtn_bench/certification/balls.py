"""Bounds of linear functions on a ball around an image, intersected with the pixel range [0, 1]."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.certification.windows import Window, look_up
from gtn_bench.config.threat import Threat

ITERATIONS = 6  # for the multiplier of the L2 ball


class Balls(NamedTuple):
    """The images within a threat of each of N images.

    Attributes:
        low: Smallest value of each pixel (N, C, H, W).
        high: Largest value of each pixel (N, C, H, W).
        center: The images (N, C, H, W).
        radius: Radius of L2 balls; None for boxes.
    """

    low: Tensor
    high: Tensor
    center: Tensor
    radius: float | None

    def among(self, chosen: Tensor) -> Balls:
        """Return the balls of some of the images.

        Args:
            chosen: Indices or mask of the images.
        """
        return Balls(self.low[chosen], self.high[chosen], self.center[chosen], self.radius)


def balls(x: Tensor, threat: Threat) -> Balls:
    """Return the images within a threat of each image.

    Args:
        x: Images (N, C, H, W) in [0, 1].
        threat: Norm, `linf` or `l2`, and radius.
    """
    low, high = (x - threat.epsilon).clamp(0, 1), (x + threat.epsilon).clamp(0, 1)
    return Balls(low, high, x, threat.epsilon if threat.norm == "l2" else None)


def minimum(region: Balls, image: Tensor, window: Window) -> Tensor:
    """Return the minima (B,) of linear functions of the pixels.

    On a box they are exact. On the intersection of an L2 ball and a box they are the values of the Lagrangian dual
    for some multiplier, which are lower bounds for every multiplier.

    Args:
        region: The balls.
        image: Image of each function (B,).
        window: Coefficients of the functions.
    """
    return bounds(region, image, window, upper=False)[0]


def bounds(region: Balls, image: Tensor, window: Window, *, upper: bool) -> tuple[Tensor, Tensor]:
    """Return lower and upper bounds (B,) of linear functions of the pixels.

    Args:
        region: The balls.
        image: Image of each function (B,).
        window: Coefficients of the functions.
        upper: Whether the upper bounds are needed. Else the lower ones take their place.
    """
    values = window.values.flatten(1)
    low, high = (look_up(bound, image, window).flatten(1) for bound in (region.low, region.high))
    if region.radius is None:
        center = (values * (low + high)).sum(dim=1) / 2
        reach = (values.abs() * (high - low)).sum(dim=1) / 2
        return center - reach, center + reach if upper else center - reach
    clean = look_up(region.center, image, window).flatten(1)
    center = (values * clean).sum(dim=1)
    below, above = low - clean, high - clean
    down = center + _smallest_change(values, below, above, region.radius)
    return down, center - _smallest_change(-values, below, above, region.radius) if upper else down


def _smallest_change(values: Tensor, below: Tensor, above: Tensor, radius: float) -> Tensor:
    """Return lower bounds (B,) of the changes of linear functions.

    Args:
        values: Coefficients (B, D).
        below: Smallest changes of the pixels (B, D), at most 0.
        above: Largest changes of the pixels (B, D), at least 0.
        radius: Largest L2 norm of the changes.
    """
    result = (values.clamp(min=0) * below + values.clamp(max=0) * above).sum(dim=1)  # of the box alone
    if radius == 0:
        return result
    multiplier = values.norm(dim=1) / (2 * radius)
    for _ in range(ITERATIONS):
        multiplier = multiplier.clamp(min=1e-150)
        free = values / (-2 * multiplier.unsqueeze(1))
        change = torch.minimum(torch.maximum(free, below), above)
        dual = (values * change).sum(dim=1) + multiplier * (change.square().sum(dim=1) - radius**2)
        result = torch.maximum(result, dual)
        # Of the pixels at their limits the change is known; the others share what remains of the radius.
        inside = change == free
        remaining = radius**2 - change.where(~inside, 0.0).square().sum(dim=1)
        multiplier = values.where(inside, 0.0).norm(dim=1) / (2 * remaining.clamp(min=1e-300).sqrt())
    return result
