"""A second normalization of the images inside of a network that is normalized already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gtn_bench.checks.findings import Finding, finding
from gtn_bench.models.normalized import Normalized


def check_normalizations(network: nn.Module) -> list[Finding]:
    """Check that no module of a normalized network holds the same mean and standard deviation once more.

    Args:
        network: The network. Only the normalization by `Normalized` is compared.

    Returns:
        At most one finding.
    """
    if not isinstance(network, Normalized):
        return []
    for name, module in network.network.named_modules():
        constants = [_constant(getattr(module, attribute, None)) for attribute in ("mean", "std")]
        if all(map(_equal, constants, (network.mean, network.std))):
            title = f"{name or 'the network'} ({type(module).__name__})"
            return [finding("second_normalization", 1, module=title)]
    return []


def _constant(value: Any) -> Tensor | None:
    """Return the numbers that an attribute holds; None if it holds something else."""
    try:
        return torch.as_tensor(value, dtype=torch.float32).flatten().cpu()
    except (TypeError, ValueError, RuntimeError):
        return None


def _equal(found: Tensor | None, given: Tensor) -> bool:
    expected = given.flatten().cpu()
    if found is None or len(found) not in (1, len(expected)):
        return False
    return bool(torch.isclose(found.expand_as(expected), expected, rtol=1e-3, atol=1e-4).all())
