"""Calls of autograd functions for float32 tensors on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad


class _NoGraph:
    """The context of a forward pass that no backward pass follows."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep nothing."""


def in_float32(x: Tensor, weight: Tensor) -> bool:
    """Return whether a layer computes in float32 on a CPU.

    Args:
        x: Images or feature maps (B, ...).
        weight: Weights of the layer.
    """
    same = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return same and not torch.is_autocast_enabled("cpu")


def call(function: type[Function], x: Tensor, layer: Any) -> Tensor:
    """Return the output of an autograd function. Without gradients, its forward pass runs alone, which takes less time.

    Forward-mode derivatives and traces, which would miss compiled kernels, are left to the autograd function.

    Args:
        function: The function of x and the layer.
        x: Images or feature maps (B, ...).
        layer: The layer.
    """
    if torch.is_grad_enabled() or forward_ad._current_level >= 0 or torch._C._get_tracing_state():
        y: Tensor = function.apply(x, layer)
    else:
        y = function.forward(_NoGraph(), x, layer)
    return y
