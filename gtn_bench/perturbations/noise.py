"""Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtn_bench.perturbations.base import Perturbation, normal_like

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class Noise(Perturbation):
    """Independent Gaussian noise of standard deviation beta on every pixel."""

    name = "noise"
    source = "https://arxiv.org/abs/1903.12261"
    meaning = "standard deviation, pixel value"
    lengths = ("beta",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return x + self.beta * normal_like(x, seeds)
