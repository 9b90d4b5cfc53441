"""Projected gradient descent in a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gtn_bench.description import PositiveFloat, PositiveInt
from gtn_bench.losses import LOSSES, LossName
from gtn_bench.perturbations.ascent import BALLS, ascend
from gtn_bench.perturbations.base import Norm, Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class PGD(Perturbation):
    """Steepest ascent of the loss in the ball of radius beta, from a random point of it.

    Every step has the length `relative_step` * beta in the ball's own norm.
    """

    name = "pgd"
    source = "https://arxiv.org/abs/1706.06083"
    meaning = "radius, pixel value"
    norm = "linf, l2"
    uses_gradient = True
    tolerates_bfloat16 = True
    lengths = ("beta",)

    ball: Literal["linf", "l2"] = "linf"
    steps: PositiveInt = 40
    relative_step: PositiveFloat = 0.1
    random_start: bool = True
    loss: LossName = "cross-entropy"

    @property
    def axis(self) -> str:
        return f"{self.ball} {self.meaning}"

    @property
    def promise(self) -> tuple[Norm, float]:
        return self.ball, self.beta

    @property
    def needs_slope(self) -> bool:
        return self.loss == "cross-entropy"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        ball = BALLS[self.ball]
        return ascend(
            classifier,
            x,
            y,
            start=x + ball.draw(x, seeds, self.beta) if self.random_start else x,
            steps=self.steps,
            step_size=self.relative_step * self.beta,
            ball=ball,
            radius=self.beta,
            loss=LOSSES[self.loss],
        )
