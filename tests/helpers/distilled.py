"""Images in place of distilled ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.data.base import Dataset
from gtn_bench.data.digits import Digits

MEAN, STD = Digits.mean[0], Digits.std[0]


class Colors(Dataset):
    """Images that are not square, of three channels and four classes."""

    name = "colors"
    input_shape = (3, 4, 6)
    sizes = (8, 4, 4)
    num_classes = 4
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.15)
    classes = ("red", "green", "blue", "gray")


def sorted_digits() -> tuple[Tensor, Tensor]:
    """Return two real digits of each class, sorted by class, in place of distilled images."""
    x, y = Digits()()["train"][:]
    chosen = torch.cat([torch.nonzero(y == label)[:2, 0] for label in range(10)])
    return x[chosen], y[chosen]


X, Y = sorted_digits()
Z = (X - MEAN) / STD
LOGITS = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)) * 3
