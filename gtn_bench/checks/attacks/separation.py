"""Separation of one point from others by logistic regression, for many problems at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-4  # weight of the squared norm, for features of unit variance; small, so that the points are separated
NEWTON_STEPS = 30
CLOSENESS = 0.999  # of the boundary to the separated point


class Separation(NamedTuple):
    """Linear functions that are positive at one point and negative at all others.

    Attributes:
        weight: Weights (n, F).
        center: Points (n, F) that are subtracted from features first.
        bias: Offsets (n,).
        found: Mask (n,) of the problems that have a solution.
        gap: Distance of the values of the separated point and of the nearest other one (n,).
    """

    weight: Tensor
    center: Tensor
    bias: Tensor
    found: Tensor
    gap: Tensor

    def scores(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return the value of each feature vector.

        Args:
            features: Features (m, F).
            rows: The problem that each belongs to (m,).

        Returns:
            Values (m,), in double precision: near the boundary the differences are small.
        """
        weight, center, bias = self.weight[rows], self.center[rows], self.bias[rows]
        return ((features.double() - center) * weight).sum(dim=1) + bias


def separate(features: Tensor) -> Separation:
    """Separate the last point of each set from the others, with the boundary close to it.

    Logistic regression with a small penalty, by Newton's method in the span of the points. The boundary is then shifted
    to the last point, as in the decision boundary binarization of https://arxiv.org/abs/2206.13991.

    Args:
        features: Features (n, P + 1, F), with P + 1 < F.

    Returns:
        One function per set. The distance of the last point to the boundary is 0.001 of its distance to the nearest
        value of the others.
    """
    points = features.double()
    center = points.mean(dim=1)
    spread = points - center[:, None]
    scale = spread.square().mean(dim=(1, 2)).sqrt()
    usable = scale > 0
    scaled = spread / scale.where(usable, 1.0).view(-1, 1, 1)
    weight = _logistic(scaled) / scale.where(usable, 1.0)[:, None]
    values = (spread * weight[:, None]).sum(dim=2)
    inner, outer = values[:, :-1].amax(dim=1), values[:, -1]
    gap = outer - inner
    bias = -(CLOSENESS * outer + (1 - CLOSENESS) * inner)
    return Separation(weight, center, bias, usable & (gap > 0) & weight.isfinite().all(dim=1), gap)


def _logistic(points: Tensor) -> Tensor:
    """Return the weights (n, F) of logistic regressions of the last point against the others, (n, P + 1, F)."""
    n, count, _ = points.shape
    labels = points.new_full((count,), -1.0)
    labels[-1] = 1.0
    importance = points.new_full((count,), 0.5 / (count - 1))
    importance[-1] = 0.5
    ones = points.new_ones(n, count, 1)
    # The intercept is a feature with a weight that is hardly penalized.
    kernel = points @ points.transpose(1, 2) / points.shape[2] + 1e2 * (ones @ ones.transpose(1, 2))
    dual = points.new_zeros(n, count)
    identity = torch.eye(count, dtype=points.dtype, device=points.device)
    for _ in range(NEWTON_STEPS):
        values = (kernel @ dual[:, :, None]).squeeze(2)
        odds = torch.sigmoid(-labels * values)
        slope = (importance * odds * (1 - odds)).clamp_min(1e-12)
        # Iteratively reweighted least squares: (kernel + ridge / slope) dual = values + labels * odds / (odds (1-odds))
        target = values + importance * labels * odds / slope
        system = kernel + RIDGE * identity / slope[:, None, :]
        step = torch.linalg.solve(system, target) - dual
        dual = dual + step
    return (points.transpose(1, 2) @ dual[:, :, None]).squeeze(2) / points.shape[2]
