"""The only judge: clips, checks, re-predicts and measures what a perturbation returned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gtn_bench.classifiers import Classifier
from gtn_bench.perturbations.base import Batch, MinimalPerturbation, Nearest, Perturbation, length
from gtn_bench.perturbations.batching import in_batches
from gtn_bench.perturbations.library import LibraryAttack, Radius

EXAMPLES = 4  # perturbed images kept for the report
MEASURED = ("label", "clean_prediction", "prediction", "linf", "l2", "zero_gradient")  # for each sample


Flag = Literal["unchanged", "found nothing", "left its ball"]  # why an outcome is not to be believed


class BrokenPromise(RuntimeError):
    """A perturbation returned something that is not a batch of finite images."""


@dataclass(frozen=True, eq=False)
class Clean:
    """A classifier on the unperturbed images: what all its perturbations share."""

    prediction: Tensor  # (N,) int64
    zero_gradient: Tensor  # (N,) bool: the cross-entropy has no slope here


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a perturbation did to each of N images, on the CPU."""

    label: Tensor  # (N,) int64
    clean_prediction: Tensor  # (N,) int64
    prediction: Tensor  # (N,) int64
    linf: Tensor  # (N,) largest change of a pixel value
    l2: Tensor  # (N,) Euclidean length of the change
    zero_gradient: Tensor  # (N,) bool: a gradient attack had nothing to follow at its start
    examples: Tensor  # (at most EXAMPLES, C, H, W): the first perturbed images
    flags: tuple[Flag, ...]
    forwards: float  # images through the classifier, for each image judged
    backwards: float  # gradients likewise
    seconds: float


def predict(classifier: Classifier, x: Tensor) -> Tensor:
    """Most likely class (N,) of images (N, C, H, W), a batch at a time."""
    return torch.cat(in_batches(classifier.predict, classifier, "any", x))


def look_at(classifier: Classifier, x: Tensor, y: Tensor, *, batch: Batch = "any") -> Clean:
    """Predictions and vanished gradients on clean images (N, C, H, W) with labels (N,).

    The gradients are remembered for attacks that begin with them and are handed such batches.
    """
    return Clean(predict(classifier, x), vanished(classifier, x, y, batch=batch))


def vanished(classifier: Classifier, x: Tensor, y: Tensor, *, batch: Batch = "any") -> Tensor:
    """Where the cross-entropy has no slope (N,)."""

    def flat(images: Tensor, labels: Tensor) -> Tensor:
        return (classifier.remember(images, labels) == 0).flatten(1).all(dim=1)

    return torch.cat(in_batches(flat, classifier, batch, x, y))


class Cost(NamedTuple):
    """What was asked of the classifier for each image judged, and the time it took."""

    forwards: float
    backwards: float
    seconds: float


def judge(
    perturbation: Perturbation,
    classifier: Classifier,
    clean: Clean,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
    *,
    attacked: Classifier | None = None,
) -> Outcome:
    """Run the perturbation on images (N, C, H, W), labels (N,), seeds (N,), and judge it.

    Nothing that the perturbation says of itself counts. Raises `BrokenPromise` if the shape
    is wrong or a value is not finite; what lies outside [0, 1] is clipped.

    Args:
        classifier: the judge.
        attacked: what the perturbation sees, if it is not the judge: the same learner in lower precision.
    """
    (returned,), cost = _perturb(
        perturbation, lambda *arguments: (perturbation(*arguments),), attacked or classifier, x, y, seeds
    )
    return _assess(perturbation, classifier, clean, x, y, returned, cost)


def judge_sweep(
    sweep: Sequence[MinimalPerturbation], classifier: Classifier, clean: Clean, x: Tensor, y: Tensor, seeds: Tensor
) -> list[Outcome]:
    """The same for a search at several strengths, which is made once; each outcome has its whole cost."""
    found, cost = _perturb(sweep[0], sweep[0].nearest, classifier, x, y, seeds)
    nearest = Nearest(*found)
    missed = nearest.strength[clean.prediction == y].isinf()
    flags: tuple[Flag, ...] = ()
    if isinstance(sweep[0], Radius) and missed.sum() > len(missed) / 2:
        flags = ("found nothing",)
    return [_assess(one, classifier, clean, x, y, one.within(x, nearest), cost, flags) for one in sweep]


def _perturb(
    perturbation: Perturbation,
    task: Callable[[Classifier, Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
) -> tuple[list[Tensor], Cost]:
    """What the task returns for all images, and what it cost."""

    def checked(images: Tensor, labels: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
        returned, *more = task(classifier, images.clone(), labels.clone(), seed.clone())
        if returned.shape != images.shape:
            raise BrokenPromise(
                f"'{perturbation.title}' returned shape {tuple(returned.shape)}, expected {tuple(images.shape)}"
            )
        if not returned.isfinite().all():
            broken = int((~returned.isfinite()).flatten(1).any(dim=1).sum())
            raise BrokenPromise(
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


def _assess(
    perturbation: Perturbation,
    classifier: Classifier,
    clean: Clean,
    x: Tensor,
    y: Tensor,
    returned: Tensor,
    cost: Cost,
    flags: tuple[Flag, ...] = (),
) -> Outcome:
    """Clip, predict again and measure."""
    x_adv = returned.clamp(0, 1)
    change = (x_adv - x).flatten(1)
    prediction = predict(classifier, x_adv)
    return Outcome(
        label=y.cpu(),
        clean_prediction=clean.prediction.cpu(),
        prediction=prediction.cpu(),
        linf=change.abs().amax(dim=1).cpu(),
        l2=change.norm(dim=1).cpu(),
        zero_gradient=(clean.zero_gradient & perturbation.uses_gradient).cpu(),
        examples=x_adv[:EXAMPLES].cpu(),
        flags=(*flags, *_flags(perturbation, change, prediction == y)),
        **cost._asdict(),
    )


def _flags(perturbation: Perturbation, change: Tensor, correct: Tensor) -> Iterator[Flag]:
    """What is wrong with changes (N, D), after which some images are still classified correctly (N,)."""
    if isinstance(perturbation, LibraryAttack) and perturbation.beta > 0:
        still = (change[correct] == 0).all(dim=1)
        if still.sum() > len(still) / 2:
            yield "unchanged"
    if perturbation.promise:
        norm, radius = perturbation.promise
        if (length(change, norm) > radius * 1.001 + 1e-5).any():
            yield "left its ball"
