"""Classifiers whose decision boundaries are known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtn_bench.inference.classifier import Classifier


class Line(nn.Module):
    """Two classes on the sides of the hyperplane ``w.x + b = 0``; class 1 is where it is positive.

    Args:
        w: normal vector (D,).
        b: offset.
    """

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w = nn.Parameter(w)
        self.b = b

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1) @ self.w + self.b
        return torch.stack([-margin, margin], dim=1)

    def linf_distance(self, x: Tensor) -> Tensor:
        """Return the exact L-inf distances (N,) of images (N, C, H, W) to the boundary."""
        return (x.flatten(1) @ self.w + self.b).abs() / self.w.abs().sum()

    def l2_distance(self, x: Tensor) -> Tensor:
        """Return the exact L2 distances (N,) of images (N, C, H, W) to the boundary."""
        return (x.flatten(1) @ self.w + self.b).abs() / self.w.norm()


def line(dtype: torch.dtype = torch.float64) -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """Return a linear classifier and images inside the box, far from its bounds.

    Args:
        dtype: type of weights and images.

    Returns:
        The classifier, images (40, 1, 4, 4), the classes (40,) that it predicts, and the exact L-inf distances (40,)
        to its boundary.
    """
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(16, generator=draw, dtype=dtype)
    x = 0.4 + 0.2 * torch.rand(40, 1, 4, 4, generator=draw, dtype=dtype)
    module = Line(w, -float(x.flatten(1).mean(0) @ w))
    classifier = Classifier(module, (1, 4, 4), 2)
    return classifier, x, classifier.predict(x), module.linf_distance(x).detach()
