"""Evaluation of a perturbation: clips, checks, predicts again and measures the returned images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.config.errors import InvalidPerturbationError
from gtn_bench.evaluation.batching import in_batches
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Batch, MinimalPerturbation, Nearest, Perturbation, lp_norm

EXAMPLES = 4  # perturbed images stored for the report
MEASURED = ("label", "clean_prediction", "prediction", "linf", "l2", "zero_gradient")  # per image


@dataclass(frozen=True, eq=False)
class CleanResult:
    """Result of a classifier on N clean images, shared by all perturbations.

    Attributes:
        prediction: Predicted classes (N,) int64.
        zero_gradient: Whether the gradient of the cross-entropy is exactly zero (N,) bool.
    """

    prediction: Tensor
    zero_gradient: Tensor


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Result of a perturbation of N images. All tensors are on the CPU.

    Attributes:
        label: True labels (N,) int64.
        clean_prediction: Predicted classes of the clean images (N,) int64.
        prediction: Predicted classes of the perturbed images (N,) int64.
        linf: L-inf distances (N,), in pixel values.
        l2: L2 distances (N,), in pixel values.
        zero_gradient: Mask (N,) bool. True where the perturbation uses the loss gradient and starts at a zero one.
        examples: Perturbed images (E, C, H, W). They are those of the first `EXAMPLES` images.
        shares: Measured shares of images in [0, 1]. The keys are names of sanity checks.
        forwards: Forward passes through the classifier, per evaluated image.
        backwards: Backward passes through the classifier, per evaluated image.
        seconds: Wall time of the perturbation, in seconds.
    """

    label: Tensor
    clean_prediction: Tensor
    prediction: Tensor
    linf: Tensor
    l2: Tensor
    zero_gradient: Tensor
    examples: Tensor
    shares: dict[str, float]
    forwards: float
    backwards: float
    seconds: float


class Cost(NamedTuple):
    """Cost of a perturbation.

    Attributes:
        forwards: Forward passes through the classifier, per evaluated image.
        backwards: Backward passes through the classifier, per evaluated image.
        seconds: Wall time, in seconds.
    """

    forwards: float
    backwards: float
    seconds: float


def predict(classifier: Classifier, x: Tensor) -> Tensor:
    """Return the predicted classes of images, computed in batches.

    Args:
        classifier: The classifier.
        x: Images (N, C, H, W) in [0, 1].

    Returns:
        Classes (N,) int64.
    """
    return torch.cat(in_batches(classifier.predict, classifier, "any", x))


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
) -> AttackResult:
    """Run a perturbation and evaluate the returned images, clipped to [0, 1].

    Args:
        perturbation: The perturbation.
        classifier: The classifier that decides about success.
        clean: Its result on the clean images.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        seeds: Seeds (N,) int64.
        attacked: The classifier that the perturbation queries, if it is another one: the same learner in bfloat16.

    Returns:
        Predictions, distances, zero gradients and cost.

    Raises:
        InvalidPerturbationError: If the returned images have another shape or are not finite.
    """
    (returned,), cost = _perturb(
        perturbation, lambda *arguments: (perturbation(*arguments),), attacked or classifier, x, y, seeds
    )
    return _measure(perturbation, classifier, clean, x, y, returned, cost)


def evaluate_sweep(
    sweep: Sequence[MinimalPerturbation],
    classifier: Classifier,
    clean: CleanResult,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
) -> list[AttackResult]:
    """Evaluate a search for the smallest strength at several strengths. The search runs once.

    Args:
        sweep: The search at each strength.
        classifier: The classifier under attack.
        clean: Its result on the clean images.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        seeds: Seeds (N,) int64.

    Returns:
        One result per strength. Each includes the cost of the whole search.

    Raises:
        InvalidPerturbationError: If the returned images have another shape or are not finite.
    """
    found, cost = _perturb(sweep[0], sweep[0].nearest, classifier, x, y, seeds)
    nearest = Nearest(*found)
    failed = nearest.strength[clean.prediction == y].isinf()
    shares: dict[str, float] = {}
    if sweep[0].expected_to_succeed and len(failed):
        shares["attack_failed"] = failed.double().mean().item()
    return [_measure(one, classifier, clean, x, y, one.within(x, nearest), cost, shares) for one in sweep]


def _perturb(
    perturbation: Perturbation,
    task: Callable[[Classifier, Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
) -> tuple[list[Tensor], Cost]:
    """Return the results of a task for all images, and its cost."""

    def checked(images: Tensor, labels: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
        returned, *more = task(classifier, images.clone(), labels.clone(), seed.clone())
        if returned.shape != images.shape:
            raise InvalidPerturbationError(
                f"'{perturbation.title}' returned shape {tuple(returned.shape)}, expected {tuple(images.shape)}"
            )
        if not returned.isfinite().all():
            broken = int((~returned.isfinite()).flatten(1).any(dim=1).sum())
            raise InvalidPerturbationError(
                f"'{perturbation.title}' returned non-finite pixels in {broken} of {len(images)} images"
            )
        return (returned.detach().to(x), *more)

    start = time.perf_counter()
    before = classifier.forwards, classifier.backwards
    parts = in_batches(checked, classifier, perturbation.batch, x, y, seeds)
    seconds = time.perf_counter() - start
    forwards, backwards = classifier.forwards - before[0], classifier.backwards - before[1]
    return [torch.cat(tensors) for tensors in zip(*parts, strict=True)], Cost(
        forwards / len(x), backwards / len(x), seconds
    )


def _measure(
    perturbation: Perturbation,
    classifier: Classifier,
    clean: CleanResult,
    x: Tensor,
    y: Tensor,
    returned: Tensor,
    cost: Cost,
    shares: Mapping[str, float] | None = None,
) -> AttackResult:
    """Clip the returned images, predict again and measure distances."""
    x_adv = returned.clamp(0, 1)
    change = (x_adv - x).flatten(1)
    prediction = predict(classifier, x_adv)
    return AttackResult(
        label=y.cpu(),
        clean_prediction=clean.prediction.cpu(),
        prediction=prediction.cpu(),
        linf=change.abs().amax(dim=1).cpu(),
        l2=change.norm(dim=1).cpu(),
        zero_gradient=(clean.zero_gradient & perturbation.uses_gradient).cpu(),
        examples=x_adv[:EXAMPLES].cpu(),
        shares={**(shares or {}), **_shares(perturbation, change, prediction == y)},
        **cost._asdict(),
    )


def _shares(perturbation: Perturbation, change: Tensor, correct: Tensor) -> dict[str, float]:
    """Return the shares of images that the sanity checks compare with their thresholds, by name of the check.

    Args:
        perturbation: The perturbation.
        change: Perturbed minus clean images (N, D).
        correct: Whether the perturbed images are classified correctly (N,).
    """
    shares = {}
    if perturbation.changes_every_image and perturbation.beta > 0 and correct.any():
        shares["unchanged"] = (change[correct] == 0).all(dim=1).double().mean().item()
    threat = perturbation.threat_model
    if threat:
        inside = threat.contains(lp_norm(change, threat.norm))
        shares["outside_ball"] = (~inside).double().mean().item()
    return shares
