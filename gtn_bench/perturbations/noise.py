"""Gaussian noise."""

from __future__ import annotations

from torch import Tensor

from gtn_bench.classifiers import Classifier
from gtn_bench.perturbations.base import Perturbation, normal_like


class Noise(Perturbation):
    """Independent Gaussian noise of standard deviation beta on every pixel."""

    name = "noise"
    source = "https://arxiv.org/abs/1903.12261"
    meaning = "standard deviation, pixel value"
    lengths = ("beta",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return x + self.beta * normal_like(x, seeds)
