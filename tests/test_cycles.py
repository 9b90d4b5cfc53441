"""Iterations that repeat stop early, and return what all of their steps would return."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.losses import cross_entropy
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.ascent import Cycle, Linf, stepped

IMAGES = 64


class _Wavy(nn.Module):
    """Logits that are smooth, but not monotone, functions of the pixels: sign steps turn back and forth."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(torch.sin(6 * self.first(x.flatten(1))))
        return logits


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(_Wavy(), (1, 4, 4), 3)


@pytest.fixture
def images(classifier: Classifier) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.rand(IMAGES, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return x, classifier.predict(x), torch.arange(IMAGES)


def _all_steps(classifier: Classifier, x: Tensor, y: Tensor, steps: int, size: float, epsilon: float) -> list[Tensor]:
    iterates = [x]
    for _ in range(steps):
        gradient = classifier.loss_gradient(iterates[-1], y, cross_entropy)
        iterates.append(stepped(x, iterates[-1], gradient, step_size=size, norm=Linf, epsilon=epsilon))
    return iterates


@pytest.mark.parametrize("steps", [39, 40, 41, 42, 43])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_cycle_ends_where_the_last_step_ends(classifier: Classifier, images: Any, steps: int, share: float) -> None:
    x, y, seeds = images
    iterates = _all_steps(classifier, x, y, steps, share * 0.3, 0.3)
    before = classifier.forwards
    attack = PERTURBATIONS["pgd"](beta=0.3, steps=steps, relative_step_size=share, random_start=False)
    x_adv = attack(classifier, x, y, seeds)
    assert torch.allclose(x_adv, iterates[-1], atol=1e-6)
    assert not torch.allclose(iterates[-1], iterates[-2], atol=1e-3), "the cycles have more than one iterate"
    assert classifier.forwards - before < 0.8 * steps * IMAGES


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_first_misclassified_iterate_is_kept(classifier: Classifier, images: Any, share: float) -> None:
    x, y, seeds = images
    iterates = _all_steps(classifier, x, y, 40, share * 0.1, 0.1)
    fooled = torch.stack([classifier.predict(iterate) != y for iterate in iterates[:-1]])
    first = torch.where(fooled.any(dim=0), fooled.int().argmax(dim=0), 40)
    expected = torch.stack([iterates[int(place)][row] for row, place in enumerate(first)])
    before = classifier.forwards
    attack = PERTURBATIONS["pgd"](beta=0.1, relative_step_size=share, random_start=False, keep="best")
    assert torch.allclose(attack(classifier, x, y, seeds), expected, atol=1e-6)
    made = classifier.forwards - before
    assert 0 < int(fooled.any(dim=0).sum()) < IMAGES
    assert made < int((first + 1).clamp_max(40).sum()), "images in a cycle without a misclassified iterate stop, too"


@pytest.mark.parametrize("period", [1, 2, 4])
@pytest.mark.parametrize("left", range(8, 16))
def test_periods(period: int, left: int) -> None:
    cycle, ended = Cycle(), None
    points = torch.arange(period).float().view(-1, 1, 1, 1, 1)
    for step in range(left):
        ended = cycle.ended(points[step % period], left - step)
        if ended is not None:
            assert (left - step) % period == 0, "the last step leads here"
            assert step <= period + 4
            break
    assert ended is not None and ended.all()


def test_no_cycle() -> None:
    cycle = Cycle()
    assert all(cycle.ended(torch.full((3, 1, 1, 1), float(step % 3)), 12 - step) is None for step in range(12))


def test_other_images_go_on() -> None:
    cycle = Cycle()
    moving, resting = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    for step in range(2):
        assert cycle.ended(torch.cat([moving + step, resting]), 8 - step) is None
    ended = cycle.ended(torch.cat([moving + 2, resting]), 6)
    assert ended is not None and ended.tolist() == [False, True]
    cycle.keep(~ended)
    assert cycle.ended(moving + 3, 5) is None and cycle.ended(moving + 4, 4) is None


def test_a_recorded_attack_queries_every_image_at_every_step(classifier: Classifier, images: Any) -> None:
    x, y, seeds = images
    attack = PERTURBATIONS["pgd"](beta=0.3, relative_step_size=0.3)
    saved = attack(classifier, x, y, seeds)
    classifier.recorded, before = True, classifier.forwards
    assert torch.allclose(attack(classifier, x, y, seeds), saved, atol=1e-6)
    assert classifier.forwards - before == attack.steps * IMAGES


def test_a_classifier_of_fixed_batches_gets_them(classifier: Classifier, images: Any) -> None:
    x, y, seeds = images
    classifier.batch, before = IMAGES, classifier.forwards
    attack = PERTURBATIONS["fgsm"](beta=0.1, steps=20)
    attack(classifier, x, y, seeds)
    assert classifier.forwards - before == 20 * IMAGES
