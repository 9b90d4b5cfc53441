"""Projected gradient ascent: the one loop behind `fgsm` and `pgd`, and the balls they stay in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_bench.perturbations.base import normal_like, uniform_like

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier
    from gtn_bench.losses import Loss


class Linf:
    """The maximum norm: steepest ascent is the sign of the gradient."""

    @staticmethod
    def steepest(grad: Tensor) -> Tensor:
        """The longest climb of length one along grad (N, ...)."""
        return grad.sign()

    @staticmethod
    def project(delta: Tensor, radius: float) -> Tensor:
        """The nearest change in the ball to each of delta (N, ...)."""
        return delta.clamp(-radius, radius)

    @staticmethod
    def draw(x: Tensor, seeds: Tensor, radius: float) -> Tensor:
        """Uniform in the ball, in the shape of x (N, ...); row i from `seeds[i]` alone."""
        return radius * (2 * uniform_like(x, seeds) - 1)


class L2:
    """The Euclidean norm: steepest ascent is the gradient divided by its length."""

    @staticmethod
    def steepest(grad: Tensor) -> Tensor:
        import torch

        largest = grad.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(grad.dtype).tiny)
        grad = grad / largest.view(-1, 1, 1, 1)  # or the squares of a small gradient would vanish
        return grad / _length(grad).clamp_min(1e-12)

    @staticmethod
    def project(delta: Tensor, radius: float) -> Tensor:
        return delta * (radius / _length(delta).clamp_min(1e-12)).clamp_max(1)

    @staticmethod
    def draw(x: Tensor, seeds: Tensor, radius: float) -> Tensor:
        """A point on the sphere of two more dimensions, without these two, is uniform in the ball.

        Source: A. Harman, V. Lacko, J. Multivariate Analysis 101 (2010).
        """
        size = x[0].numel()
        sphere = normal_like(x.new_empty(len(x), size + 2), seeds)
        return radius * (sphere / sphere.norm(dim=1, keepdim=True))[:, :size].view_as(x)


BALLS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}


def ascend(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    start: Tensor,
    steps: int,
    step_size: float,
    ball: type[Linf] | type[L2],
    radius: float | None,
    loss: Loss,
) -> Tensor:
    """x_adv <- clip(x + project(x_adv + step_size * steepest(grad) - x)), `steps` times from `start`; (N, C, H, W).

    Without a radius there is no ball but the box.
    """
    x_adv = start.clamp(0, 1)
    for _ in range(steps):
        x_adv = x_adv + step_size * ball.steepest(classifier.loss_gradient(x_adv, y, loss))
        if radius is not None:
            x_adv = x + ball.project(x_adv - x, radius)
        x_adv = x_adv.clamp(0, 1)
    return x_adv


def _length(delta: Tensor) -> Tensor:
    """Euclidean lengths of delta (N, C, H, W), as (N, 1, 1, 1)."""
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
