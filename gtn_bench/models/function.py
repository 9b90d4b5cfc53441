"""Functions as networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class FunctionModule(nn.Module):
    """A function from images to logits as a module.

    Args:
        function: Function of images (N, C, H, W) in [0, 1] that returns logits (N, K).
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)
