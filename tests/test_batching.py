"""Batch sizes: the memory that an image needs, and the independence of results from the batch size."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from gtn_bench.data import DATASETS
from gtn_bench.evaluation import batching
from gtn_bench.evaluation.batching import available_memory, batch_size, in_batches
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean
from gtn_bench.evaluation.memory import DoesNotFitError
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.perturbations.base import Batch
from gtn_bench.reference.batch_classifier import BatchClassifier

Digits = tuple[Tensor, Tensor]
IMAGE = torch.zeros(1, 1, 8, 8)


def small() -> nn.Module:
    """Return a network that saves the 32 outputs of tanh per image, 128 bytes, for the backward pass."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def set_available_memory(monkeypatch: pytest.MonkeyPatch, available: float) -> None:
    """Make `available` bytes of memory available."""
    monkeypatch.setattr(batching, "available_memory", lambda device: available)


def test_bytes_per_image_of_a_small_network() -> None:
    classifier = Classifier(small(), (1, 8, 8), 10)
    assert classifier.kept_per_image == [0, 32 * 4, 0]  # the two weight matrices are not counted
    assert classifier.needed_per_image == 32 * 4 + 64 * 4  # the image itself is the largest tensor
    assert (classifier.forwards, classifier.backwards) == (0, 0)


@pytest.mark.slow
def test_bytes_per_image_equal_the_difference_between_batch_sizes(network: nn.Module) -> None:
    classifier = Classifier(network, (1, 8, 8), 10)
    kept = sum(classifier.kept_per_image)
    assert sum(classifier._kept(40)) - sum(classifier._kept(8)) == 32 * kept
    assert sum(Classifier(network, (1, 8, 8), 10, "bfloat16").kept_per_image) < 0.7 * kept


def test_largest_tensor_need_not_be_kept() -> None:
    """The first convolution has 64 feature maps of 8x8, of which only the indices of the maxima are kept."""
    classifier = Classifier(ARCHITECTURES["base_larger"]()(DATASETS["digits"](), seed=0), (1, 8, 8), 10)
    assert classifier.largest_per_image == 128 * 4 * 4 * 4 > max(classifier.kept_per_image)
    assert (classifier.forwards, classifier.backwards) == (0, 0)
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize(
    ("available", "size"), [(1e12, 256), (2 * 384 * 256, 256), (2 * 384 * 20, 16), (384, 1), (0, 1)]
)
def test_batches_use_half_of_the_available_memory(monkeypatch: pytest.MonkeyPatch, available: float, size: int) -> None:
    set_available_memory(monkeypatch, available)
    assert batch_size(Classifier(small(), (1, 8, 8), 10), IMAGE, "any") == size


def test_tensors_on_a_cpu_are_not_larger_than_reused_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "REUSED", 256 * 40)  # the images themselves have 256 bytes each
    assert batch_size(Classifier(small(), (1, 8, 8), 10), IMAGE, "any") == 32


def test_linear_network_keeps_no_tensor() -> None:
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8), 10)
    assert sum(linear.kept_per_image) == 0
    assert batch_size(linear, IMAGE, "any") == 256


def test_required_batch_sizes_do_not_depend_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    set_available_memory(monkeypatch, 0)
    x = IMAGE.expand(3000, 1, 8, 8)
    assert batch_size(Classifier(small(), (1, 8, 8), 10), x, 128) == 128
    assert batch_size(Classifier(small(), (1, 8, 8), 10), x, "all") == 3000
    assert batch_size(BatchClassifier(small(), (1, 8, 8), 10), x, "any") == 1000


def test_available_memory_is_proportional_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(batching.torch, "get_num_threads", lambda: 1)
    assert 0 < available_memory(torch.device("cpu")) <= batching.psutil.virtual_memory().total / 4


