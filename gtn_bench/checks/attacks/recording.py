"""Records of the images that an attack queries: what it found on its way, and whether it was still improving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gtn_bench.checks.attacks.assignment import Assignment
from gtn_bench.checks.attacks.challenge import Passes, misclassified, rows_in_batches
from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.config.threat import Threat
from gtn_bench.evaluation.perturbing import perturb
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.losses import margin

SHORTEST = 10  # queries of an image; with fewer, the last tenth is less than one
RISE = 0.05  # of the range of the loss, in the last tenth of the queries
IN_ORDER = ("fgsm", "pgd", "apgd", "square")  # attacks that query a batch in its order, or a part of it

Record = tuple[Tensor, Tensor, Tensor, Tensor]  # per image: best query, its margin, rise of the loss, queries


class Recorder:
    """Record of the queries about the images of one batch, as a forward hook of the classifier.

    Args:
        ball: The ball.
        x: Clean images (n, C, H, W).
        y: Labels (n,).
        in_order: Whether queried batches are known to be in the order of the images.
    """

    def __init__(self, ball: Threat, x: Tensor, y: Tensor, *, in_order: bool) -> None:
        self.assignment, self.x, self.y = Assignment(ball, x, in_order=in_order), x, y
        self.best, self.best_margin = x.clone(), x.new_full((len(x),), -math.inf)
        self.margins: list[Tensor] = []  # of each query (n,), not a number for images that it is not about

    @torch.no_grad()
    def __call__(self, module: Any, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        """Record a query.

        Args:
            module: The classifier.
            inputs: The queried images (m, C, H, W), in a tuple.
            logits: Its logits (m, K).
        """
        queried = inputs[0].detach().to(self.x)
        owner = self.assignment(queried)
        known = owner >= 0
        if not known.any():
            return
        owner, queried = owner[known], queried[known]
        value = margin(logits.detach()[known], self.y[owner]).to(self.best_margin).nan_to_num(nan=-math.inf)
        largest = torch.full_like(self.best_margin, -math.inf).scatter_reduce(0, owner, value, "amax")
        self.margins.append(largest.where(largest.isfinite(), torch.nan))
        first = torch.full_like(self.y, len(owner)).scatter_reduce(
            0, owner, torch.arange(len(owner), device=owner.device).where(value == largest[owner], len(owner)), "amin"
        )
        better = (largest > self.best_margin) & (first < len(owner))
        self.best[better] = queried[first[better]]
        self.best_margin = largest.where(better, self.best_margin)

    def record(self) -> Record:
        """Return the record of each image: its best query, the margin there, the rise of the loss, its queries."""
        if not self.margins:
            nothing = torch.zeros_like(self.best_margin)
            return self.best, self.best_margin, nothing, nothing
        sequences = torch.stack(self.margins, dim=1)
        rises = [late_rise(sequence[~sequence.isnan()]) for sequence in sequences]
        queries = (~sequences.isnan()).sum(dim=1)
        return self.best, self.best_margin, self.best_margin.new_tensor(rises), queries.to(self.best_margin)


def late_rise(margins: Tensor) -> float:
    """Return how much the largest margin so far rises in the last tenth of a sequence, as a share of its whole rise.

    It is the range of the running minimum of the loss, ``logit of the label - largest other logit``, after the loss is
    rescaled to [0, 1]. Source: the indicator of non-convergence of https://arxiv.org/abs/2106.09947.

    Args:
        margins: Margins (T,), positive where an image is misclassified.

    Returns:
        A share in [0, 1]; 0 for fewer than `SHORTEST` numbers.
    """
    if len(margins) < SHORTEST:
        return 0.0
    best = margins.cummax(dim=0).values
    span = float(margins.max() - margins.min())
    last = math.ceil(len(margins) / 10)
    return float(best[-1] - best[-1 - last]) / span if span > 0 else 0.0


@contextmanager
def recording(classifier: Classifier, recorder: Recorder) -> Iterator[None]:
    """Record all queries of a classifier. Its outputs and counts do not change.

    Args:
        classifier: The classifier.
        recorder: The recorder.
    """
    handle = classifier.register_forward_hook(recorder)
    classifier.recorded = True
    try:
        yield
    finally:
        classifier.recorded = False
        handle.remove()


def record(situation: Situation) -> dict[str, Outcome]:
    """Repeat the attack with its own seeds on the images that it left, and look at everything that it queries.

    Args:
        situation: The attack.

    Returns:
        `path`: images that are misclassified at some queried image in the ball, but not at the end. `rising`: images
        whose loss was still rising.
    """
    classifier, perturbation, survivors = situation.classifier, situation.perturbation, situation.survivors
    passes, n = Passes(classifier), len(situation.y)
    if not survivors.any():
        return {"path": Outcome(0, n, 0, 0), "rising": Outcome(0, n, 0, 0)}
    chosen = rows_in_batches(perturbation, classifier, survivors)
    in_order = perturbation.name in IN_ORDER

    def task(images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor, ...]:
        recorder = Recorder(situation.ball, images.clone(), labels.clone(), in_order=in_order)
        with recording(classifier, recorder):
            x_adv = perturbation(classifier, images, labels, seeds)
        return (x_adv, *recorder.record())

    def nothing(images: Tensor) -> tuple[Tensor, ...]:
        none = images.new_zeros(len(images))
        return images, images.clone(), none - math.inf, none, none

    rows = situation.x[chosen], situation.y[chosen], situation.seeds[chosen.cpu()]
    _, best, best_margin, rise, queries = perturb(perturbation, task, nothing, classifier, *rows).results
    seen = _spread(queries > 0, chosen) & survivors
    if not seen.any():
        note = "no query of the attack could be assigned to an image: balls intersect, or it makes none"
        return {"path": passes.outcome(0, 0, note), "rising": Outcome(0, 0, 0, 0, note)}
    suspected = survivors & _spread(best_margin > 0, chosen)
    path = misclassified(situation, situation.x.index_put((chosen,), best), suspected)
    rising = survivors & _spread((rise > RISE) & (queries >= SHORTEST), chosen)
    short = survivors & ~_spread(queries >= SHORTEST, chosen)
    note = f"fewer than {SHORTEST} queries of {int(short.sum())} images" if short.any() else ""
    outcome = Outcome(0, 0, 0, 0, note) if (short == survivors).all() else Outcome(int(rising.sum()), n, 0, 0, note)
    return {"path": passes.outcome(path, n), "rising": outcome}


def _spread(values: Tensor, chosen: Tensor) -> Tensor:
    """Return a mask (n,) that is False but at the chosen places, where it has the given values."""
    return torch.zeros_like(chosen).index_put((chosen,), values)
