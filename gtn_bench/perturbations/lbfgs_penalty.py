"""What the reference study calls box-constrained LBFGS: penalised ascent in the box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from gtn_bench.description import PositiveFloat, PositiveInt
from gtn_bench.perturbations.base import Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class LBFGSPenalty(Perturbation):
    """Ascent on cross-entropy - (1 / beta) ||x_adv - x||_2 in the box; it is not L-BFGS.

    `step`: along the `sign` of the gradient (the study's code) or the `gradient` itself (its text).
    `penalty`: one norm for each `sample`, or a single one over the whole batch beside the mean loss
    (`batch`, the study's code), which makes every image's perturbation depend on all the others.
    """

    name = "lbfgs-penalty"
    source = 'the objective of https://arxiv.org/abs/1312.6199, climbed as in "GTN Robustness Tests", K. Willis 2021'
    meaning = "inverse penalty weight"
    uses_gradient = True
    lengths = ("beta", "step_size")

    beta: PositiveFloat
    steps: PositiveInt = 30
    step_size: PositiveFloat = 0.02
    step: Literal["sign", "gradient"] = "sign"
    penalty: Literal["sample", "batch"] = "sample"

    @property
    def chunk(self) -> int | None:
        return 256 if self.penalty == "sample" else None

    def in_pixels(self, std: float) -> Self:
        # A gradient per normalised value is std times one per pixel value.
        scale = {"sign": std, "gradient": std**2}[self.step]
        return self.model_copy(update={"beta": self.beta * std, "step_size": self.step_size * scale})

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
        grad = grad - delta / (self.beta * norm.clamp_min(1e-12))
        ascent = grad.sign() if self.step == "sign" else grad
        return (x_adv + self.step_size * ascent).clamp(0, 1)
