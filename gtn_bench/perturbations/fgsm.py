"""The fast gradient sign method, with one or more steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset
from gtn_bench.inference.losses import LOSSES, LossName
from gtn_bench.perturbations.ascent import Keep, Linf, ascend, check_classes, check_loss
from gtn_bench.perturbations.base import Size
from gtn_bench.perturbations.targets import Targeted

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class FGSM(Targeted):
    """Sign steps of size beta along the gradient of the loss: FGSM with one step, I-FGSM (BIM) with more.

    ``x <- clip(x + beta * sign(grad))``, `steps` times. Without `epsilon` the perturbed images lie in the L-inf ball of
    radius ``steps * beta``, not beta. The reference study takes 30 steps. With a target, the steps go against the
    gradient of the loss for the target class.

    Attributes:
        steps: Number of steps.
        epsilon: Radius of an additional L-inf ball, in pixel values; None for none.
        random_start: Whether to start at a random point of that ball.
        loss: The loss to maximize; with a target, to minimize.
        keep: `last` to return the last iterate. `best` to stop each image at its first misclassified iterate, the start
            included, and to return it; the last one if there is none.
    """

    name = "fgsm"
    source = "https://arxiv.org/abs/1412.6572, https://arxiv.org/abs/1607.02533"
    beta_meaning = "step size"
    norms: ClassVar[tuple[Norm, ...]] = ("linf",)
    uses_gradient = True
    refills = True
    pixel_fields = ("beta", "epsilon")

    steps: PositiveInt
    epsilon: PositiveFloat | None = None
    random_start: bool = False
    loss: LossName = "cross-entropy"
    keep: Keep = "last"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.random_start and self.epsilon is None:
            raise ConfigError("'fgsm' expects an epsilon, the radius of its random start, got none")
        check_loss(self.name, self.loss, self.target)
        return self

    @property
    def detail(self) -> str:
        return f"{self.steps} step{'s' if self.steps > 1 else ''}"

    @property
    def threat_model(self) -> Threat:
        largest = self.steps * self.beta
        if self.epsilon is None:
            return Threat("linf", largest)
        return Threat("linf", self.epsilon if self.random_start else min(largest, self.epsilon))

    @property
    def pixel_sizes(self) -> Mapping[str, Size]:
        radius = {} if self.epsilon is None else {"epsilon": Size("linf radius", self.epsilon)}
        return {"beta": Size("step size", self.beta), **radius}

    @property
    def supports_bfloat16(self) -> bool:  # type: ignore[override]
        """True unless it stops at the decision boundary."""
        return self.keep == "last"

    @property
    def passes(self) -> float:
        return 2 * self.steps + (self.target == "least-likely")

    @property
    def needs_ce_gradient(self) -> bool:
        return self.loss == "cross-entropy" and not self.targeted

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        check_classes(self.name, self.loss, dataset)

    def rng_identity(self) -> dict[str, Any]:
        """Return what random draws depend on, as plain JSON. Starts are the same whatever is kept of the path."""
        content = super().rng_identity()
        del content["keep"]
        return content

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(steps=self.steps * factor, epsilon=self._radius)

    def with_step_size(self, factor: float) -> Self | None:
        """Return the attack with another step size in the same ball, with more steps if they would not reach its edge.

        Args:
            factor: Factor on the step size.
        """
        beta, steps, radius = factor * self.beta, self.steps, self.threat_model.epsilon
        if radius and not self.random_start:
            steps = max(steps, math.ceil(radius / beta - 1e-9))
            steps += steps * beta < radius  # the quotient is rounded
        return self.variant(beta=beta, steps=steps, epsilon=self._radius)

    def with_loss(self, loss: LossName) -> Self | None:
        return self.variant(loss=loss)

    def with_restart(self) -> Self | None:
        return self.variant(random_start=True, epsilon=self._radius) if self._radius else None

    @property
    def _radius(self) -> float | None:
        """Radius of the ball as an `epsilon`, which cannot be zero."""
        return self.threat_model.epsilon or self.epsilon

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return self._ascend(classifier, x, y, seeds, self.beta)

    def at_each(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, strengths: Tensor) -> Tensor:
        return self._ascend(classifier, x, y, seeds, strengths.to(x).view(-1, 1, 1, 1))

    def _ascend(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, step: float | Tensor) -> Tensor:
        """Perturb images with steps of one size, or of a size (N, 1, 1, 1) each."""
        start = x
        if self.random_start and self.epsilon is not None:
            start = x + Linf.sample(x, seeds, self.epsilon)
        labels = self.labels(classifier, x, y, seeds)
        return ascend(
            *(classifier, x, labels),
            start=start,
            steps=self.steps,
            step_size=-step if self.targeted else step,
            norm=Linf,
            epsilon=self.epsilon,
            loss=LOSSES[self.loss],
            truth=y if self.keep == "best" else None,
        )
