"""Batches from the memory at hand: what an image needs by hand, and that no result depends on them."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from gtn_bench.classifiers import Classifier
from gtn_bench.datasets import DATASETS
from gtn_bench.learners import LEARNERS
from gtn_bench.perturbations import PERTURBATIONS, Perturbation, batching
from gtn_bench.perturbations.base import Batch
from gtn_bench.perturbations.batching import batch_size, in_batches, memory_at_hand
from gtn_bench.perturbations.referee import judge, look_at
from gtn_bench.reference.batch_classifier import BatchClassifier

Digits = tuple[Tensor, Tensor]
IMAGE = torch.zeros(1, 1, 8, 8)


def small() -> nn.Module:
    """Keeps the 32 outputs of tanh of each image for its gradient, 128 bytes, besides its weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def fill_memory_to(monkeypatch: pytest.MonkeyPatch, at_hand: float) -> None:
    """Let `at_hand` bytes be left."""
    monkeypatch.setattr(batching, "memory_at_hand", lambda device: at_hand)


def test_bytes_of_an_image_by_hand() -> None:
    classifier = Classifier(small(), (1, 8, 8), 10)
    assert classifier.kept_per_image == [0, 32 * 4, 0]  # two matrices, of which nothing is an image's
    assert classifier.needed_per_image == 32 * 4 + 64 * 4  # the image itself is the largest
    assert (classifier.forwards, classifier.backwards) == (0, 0)


def test_bytes_are_what_lies_between_forward_and_backward_of_many_images(network: nn.Module) -> None:
    classifier = Classifier(network, (1, 8, 8), 10)
    kept = sum(classifier.kept_per_image)
    assert sum(classifier._kept(40)) - sum(classifier._kept(8)) == 32 * kept
    assert sum(Classifier(network, (1, 8, 8), 10, "bfloat16").kept_per_image) < 0.7 * kept


def test_the_largest_tensor_need_not_be_kept() -> None:
    """Of the first convolution's maps, 64 of 8 x 8, only the places of the largest are."""
    classifier = Classifier(LEARNERS["base_larger"]()(DATASETS["digits"](), seed=0), (1, 8, 8), 10)
    assert classifier.largest_per_image == 128 * 4 * 4 * 4 > max(classifier.kept_per_image)
    assert (classifier.forwards, classifier.backwards) == (0, 0)
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize("at_hand, size", [(1e12, 256), (2 * 384 * 256, 256), (2 * 384 * 20, 16), (384, 1), (0, 1)])
def test_half_of_the_memory_at_hand_is_filled(monkeypatch: pytest.MonkeyPatch, at_hand: float, size: int) -> None:
    fill_memory_to(monkeypatch, at_hand)
    assert batch_size(Classifier(small(), (1, 8, 8), 10), IMAGE, "any") == size


def test_no_tensor_on_a_cpu_is_larger_than_what_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "REUSED", 256 * 40)  # the images themselves have 256 bytes each
    assert batch_size(Classifier(small(), (1, 8, 8), 10), IMAGE, "any") == 32


def test_a_linear_network_keeps_nothing() -> None:
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8), 10)
    assert sum(linear.kept_per_image) == 0
    assert batch_size(linear, IMAGE, "any") == 256


def test_numbers_that_determine_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_memory_to(monkeypatch, 0)
    x = IMAGE.expand(3000, 1, 8, 8)
    assert batch_size(Classifier(small(), (1, 8, 8), 10), x, 128) == 128
    assert batch_size(Classifier(small(), (1, 8, 8), 10), x, "all") == 3000
    assert batch_size(BatchClassifier(small(), (1, 8, 8), 10), x, "any") == 1000


def test_memory_at_hand_is_the_share_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(batching.torch, "get_num_threads", lambda: 1)
    assert 0 < memory_at_hand(torch.device("cpu")) <= batching.psutil.virtual_memory().total / 4


@pytest.mark.parametrize(
    "perturbation",
    [
        PERTURBATIONS["fgsm"](beta=0.02, steps=3),
        PERTURBATIONS["pgd"](beta=0.05, steps=3),
        PERTURBATIONS["lbfgs"](beta=2.0),
        PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=3),
        PERTURBATIONS["noise"](beta=0.3),
        PERTURBATIONS["blur"](beta=1.0),
    ],
    ids=lambda perturbation: perturbation.name,
)
def test_no_result_depends_on_the_memory(
    perturbation: Perturbation, network: nn.Module, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, as a search in float32 magnifies what the batch changes in the last bits of a convolution."""
    x, y = digits[0][:8].double(), digits[1][:8]
    classifier = Classifier(network, (1, 8, 8), 10).double()
    outcomes = []
    for images in (256, 4, 1):
        fill_memory_to(monkeypatch, 2.0 * images * classifier.needed_per_image)
        assert batch_size(classifier, x, perturbation.batch) == images
        outcomes.append(judge(perturbation, classifier, look_at(classifier, x, y), x, y, torch.arange(len(x))))
    for one, other in pairwise(outcomes):
        assert torch.equal(one.prediction, other.prediction)
        assert torch.equal(one.zero_gradient, other.zero_gradient)
        torch.testing.assert_close(one.l2, other.l2, rtol=1e-5, atol=1e-9)


class Hungry:
    """Has memory for ten images."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, x: Tensor, seeds: Tensor) -> Tensor:
        self.asked.append(len(x))
        if len(x) > 10:
            raise torch.OutOfMemoryError("too much")
        return x + seeds.view(-1, 1, 1, 1)


def test_batches_shrink_when_memory_runs_out_all_the_same(digits: Digits, classifier: Classifier) -> None:
    x, seeds = digits[0], torch.arange(60)
    hungry = Hungry()
    returned = torch.cat(in_batches(hungry, classifier, "any", x, seeds))
    assert torch.equal(returned, x + seeds.view(-1, 1, 1, 1))
    assert hungry.asked == [60, 30, 15, *[7] * 8, 4]


@pytest.mark.parametrize("batch", ["all", 30])
def test_batches_that_determine_results_do_not_shrink(
    batch: Literal["all"] | int, digits: Digits, classifier: Classifier
) -> None:
    wanted: Batch = batch
    with pytest.raises(torch.OutOfMemoryError):
        in_batches(Hungry(), classifier, wanted, digits[0], torch.arange(60))
