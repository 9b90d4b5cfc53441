"""Last steps of a search for the nearest adversarial image, along the difference of two logits.

A minimizer of a penalized loss is no nearest image where several classes are close, because all of them attract it. The
boundary to a single class does not have this fault. Three kinds of steps follow it, and none makes the nearest image
farther. The nearest image of a linear classifier is found by the first kind alone.

Sources: DeepFool, https://arxiv.org/abs/1511.04599 (linearized boundaries of all classes); decoupled direction and
norm, https://arxiv.org/abs/1811.09600 (a walk at a radius that shrinks on success); FAB,
https://arxiv.org/abs/1907.02044 (projection onto the linearized boundary near the nearest image).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gtn_bench.inference.losses import others
from gtn_bench.perturbations.counters import uniform_rows
from gtn_bench.perturbations.optim.halfspace import shortest_change

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.perturbations.lbfgs import BoundarySearch

_CLASSES = 29  # other classes whose boundaries are linearized
_PROBES = 16  # forward passes that estimate which boundaries of more classes are the nearest
_PROBE_STEP = 0.01  # of a pixel in such a pass
_SLIDES = 6  # steps along the boundary
_TRIALS = 3  # images that are tried per step along the boundary
_OVERSHOOT = 1e-3  # share of a distance, so that rounding does not decide
_FIRST_STEP, _LAST_STEP = 2.0, 0.01  # of a walk, relative to the distance of the nearest image
_RADIUS_CHANGE, _LAST_RADIUS_CHANGE = 0.05, 1e-3  # of a walk, relative


def refinement_passes(steps: int) -> int:
    """Return the forward and backward passes per image that `refine` takes, at most.

    Args:
        steps: Evaluations per minimization of the search before.
    """
    return 1 + _PROBES + _CLASSES + 2 * (steps // 2 + steps) + _SLIDES * (2 + _TRIALS)


def refine(search: BoundarySearch, steps: int) -> None:
    """Search nearer adversarial images than the nearest so far.

    Two walks follow the margin: half of the steps from the clean image, all of them from the nearest linearized
    boundary. Then the nearest image slides along the boundary.

    Args:
        search: The search. Its nearest adversarial images become nearer, or stay.
        steps: Steps of the longer walk.
    """
    import torch

    start = to_linearized_boundary(search)
    radius = start.norm(dim=1)
    walk(search, torch.zeros_like(start), radius, steps // 2)
    walk(search, start, radius, steps)
    slide(search)


def to_linearized_boundary(search: BoundarySearch) -> Tensor:
    """Return the changes (N, D) of the clean images to the nearest boundary of the linearized classifier, and beyond.

    A target is reached where its logit exceeds all others. Its boundary is therefore the farthest one.

    Args:
        search: The search.
    """
    import torch

    x, label = search.x, search.label
    chosen = torch.zeros_like(x)
    smallest = x.new_full((len(x),), math.inf)
    with torch.enable_grad():
        points = x.detach().requires_grad_()
        logits = search.classifier(points.view(-1, *search.shape))
        rivals = _rivals(search, logits.detach())
        own = logits.gather(1, label[:, None])
        for rival in rivals.split(1, dim=1):
            difference = search.sign * (logits.gather(1, rival) - own).squeeze(1)
            (grad,) = torch.autograd.grad(difference.sum(), points, retain_graph=True)
            change, reachable = shortest_change(x, grad, -difference.detach())
            distance = search.sign * change.norm(dim=1).where(reachable, math.inf)
            nearer = distance <= smallest  # also the first, if the box contains no point of any boundary
            smallest, chosen = distance.where(nearer, smallest), change.where(nearer[:, None], chosen)
    return (x + (1 + _OVERSHOOT) * chosen).clamp(0, 1) - x


def _rivals(search: BoundarySearch, logits: Tensor) -> Tensor:
    """Return the other classes (N, R) whose boundaries count: the nearest, or the farthest if the label is a target.

    If there are few other classes, all of them count. The distance to a boundary is the gap between two logits over the
    norm of its gradient. If there are many, the norm is estimated from the changes of the gap along random directions.

    Args:
        search: The search.
        logits: Logits (N, K) of the clean images.
    """
    import torch

    x, label = search.x, search.label[:, None]
    gap = logits.gather(1, label) - others(logits, search.label)
    if logits.shape[1] - 1 > _CLASSES:
        square = torch.zeros_like(logits)
        for draws in uniform_rows(torch.arange(_PROBES, device=x.device), 0, 1, x.shape[1]):
            step = _PROBE_STEP * (1 - 2 * (draws < 0.5).to(x))
            step = step.where((x + step >= 0) & (x + step <= 1), -step)
            with torch.no_grad():
                change = search.classifier((x + step).view(-1, *search.shape)) - logits
            square += (change - change.gather(1, label)).square()
        gap = gap / square.sqrt()
    return gap.topk(min(_CLASSES, logits.shape[1] - 1), dim=1, largest=False).indices


def walk(search: BoundarySearch, change: Tensor, radius: Tensor, steps: int) -> None:
    """Ascend the margin at a radius that shrinks where the image is adversarial, and grows where it is not.

    Args:
        search: The search, which records adversarial images.
        change: Changes (N, D) of the clean images to start with.
        radius: Radii (N,) to start with where there is no adversarial image yet. Else, walks start at its distance.
        steps: Number of steps.
    """
    radius = search.square.sqrt().where(search.found, radius)
    for step in range(steps):
        remaining = (1 + math.cos(math.pi * step / steps)) / 2
        size = _LAST_STEP + (_FIRST_STEP - _LAST_STEP) * remaining
        rate = _LAST_RADIUS_CHANGE + _RADIUS_CHANGE * remaining
        margin, grad = search.margin((search.x + change).clamp(0, 1))
        nearest = search.square.sqrt()
        radius = (radius.minimum(nearest) * (1 - rate)).where(margin > 0, (radius * (1 + rate)).minimum(nearest))
        length = size * nearest.where(search.found, radius)
        change = change + length[:, None] * grad / grad.norm(dim=1, keepdim=True).clamp_min(1e-12)
        change = change * (radius / change.norm(dim=1).clamp_min(1e-12))[:, None]
        change = (search.x + change).clamp(0, 1) - search.x


def slide(search: BoundarySearch) -> None:
    """Project the clean images onto the boundary as linearized at the nearest adversarial images, repeatedly.

    The next image is on the ray through the projection, or through a point before it after steps that failed.

    Args:
        search: The search, which records adversarial images.
    """
    import torch

    x, share = search.x, torch.ones_like(search.square)
    for _ in range(_SLIDES):
        best, before = search.best.clone(), search.square.clone()
        margin, grad = search.margin(best)
        change, _ = shortest_change(x, grad, (grad * (best - x)).sum(1) - margin)
        ray = best + share[:, None] * (x + (1 + _OVERSHOOT) * change - best) - x
        reach = (before.sqrt() / ray.norm(dim=1)).nan_to_num(posinf=1)  # where the ray is as long as the distance
        failed, succeeded = torch.zeros_like(reach), reach
        trial = reach.mul(1 - _OVERSHOOT).clamp_max(1)
        for _ in range(_TRIALS):
            is_adv = search.evaluate((x + trial[:, None] * ray).clamp(0, 1))
            succeeded, failed = trial.where(is_adv, succeeded), failed.where(is_adv, failed.maximum(trial))
            trial = (failed.maximum(0.96 * succeeded) + succeeded) / 2
        share = (1.5 * share).clamp_max(1).where(search.square < before * (1 - 1e-6), share / 2)
