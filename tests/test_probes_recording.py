"""Records of what an attack queries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.perturbations import EXAMPLES
from test_probes import DISTANCES, FOOLED, LINE, RADIUS, X, situation, small, small_classifier
from torch import Tensor

from gtn_bench.checks.attacks.assignment import Assignment
from gtn_bench.checks.attacks.recording import Recorder, late_rise, record, recording
from gtn_bench.config.threat import Threat
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.random_classifier import RandomClassifier
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.perturbations.pgd import PGD

SEARCHING = [each for each in EXAMPLES if each.search_region and each.access != "none"]


class Undone(PGD):
    """An attack that goes on to its start after it has found an image."""

    name = "undone"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        found = super().__call__(classifier, x, y, seeds)
        for share in (1.0, 0.5, 0.0):
            last = x + share * (found - x)
            classifier.predict(last)
        return last


class Leaving(PGD):
    """An attack that looks outside of its ball, and outside of the box."""

    name = "outside"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        for distance in (3 * self.beta, 2.0):
            found = PGD(beta=3 * self.beta)(classifier, x, y, seeds)
            classifier.predict(x + distance * (found - x).sign())
        return x


def test_path_is_found_exactly() -> None:
    given = situation(Undone(beta=RADIUS))
    assert given.survivors.all()
    outcomes = record(given)
    assert outcomes["path"][:2] == (int(FOOLED.sum()), 40)
    assert record(situation(PGD(beta=RADIUS)))["path"][:2] == (0, 40)


def test_path_counts_no_image_outside_of_ball_and_box() -> None:
    given = situation(Leaving(beta=RADIUS))
    assert given.survivors.all() and (DISTANCES < 3 * RADIUS).any()
    assert record(given)["path"].count <= FOOLED.sum()  # steps of its attack that stay in the small ball
    outside = situation(PERTURBATIONS["fgsm"](beta=RADIUS, steps=1))
    assert record(outside)["path"].count == 0


@pytest.mark.parametrize("attack", SEARCHING, ids=lambda attack: f"{attack.title}-{attack.beta}")
@pytest.mark.parametrize("is_random", [False, True])
def test_recording_changes_nothing(digits: tuple[Tensor, Tensor], attack: Perturbation, is_random: bool) -> None:
    network = small()
    if attack.name == "lbfgs":
        attack = attack.model_copy(update={"binary_search_steps": 2, "steps": 5})
    x, y = digits[0][:12], digits[1][:12]
    seeds = torch.arange(12)
    shape = (1, 8, 8)
    classifier = Classifier(network, shape, 10)
    if is_random:
        classifier = RandomClassifier(lambda x: network(x + 0.1 * torch.randn_like(x)), shape, 10, samples=2)
    results: list[Any] = []
    region = attack.search_region
    assert region is not None
    recorder = Recorder(region, x, y, in_order=False)
    for recorded in (False, True):
        classifier.forwards = classifier.backwards = 0
        classifier.restart()
        if recorded:
            with recording(classifier, recorder):
                x_adv = attack(classifier, x.clone(), y.clone(), seeds)
        else:
            x_adv = attack(classifier, x.clone(), y.clone(), seeds)
        results.append((x_adv, classifier.forwards, classifier.backwards))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1:] == results[1][1:]
    assert not classifier._forward_hooks
    queries = recorder.record()[3]
    assert (queries >= 1).all() or not recorder.assignment.apart.all()


@pytest.mark.parametrize("title", ["foolbox", "torchattacks", "art"])
def test_library_attacks_that_undo_their_success_are_seen(digits: tuple[Tensor, Tensor], title: str) -> None:
    """The wrapped attack queries through its library; its images are then thrown away."""
    library = next(each for each in EXAMPLES if each.name == title)

    class Forgetful(type(library)):  # type: ignore[misc]
        def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
            super().__call__(classifier, x, y, seeds)
            return x

    fields = {**dict(library), "beta": 0.3}
    kept, forgotten = (situation(cls(**fields), small_classifier(), digits) for cls in (type(library), Forgetful))
    lost = int((forgotten.survivors & ~kept.survivors).sum())
    assert lost >= 5
    assert lost * 0.5 <= record(forgotten)["path"].count  # the last iterate is not queried


def test_queries_are_assigned_to_the_ball_in_which_they_lie() -> None:
    x = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    small = Assignment(Threat("linf", 0.1), x, in_order=False)
    assert small(x.flip(0)).tolist() == [2, 1, 0]
    assert small(x + 0.05).tolist() == [0, 1, 2]
    assert small(torch.cat((x[:1] + 0.2, x[1:2] - 0.1, x[2:] + 0.11, x[:1] - 0.11))).tolist() == [-1, 1, -1, -1]
    wide = Assignment(Threat("linf", 0.3), x, in_order=False)
    assert wide(x).tolist() == [0, 1, 2]
    assert wide(x + torch.tensor([0.2, 0.2, 0.0]).view(3, 1, 1, 1)).tolist() == [-1, -1, 2]  # in two balls
    ordered = Assignment(Threat("linf", 0.3), x, in_order=True)
    assert ordered(x + torch.tensor([0.2, 0.2, 0.0]).view(3, 1, 1, 1)).tolist() == [0, 1, 2]
    sparse = Assignment(Threat("l0", 1), x, in_order=False)
    changed = x.clone()
    changed[:, 0, 0, 0] = 0
    assert sparse(changed).tolist() == [0, 1, 2] and sparse(changed * 0).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("margins", "rise"),
    [
        (torch.arange(20.0), 2 / 19),
        (torch.arange(100.0), 10 / 99),
        (torch.arange(20.0).clamp_max(15), 0.0),
        (-torch.arange(20.0), 0.0),
        (torch.zeros(20), 0.0),
        (torch.arange(9.0), 0.0),
        (torch.tensor([0.0, 4.0] * 10 + [5.0]), 0.2),
    ],
)
def test_late_rise(margins: Tensor, rise: float) -> None:
    assert late_rise(margins) == pytest.approx(rise)


def test_an_attack_that_is_still_moving_is_rising() -> None:
    slow = PERTURBATIONS["pgd"](beta=RADIUS, steps=40, relative_step_size=0.01, random_start=False)
    given = situation(slow)
    assert record(given)["rising"][:2] == (int(given.survivors.sum()), 40)
    done = situation(PERTURBATIONS["pgd"](beta=RADIUS, steps=40))
    assert done.survivors.any() and record(done)["rising"].count == 0


def test_one_overlapping_ball_hides_the_queries_of_attacks_without_an_order() -> None:
    class Shuffled(PGD):
        name = "shuffled"

        def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
            found = super().__call__(classifier, x.flip(0), y.flip(0), seeds.flip(0)).flip(0)
            classifier.predict(found.flip(0))
            return x

    apart = (X - X[:, None]).abs().flatten(2).amax(dim=2).fill_diagonal_(1).min() > 2 * RADIUS
    outcome = record(situation(Shuffled(beta=RADIUS)))["path"]
    assert outcome.count == FOOLED.sum() if apart else outcome.count <= FOOLED.sum()
    assert LINE.forwards > 0
