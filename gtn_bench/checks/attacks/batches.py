"""Whether the logits of an image depend on the other images of its batch."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.checks.attacks.challenge import Passes
from gtn_bench.checks.attacks.situation import Outcome
from gtn_bench.checks.table import CHECKS
from gtn_bench.inference.classifier import Classifier


@torch.no_grad()
def batch_coupling(classifier: Classifier, x: Tensor) -> Outcome:
    """Return on how many images the logits depend on the other images of the batch.

    Each half of the images passes beside the other half, then beside its negatives. Images keep their positions, and
    networks with random outputs their draws.

    Args:
        classifier: The classifier.
        x: Images (n, C, H, W) in [0, 1]. No more than `classifier.batch` of them are used.

    Returns:
        The number of images whose logits differ by more than rounding, which is relative to the largest logit.
    """
    x = x[: classifier.batch]
    passes, n, middle = Passes(classifier), len(x), (len(x) + 1) // 2
    if n < 2:
        return Outcome(0, 0, 0, 0, "fewer than two images")

    def logits(images: Tensor) -> Tensor:
        classifier.restart()
        return classifier(images)

    given = logits(x)
    first = torch.arange(n, device=x.device) < middle
    beside = torch.where(
        first[:, None], logits(torch.cat((x[:middle], 1 - x[middle:]))), logits(torch.cat((1 - x[:middle], x[middle:])))
    )
    difference = (given - beside).abs().amax(dim=1)
    same = difference <= CHECKS["batch_dependent"].threshold * given.abs().max()
    return passes.outcome(~same, n)
