"""Projected gradient descent in a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.inference.losses import LOSSES, LossName
from gtn_bench.perturbations.ascent import NORMS, ascend
from gtn_bench.perturbations.base import Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class PGD(Perturbation):
    """Projected gradient descent: steepest ascent of the loss in the ball of radius beta, from a random point of it.

    Attributes:
        norm: The norm of the ball and of the steps.
        steps: Number of steps.
        relative_step_size: Norm of each step as a multiple of beta.
        random_start: Whether to start at a random point of the ball.
        loss: The loss to maximize.
    """

    name = "pgd"
    source = "https://arxiv.org/abs/1706.06083"
    beta_meaning = "radius"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    uses_gradient = True
    supports_bfloat16 = True
    pixel_fields = ("beta",)

    norm: Literal["linf", "l2"] = "linf"
    steps: PositiveInt = 40
    relative_step_size: PositiveFloat = 0.1
    random_start: bool = True
    loss: LossName = "cross-entropy"

    def axis_label(self, unit: str = "pixel value") -> str:
        return f"{self.norm} {super().axis_label(unit)}"

    @property
    def threat_model(self) -> Threat:
        return Threat(self.norm, self.beta)

    @property
    def needs_ce_gradient(self) -> bool:
        return self.loss == "cross-entropy"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        norm = NORMS[self.norm]
        return ascend(
            classifier,
            x,
            y,
            start=x + norm.sample(x, seeds, self.beta) if self.random_start else x,
            steps=self.steps,
            step_size=self.relative_step_size * self.beta,
            norm=norm,
            epsilon=self.beta,
            loss=LOSSES[self.loss],
        )
