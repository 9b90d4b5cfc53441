"""Projected gradient ascent whose step size adapts to the progress: the loop behind `apgd`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gtn_bench.perturbations.ascent import L2, Linf, differentiate, projected, stepped

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_MOMENTUM = 0.75  # share of the new step; the rest repeats the last change
_PROGRESS = 0.75  # share of the steps since the last checkpoint that has to raise the loss


OfRows: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"  # from logits (n, K) and rows (n,) to one value per image (n,)


class _State(NamedTuple):
    """State of the ascent for each of n images.

    Attributes:
        rows: Its number among the given images (n,).
        x: Clean image (n, C, H, W).
        point: The iterate (n, C, H, W).
        previous: The iterate before.
        gradient: Gradient at the iterate.
        loss: Loss of the last evaluated iterate (n,).
        best: The iterate with the largest loss (n, C, H, W).
        best_gradient: Gradient there.
        best_loss: Its loss (n,).
        step_size: Norm of the next step (n, 1, 1, 1).
        raised: Number of steps since the last checkpoint that raised the loss (n,).
        checked_loss: Largest loss at the last checkpoint (n,).
        halved: Whether the step size was halved there (n,).
    """

    rows: Tensor
    x: Tensor
    point: Tensor
    previous: Tensor
    gradient: Tensor
    loss: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step_size: Tensor
    raised: Tensor
    checked_loss: Tensor
    halved: Tensor

    def select(self, rows: Tensor) -> _State:
        """Return the state of the images in a mask (n,)."""
        kept = rows.nonzero().squeeze(1)  # a GPU waits for each use of a mask
        return _State(*(each[kept] for each in self))


class Ascent(NamedTuple):
    """The result of an ascent for N images.

    Attributes:
        x_adv: The first iterate that reached the goal, or else the one with the largest loss (N, C, H, W).
        found: Whether an iterate reached it (N,).
    """

    x_adv: Tensor
    found: Tensor


def ascend_adaptively(
    classifier: Classifier,
    x: Tensor,
    *,
    start: Tensor,
    objective: OfRows,
    reached: OfRows,
    steps: int,
    norm: type[Linf] | type[L2],
    epsilon: float,
) -> Ascent:
    """Ascend with momentum, and halve the step size of an image that makes no progress between checkpoints.

    The first step has size ``2 * epsilon``. An image whose step size is halved goes on from its best iterate. One that
    reaches the goal stops. Source: algorithm 1 of https://arxiv.org/abs/2003.01690, with the integer checkpoints of
    its authors' code.

    Args:
        classifier: The classifier under attack.
        x: Images (N, C, H, W) in [0, 1].
        start: Images (N, C, H, W) to start from.
        objective: Function from logits (n, K) and rows (n,) to the losses (n,) to maximize.
        reached: Function from logits (n, K) and rows (n,) to whether an iterate reached the goal (n,).
        steps: Number of steps. The start and every iterate but the last have a gradient.
        norm: The norm of steps and projection.
        epsilon: Radius of the ball.

    Returns:
        Images, and which of them reached the goal.
    """
    import torch

    result, found = start.clamp(0, 1), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    interval, shortest, shrinkage = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    state, since = _first_state(x, result, epsilon), 0
    for step in range(steps + 1):
        if step < steps:
            logits, loss, gradient = differentiate(classifier, state.point, objective, state.rows)
        else:
            with torch.no_grad():
                logits = classifier(state.point)
            loss, gradient = objective(logits, state.rows), state.gradient  # which no step follows
        hit = reached(logits, state.rows)
        state = _evaluated(state, loss, gradient, first=step == 0)
        if hit.any():  # else nothing has to be copied
            result[state.rows] = state.point.where(hit[:, None, None, None], result[state.rows])
            found[state.rows] = hit
            state = state.select(~hit)
        if not len(state.rows):
            break
        if since == interval:
            state = _checked(state, interval)
            since, interval = 0, max(interval - shrinkage, shortest)
        since += 1
        if step < steps:
            state = _moved(state, norm, epsilon, momentum=_MOMENTUM if step else 1.0)
    result[state.rows] = state.best
    return Ascent(result, found)


def _first_state(x: Tensor, start: Tensor, epsilon: float) -> _State:
    """Return the state before the first evaluation."""
    import torch

    n, point, nothing = len(x), start.clone(), torch.zeros_like(x)
    return _State(
        rows=torch.arange(n, device=x.device),
        x=x,
        point=point,
        previous=point,
        gradient=nothing,
        loss=x.new_full((n,), math.inf),
        best=point,
        best_gradient=nothing,
        best_loss=x.new_full((n,), -math.inf),
        step_size=x.new_full((n, 1, 1, 1), 2 * epsilon),
        raised=x.new_zeros(n),
        checked_loss=x.new_full((n,), -math.inf),
        halved=torch.ones(n, dtype=torch.bool, device=x.device),
    )


def _evaluated(state: _State, loss: Tensor, gradient: Tensor, *, first: bool) -> _State:
    """Return the state with the loss and the gradient at the iterate."""
    better = loss > state.best_loss
    images = better[:, None, None, None]
    return state._replace(
        gradient=gradient,
        loss=loss,
        best=state.point.where(images, state.best),
        best_gradient=gradient.where(images, state.best_gradient),
        best_loss=loss.where(better, state.best_loss),
        raised=state.raised + (loss > state.loss),
        checked_loss=loss if first else state.checked_loss,
    )


def _checked(state: _State, interval: int) -> _State:
    """Return the state after a checkpoint, with the step sizes of images without progress halved."""
    import torch

    stuck = ~state.halved & (state.checked_loss >= state.best_loss)
    halved = (state.raised <= _PROGRESS * interval) | stuck
    images = halved[:, None, None, None]
    return state._replace(
        point=state.best.where(images, state.point),
        gradient=state.best_gradient.where(images, state.gradient),
        step_size=(state.step_size / 2).where(images, state.step_size),
        raised=torch.zeros_like(state.raised),
        checked_loss=state.best_loss,
        halved=halved,
    )


def _moved(state: _State, norm: type[Linf] | type[L2], epsilon: float, *, momentum: float) -> _State:
    """Return the state at the next iterate."""
    x, point = state.x, state.point
    ahead = stepped(x, point, state.gradient, step_size=state.step_size, norm=norm, epsilon=epsilon)
    ahead = point + momentum * (ahead - point) + (1 - momentum) * (point - state.previous)
    return state._replace(point=projected(x, ahead, norm, epsilon), previous=point)
