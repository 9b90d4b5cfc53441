"""Checks of a single forward pass: what the network returns, and what it does to its images."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.checks.findings import Finding, finding
from gtn_bench.checks.probe import HALF, FaultyOutputError, Probe
from gtn_bench.checks.table import CHECKS

_SUM = {torch.bfloat16: 3e-2, torch.float16: 5e-3}  # tolerance for the sum of probabilities; else 1e-4


def check_outputs(probe: Probe) -> list[Finding]:
    """Check the outputs for a batch of images.

    Args:
        probe: The network.

    Returns:
        Findings of outputs that are no finite logits, and of changed images.

    Raises:
        FaultyOutputError: If no other check can use the outputs.
    """
    x = probe.x[: probe.few]
    seen = x.clone().to(probe.classifier.parameter_dtype)
    before = seen.clone()
    with torch.no_grad():
        outputs = probe.raw(seen)
    if problem := probe.wrong_outputs(outputs, len(x)):
        raise FaultyOutputError(problem)
    broken = float((~outputs.isfinite()).any(dim=1).double().mean())
    if broken:
        raise FaultyOutputError(finding("non_finite", broken, images=len(x)))
    found = []
    change = float((seen - before).abs().max())
    if change != 0:
        found.append(finding("input_modified", change))
    if _are_probabilities(outputs):
        distance = float((outputs.double().sum(dim=1) - 1).abs().min())
        found.append(finding("probabilities", 1 - distance, images=len(x)))
    return found + _rounding(probe)


def _are_probabilities(outputs: Tensor) -> bool:
    exact = outputs.double()
    inside = bool(((exact >= 0) & (exact <= 1)).all())
    return inside and bool(((exact.sum(dim=1) - 1).abs() <= _SUM.get(outputs.dtype, 1e-4)).all())


def _rounding(probe: Probe) -> list[Finding]:
    dtype = probe.classifier.parameter_dtype
    pixels = torch.linspace(0, 1, 2551)
    rounding = float((pixels.to(dtype).float() - pixels).abs().max())
    if dtype not in HALF or rounding <= CHECKS["rounded_pixels"].threshold:
        return []
    return [finding("rounded_pixels", rounding, dtype=str(dtype).removeprefix("torch."))]
