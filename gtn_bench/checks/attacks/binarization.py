"""The binarization test: an attack has to find an adversarial example that exists by construction.

The readout of the network is replaced by a linear function that tells one point on the boundary of the ball from other
points of the ball. This point is an adversarial example for the new network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtn_bench.checks.attacks.assignment import Assignment
from gtn_bench.checks.attacks.binary import Binary, features_of_points, fit
from gtn_bench.checks.attacks.challenge import Passes, as_judged, does_not_apply
from gtn_bench.checks.attacks.natives import INNER_POINTS, RANDOM_POINTS, has_natives, no_natives
from gtn_bench.checks.attacks.points import random_points
from gtn_bench.checks.attacks.readout import UnassignedQueryError, find_readout, replaced
from gtn_bench.checks.attacks.recording import IN_ORDER
from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.evaluation.batching import in_batches
from gtn_bench.evaluation.perturbing import perturb
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations.base import lp_norm

SHARE_OF_FEATURES = 0.25  # with more points honest attacks miss some, with less random points solve more
FEWEST_TESTED = 20  # images; if random points solve the others, the test is too easy
FEWEST_FEATURES = 8
ONE_BY_ONE = 64  # images, if they are attacked one by one


def binarization(situation: Situation) -> dict[str, Outcome]:
    """Replace the readout around each image, and run the attack with its own seeds.

    Images whose points no linear function separates, and those that random points solve, do not count.

    Args:
        situation: The attack.

    Returns:
        The images on which the attack misses the adversarial example.
    """
    if not has_natives(situation.ball):
        return {"binarization": does_not_apply(no_natives(situation.ball))}
    classifier = situation.classifier
    readout = find_readout(classifier, situation.x[:2]) if len(situation.x) > 1 else None
    if readout is None:
        return {"binarization": does_not_apply("the last layer of the network is not linear")}
    points = min(INNER_POINTS, int(SHARE_OF_FEATURES * readout.in_features))
    if readout.in_features < FEWEST_FEATURES:
        return {"binarization": does_not_apply(f"the last layer has only {readout.in_features} inputs")}
    passes = Passes(classifier)
    batched = situation.perturbation.batch == "any"
    count = len(situation.y) if batched else min(ONE_BY_ONE, len(situation.y))
    binary, solvable = fit(situation, readout, points, count)
    at_random = solvable & solved_at_random(situation, readout, binary, count)
    tested = solvable & ~at_random
    found, forwards, backwards = solved_by_attack(situation, readout, binary, tested, in_batches=batched)
    note = f"random points solve {int(at_random.sum())} of {int(solvable.sum())} images"
    n = int(tested.sum())
    if n < FEWEST_TESTED:
        note = f"too few images to tell: {note}"
    outcome = passes.outcome(tested & ~found if n >= FEWEST_TESTED else 0, n if n >= FEWEST_TESTED else 0, note)
    return {
        "binarization": outcome._replace(forwards=outcome.forwards + forwards, backwards=outcome.backwards + backwards)
    }


def solved_at_random(situation: Situation, readout: nn.Linear, binary: Binary, count: int) -> Tensor:
    """Return for which images one of some random points lies on the side of the boundary point.

    Args:
        situation: The images and the ball.
        readout: The readout.
        binary: The binary readouts.
        count: Number of images.

    Returns:
        Mask (n,).
    """
    cloud = random_points(situation.ball, situation.x[:count], situation.seeds[:count], RANDOM_POINTS)
    features, _ = features_of_points(situation.classifier, readout, as_judged(situation, cloud))
    rows = torch.arange(count, device=cloud.device).repeat_interleave(RANDOM_POINTS)
    found = (binary.separation.scores(features.flatten(0, 1), rows) > 0).view(count, -1).any(dim=1)
    solved = torch.zeros_like(situation.survivors)
    solved[:count] = found
    return solved


def solved_by_attack(
    situation: Situation, readout: nn.Linear, binary: Binary, rows: Tensor, *, in_batches: bool
) -> tuple[Tensor, int, int]:
    """Run the attack on the network with the binary readouts.

    Args:
        situation: The attack.
        readout: The readout.
        binary: The binary readouts.
        rows: Mask (n,) of the images to attack.
        in_batches: Whether to attack many images at once. Batches with queries that cannot be assigned to one of them
            are halved, as those in which an attack fails.

    Returns:
        Mask (n,) of the images on which it finds an adversarial example in the ball; forward and backward passes.
    """
    found, forwards, backwards = torch.zeros_like(rows), 0, 0
    places = rows.nonzero().squeeze(1)
    for group in places.split(len(places) if in_batches else 1) if len(places) else ():
        attempt = _Attempt(situation, readout, binary)
        with replaced(situation.classifier, readout, attempt.outputs) as changed:
            found[group] = attempt(changed, group)
        forwards, backwards = forwards + changed.forwards, backwards + changed.backwards
    return found, forwards, backwards


class _Attempt:
    """A run of the attack on images with binary readouts.

    Args:
        situation: The attack.
        readout: The readout.
        binary: The binary readouts.
    """

    def __init__(self, situation: Situation, readout: nn.Linear, binary: Binary) -> None:
        self.situation, self.readout, self.binary = situation, readout, binary
        self.rows = torch.empty(0, dtype=torch.int64)
        self.assignment: Assignment | None = None

    def __call__(self, changed: Classifier, group: Tensor) -> Tensor:
        """Return which images of a group (places, (m,)) the attack solves, on the classifier with new readouts."""
        situation, perturbation = self.situation, self.situation.perturbation
        x, y, seeds = situation.x[group], torch.zeros_like(situation.y[group]), situation.seeds[group.cpu()]

        def task(images: Tensor, labels: Tensor, both: Tensor) -> tuple[Tensor, ...]:
            self._begin(images, both[:, 1])
            return (perturbation(changed, images, labels, both[:, 0]),)

        both = torch.stack((seeds, group.cpu()), dim=1)
        x_adv = perturb(perturbation, task, lambda images: (images,), changed, x, y, both).results[0]
        judged = as_judged(situation, x_adv)
        inside: Tensor = situation.region.contains(lp_norm(judged - x, situation.region.norm))

        def predict(images: Tensor, places: Tensor) -> Tensor:
            self._begin(images, places)
            self.assignment = None
            changed.restart("judgment")
            return changed.predict(images)

        return inside & (torch.cat(in_batches(predict, changed, "any", judged, group)) == 1)

    def outputs(self, queried: Tensor, features: Tensor) -> Tensor:
        """Return the outputs of the new readouts. See `replaced`."""
        rows = self.rows
        if len(rows) == 1:
            rows = rows.expand(len(queried))
        elif self.assignment is not None and not (len(queried) == len(rows) and self.assignment.in_order):
            owner = self.assignment(queried)
            if (owner < 0).any():
                raise UnassignedQueryError
            rows = rows[owner]
        return self.binary.outputs(features, rows, self.situation.classifier.num_classes)

    def _begin(self, images: Tensor, rows: Tensor) -> None:
        """Expect queries about these images, whose places are `rows`."""
        in_order = self.situation.perturbation.name in IN_ORDER
        self.rows = rows.to(images.device)
        self.assignment = Assignment(self.situation.ball, images.clone(), in_order=in_order)
