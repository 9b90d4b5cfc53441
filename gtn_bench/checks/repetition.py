"""Checks of several forward passes: randomness, and dependence on the other images of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gtn_bench.checks.findings import Finding, finding
from gtn_bench.checks.probe import Probe
from gtn_bench.inference.draws import seeded

PASSES = 5
ALONE = 4  # images that also pass alone
ROUNDING = 0.1  # allowed difference between batches of other orders and sizes, relative to the largest logit


def check_repetition(probe: Probe) -> list[Finding]:
    """Check that equal images have equal logits, whatever else is in their batch.

    Args:
        probe: The network.

    Returns:
        Findings about randomness, batches and modules in train mode.

    Raises:
        FaultyOutputError: If the network fails on some batch.
    """
    with torch.no_grad():
        found = _check_randomness(probe)
        found += _check_batches(probe, is_random=any(one.name in ("random", "averaged", "unseeded") for one in found))
    if not found and (names := probe.in_train_mode()):
        found.append(finding("stays_in_train_mode", len(names), names=", ".join(names[:3])))
    return found


def _check_randomness(probe: Probe) -> list[Finding]:
    x = probe.x[: probe.few]
    logits = [probe.logits(x) for _ in range(PASSES)]
    spread = max(_difference(one, logits[0]) for one in logits[1:])
    allowed, samples = probe.tolerance("random", logits[0]), probe.forward_samples
    if spread <= allowed:
        return [finding("not_random", samples)] if samples > 1 else []
    details = {"scale": float(logits[0].abs().max()), "modules": probe.named_modules()}
    if samples == 1:
        return [finding("random", spread, **details)]
    again = _difference(*(_with_seed(probe, x) for _ in range(2)))
    if again > allowed:
        return [finding("unseeded", again)]
    return [finding("averaged", spread, **details, forward_samples=samples)]


def _check_batches(probe: Probe, *, is_random: bool) -> list[Finding]:
    """Compare logits in batches with other images; if they are not random, also in other orders and sizes of batches.

    Rounding depends on the position in a batch and on its size, not on the values of the other images.
    """
    x = probe.x[: max(1, probe.few // 2)]
    count = len(x)
    logits = _with_seed(probe, torch.cat((x, x.flip(0))))[:count]
    allowed = probe.tolerance("batch_dependent", logits)
    if is_random and _difference(_with_seed(probe, torch.cat((x, x.flip(0))))[:count], logits) > allowed:
        return []  # its draws cannot be repeated
    scale = float(logits.abs().max())
    details = {"scale": scale, "modules": probe.named_modules()}
    difference = _difference(_with_seed(probe, torch.cat((x, 1 - x)))[:count], logits)
    if difference > allowed:
        return [finding("batch_dependent", difference, what="the other images of its batch", **details)]
    if is_random:
        return []
    layouts: dict[str, Callable[[], Tensor]] = {
        "their position in the batch": lambda: probe.logits(torch.cat((x.flip(0), x)))[:count].flip(0),
        "the size of the batch": lambda: torch.cat([probe.logits(image[None]) for image in x[:ALONE]]),
    }
    for what, passes in layouts.items():
        difference = _difference(other := passes(), logits[: len(other)])
        if difference > ROUNDING * scale:
            return [finding("batch_dependent", difference, what=what, **details)]
    return []


def _with_seed(probe: Probe, x: Tensor) -> Tensor:
    with seeded(0, x.device):
        return probe.logits(x)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
