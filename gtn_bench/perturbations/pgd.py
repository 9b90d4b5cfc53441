"""Projected gradient descent in a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset
from gtn_bench.inference.losses import LOSSES, LossName
from gtn_bench.perturbations.ascent import NORMS, Keep, ascend, check_classes, check_loss
from gtn_bench.perturbations.targets import Targeted

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class PGD(Targeted):
    """Projected gradient descent: steepest ascent of the loss in the ball of radius beta, from a random point of it.

    With a target it is steepest descent of the loss for the target class.

    Attributes:
        norm: The norm of the ball and of the steps.
        steps: Number of steps.
        relative_step_size: Norm of each step as a multiple of beta.
        random_start: Whether to start at a random point of the ball.
        loss: The loss to maximize; with a target, to minimize.
        keep: `last` to return the last iterate. `best` to stop each image at its first misclassified iterate, the start
            included, and to return it; the last one if there is none.
    """

    name = "pgd"
    source = "https://arxiv.org/abs/1706.06083"
    beta_meaning = "radius"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    uses_gradient = True
    pixel_fields = ("beta",)
    refills = True

    norm: Literal["linf", "l2"] = "linf"
    steps: PositiveInt = 40
    relative_step_size: PositiveFloat = 0.1
    random_start: bool = True
    loss: LossName = "cross-entropy"
    keep: Keep = "last"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_loss(self.name, self.loss, self.target)
        return self

    def axis_label(self, unit: str = "pixel value") -> str:
        return f"{self.norm} {super().axis_label(unit)}"

    @property
    def threat_model(self) -> Threat:
        return Threat(self.norm, self.beta)

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
        """Return what random draws depend on, as plain JSON. The start is the same whatever is kept of the path."""
        content = super().rng_identity()
        del content["keep"]
        return content

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(steps=self.steps * factor)

    def with_step_size(self, factor: float) -> Self | None:
        return self.variant(relative_step_size=self.relative_step_size * factor)

    def with_loss(self, loss: LossName) -> Self | None:
        return self.variant(loss=loss)

    def with_restart(self) -> Self | None:
        return self.variant(random_start=True)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return self._ascend(classifier, x, y, seeds, self.beta, self._step_size * self.beta)

    def at_each(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, strengths: Tensor) -> Tensor:
        radii, steps = (sizes.to(x).view(-1, 1, 1, 1) for sizes in (strengths, self._step_size * strengths))
        return self._ascend(classifier, x, y, seeds, radii, steps)

    @property
    def _step_size(self) -> float:
        """Norm of each step as a multiple of beta; negative to minimize the loss."""
        return -self.relative_step_size if self.targeted else self.relative_step_size

    def _ascend(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        seeds: Tensor,
        radius: float | Tensor,
        step_size: float | Tensor,
    ) -> Tensor:
        """Perturb images in balls of one radius, or of a radius (N, 1, 1, 1) each."""
        norm = NORMS[self.norm]
        start = x + norm.sample(x, seeds, radius) if self.random_start else x
        labels = self.labels(classifier, x, y, seeds)
        return ascend(
            *(classifier, x, labels),
            start=start,
            steps=self.steps,
            step_size=step_size,
            norm=norm,
            epsilon=radius,
            loss=LOSSES[self.loss],
            truth=y if self.keep == "best" else None,
        )
