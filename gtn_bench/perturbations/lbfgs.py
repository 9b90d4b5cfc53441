"""Box-constrained L-BFGS, the attack of Szegedy et al. 2013."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gtn_bench.description import PositiveInt
from gtn_bench.losses import others
from gtn_bench.perturbations.base import MinimalPerturbation, Nearest, Norm, Target, aims
from gtn_bench.perturbations.box_lbfgs import Objective, minimise

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class LBFGS(MinimalPerturbation):
    """The nearest misclassified image in the box: minimise c ||x_adv - x||^2 + loss(x_adv), with the best c per image.

    The loss is the cross-entropy of the event that is aimed at: another class, -log(1 - p(y)), or the
    target, -log p(t). The larger c, the nearer its minimiser, until it is no longer a hit: c is lowered from
    ten times its value on the linearised classifier until there is a hit and then bisected. Every minimisation
    starts from the minimiser before, so that the path leads from x to the first boundary instead of back from
    some far hit. The nearest hit of all is drawn to the boundary along its segment to x in the end, and a
    thousandth of its distance beyond.
    """

    name = "lbfgs"
    source = "https://arxiv.org/abs/1312.6199, section 4.1"
    meaning = "L2 radius, pixel value"
    norm = "l2"
    uses_gradient = True
    lengths = ("beta",)

    target: Target = "any"
    searches: PositiveInt = 8
    steps: PositiveInt = 40
    memory: PositiveInt = 8

    @property
    def promise(self) -> tuple[Norm, float]:
        return "l2", self.beta

    @property
    def claim(self) -> tuple[Norm, float] | None:
        return self.promise if self.target == "any" else None

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        import torch

        hunt = Hunt(classifier, x, aims(y, classifier.num_classes, self.target), self.target)
        c = 10 * hunt.first_constant()
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        point = hunt.x
        for _ in range(self.searches):
            point = minimise(hunt.objective(c), point, steps=self.steps, memory=self.memory, tolerance=1e-6)
            hit = hunt.look(point)
            low, high = c.where(hit, low), c.where(~hit, high)
            c = (low * high).sqrt().where((low > 0) & high.isfinite(), (4 * low).where(hit, high / 4))
        hunt.draw_to_the_boundary()
        hunt.step_behind_the_boundary()
        return Nearest(hunt.best.view_as(x), hunt.square.sqrt())


class Hunt:
    """What is aimed at for each of N images, and the nearest hit so far; images as rows (N, D).

    best: the nearest hit (N, D); x itself where there is none yet, or where x is one.
    found: whether there is one (N,).
    """

    def __init__(self, classifier: Classifier, x: Tensor, label: Tensor, target: Target) -> None:
        self.classifier, self.shape = classifier, x.shape[1:]
        self.x, self.label = x.flatten(1), label
        self.sign = 1 if target == "any" else -1  # away from the label, or towards it
        self.best = self.x.clone()
        self.square = self.x.new_full((len(x),), math.inf)  # of its distance
        self.look(self.x)

    @property
    def found(self) -> Tensor:
        return self.square.isfinite()

    def gap(self, logits: Tensor, label: Tensor) -> Tensor:
        """Log odds against the event (n,): its cross-entropy is softplus of it."""
        own = logits.gather(1, label[:, None]).squeeze(1)
        return self.sign * (own - others(logits, label).logsumexp(dim=1))

    def first_constant(self) -> Tensor:
        """Where the minimiser reaches the boundary if the gap is linear: there 2 c ||delta|| = ||grad|| / 2."""
        _, gap, grad = self._differentiated(self.x, self.label)
        return (grad.square().sum(1) / (4 * gap.abs().clamp_min(1e-6))).clamp(1e-8, 1e8)

    def objective(self, c: Tensor) -> Objective:
        """c ||x_adv - x||^2 + loss, with its gradient; every point it is asked for is looked at."""

        from torch.nn.functional import softplus

        def value_and_gradient(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits, gap, grad = self._differentiated(points, self.label[rows])
            slope = gap.sigmoid()[:, None]
            change = points - self.x[rows]
            square = change.square().sum(1)
            self._note(points, logits, square, rows)
            return c[rows] * square + softplus(gap), 2 * c[rows, None] * change + slope * grad

        return value_and_gradient

    def look(self, points: Tensor) -> Tensor:
        """Whether points (N, D) are hits; the nearest are kept."""
        import torch

        with torch.no_grad():
            logits = self.classifier(points.view(-1, *self.shape))
        rows = torch.arange(len(points), device=points.device)
        return self._note(points, logits, (points - self.x).square().sum(1), rows)

    def draw_to_the_boundary(self, halvings: int = 10) -> None:
        """Bisect the segment from x to the nearest hit."""
        near, far = self.x, self.best
        for _ in range(halvings):
            middle = (near + far) / 2
            hit = self.look(middle)[:, None]
            near, far = near.where(hit, middle), middle.where(hit, far)

    def step_behind_the_boundary(self, share: float = 1e-3) -> None:
        """Go on from the nearest hit by a share of its distance: on the boundary itself rounding decides,
        which differs with the images beside it in a batch.
        """
        import torch

        beyond = (self.x + (1 + share) * (self.best - self.x)).clamp(0, 1)
        square = (beyond - self.x).square().sum(1)
        self.square = square.where(self.look(beyond) & self.found, self.square)
        self.best = torch.where((self.square == square)[:, None], beyond, self.best)

    def _note(self, points: Tensor, logits: Tensor, square: Tensor, rows: Tensor) -> Tensor:
        hit = (logits.argmax(dim=1) == self.label[rows]) == (self.sign < 0)
        nearer = hit & (square < self.square[rows])
        self.best[rows[nearer]] = points[nearer]
        self.square[rows[nearer]] = square[nearer]
        return hit

    def _differentiated(self, points: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, K), gap (n,) and its gradient (n, D)."""
        import torch

        with torch.enable_grad():
            points = points.detach().requires_grad_()
            logits = self.classifier(points.view(-1, *self.shape))
            gap = self.gap(logits, label)
            (grad,) = torch.autograd.grad(gap.sum(), points)
        return logits.detach(), gap.detach(), grad
