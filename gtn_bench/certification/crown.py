"""Linear bounds of networks with rectifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gtn_bench.certification.base import Certifier
from gtn_bench.config.threat import Threat

if TYPE_CHECKING:
    from torch import Tensor, nn


class Crown(Certifier):
    """Linear bounds of the differences of logits, from the logits back to the pixels.

    The inputs of all rectifiers and poolings are bounded in the same way. Rectifiers and poolings have parallel bounds
    there (Fast-Lin, DeepZ). Differences of logits are bounded with parallel bounds first, and for images that are not
    proven then, with lower slopes of 0, 1, and the adaptive one of CROWN; the best bound counts. What remains open is
    tried again with adaptive bounds of all layers, unless the bound is far below zero. Every bound is intersected with
    that of interval arithmetic.

    Attributes:
        samples: Number of test images to certify, the first ones; None for all.
    """

    name = "crown"
    source = "https://arxiv.org/abs/1811.00866"
    norms = ("linf", "l2")
    about = "model"

    def certify(
        self, network: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], seeds: Tensor
    ) -> list[Tensor]:
        from gtn_bench.certification.proofs import by_linear_bounds, proven

        return proven(network, x, y, threats, by_linear_bounds, search=True)
