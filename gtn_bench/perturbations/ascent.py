"""Projected gradient ascent: the loop behind `fgsm` and `pgd`, and the norms that it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import normal_like, uniform_like
from gtn_bench.perturbations.targets import TargetName

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier
    from gtn_bench.inference.losses import Loss, LossName


class Linf:
    """The maximum norm. Its steepest ascent direction is the sign of the gradient."""

    @staticmethod
    def steepest(grad: Tensor) -> Tensor:
        """Return the direction of steepest ascent, of norm one, for gradients (N, ...).

        Args:
            grad: Gradients (N, ...).
        """
        return grad.sign()

    @staticmethod
    def project(delta: Tensor, epsilon: float | Tensor) -> Tensor:
        """Project changes onto a ball.

        Args:
            delta: Changes (N, C, H, W).
            epsilon: Radius of the ball, or radii (N, 1, 1, 1).

        Returns:
            Changes (N, C, H, W) of norm at most `epsilon`.
        """
        return delta.clamp(-epsilon, epsilon)  # type: ignore[arg-type]

    @staticmethod
    def sample(x: Tensor, seeds: Tensor, epsilon: float | Tensor) -> Tensor:
        """Sample changes uniformly in a ball.

        Args:
            x: Images (N, C, H, W), whose shape and type the result has.
            seeds: Seeds (N,); row i depends on ``seeds[i]`` alone.
            epsilon: Radius of the ball, or radii (N, 1, 1, 1).
        """
        return epsilon * (2 * uniform_like(x, seeds) - 1)


class L2:
    """The Euclidean norm. Its steepest ascent direction is the gradient divided by its norm."""

    @staticmethod
    def steepest(grad: Tensor) -> Tensor:
        """Return the direction of steepest ascent, of norm one, for gradients (N, ...).

        Args:
            grad: Gradients (N, ...).
        """
        import torch

        largest = grad.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(grad.dtype).tiny)
        grad = grad / largest.view(-1, 1, 1, 1)  # the squares of a small gradient would underflow
        return grad / _l2_norm(grad).clamp_min(1e-12)

    @staticmethod
    def project(delta: Tensor, epsilon: float | Tensor) -> Tensor:
        """Project changes onto a ball.

        Args:
            delta: Changes (N, C, H, W).
            epsilon: Radius of the ball, or radii (N, 1, 1, 1).

        Returns:
            Changes (N, C, H, W) of norm at most `epsilon`.
        """
        return delta * (epsilon / _l2_norm(delta).clamp_min(1e-12)).clamp_max(1)

    @staticmethod
    def sample(x: Tensor, seeds: Tensor, epsilon: float | Tensor) -> Tensor:
        """Sample changes uniformly in a ball.

        A uniform point on the sphere of two more dimensions, without these two coordinates, is uniform in the ball.
        Source: R. Harman, V. Lacko, J. Multivariate Analysis 101 (2010).

        Args:
            x: Images (N, C, H, W), whose shape and type the result has.
            seeds: Seeds (N,); row i depends on ``seeds[i]`` alone.
            epsilon: Radius of the ball, or radii (N, 1, 1, 1).
        """
        size = x[0].numel()
        sphere = normal_like(x.new_empty(len(x), size + 2), seeds)
        return epsilon * (sphere / sphere.norm(dim=1, keepdim=True))[:, :size].view_as(x)


Keep = Literal["last", "best"]

NORMS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}


def ascend(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    start: Tensor,
    steps: int,
    step_size: float | Tensor,
    norm: type[Linf] | type[L2],
    epsilon: float | Tensor | None,
    loss: Loss,
    truth: Tensor | None = None,
) -> Tensor:
    """Iterate ``x_adv <- clip(x + project(x_adv + step_size * steepest(grad) - x))`` from `start`.

    Images whose iterates repeat leave the batch where the last step would leave them. This saves the other steps of the
    cycle, and changes nothing but rounding. Source: https://arxiv.org/abs/2503.19347.

    Args:
        classifier: The classifier under attack.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,) of the loss.
        start: Images (N, C, H, W) to start from.
        steps: Largest number of steps.
        step_size: Norm of each step, in pixel values, or norms (N, 1, 1, 1); negative to minimize the loss.
        norm: The norm of steps and projection.
        epsilon: Radius of the ball, or radii (N, 1, 1, 1); None for no projection but the clipping to [0, 1].
        loss: The loss.
        truth: True labels (N,) to stop each image at its first misclassified iterate, `start` included; None to take
            all steps.

    Returns:
        Images (N, C, H, W) in [0, 1]: the last iterates, or those at which images stopped.
    """
    import torch

    def remaining(sizes: Any) -> Any:
        """Return the sizes of the images in the batch, if each has its own."""
        return sizes[rows] if isinstance(sizes, torch.Tensor) else sizes

    x_adv = start.clamp(0, 1)
    result, rows, cycle = x_adv.clone(), torch.arange(len(x), device=x.device), Cycle()
    for left in range(steps, 0, -1):
        if not classifier.in_order and (ended := cycle.ended(x_adv, left)) is not None:
            result[rows[ended]] = x_adv[ended]
            rows, x_adv = rows[~ended], x_adv[~ended]
            cycle.keep(~ended)
        if not len(rows):
            return result
        if truth is None:
            gradient = classifier.loss_gradient(x_adv, y[rows], loss)
        else:
            logits, _, gradient = differentiate(classifier, x_adv, loss, y[rows])
            missed = logits.argmax(dim=1) == truth[rows]
            if not missed.all():
                result[rows[~missed]] = x_adv[~missed]
                rows, x_adv, gradient = rows[missed], x_adv[missed], gradient[missed]
                cycle.keep(missed)
        sizes = {"step_size": remaining(step_size), "epsilon": remaining(epsilon)}
        x_adv = stepped(x[rows], x_adv, gradient, norm=norm, **sizes)
    result[rows] = x_adv
    return result


class Cycle:
    """The iterates of two and of four steps ago, which an iteration with a cycle of 1, 2 or 4 steps reaches again.

    The next iterate depends on the last one alone. Sign steps of one size often alternate between two images.
    """

    def __init__(self) -> None:
        self.past: list[Tensor] = []

    def ended(self, x_adv: Tensor, left: int) -> Tensor | None:
        """Return which images are where the last step will leave them; None if no image is known to be.

        Args:
            x_adv: The iterates (n, C, H, W).
            left: Number of steps that are left.
        """
        if left % 2:
            return None
        periods = self.past if left % 4 == 0 else self.past[-1:]
        self.past = [*self.past[-1:], x_adv]
        ended = sum((x_adv == past).flatten(1).all(dim=1) for past in periods)
        return ended.bool() if periods and ended.any() else None  # type: ignore[union-attr]

    def keep(self, rows: Tensor) -> None:
        """Forget all other images.

        Args:
            rows: Mask (n,).
        """
        self.past = [past[rows] for past in self.past]


def stepped(
    x: Tensor,
    x_adv: Tensor,
    gradient: Tensor,
    *,
    step_size: float | Tensor,
    norm: type[Linf] | type[L2],
    epsilon: float | Tensor | None,
) -> Tensor:
    """Return images after one step of steepest ascent.

    Args:
        x: Clean images (N, C, H, W).
        x_adv: Images (N, C, H, W) to step from.
        gradient: Gradients (N, C, H, W) there.
        step_size: Norm of the step, in pixel values, or norms (N, 1, 1, 1); negative for a descent.
        norm: The norm of step and projection.
        epsilon: Radius of the ball, or radii (N, 1, 1, 1); None for no projection but the clipping to [0, 1].
    """
    return projected(x, x_adv + step_size * norm.steepest(gradient), norm, epsilon)


def projected(x: Tensor, x_adv: Tensor, norm: type[Linf] | type[L2], epsilon: float | Tensor | None) -> Tensor:
    """Return images projected onto the ball around the clean ones, then clipped to [0, 1].

    Args:
        x: Clean images (N, C, H, W).
        x_adv: Images (N, C, H, W).
        norm: The norm of the ball.
        epsilon: Its radius, or radii (N, 1, 1, 1); None for no ball.
    """
    if epsilon is not None:
        x_adv = x + norm.project(x_adv - x, epsilon)
    return x_adv.clamp(0, 1)


def differentiate(
    classifier: Classifier, x: Tensor, loss: Callable[[Tensor, Tensor], Tensor], values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of images, and their losses with the gradients, in passes as large as the classifier allows.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W).
        loss: Function from logits (n, K) of images and their values (n,) to losses (n,).
        values: What the loss needs to know of each image (N,), such as its label.

    Returns:
        Logits (N, K), losses (N,), and gradients (N, C, H, W), which are zero where the loss has none.
    """
    import torch

    parts = [_one_pass(classifier, x[rows], loss, values[rows]) for rows in classifier.passes(len(x))]
    if len(parts) == 1:
        return parts[0]
    logits, losses, gradients = (torch.cat(part) for part in zip(*parts, strict=True))
    return logits, losses, gradients


