"""Classifiers whose answers are known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtn_bench.classifiers import Classifier


class Line(nn.Module):
    """Two classes divided by the hyperplane w.x + b = 0; class 1 where it is positive."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w = nn.Parameter(w)
        self.b = b

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1) @ self.w + self.b
        return torch.stack([-margin, margin], dim=1)

    def linf_distance(self, x: Tensor) -> Tensor:
        """Exact distance (N,) to the boundary in the maximum norm."""
        return (x.flatten(1) @ self.w + self.b).abs() / self.w.abs().sum()

    def l2_distance(self, x: Tensor) -> Tensor:
        """Exact Euclidean distance (N,) to the boundary."""
        return (x.flatten(1) @ self.w + self.b).abs() / self.w.norm()


def line(dtype: torch.dtype = torch.float64) -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """A line, images well inside the box, their labels, their exact L-inf distances."""
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(16, generator=draw, dtype=dtype)
    x = 0.4 + 0.2 * torch.rand(40, 1, 4, 4, generator=draw, dtype=dtype)
    module = Line(w, -float(x.flatten(1).mean(0) @ w))
    classifier = Classifier(module, (1, 4, 4), 2)
    return classifier, x, classifier.predict(x), module.linf_distance(x).detach()
