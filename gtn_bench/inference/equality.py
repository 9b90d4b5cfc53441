"""Comparison of a prepared network with the original: logits and gradients on random images."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn

from gtn_bench.inference.draws import seeded

EXACT = 1e-9  # in float64, relative to the largest entry
LOGITS, GRADIENTS = 1e-4, 1e-2  # in the type of the network, relative to the largest entry and to the norm


def sample_images(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return two random images (2, C, H, W): some networks refuse a single one.

    Args:
        shape: Channels, height, width.
        like: A tensor whose device and type the images have.
    """
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).to(like)


def draws_numbers(network: nn.Module, x: Tensor) -> bool:
    """Return whether a network draws random numbers, or computes something else when it is called again.

    Args:
        network: The network.
        x: Images (n, C, H, W).
    """
    with seeded(0, x.device), torch.no_grad():
        before = _states(x.device)
        first = network(x)
        if before != _states(x.device):
            return True
        return not torch.equal(first, network(x))


def difference(prepared: nn.Module, original: nn.Module, x: Tensor) -> str:
    """Return how a prepared network differs from the original; an empty string if it does not.

    Args:
        prepared: The prepared network.
        original: The original network.
        x: Images (n, C, H, W) in the type of the networks.
    """
    expected, found = (_logits_and_gradient(network, x) for network in (original, prepared))
    if found[0].shape != expected[0].shape or found[0].dtype != expected[0].dtype:
        return "its logits have another shape or type"
    if (found[1] is None) != (expected[1] is None):
        return "one of both has no gradient"
    logits, gradients = (EXACT, EXACT) if x.dtype == torch.float64 else (LOGITS, GRADIENTS)
    error = _relative((found[0] - expected[0]).abs().max(), expected[0].abs().max())
    if not error <= logits:
        return f"its logits differ by {error:.1g}"
    if found[1] is not None and expected[1] is not None:
        error = _relative((found[1] - expected[1]).norm(), expected[1].norm())
        if not error <= gradients:
            return f"its gradients differ by {error:.1g}"
    return ""


def _logits_and_gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return logits (n, K), and the gradient (n, C, H, W) of a weighted sum of them; None if there is none."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits: Tensor = network(x)
        if not logits.requires_grad:
            return logits, None
        weights = torch.linspace(-1, 1, logits.numel(), device=x.device, dtype=logits.dtype).view_as(logits)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), x, allow_unused=True)
        return logits.detach(), gradient


def _relative(error: Tensor, size: Tensor) -> float:
    return float(error / size) if size > 0 else float(error)


def _states(device: torch.device) -> tuple[bytes | str, ...]:
    """Return the states of the global generators, in comparable form."""
    gpu = torch.cuda.get_rng_state(device).numpy().tobytes() if device.type == "cuda" else b""
    numpy = np.random.get_state(legacy=False)
    return torch.get_rng_state().numpy().tobytes(), gpu, str(numpy["state"]), str(hash(random.getstate()))
