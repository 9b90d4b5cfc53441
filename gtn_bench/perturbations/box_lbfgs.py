"""Limited-memory BFGS in a box, for many problems at once.

Projected quasi-Newton with two metrics: variables held at a bound by their gradient stand still, the others
move along the L-BFGS direction of their own subspace, and the path is bent along the box. The line search
brackets a step that lowers the value enough and flattens the slope enough (weak Wolfe conditions), which
needs no smoothness.

Sources: D. Bertsekas, SIAM J. Control and Optimization 20 (1982); J. Nocedal, S. Wright, "Numerical
Optimization", algorithm 7.4; A. Lewis, M. Overton, Mathematical Programming 141 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Of points (n, D) that belong to the problems `rows` (n,): values (n,) and gradients (n, D).
Objective = Callable[["Tensor", "Tensor"], "tuple[Tensor, Tensor]"]

DECREASE = 1e-4  # share of the promised decrease that a step must reach
FLATTER = 0.9  # share of the first slope that may be left after it
TRIALS = 20  # step sizes tried along one direction


def minimise(
    objective: Objective, start: Tensor, *, steps: int = 100, memory: int = 10, tolerance: float = 1e-9
) -> Tensor:
    """Local minima (N, D) in [0, 1]^D of N objectives, each from its own row of `start` (N, D).

    A problem is finished after `steps` evaluations, when a step lowers its value by less than
    `tolerance` relative to it, or when no step lowers it at all. Finished ones cost nothing more.
    All the others are evaluated together, each at its own stage of its own line search.

    Args:
        objective: of points (n, D) that belong to the problems `rows` (n,), the values (n,) and gradients (n, D).
    """
    import torch

    x = start.clamp(0, 1)
    found = x.clone()
    rows = torch.arange(len(x), device=x.device)
    if not len(rows):
        return found
    value, grad = objective(x, rows)
    moves, changes = x.new_zeros(2, memory, *x.shape)  # of x and of the gradient, the newest last
    direction = _descent(x, grad, moves, changes)
    size, short, long = _search_from_one(value)
    trials = torch.zeros_like(rows)
    for _ in range(steps - 1):
        trial = (x + size[:, None] * direction).clamp(0, 1)
        move = trial - x
        trial_value, trial_grad = objective(trial, rows)
        promised = (grad * move).sum(1)
        lower = (trial_value <= value + DECREASE * promised) & (promised < 0)
        moving = direction * ((trial > 0) & (trial < 1))
        flat = (trial_grad * moving).sum(1) >= FLATTER * (grad * moving).sum(1)
        accepted = lower & (flat | (trials >= TRIALS // 2))
        trials = (trials + 1).where(~accepted, 0)
        finished = accepted & (value - trial_value <= tolerance * value.abs()) | (trials >= TRIALS)

        # Along the same direction: a longer step, or one between those known to be too short and too long.
        short, long = size.where(lower, short), size.where(~lower, long)
        size = (2 * size).where(long.isinf(), (short + long) / 2)
        if accepted.any():
            latest = torch.stack([move[accepted], trial_grad[accepted] - grad[accepted]])
            moves[:, accepted] = torch.cat([moves[1:, accepted], latest[:1]])
            changes[:, accepted] = torch.cat([changes[1:, accepted], latest[1:]])
            x[accepted], grad[accepted], value[accepted] = trial[accepted], trial_grad[accepted], trial_value[accepted]
            found[rows[accepted]] = x[accepted]
            direction[accepted] = _descent(x[accepted], grad[accepted], moves[:, accepted], changes[:, accepted])
            size, short, long = (
                first.where(accepted, now)
                for first, now in zip(_search_from_one(value), (size, short, long), strict=True)
            )
            finished |= (direction == 0).all(dim=1)
        if finished.all():
            break
        if finished.any():
            rows, x, value, grad, direction, size, short, long, trials = (
                tensor[~finished] for tensor in (rows, x, value, grad, direction, size, short, long, trials)
            )
            moves, changes = moves[:, ~finished], changes[:, ~finished]
    return found


def _search_from_one(value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A line search before its first trial: the size to try, the longest too short, the shortest too long, (n,)."""
    return value.new_ones(len(value)), value.new_zeros(len(value)), value.new_full((len(value),), math.inf)


def _descent(x: Tensor, grad: Tensor, moves: Tensor, changes: Tensor) -> Tensor:
    """The quasi-Newton direction (n, D) of the variables that are free to follow their gradient.

    moves and changes (memory, n, D), oldest first, are those of x and of the gradient. A pair without
    positive curvature counts for nothing; without any the direction is steepest descent of length one at most.
    """
    free = ~(((x <= 0) & (grad > 0)) | ((x >= 1) & (grad < 0)))
    downhill = -grad * free
    moves, changes = moves * free, changes * free
    curvature = (moves * changes).sum(2, keepdim=True)  # (memory, n, 1)
    square = (changes * changes).sum(2, keepdim=True)
    usable = curvature > 1e-10 * square
    inverse = (1 / curvature).where(usable, 0)
    weights = []
    direction = downhill
    scale = (1 / downhill.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp_max(1)
    steepest = downhill * scale
    for k in reversed(range(len(moves))):
        weights.append(inverse[k] * (moves[k] * direction).sum(1, keepdim=True))
        direction = direction - weights[-1] * changes[k]
    for k in range(len(moves)):  # the newest usable pair sets the scale
        scale = (curvature[k] / square[k]).where(usable[k], scale)
    direction = direction * scale
    for k, weight in enumerate(reversed(weights)):
        direction = direction + moves[k] * (weight - inverse[k] * (changes[k] * direction).sum(1, keepdim=True))
    return direction.where((direction * downhill).sum(1, keepdim=True) > 0, steepest)