@pytest.mark.slow
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
def test_results_do_not_depend_on_available_memory(
    perturbation: Perturbation, network: nn.Module, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requires float64: searches in float32 amplify last-bit differences of convolutions between batches."""
    x, y = digits[0][:8].double(), digits[1][:8]
    classifier = Classifier(network, (1, 8, 8), 10).double()
    results = []
    for images in (256, 4, 1):
        set_available_memory(monkeypatch, 2.0 * images * classifier.needed_per_image)
        assert batch_size(classifier, x, perturbation.batch) == images
        clean = evaluate_clean(classifier, x, y)
        results.append(evaluate(perturbation, classifier, clean, x, y, torch.arange(len(x))))
    for one, other in pairwise(results):
        assert torch.equal(one.prediction, other.prediction)
        assert torch.equal(one.zero_gradient, other.zero_gradient)
        torch.testing.assert_close(one.l2, other.l2, rtol=1e-5, atol=1e-9)


class MemoryLimited:
    """A task that runs out of memory with more than ten images per batch."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self.error = error or torch.OutOfMemoryError("out of memory")

    def __call__(self, x: Tensor, seeds: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > 10:
            raise self.error
        return x + seeds.view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_batches_shrink_when_memory_runs_out(error: Exception, digits: Digits, classifier: Classifier) -> None:
    x, seeds = digits[0], torch.arange(60)
    task = MemoryLimited(error)
    returned = torch.cat(in_batches(task, classifier, "any", x, seeds))
    assert torch.equal(returned, x + seeds.view(-1, 1, 1, 1))
    assert task.sizes == [60, 30, 15, *[7] * 8, 4]


def test_other_errors_do_not_shrink_batches(digits: Digits, classifier: Classifier) -> None:
    task = MemoryLimited(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_batches(task, classifier, "any", digits[0], torch.arange(60))
    assert task.sizes == [60]


def test_a_single_image_that_does_not_fit_is_said(digits: Digits, classifier: Classifier) -> None:
    def never(x: Tensor) -> Tensor:
        raise MemoryError

    with pytest.raises(DoesNotFitError, match=r"^a single image does not fit into memory$"):
        in_batches(never, classifier, "any", digits[0])


@pytest.mark.parametrize("batch", ["all", 30])
def test_required_batch_sizes_do_not_shrink(
    batch: Literal["all"] | int, digits: Digits, classifier: Classifier
) -> None:
    required: Batch = batch
    with pytest.raises(DoesNotFitError, match=r"a batch of \d+ images does not fit into memory"):
        in_batches(MemoryLimited(), classifier, required, digits[0], torch.arange(60))


REFILLING = {
    "fgsm": PERTURBATIONS["fgsm"](beta=0.04, steps=6, keep="best"),
    "pgd": PERTURBATIONS["pgd"](beta=0.3, steps=12, keep="best"),
    "apgd": PERTURBATIONS["apgd"](beta=0.05, steps=8, targets=2),
    "square": PERTURBATIONS["square"](beta=0.1, queries=20),
    "strong": PERTURBATIONS["strong"](beta=0.05, runs=2, steps=6, queries=20),
}


def test_perturbations_that_refill_their_batches_are_known() -> None:
    assert {name for name, kind in PERTURBATIONS.items() if kind.refills is True} == set(REFILLING)


@pytest.mark.parametrize("name", REFILLING)
def test_refilled_batches_change_neither_images_nor_counts(
    name: str, digits: Digits, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requires float64: searches in float32 amplify last-bit differences of convolutions between batches."""
    classifier, sizes = classifier.double(), []
    x, seeds, compute = digits[0][:23].double(), torch.arange(23), classifier.compute
    y = classifier.predict(x)
    monkeypatch.setattr(classifier, "compute", lambda x: (sizes.append(len(x)), compute(x))[1])

    def perturb(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return REFILLING[name](classifier, x, y, seeds)

    images, counts, passes = [], [], []
    for at_once, refills in ((256, False), (4, False), (4, True)):
        set_available_memory(monkeypatch, 2 * at_once * classifier.needed_per_image)
        classifier.forwards = classifier.backwards = 0
        sizes.clear()
        images.append(torch.cat(in_batches(perturb, classifier, "any", x, y, seeds, refills=refills)))
        counts.append((classifier.forwards, classifier.backwards))
        passes.append(list(sizes))
    assert (classifier.predict(images[0]) != y).any()
    for other in images[1:]:
        torch.testing.assert_close(other, images[0], rtol=0, atol=1e-9)
    assert counts[0] == counts[1] == counts[2]
    assert list(map(max, passes)) == [23, 4, 4]
    assert len(passes[2]) < len(passes[1])  # passes stay full, so that fewer are necessary
    assert classifier.pass_size is None
