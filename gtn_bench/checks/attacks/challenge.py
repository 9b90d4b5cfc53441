"""Further attacks on images that an attack left correctly classified, judged as an evaluation judges."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.config.threat import Threat
from gtn_bench.evaluation.judging import WHITE, predict
from gtn_bench.evaluation.perturbing import perturb
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import Perturbation, lp_norm


class Passes:
    """Count of the passes through classifiers from now on.

    Args:
        classifiers: The classifiers. One that is given twice counts once.
    """

    def __init__(self, *classifiers: Classifier) -> None:
        self.classifiers = {id(each): each for each in classifiers}.values()
        self.start = self._now()

    def _now(self) -> tuple[int, int]:
        return sum(each.forwards for each in self.classifiers), sum(each.backwards for each in self.classifiers)

    def outcome(self, count: int | Tensor, n: int, note: str = "") -> Outcome:
        """Return an outcome with the passes until now.

        Args:
            count: Number of images, or their mask.
            n: Number of images that the share is of.
            note: What else to say.
        """
        forwards, backwards = self._now()
        return Outcome(
            int(count if isinstance(count, int) else count.sum()),
            n,
            forwards - self.start[0],
            backwards - self.start[1],
            note,
        )


def does_not_apply(note: str) -> Outcome:
    """Return the outcome of a probe that does not apply.

    Args:
        note: The reason.
    """
    return Outcome(0, 0, 0, 0, note)


def fooled_by(
    situation: Situation,
    perturbation: Perturbation,
    rows: Tensor,
    *,
    seeds: Tensor | None = None,
    source: Classifier | None = None,
    region: Threat | None = None,
) -> Tensor:
    """Run another attack on some images, and return which of them it fools.

    If the attack or the classifier couples the images of a batch, the attack runs on all images, so that batches are
    those of the run.

    Args:
        situation: The images and the classifier that decides about success.
        perturbation: The other attack.
        rows: Mask (n,) of the images.
        seeds: Seeds (n,); by default those of the situation.
        source: The classifier that it queries; by default the one that decides.
        region: The ball in which images are judged; by default that of the situation.

    Returns:
        Mask (n,) of the images, among those of `rows`, that are misclassified in the box and in the ball.
    """
    if not rows.any():
        return torch.zeros_like(rows)
    attacked = source or situation.classifier
    chosen = rows_in_batches(perturbation, attacked, rows)

    def task(images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor]:
        return (perturbation(attacked, images, labels, seeds),)

    draws = (situation.seeds if seeds is None else seeds)[chosen.cpu()]
    images, labels = situation.x[chosen], situation.y[chosen]
    found = perturb(perturbation, task, lambda images: (images,), attacked, images, labels, draws).results[0]
    return misclassified(situation, situation.x.index_put((chosen,), found), rows, region)


def rows_in_batches(perturbation: Perturbation, classifier: Classifier, rows: Tensor) -> Tensor:
    """Return the images that an attack has to see so that batches are those of the run.

    Args:
        perturbation: The attack.
        classifier: The classifier that it queries.
        rows: Mask (n,) of the images of interest.

    Returns:
        Mask (n,): `rows` if images are independent, else all images.
    """
    coupled = perturbation.batch != "any" or classifier.batch is not None
    return torch.ones_like(rows) if coupled else rows


def as_judged(situation: Situation, x_adv: Tensor) -> Tensor:
    """Return images as they are judged: clipped to [0, 1], and rounded if the situation says so.

    Args:
        situation: The situation.
        x_adv: Images (N, C, H, W).
    """
    clipped = x_adv.clamp(0, 1)
    return (clipped * WHITE).round() / WHITE if situation.eight_bit else clipped


def misclassified(situation: Situation, x_adv: Tensor, rows: Tensor, region: Threat | None = None) -> Tensor:
    """Return which perturbed images are misclassified in the box and in the ball.

    Args:
        situation: The clean images and the classifier that decides.
        x_adv: Perturbed images (n, C, H, W).
        rows: Mask (n,) of the images of interest.
        region: The ball; by default that of the situation.

    Returns:
        Mask (n,).
    """
    region = region or situation.region
    judged = as_judged(situation, x_adv)
    inside: Tensor = region.contains(lp_norm(judged - situation.x, region.norm))  # False if it is not a number
    rows = rows & inside
    if not rows.any():
        return rows
    if situation.classifier.batch is not None:  # random draws depend on the position in the batch
        everything = judged.where(rows.view(-1, 1, 1, 1), situation.x)
        return rows & (predict(situation.classifier, everything) != situation.y)
    wrong = predict(situation.classifier, judged[rows]) != situation.y[rows]
    return rows.index_put((rows,), wrong)


def union_of(situation: Situation, attacks: Sequence[tuple[Perturbation, Tensor]]) -> Tensor:
    """Return which survivors at least one of several attacks fools. Each sees those that the ones before left.

    Args:
        situation: The situation.
        attacks: Attacks, each with its seeds (n,).

    Returns:
        Mask (n,).
    """
    fooled = torch.zeros_like(situation.survivors)
    for perturbation, seeds in attacks:
        fooled = fooled | fooled_by(situation, perturbation, situation.survivors & ~fooled, seeds=seeds)
    return fooled


def other_seeds(seeds: Tensor, purpose: str) -> Tensor:
    """Return seeds for draws that are independent of those of the given seeds.

    Args:
        seeds: Seeds (n,) int64, not negative.
        purpose: What the draws are for.

    Returns:
        Seeds (n,) int64, not negative.
    """
    digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return seeds ^ (int.from_bytes(digest, "big") >> 2)
