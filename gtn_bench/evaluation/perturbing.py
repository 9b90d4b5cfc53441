"""Runs of a perturbation on all images that it attacks, with their cost and their failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.config.errors import ChangedModelError
from gtn_bench.evaluation.attempts import Attempts, Task, join
from gtn_bench.evaluation.batching import in_batches
from gtn_bench.evaluation.timing import seconds_when_done
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.perturbations.libraries.trial import describe


class Cost(NamedTuple):
    """Cost of a perturbation.

    Attributes:
        forwards: Forward passes through the classifier, per evaluated image. Attempts that failed count, but for those
            that ran out of memory.
        backwards: Backward passes through the classifier, per evaluated image.
        seconds: Wall time, in seconds.
    """

    forwards: float
    backwards: float
    seconds: float


class Perturbed(NamedTuple):
    """The images that a perturbation returned, before they are judged.

    Attributes:
        results: The perturbed images (N, C, H, W), and what else the perturbation returns for each image (N, ...).
        attacked: Mask (N,) of the images that the perturbation attacks.
        failed: Mask (N,) of the images on which it failed.
        attack_error: Number of these images and first exception, in one line; empty if there are none.
        cost: Its cost.
    """

    results: tuple[Tensor, ...]
    attacked: Tensor
    failed: Tensor
    attack_error: str
    cost: Cost


def perturb(
    perturbation: Perturbation,
    task: Task,
    otherwise: Callable[[Tensor], tuple[Tensor, ...]],
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
) -> Perturbed:
    """Run a task on all images that a perturbation attacks.

    Args:
        perturbation: The perturbation.
        task: Maps images (n, C, H, W), labels (n,) and seeds (n,) to perturbed images and further tensors (n, ...).
        otherwise: Maps images to the results of images that are not attacked, or on which the task fails.
        classifier: The classifier that the task queries.
        x: Images (N, C, H, W) in [0, 1].
        y: Labels (N,).
        seeds: Seeds (N,) int64.

    Returns:
        The results of all images.

    Raises:
        ChangedModelError: If the task changed the network. The classifier is then of no use.
        Exception: The first exception of the task, if it fails on every image.
    """

    def restarted(images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor, ...]:
        classifier.restart()
        return tuple(task(images, labels, seeds))

    # With statistics of the batch, a smaller batch is another classifier.
    divisible = perturbation.batch != "all" and not classifier.training
    attempts = Attempts(perturbation.title, restarted, otherwise, divisible=divisible)
    attacked = perturbation.is_attacked(y)
    results, failed, attack_error = otherwise(x), torch.zeros_like(attacked), ""
    hooks, start = classifier.hooks(), seconds_when_done(x.device)
    before = classifier.forwards, classifier.backwards
    if attacked.any():
        everything = bool(attacked.all())
        rows = (x, y, seeds) if everything else (x[attacked], y[attacked], seeds[attacked.cpu()])
        attempt = join(in_batches(attempts, classifier, perturbation.batch, *rows, refills=perturbation.refills))
        if changed := classifier.changed_part(hooks):
            raise ChangedModelError(f"'{perturbation.title}' changed the network: {changed}")
        if attempt.error and attempt.failed.all():
            raise attempt.error
        pairs = zip(results, attempt.results, strict=True)
        results = tuple(new if everything else old.index_put((attacked,), new) for old, new in pairs)
        failed[attacked] = attempt.failed
        if attempt.error:
            attack_error = f"{int(failed.sum())} of {len(x)} images: {describe(attempt.error)}"
    forwards, backwards = classifier.forwards - before[0], classifier.backwards - before[1]
    cost = Cost(forwards / len(x), backwards / len(x), seconds_when_done(x.device) - start)
    return Perturbed(results, attacked, failed, attack_error, cost)
