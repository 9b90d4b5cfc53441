"""The iterated fast gradient sign method of the reference study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_bench.description import PositiveInt
from gtn_bench.perturbations.base import Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class FGSM(Perturbation):
    """Sign steps of size beta up the cross-entropy, inside the box; no ball but the one they span.

    x <- clip(x + beta sign(grad)), `steps` times: the basic iterative method with epsilon = steps * beta.
    """

    name = "fgsm"
    source = "https://arxiv.org/abs/1412.6572, https://arxiv.org/abs/1607.02533"
    meaning = "step size, pixel value"
    norm = "linf"
    uses_gradient = True
    lengths = ("beta",)

    steps: PositiveInt = 30

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        x_adv = x
        for _ in range(self.steps):
            grad = classifier.loss_gradient(x_adv, y)
            x_adv = (x_adv + self.beta * grad.sign()).clamp(0, 1)
        return x_adv
