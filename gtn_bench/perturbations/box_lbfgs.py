"""Limited-memory BFGS in a box, for many problems at once.

Projected quasi-Newton with two metrics: variables held at a bound by their gradient stand still, the others
move along the L-BFGS direction of their own subspace, and the path is bent along the box.

Sources: D. Bertsekas, SIAM J. Control and Optimization 20 (1982); M. Schmidt, D. Kim, S. Sra, "Projected
Newton-type methods in machine learning" (2011); J. Nocedal, S. Wright, "Numerical Optimization", algorithm 7.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Objective = Callable[
    ["Tensor", "Tensor"], "tuple[Tensor, Tensor]"
]  # points (n, D), rows (n,) -> values (n,), gradients

DECREASE = 1e-4  # share of the promised decrease that a step must reach (Armijo)
TRIALS = 20  # step sizes tried along one direction


def minimise(
    objective: Objective, start: Tensor, *, steps: int = 100, memory: int = 10, tolerance: float = 1e-9
) -> Tensor:
    """Local minima (N, D) in [0, 1]^D of N objectives, each from its own row of `start` (N, D).

    A problem is finished after `steps` evaluations, when a step lowers its value by less than
    `tolerance` relative to it, or when no step lowers it at all. Finished ones cost nothing more.

    Args:
        objective: of points (n, D) that belong to the problems `rows` (n,), the values (n,) and gradients (n, D).
    """
    import torch

    found = start.clone()
    rows = start.new_ones(len(start)).nonzero().squeeze(1)
    if not len(rows):
        return found
    x = start.clamp(0, 1)
    value, grad = objective(x, rows)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
    direction, size = _descent(x, grad, pairs), torch.ones_like(value)
    trials = rows.new_zeros(len(rows))
    for _ in range(steps - 1):
        trial = (x + size[:, None] * direction).clamp(0, 1)
        step = trial - x
        trial_value, trial_grad = objective(trial, rows)
        promised = (grad * step).sum(1)
        accepted = (trial_value <= value + DECREASE * promised) & (promised < 0)
        stalled = accepted & (value - trial_value <= tolerance * value.abs().maximum(trial_value.abs()))

        kept = accepted[:, None]
        pairs.append((step.where(kept, step.new_zeros(())), (trial_grad - grad).where(kept, grad.new_zeros(()))))
        shorter = (-0.5 * size * promised / (trial_value - value - promised).clamp_min(1e-30)).clamp(
            0.1 * size, 0.5 * size
        )
        trials = (trials + 1).where(~accepted, 0)
        x, grad = trial.where(kept, x), trial_grad.where(kept, grad)
        value = trial_value.where(accepted, value)
        direction = _descent(x, grad, pairs).where(kept, direction)
        size = torch.ones_like(value).where(accepted, shorter)

        found[rows] = x
        active = ~(stalled | (trials >= TRIALS) | (direction == 0).all(dim=1))
        if not active.any():
            break
        if not active.all():
            rows, x, value, grad, direction, size, trials = (
                tensor[active] for tensor in (rows, x, value, grad, direction, size, trials)
            )
            pairs = deque(((step[active], change[active]) for step, change in pairs), maxlen=memory)
    return found


def _descent(x: Tensor, grad: Tensor, pairs: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """The quasi-Newton direction (n, D) of the variables that are free to follow their gradient.

    Pairs without curvature, of steps that were not taken, count for nothing; without any pair the
    direction is steepest descent of length one at most.
    """
    free = ~(((x <= 0) & (grad > 0)) | ((x >= 1) & (grad < 0)))
    downhill = -grad * free
    direction = downhill
    scale = None
    memories = []
    for step, change in reversed(pairs):
        step, change = step * free, change * free
        curvature = (step * change).sum(1, keepdim=True)
        square = (change * change).sum(1, keepdim=True)
        usable = curvature > 1e-10 * square
        inverse = (1 / curvature).where(usable, 0)
        weight = inverse * (step * direction).sum(1, keepdim=True)
        direction = direction - weight * change
        memories.append((step, change, inverse, weight))
        newest = (curvature / square).where(usable, 0)
        scale = newest if scale is None else scale.where(scale > 0, newest)
    unit = (1 / downhill.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp_max(1)
    scale = unit if scale is None else scale.where(scale > 0, unit)
    direction = direction * scale
    for step, change, inverse, weight in reversed(memories):
        direction = direction + step * (weight - inverse * (change * direction).sum(1, keepdim=True))
    sound = (direction * downhill).sum(1, keepdim=True) > 0
    return direction.where(sound, downhill * unit)
