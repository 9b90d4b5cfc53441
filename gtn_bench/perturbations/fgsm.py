"""The fast gradient sign method, with one or more steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.inference.losses import LOSSES, LossName
from gtn_bench.perturbations.ascent import Linf, ascend, check_loss
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
    """

    name = "fgsm"
    source = "https://arxiv.org/abs/1412.6572, https://arxiv.org/abs/1607.02533"
    beta_meaning = "step size"
    norms: ClassVar[tuple[Norm, ...]] = ("linf",)
    uses_gradient = True
    supports_bfloat16 = True
    pixel_fields = ("beta", "epsilon")

    steps: PositiveInt
    epsilon: PositiveFloat | None = None
    random_start: bool = False
    loss: LossName = "cross-entropy"

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
    def linf_sizes(self) -> Mapping[str, Size]:
        radius = {} if self.epsilon is None else {"epsilon": Size("linf radius", self.epsilon)}
        return {"beta": Size("step size", self.beta), **radius}

    @property
    def needs_ce_gradient(self) -> bool:
        return self.loss == "cross-entropy" and not self.targeted

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        start = x
        if self.random_start and self.epsilon is not None:
            start = x + Linf.sample(x, seeds, self.epsilon)
        return ascend(
            classifier,
            x,
            self.labels(classifier, x, y, seeds),
            start=start,
            steps=self.steps,
            step_size=-self.beta if self.targeted else self.beta,
            norm=Linf,
            epsilon=self.epsilon,
            loss=LOSSES[self.loss],
        )