def _one_pass(
    classifier: Classifier, x: Tensor, loss: Callable[[Tensor, Tensor], Tensor], values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `differentiate` returns, for images that pass at once."""
    import torch

    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = classifier(x)
        losses = loss(logits, values)
        total = losses.sum()
        gradient = torch.zeros_like(x)
        if total.requires_grad:  # else the network detaches its outputs
            (gradient,) = torch.autograd.grad(total, x, materialize_grads=True)
    return logits.detach(), losses.detach(), gradient


def check_classes(name: str, loss: LossName, dataset: Dataset) -> None:
    """Check that a data set has the classes that a loss requires.

    Args:
        name: Name of the attack.
        loss: Name of the loss.
        dataset: The data set.

    Raises:
        ConfigError: If it has too few.
    """
    if loss == "dlr" and dataset.num_classes < 3:
        raise ConfigError(
            f"'{name}' with loss: dlr requires at least 3 classes, data set '{dataset.name}' has "
            f"{dataset.num_classes}; set loss: margin"
        )


def check_loss(name: str, loss: LossName, target: TargetName | int) -> None:
    """Check that a loss leads to a target.

    Minimizing the difference of logits ratio raises the largest logit where that of the target is below the third one.

    Args:
        name: Name of the attack.
        loss: Name of the loss.
        target: The target.

    Raises:
        ConfigError: If it does not.
    """
    if loss == "dlr" and target != "untargeted":
        raise ConfigError(f"'{name}' with loss: dlr does not lead to a target; set loss: margin, or leave target out")


def _l2_norm(delta: Tensor) -> Tensor:
    """Return the Euclidean norms of `delta` (N, C, H, W) as (N, 1, 1, 1)."""
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
