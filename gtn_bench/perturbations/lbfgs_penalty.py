"""Penalized gradient ascent in the box: the attack that the reference study calls box-constrained LBFGS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.perturbations.base import Batch, Size
from gtn_bench.perturbations.targets import Targeted

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class LBFGSPenalty(Targeted):
    """Gradient ascent on ``cross_entropy - weight * ||x_adv - x||_2`` in the box [0, 1]. It is not L-BFGS.

    With a target, the cross-entropy of the target class takes the place of the negative one of the label.

    Attributes:
        beta: The weight of the penalty, or its inverse.
        steps: Number of steps.
        step_size: Factor on each step, in pixel values.
        step: Direction of a step: the `sign` of the gradient (the code of the reference study), or the `gradient` (its
            text).
        penalty: One norm per `sample`, or a single norm over the whole `batch` beside the mean loss (the code of the
            study). With `batch` the perturbation of an image depends on all others.
        beta_parameter: `inverse-weight` if beta is the inverse weight of the penalty (the study), `weight` if it is the
            weight.
    """

    name = "lbfgs-penalty"
    source = 'the objective of https://arxiv.org/abs/1312.6199, maximized as in "GTN Robustness Tests", K. Willis 2021'
    beta_meaning = "weight of the penalty, or its inverse"
    uses_gradient = True
    supports_bfloat16 = True
    pixel_fields = ("beta", "step_size")

    beta: PositiveFloat
    steps: PositiveInt = 30
    step_size: PositiveFloat = 0.02
    step: Literal["sign", "gradient"] = "sign"
    penalty: Literal["sample", "batch"] = "sample"
    beta_parameter: Literal["inverse-weight", "weight"] = "inverse-weight"

    def axis_label(self, unit: str = "pixel value") -> str:
        return {"inverse-weight": "inverse penalty weight", "weight": "penalty weight"}[self.beta_parameter]

    @property
    def weight(self) -> float:
        """Weight of the penalty."""
        return 1 / self.beta if self.beta_parameter == "inverse-weight" else self.beta

    @property
    def pixel_sizes(self) -> Mapping[str, Size]:
        return {"step_size": Size("step size", self.step_size)} if self.step == "sign" else {}

    @property
    def needs_ce_gradient(self) -> bool:
        return not self.targeted

    @property
    def passes(self) -> float:
        return 2 * self.steps + (self.target == "least-likely")

    @property
    def weaker_with_beta(self) -> bool:
        return self.beta_parameter == "weight"

    @property
    def batch(self) -> Batch:
        return "any" if self.penalty == "sample" else "all"

    def with_steps(self, factor: int) -> Self | None:
        return self.variant(steps=self.steps * factor)

    def with_step_size(self, factor: float) -> Self | None:
        return self.variant(step_size=self.step_size * factor)

    def in_pixels(self, std: float) -> Self:
        # A gradient per normalized value is std times a gradient per pixel value.
        scale = {"sign": std, "gradient": std**2}[self.step]
        beta = self.beta * std if self.beta_parameter == "inverse-weight" else self.beta / std
        return self.model_copy(update={"beta": beta, "step_size": self.step_size * scale})

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        x_adv, label = x, self.labels(classifier, x, y, seeds)
        for _ in range(self.steps):
            x_adv = self.ascend_once(classifier, x, x_adv, label)
        return x_adv

    def ascend_once(self, classifier: Classifier, x: Tensor, x_adv: Tensor, label: Tensor) -> Tensor:
        """Take one step of the ascent.

        Args:
            classifier: The classifier under attack.
            x: Clean images (N, C, H, W) in [0, 1].
            x_adv: Images to start from.
            label: True labels (N,), or the classes to lead to.

        Returns:
            Images (N, C, H, W), clipped to [0, 1].
        """
        delta = x_adv - x
        grad = classifier.loss_gradient(x_adv, label)
        if self.targeted:
            grad = -grad
        if self.penalty == "sample":
            norm = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        else:
            norm, grad = delta.norm(), grad / len(x)
        grad = grad - self.weight * delta / norm.clamp_min(1e-12)
        ascent = grad.sign() if self.step == "sign" else grad
        return (x_adv + self.step_size * ascent).clamp(0, 1)
