"""Calls of autograd functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad


class _NoGraph:
    """The context of a forward pass that no backward pass follows."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep nothing."""


def call(function: type[Function], x: Tensor, layer: Any) -> Tensor:
    """Return the output of an autograd function. Without gradients, its forward pass runs alone, which takes less time.

    Args:
        function: The function of x and the layer.
        x: Images or feature maps (B, ...).
        layer: The layer.
    """
    if torch.is_grad_enabled() or forward_ad._current_level >= 0:
        y: Tensor = function.apply(x, layer)
    else:
        y = function.forward(_NoGraph(), x, layer)
    return y
