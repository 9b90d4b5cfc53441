"""What attacks climb: one number for each sample, the larger the closer it is to being misclassified."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
LossName = Literal["cross-entropy", "margin", "dlr"]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p(y), (N,), of logits (N, K) and labels (N,)."""
    from torch.nn import functional as F

    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best other logit minus that of the label, (N,): positive where the sample is misclassified.

    Source: f6 of https://arxiv.org/abs/1608.04644.
    """
    return others(logits, y).amax(dim=1) - logits.gather(1, y[:, None]).squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio, (N,): the margin over that of the first and the third class.

    It does not change when logits are scaled or shifted. Needs three classes.
    Source: https://arxiv.org/abs/2003.01690, equation 6.
    """
    ranked = logits.topk(3, dim=1).values
    return margin(logits, y) / (ranked[:, 0] - ranked[:, 2]).clamp_min(1e-12)


def others(logits: Tensor, y: Tensor) -> Tensor:
    """The logits (N, K) with minus infinity in place of the labels'."""
    return logits.scatter(1, y[:, None], -math.inf)


LOSSES: dict[LossName, Loss] = {"cross-entropy": cross_entropy, "margin": margin, "dlr": dlr}
