"""Checks of the gradient that attacks follow."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.checks.findings import Finding, finding
from gtn_bench.checks.probe import FaultyOutputError, Probe, one_line
from gtn_bench.checks.table import CHECKS
from gtn_bench.inference.losses import cross_entropy, margin


def check_gradients(probe: Probe) -> list[Finding]:
    """Check that the logits of every image have a finite gradient other than zero.

    Args:
        probe: The network.

    Returns:
        At most one finding.

    Raises:
        FaultyOutputError: If the forward pass fails.
    """
    images = min(probe.few, len(probe.x))
    try:
        gradients = _gradients(probe, probe.x[:images], probe.y[:images])
    except FaultyOutputError as error:
        if error.finding.name == "forward_fails":  # it did not without gradients
            return [_failure(probe.x[:images], error.__cause__ or error)]
        raise
    except Exception as error:  # any operation can lack a derivative
        return [_failure(probe.x[:images], error)]
    if gradients is None:
        return [finding("no_gradient", 1.0, images=images)]
    rows = [gradient.flatten(1) for gradient in gradients]
    broken = torch.stack([~row.isfinite().all(dim=1) for row in rows]).any(dim=0).double().mean().item()
    if broken:
        return [finding("non_finite_gradient", broken, images=images)]
    of_logits, of_loss = ((row == 0).all(dim=1).double().mean().item() for row in rows)
    if of_logits > CHECKS["zero_gradient"].threshold:
        return [finding("zero_gradient", of_logits, images=images)]
    if of_loss > CHECKS["saturated_loss"].threshold:
        return [finding("saturated_loss", of_loss, images=images)]
    return []


def _gradients(probe: Probe, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the gradients (n, C, H, W) of a function of the logits and of the cross-entropy, if there are any."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        logits = probe.logits(x)
        if not logits.requires_grad:
            return None
        difference = margin(logits, y) if probe.num_classes > 1 else logits.sum(dim=1)
        first: Tensor | None = torch.autograd.grad(difference.sum(), x, retain_graph=True, allow_unused=True)[0]
        if first is None:
            return None
        (second,) = torch.autograd.grad(cross_entropy(logits, y).sum(), x, materialize_grads=True)
    return first, second


def _failure(x: Tensor, error: BaseException) -> Finding:
    return finding("gradient_fails", len(x), shape=tuple(x.shape), error=one_line(error))
