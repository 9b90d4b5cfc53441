"""Whether the gradient that an attack follows is finite."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.checks.attacks.challenge import Passes, does_not_apply
from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.evaluation.batching import in_batches
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.losses import LOSSES, Loss, cross_entropy, margin
from gtn_bench.perturbations.base import Perturbation


def non_finite_gradient(classifier: Classifier, perturbation: Perturbation, x: Tensor, y: Tensor) -> Outcome:
    """Return on how many images the loss of an attack has a gradient that is not finite.

    Args:
        classifier: The classifier.
        perturbation: The attack.
        x: Images (n, C, H, W) in [0, 1].
        y: Labels (n,).
    """
    if not perturbation.uses_gradient:
        return does_not_apply("the attack follows no gradient")
    passes, loss = Passes(classifier), loss_of(perturbation)

    def broken(images: Tensor, labels: Tensor) -> Tensor:
        classifier.restart()
        return ~classifier.loss_gradient(images, labels, loss).isfinite().flatten(1).all(dim=1)

    return passes.outcome(torch.cat(in_batches(broken, classifier, "any", x, y)), len(y))


def loss_of(perturbation: Perturbation) -> Loss:
    """Return the loss whose gradient an attack follows; the margin if that is a loss of the logits.

    Args:
        perturbation: The attack.
    """
    name = getattr(perturbation, "loss", None)
    return LOSSES.get(name, cross_entropy if perturbation.needs_ce_gradient else margin)  # type: ignore[arg-type]


def gradient(situation: Situation) -> dict[str, Outcome]:
    """Differentiate the loss of the attack at the clean images.

    Args:
        situation: The attack.
    """
    found = non_finite_gradient(situation.classifier, situation.perturbation, situation.x, situation.y)
    return {"non_finite_gradient": found}
