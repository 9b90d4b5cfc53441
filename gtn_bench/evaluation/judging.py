"""Judgment of perturbed images: predictions, distances, and the shares of images that sanity checks compare."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gtn_bench.evaluation.batching import in_batches
from gtn_bench.evaluation.perturbing import Perturbed
from gtn_bench.evaluation.results import AttackResult, CleanResult
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Perturbation, lp_norm

WHITE = 255  # the highest level of an 8-bit image


class Judge:
    """Judgment of perturbed images of N clean ones.

    Args:
        classifier: The classifier that decides about success.
        queried: The classifier that perturbations query.
        clean: The result of the classifier on the clean images.
        x: Clean images (N, C, H, W).
        y: Labels (N,).
        eight_bit: Whether images are rounded to multiples of 1/255 before they are judged and measured.
        keep: Number of perturbed images that a result contains.
    """

    def __init__(
        self,
        classifier: Classifier,
        queried: Classifier,
        clean: CleanResult,
        x: Tensor,
        y: Tensor,
        *,
        eight_bit: bool,
        keep: int,
    ) -> None:
        self.classifier, self.queried, self.clean, self.x, self.y = classifier, queried, clean, x, y
        self.eight_bit, self.keep = eight_bit, keep

    def __call__(
        self,
        perturbation: Perturbation,
        returned: Tensor,
        perturbed: Perturbed,
        shares: Mapping[str, float] | None = None,
    ) -> AttackResult:
        x_adv = returned.clamp(0, 1)
        judged = (x_adv * WHITE).round() / WHITE if self.eight_bit else x_adv
        prediction, confidence = classify(self.classifier, judged)
        # Rounding moves images out of a ball and back to the clean ones, for which an attack is not responsible.
        measured = shares_of(perturbation, (x_adv - self.x).flatten(1), prediction == self.y, perturbed)
        distance = (judged - self.x).flatten(1)
        return AttackResult(
            label=self.y.cpu(),
            clean_prediction=self.clean.prediction.cpu(),
            prediction=prediction.cpu(),
            confidence=confidence.cpu(),
            linf=distance.abs().amax(dim=1).cpu(),
            l2=distance.norm(dim=1).cpu(),
            zero_gradient=self._stalled(perturbation, perturbed.attacked).cpu(),
            examples=judged[: self.keep].cpu(),
            shares={**(shares or {}), **measured},
            attack_error=perturbed.attack_error,
            **perturbed.cost._asdict(),
        )

    def _stalled(self, perturbation: Perturbation, attacked: Tensor) -> Tensor:
        """Return where the gradient that a perturbation follows is zero at the clean image, as a mask (N,)."""
        if not perturbation.needs_gradient:
            return torch.zeros_like(attacked)
        zero = self.clean.zero_gradient & attacked
        if not perturbation.needs_ce_gradient and zero.any():  # else the logits have a gradient
            logits_zero = zero_logit_gradient(self.queried, self.x[zero], self.y[zero])
            zero = zero.index_put((zero,), logits_zero)
        return zero


def predict(classifier: Classifier, x: Tensor) -> Tensor:
    """Return the predicted classes of images, computed in batches.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W) in [0, 1].

    Returns:
        Classes (N,) int64.
    """
    return classify(classifier, x)[0]


def classify(classifier: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predicted classes of images and their probabilities, computed in batches.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W) in [0, 1].

    Returns:
        Classes (N,) int64; their softmax probabilities (N,).
    """

    def judged(images: Tensor) -> tuple[Tensor, Tensor]:
        classifier.restart("judgment")
        with torch.no_grad():
            logits = classifier(images)
            prediction = logits.argmax(dim=1)
            return prediction, logits.softmax(dim=1).gather(1, prediction[:, None])[:, 0]

    predictions, confidences = zip(*in_batches(judged, classifier, "any", x), strict=True)
    return torch.cat(predictions), torch.cat(confidences)


def zero_logit_gradient(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Return whether the gradients of all logits are exactly zero.

    A sum of the logits with random weights has a zero gradient if all of them have. Otherwise it has none, almost
    surely.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).

    Returns:
        Mask (N,) bool.
    """
    weights = torch.rand(classifier.num_classes, generator=torch.Generator().manual_seed(0))

    def is_zero(images: Tensor, labels: Tensor) -> Tensor:
        classifier.restart()
        gradient = classifier.loss_gradient(images, labels, lambda logits, _: logits @ weights.to(logits))
        return (gradient == 0).flatten(1).all(dim=1)

    return torch.cat(in_batches(is_zero, classifier, "any", x, y))


def shares_of(perturbation: Perturbation, change: Tensor, correct: Tensor, perturbed: Perturbed) -> dict[str, float]:
    """Return the shares of images that the sanity checks compare with their thresholds, by name of the check.

    Args:
        perturbation: The perturbation.
        change: Perturbed minus clean images (N, D).
        correct: Whether the perturbed images are classified correctly (N,).
        perturbed: What the perturbation returned.
    """
    shares = {"attack_error": perturbed.failed.double().mean().item()}
    survived = correct & perturbed.attacked & ~perturbed.failed
    if perturbation.changes_every_image and perturbation.beta > 0 and survived.any():
        shares["unchanged"] = (change[survived] == 0).all(dim=1).double().mean().item()
    threat = perturbation.threat_model
    if threat:
        inside = threat.contains(lp_norm(change, threat.norm))
        shares["outside_ball"] = (~inside).double().mean().item()
    return shares
