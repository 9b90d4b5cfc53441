"""The iterated fast gradient sign method of the reference study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from gtn_bench.description import Mistake, PositiveFloat, PositiveInt
from gtn_bench.losses import LOSSES, LossName
from gtn_bench.perturbations.ascent import Linf, ascend
from gtn_bench.perturbations.base import Norm, Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class FGSM(Perturbation):
    """Sign steps of size beta up the loss, inside the box; no ball but the one they span.

    x <- clip(x + beta sign(grad)), `steps` times: the basic iterative method with a ball of steps * beta.
    With `epsilon` the change also stays in that ball, and may start at a random point of it.
    """

    name = "fgsm"
    source = "https://arxiv.org/abs/1412.6572, https://arxiv.org/abs/1607.02533"
    meaning = "step size, pixel value"
    norm = "linf"
    uses_gradient = True
    tolerates_bfloat16 = True
    lengths = ("beta", "epsilon")

    steps: PositiveInt = 30
    epsilon: PositiveFloat | None = None
    random_start: bool = False
    loss: LossName = "cross-entropy"

    @model_validator(mode="after")
    def _starts_somewhere(self) -> Self:
        if self.random_start and self.epsilon is None:
            raise Mistake("'fgsm' expects an epsilon, the ball of its random start, got none")
        return self

    @property
    def promise(self) -> tuple[Norm, float]:
        reach = self.steps * self.beta
        if self.epsilon is None:
            return "linf", reach
        return "linf", self.epsilon if self.random_start else min(reach, self.epsilon)

    @property
    def needs_slope(self) -> bool:
        return self.loss == "cross-entropy"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        start = x
        if self.random_start and self.epsilon is not None:
            start = x + Linf.draw(x, seeds, self.epsilon)
        return ascend(
            classifier,
            x,
            y,
            start=start,
            steps=self.steps,
            step_size=self.beta,
            ball=Linf,
            radius=self.epsilon,
            loss=LOSSES[self.loss],
        )
