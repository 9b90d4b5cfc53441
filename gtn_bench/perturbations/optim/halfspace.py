"""The nearest point of a box and a half-space, for many problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_NEWTON_STEPS = 16  # for the multiplier; five to eight suffice for images, each passes at least one kink


def shortest_change(x: Tensor, normal: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shortest change d in L2 with ``normal . d >= gain`` that keeps a point in the box [0, 1].

    The change is ``clip(multiplier * normal)`` to the box around the point. Its gain is a concave, piecewise linear
    function of the multiplier, for which Newton's method from zero never overshoots and ends on the solution.

    Args:
        x: Points (n, D) in [0, 1].
        normal: Normals of the half-spaces (n, D).
        gain: Required gains (n,). One that is not positive requires no change.

    Returns:
        Changes (n, D), and whether they have the gain (n,). A point that cannot reach it changes as far as it can.
    """
    import torch

    room = (1 - x).where(normal > 0, x)
    slope = normal.abs()
    required = gain.clamp_min(0)[:, None]
    multiplier = torch.zeros_like(required)
    for _ in range(_NEWTON_STEPS):
        reached = (slope * (multiplier * slope).minimum(room)).sum(1, keepdim=True)
        moving = slope.square().where(multiplier * slope < room, 0).sum(1, keepdim=True)
        step = (required - reached).clamp_min(0) / moving
        multiplier = multiplier + step.where(step.isfinite() & (step > 0), 0)
    reached = (slope * (multiplier * slope).minimum(room)).sum(1)
    reachable = reached >= gain - 1e-3 * gain.abs()
    size = (multiplier * slope).minimum(room).where(reachable[:, None], room)
    return size * normal.sign(), reachable
