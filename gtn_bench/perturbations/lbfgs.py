"""Box-constrained L-BFGS, the attack of Szegedy et al. 2013."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.inference.losses import margin, others
from gtn_bench.perturbations.base import MinimalPerturbation, Nearest
from gtn_bench.perturbations.optim.lbfgsb import Objective, minimize
from gtn_bench.perturbations.refinement import refine, refinement_passes
from gtn_bench.perturbations.targets import Targeted, TargetName

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


_BISECTIONS = 10  # from the nearest adversarial image to the decision boundary


class LBFGS(MinimalPerturbation, Targeted):
    """Box-constrained L-BFGS: the nearest misclassified image in [0, 1], in L2.

    Minimizes ``c * ||x_adv - x||^2 + loss(x_adv)`` with the best c per image. The loss is the cross-entropy of the
    goal: ``-log(1 - p(y))`` if untargeted, ``-log p(t)`` for a target. The larger c, the nearer is the minimizer, until
    it is no longer adversarial. A search over c starts at ten times its value for the linearized classifier, lowers it
    until the minimizer is adversarial, then bisects. Every minimization starts at the previous minimizer. The nearest
    adversarial image is moved to the decision boundary by bisection along its segment to x. Steps along the difference
    of two logits follow, which find the nearest image of a linear classifier. At the end, the nearest image is moved a
    thousandth of its distance beyond the boundary.

    Attributes:
        binary_search_steps: Number of minimizations, each with another c.
        steps: Evaluations per minimization.
        history_size: Number of pairs of steps and gradient changes that L-BFGS stores.
    """

    name = "lbfgs"
    source = "https://arxiv.org/abs/1312.6199, section 4.1"
    beta_meaning = "L2 radius"
    norms: ClassVar[tuple[Norm, ...]] = ("l2",)
    uses_gradient = True
    pixel_fields = ("beta",)
    draws_depend_on_target = True

    binary_search_steps: PositiveInt = 8
    steps: PositiveInt = 40
    history_size: PositiveInt = 8

    @property
    def threat_model(self) -> Threat:
        return Threat("l2", self.beta)

    @property
    def passes(self) -> float:
        minimized = self.binary_search_steps * (2 * self.steps + 1)
        last = _BISECTIONS + refinement_passes(self.steps) + 1
        return 1 + 2 + minimized + last + (self.target == "least-likely")

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(steps=self.steps * factor)

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        import torch

        search = BoundarySearch(classifier, x, self.labels(classifier, x, y, seeds), self.target)
        c = 10 * search.first_constant()
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        point = search.x
        for _ in range(self.binary_search_steps):
            point = minimize(
                search.objective(c), point, steps=self.steps, history_size=self.history_size, tolerance=1e-6
            )
            is_adv = search.evaluate(point)
            low, high = c.where(is_adv, low), c.where(~is_adv, high)
            c = (low * high).sqrt().where((low > 0) & high.isfinite(), (4 * low).where(is_adv, high / 4))
        search.bisect_to_boundary()
        refine(search, self.steps)
        search.overshoot()
        return Nearest(search.best.view_as(x), search.square.sqrt())


class BoundarySearch:
    """The nearest adversarial image so far of each of N images, as rows (N, D).

    Args:
        classifier: The classifier under attack.
        x: Images (N, C, H, W).
        label: Labels (N,): the class to lead away from, or the target.
        target: "untargeted", or a target.

    Attributes:
        best: The nearest adversarial image (N, D); x itself where there is none, or where x is adversarial.
        square: Its squared distance to x (N,); infinite where there is none.
        found: Whether there is one (N,).
    """

    def __init__(self, classifier: Classifier, x: Tensor, label: Tensor, target: TargetName | int) -> None:
        self.classifier, self.shape = classifier, x.shape[1:]
        self.x, self.label = x.flatten(1), label
        self.sign = 1 if target == "untargeted" else -1
        self.best = self.x.clone()
        self.square = self.x.new_full((len(x),), math.inf)
        self.evaluate(self.x)

    @property
    def found(self) -> Tensor:
        """Mask (N,) of the images that have an adversarial image."""
        return self.square.isfinite()

    def gap(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the log-odds against the goal. The cross-entropy of the goal is their softplus.

        Args:
            logits: Logits (n, K).
            label: The class to lead away from, or the target (n,).

        Returns:
            Log-odds (n,).
        """
        own = logits.gather(1, label[:, None]).squeeze(1)
        return self.sign * (own - others(logits, label).logsumexp(dim=1))

    def first_constant(self) -> Tensor:
        """Return the c (N,) whose minimizer is at the boundary for a linear gap: ``2 c ||delta|| = ||grad|| / 2``."""
        _, gap, grad = self._differentiate(self.x, self.label)
        return (grad.square().sum(1) / (4 * gap.abs().clamp_min(1e-6))).clamp(1e-8, 1e8)

    def objective(self, c: Tensor) -> Objective:
        """Return ``c * ||x_adv - x||^2 + loss`` with its gradient. Every evaluated point is recorded if adversarial.

        Args:
            c: Weights of the squared distance (N,).
        """

        from torch.nn.functional import softplus

        def value_and_gradient(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits, gap, grad = self._differentiate(points, self.label[rows])
            slope = gap.sigmoid()[:, None]
            change = points - self.x[rows]
            square = change.square().sum(1)
            self._record(points, logits, square, rows)
            return c[rows] * square + softplus(gap), 2 * c[rows, None] * change + slope * grad

        return value_and_gradient

    def margin(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margin of the goal (N,) and its gradient (N, D). Adversarial points are recorded.

        The margin is a difference of two logits, and positive where a point is adversarial.

        Args:
            points: Images as rows (N, D).
        """
        import torch

        with torch.enable_grad():
            points = points.detach().requires_grad_()
            logits = self.classifier(points.view(-1, *self.shape))
            value = self.sign * margin(logits, self.label)
            (grad,) = torch.autograd.grad(value.sum(), points)
        points = points.detach()
        rows = torch.arange(len(points), device=points.device)
        self._record(points, logits.detach(), (points - self.x).square().sum(1), rows)
        return value.detach(), grad

    def evaluate(self, points: Tensor) -> Tensor:
        """Return whether points (N, D) are adversarial (N,), and record the nearest of them.

        Args:
            points: Images as rows (N, D).
        """
        import torch

        with torch.no_grad():
            logits = self.classifier(points.view(-1, *self.shape))
        rows = torch.arange(len(points), device=points.device)
        return self._record(points, logits, (points - self.x).square().sum(1), rows)

    def bisect_to_boundary(self, steps: int = _BISECTIONS) -> None:
        """Bisect the segment from x to the nearest adversarial image.

        Args:
            steps: Number of bisections.
        """
        near, far = self.x, self.best
        for _ in range(steps):
            middle = (near + far) / 2
            is_adv = self.evaluate(middle)[:, None]
            near, far = near.where(is_adv, middle), middle.where(is_adv, far)

    def overshoot(self, share: float = 1e-3) -> None:
        """Move the nearest adversarial image beyond the boundary by a share of its distance.

        On the boundary itself rounding decides, which depends on the other images of a batch.

        Args:
            share: Share of the distance to move on.
        """
        import torch

        beyond = (self.x + (1 + share) * (self.best - self.x)).clamp(0, 1)
        square = (beyond - self.x).square().sum(1)
        self.square = square.where(self.evaluate(beyond) & self.found, self.square)
        self.best = torch.where((self.square == square)[:, None], beyond, self.best)

    def _record(self, points: Tensor, logits: Tensor, square: Tensor, rows: Tensor) -> Tensor:
        is_adv = (logits.argmax(dim=1) == self.label[rows]) == (self.sign < 0)
        nearer = (is_adv & (square < self.square[rows])).nonzero().squeeze(1)
        self.best[rows[nearer]] = points[nearer]
        self.square[rows[nearer]] = square[nearer]
        return is_adv

    def _differentiate(self, points: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (n, K), the gap (n,) and its gradient (n, D)."""
        import torch

        with torch.enable_grad():
            points = points.detach().requires_grad_()
            logits = self.classifier(points.view(-1, *self.shape))
            gap = self.gap(logits, label)
            (grad,) = torch.autograd.grad(gap.sum(), points)
        return logits.detach(), gap.detach(), grad
