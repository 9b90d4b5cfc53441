"""Gaussian and uniform noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from gtn_bench.perturbations.base import Corruption, normal_like, uniform_like

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class Noise(Corruption):
    """Independent noise with mean 0 and standard deviation beta on every pixel.

    Attributes:
        distribution: Distribution of the noise.
    """

    name = "noise"
    source = "https://arxiv.org/abs/1903.12261"
    beta_meaning = "standard deviation"
    pixel_fields = ("beta",)

    distribution: Literal["gaussian", "uniform"] = "gaussian"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        if self.distribution == "gaussian":
            return x + self.beta * normal_like(x, seeds)
        return x + self.beta * math.sqrt(3) * (2 * uniform_like(x, seeds) - 1)
