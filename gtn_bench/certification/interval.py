"""Interval bound propagation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gtn_bench.certification.base import Certifier
from gtn_bench.config.threat import Threat

if TYPE_CHECKING:
    from torch import Tensor, nn


class Interval(Certifier):
    """Bounds of every layer by interval arithmetic: fast, and loose for networks that are not trained with it.

    The difference of two logits is bounded through the last affine layers at once. In the L2 norm, the inputs of the
    first rectifiers are bounded on the ball itself.

    Attributes:
        samples: Number of test images to certify, the first ones; None for all.
    """

    name = "interval"
    source = "https://arxiv.org/abs/1810.12715"
    norms = ("linf", "l2")
    about = "model"

    def certify(
        self, network: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], seeds: Tensor
    ) -> list[Tensor]:
        from gtn_bench.certification.proofs import by_intervals, proven

        return proven(network, x, y, threats, by_intervals, search=False)
