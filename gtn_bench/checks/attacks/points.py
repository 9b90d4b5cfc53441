"""Random points in a ball and on its boundary, for tests in which an adversarial example exists by construction.

Source: the samples of https://github.com/google-research/active-adversarial-tests, those in corners included.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gtn_bench.checks.attacks.challenge import other_seeds
from gtn_bench.config.threat import Threat
from gtn_bench.perturbations.base import normal_like, uniform_like

INNER = 0.95  # radius of inner points, as a multiple of that of the ball


def inner_points(ball: Threat, x: Tensor, seeds: Tensor, count: int) -> Tensor:
    """Return the images themselves and random points in smaller balls around them, for linf half of them corners.

    Args:
        ball: The ball, of norm linf or l2.
        x: Images (n, C, H, W).
        seeds: Seeds (n,).
        count: Number of points of each image.

    Returns:
        Points (n, count, C, H, W) in [0, 1], the first of which are the images.
    """
    smaller = ball._replace(epsilon=INNER * ball.epsilon)
    at_edge = count // 2 if ball.norm == "linf" else 0
    inside = _inside(smaller, x, other_seeds(seeds, "inner points"), count - 1 - at_edge)
    return torch.cat((x[:, None], inside, _at_edge(smaller, x, other_seeds(seeds, "inner edge"), at_edge)), dim=1)


def boundary_points(ball: Threat, x: Tensor, seeds: Tensor) -> Tensor:
    """Return one random point on the boundary of the ball around each image, for linf a corner.

    Args:
        ball: The ball, of norm linf or l2.
        x: Images (n, C, H, W).
        seeds: Seeds (n,).

    Returns:
        Points (n, 1, C, H, W) in [0, 1].
    """
    return _at_edge(ball, x, other_seeds(seeds, "boundary point"), 1)


def random_points(ball: Threat, x: Tensor, seeds: Tensor, count: int) -> Tensor:
    """Return random points of the ball around each image: half of them on the boundary, for linf in corners.

    Args:
        ball: The ball, of norm linf or l2.
        x: Images (n, C, H, W).
        seeds: Seeds (n,).
        count: Number of points of each image.

    Returns:
        Points (n, count, C, H, W) in [0, 1].
    """
    inside = _inside(ball, x, other_seeds(seeds, "random points"), count // 2)
    return torch.cat((inside, _at_edge(ball, x, other_seeds(seeds, "random edge"), count - count // 2)), dim=1)


def _inside(ball: Threat, x: Tensor, seeds: Tensor, count: int) -> Tensor:
    """Return points (n, count, C, H, W) that are uniform in the ball."""
    if ball.norm == "linf":
        return _moved(x, ball.epsilon * (2 * _draw(uniform_like, x, seeds, count) - 1))
    change = _draw(normal_like, x, seeds, count)
    length = change.flatten(2).norm(dim=2)
    radius = ball.epsilon * uniform_like(length, other_seeds(seeds, "radius")) ** (1 / x[0].numel())
    return _moved(x, change * (radius / length)[..., None, None, None])


def _at_edge(ball: Threat, x: Tensor, seeds: Tensor, count: int) -> Tensor:
    """Return corners of the ball, or points of the sphere (n, count, C, H, W)."""
    if ball.norm == "linf":
        return _moved(x, ball.epsilon * (_draw(uniform_like, x, seeds, count) - 0.5).sign())
    change = _draw(normal_like, x, seeds, count)
    return _moved(x, ball.epsilon * change / change.flatten(2).norm(dim=2)[..., None, None, None])


def _draw(sample: Callable[[Tensor, Tensor], Tensor], x: Tensor, seeds: Tensor, count: int) -> Tensor:
    return sample(x.new_empty(len(x), count, *x.shape[1:]), seeds)


def _moved(x: Tensor, change: Tensor) -> Tensor:
    """Return moved images. A pixel that would leave [0, 1] moves the other way, which keeps its distance."""
    x = x[:, None]
    moved = x + change
    return torch.where((moved < 0) | (moved > 1), x - change, moved).clamp(0, 1)
