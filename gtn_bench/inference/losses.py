"""Per-sample losses that attacks maximize."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
LossName = Literal["cross-entropy", "margin", "dlr"]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy ``-log p(y)``.

    Args:
        logits: Logits (N, K).
        y: Labels (N,).

    Returns:
        Losses (N,).
    """
    from torch.nn import functional as F

    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the margin: the largest other logit minus that of the label. Positive if a sample is misclassified.

    Source: f6 of https://arxiv.org/abs/1608.04644.

    Args:
        logits: Logits (N, K).
        y: Labels (N,).

    Returns:
        Losses (N,).
    """
    return others(logits, y).amax(dim=1) - logits.gather(1, y[:, None]).squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the difference of logits ratio (DLR): the margin divided by the gap between largest and third logit.

    The loss is invariant to scaling and shifting of the logits.
    Source: equation 6 of https://arxiv.org/abs/2003.01690.

    Args:
        logits: Logits (N, K) of at least three classes.
        y: Labels (N,).

    Returns:
        Losses (N,).
    """
    ranked = logits.topk(3, dim=1).values
    return margin(logits, y) / (ranked[:, 0] - ranked[:, 2]).clamp_min(1e-12)


def others(logits: Tensor, y: Tensor) -> Tensor:
    """Return the logits with those of the labels replaced by negative infinity.

    Args:
        logits: Logits (N, K).
        y: Labels (N,).

    Returns:
        Logits (N, K).
    """
    return logits.scatter(1, y[:, None], -math.inf)


LOSSES: dict[LossName, Loss] = {"cross-entropy": cross_entropy, "margin": margin, "dlr": dlr}
