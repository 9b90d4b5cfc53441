"""Evaluation of a perturbation: clips, checks, predicts again and measures the returned images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtn_bench.evaluation.batching import in_batches
from gtn_bench.evaluation.judging import Judge, predict
from gtn_bench.evaluation.perturbing import Cost, perturb
from gtn_bench.evaluation.results import MEASURED, AttackResult, CleanResult
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Batch, MinimalPerturbation, Nearest, Perturbation

__all__ = [
    "EXAMPLES",
    "MEASURED",
    "AttackResult",
    "CleanResult",
    "Cost",
    "evaluate",
    "evaluate_clean",
    "evaluate_sweep",
    "predict",
    "zero_gradient",
]

EXAMPLES = 4  # perturbed images stored for the report


def evaluate_clean(classifier: Classifier, x: Tensor, y: Tensor, *, batch: Batch = "any") -> CleanResult:
    """Evaluate a classifier on clean images.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        batch: Images per gradient. The classifier caches the gradients for attacks that start with the same batches.

    Returns:
        Predictions and zero gradients.
    """
    return CleanResult(predict(classifier, x), zero_gradient(classifier, x, y, batch=batch))


def zero_gradient(classifier: Classifier, x: Tensor, y: Tensor, *, batch: Batch = "any") -> Tensor:
    """Return whether the gradient of the cross-entropy is exactly zero.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        batch: Images per gradient. The classifier caches the gradients for attacks that start with the same batches.

    Returns:
        Mask (N,) bool.
    """

    def is_zero(images: Tensor, labels: Tensor) -> Tensor:
        classifier.restart()
        return (classifier.cache_gradient(images, labels) == 0).flatten(1).all(dim=1)

    return torch.cat(in_batches(is_zero, classifier, batch, x, y))


def evaluate(
    perturbation: Perturbation,
    classifier: Classifier,
    clean: CleanResult,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
    *,
    attacked: Classifier | None = None,
    eight_bit: bool = False,
    keep: int = EXAMPLES,
) -> AttackResult:
    """Run a perturbation and evaluate the returned images, clipped to [0, 1].

    An image on which the perturbation fails counts as not fooled: its clean image is the result, and the check
    `attack_error` counts it. An image that the perturbation does not attack stays as it is, too.

    Args:
        perturbation: The perturbation.
        classifier: The classifier that decides about success.
        clean: Its result on the clean images.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        seeds: Seeds (N,) int64.
        attacked: The classifier that the perturbation queries, if it is another one: the same learner in bfloat16.
        eight_bit: Whether images are rounded to multiples of 1/255 before they are judged and measured.
        keep: Number of perturbed images that the result contains, the first ones.

    Returns:
        Predictions, distances, zero gradients and cost.

    Raises:
        Exception: The first exception of the perturbation, if it fails on every image. It is an
            `InvalidPerturbationError` if the returned images have another shape or are not finite.
    """
    queried = attacked or classifier

    def task(images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor]:
        return (perturbation(queried, images, labels, seeds),)

    perturbed = perturb(perturbation, task, lambda images: (images,), queried, x, y, seeds)
    judge = Judge(classifier, queried, clean, x, y, eight_bit=eight_bit, keep=keep)
    return judge(perturbation, perturbed.results[0], perturbed)


def evaluate_sweep(
    sweep: Sequence[MinimalPerturbation],
    classifier: Classifier,
    clean: CleanResult,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
    *,
    eight_bit: bool = False,
    keep: int = EXAMPLES,
) -> list[AttackResult]:
    """Evaluate a search for the smallest strength at several strengths. The search runs once.

    Args:
        sweep: The search at each strength.
        classifier: The classifier under attack.
        clean: Its result on the clean images.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        seeds: Seeds (N,) int64.
        eight_bit: As for `evaluate`.
        keep: As for `evaluate`.

    Returns:
        One result per strength. Each includes the cost of the whole search.

    Raises:
        Exception: As for `evaluate`.
    """

    def search(images: Tensor, labels: Tensor, seeds: Tensor) -> Nearest:
        return sweep[0].nearest(classifier, images, labels, seeds)

    def nothing_found(images: Tensor) -> Nearest:
        return Nearest(images, images.new_full((len(images),), torch.inf))

    perturbed = perturb(sweep[0], search, nothing_found, classifier, x, y, seeds)
    nearest = Nearest(*perturbed.results)
    searched = (clean.prediction == y) & perturbed.attacked
    shares: dict[str, float] = {}
    if sweep[0].expected_to_succeed and searched.any():
        shares["attack_failed"] = nearest.strength[searched].isinf().double().mean().item()
    judge = Judge(classifier, classifier, clean, x, y, eight_bit=eight_bit, keep=keep)
    return [judge(one, one.within(x, nearest), perturbed, shares) for one in sweep]
