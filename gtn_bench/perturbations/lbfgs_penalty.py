"""What the reference study calls box-constrained LBFGS: penalised ascent in the box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from gtn_bench.description import PositiveFloat, PositiveInt
from gtn_bench.perturbations.base import Batch, Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class LBFGSPenalty(Perturbation):
    """Ascent on cross-entropy - weight * ||x_adv - x||_2 in the box; it is not L-BFGS.

    `step`: along the `sign` of the gradient (the study's code) or the `gradient` itself (its text).
    `penalty`: one norm for each `sample`, or a single one over the whole batch beside the mean loss
    (`batch`, the study's code), which makes every image's perturbation depend on all the others.
    `beta_is`: the `inverse-weight` of the penalty (the study), or its `weight`.
    """

    name = "lbfgs-penalty"
    source = 'the objective of https://arxiv.org/abs/1312.6199, climbed as in "GTN Robustness Tests", K. Willis 2021'
    meaning = "weight of the penalty, or its inverse"
    uses_gradient = True
    tolerates_bfloat16 = True
    lengths = ("beta", "step_size")

    beta: PositiveFloat
    steps: PositiveInt = 30
    step_size: PositiveFloat = 0.02
    step: Literal["sign", "gradient"] = "sign"
    penalty: Literal["sample", "batch"] = "sample"
    beta_is: Literal["inverse-weight", "weight"] = "inverse-weight"

    @property
    def axis(self) -> str:
        return {"inverse-weight": "inverse penalty weight", "weight": "penalty weight"}[self.beta_is]

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return 1 / self.beta if self.beta_is == "inverse-weight" else self.beta

    @property
    def needs_slope(self) -> bool:
        return True

    @property
    def weakens(self) -> bool:
        return self.beta_is == "weight"

    @property
    def batch(self) -> Batch:
        return "any" if self.penalty == "sample" else "all"

    def in_pixels(self, std: float) -> Self:
        # A gradient per normalised value is std times one per pixel value.
        scale = {"sign": std, "gradient": std**2}[self.step]
        beta = self.beta * std if self.beta_is == "inverse-weight" else self.beta / std
        return self.model_copy(update={"beta": beta, "step_size": self.step_size * scale})

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        x_adv = x
        for _ in range(self.steps):
            x_adv = self.climb(classifier, x, x_adv, y)
        return x_adv

    def climb(self, classifier: Classifier, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """One step up the objective from x_adv, inside the box."""
        delta = x_adv - x
        grad = classifier.loss_gradient(x_adv, y)
        if self.penalty == "sample":
            norm = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        else:
            norm, grad = delta.norm(), grad / len(x)
        grad = grad - self.weight * delta / norm.clamp_min(1e-12)
        ascent = grad.sign() if self.step == "sign" else grad
        return (x_adv + self.step_size * ascent).clamp(0, 1)
