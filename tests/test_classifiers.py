"""The classifier under attack, and its views for the attack libraries."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.errors import ViewMismatchError
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.losses import margin
from gtn_bench.inference.views import as_art, as_foolbox, as_torchattacks, check_view

VIEWS = {"ART PyTorchClassifier": as_art, "foolbox PyTorchModel": as_foolbox, "torchattacks Attack": as_torchattacks}


def test_classifier_is_frozen_and_stays_in_evaluation_mode(network: nn.Module) -> None:
    classifier = Classifier(copy.deepcopy(network).train(), (1, 8, 8), 10).train()
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_logits_equal_those_of_the_network(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    network.eval()
    x, _ = digits
    assert torch.allclose(Classifier(network, (1, 8, 8), 10)(x), network(x), atol=1e-5)


def test_gradients_equal_those_of_autograd_on_the_network(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(F.cross_entropy(network.eval()(leaf), y, reduction="sum"), leaf)[0]
    assert torch.allclose(Classifier(network, (1, 8, 8), 10).loss_gradient(x, y), expected, atol=1e-4)


def test_type_follows_the_weights(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    """Also where other tensors replace them, and where another network does."""
    x, _ = digits
    first, other, last = (Classifier(network, (1, 8, 8), 10) for _ in range(3))
    exact = copy.deepcopy(first).double()
    other.load_state_dict({name: value.double() for name, value in other.state_dict().items()}, assign=True)
    last.network = copy.deepcopy(last.network).double()
    for classifier in (exact, other, last):
        assert classifier(x).dtype == classifier.dtype == torch.float64
    assert first(x).dtype == first.dtype == torch.float32


def test_forward_and_backward_passes_are_counted_in_images(
    classifier: Classifier, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = digits
    classifier.predict(x)
    assert (classifier.forwards, classifier.backwards) == (60, 0)
    classifier.loss_gradient(x[:7], y[:7])
    assert (classifier.forwards, classifier.backwards) == (67, 7)


def test_loss_gradients_do_not_depend_on_the_batch(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    together, alone = classifier.loss_gradient(x, y), classifier.loss_gradient(x[3:4], y[3:4])
    assert torch.allclose(together[3:4], alone, atol=1e-6)


def test_cached_gradient_is_exact_and_is_counted(
    classifier: Classifier, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = digits
    cached = classifier.cache_gradient(x, y)
    classifier.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))  # is not called for cached gradients
    assert torch.equal(classifier.loss_gradient(x.clone(), y.clone()), cached)
    assert torch.equal(cached, Classifier(network, (1, 8, 8), 10).loss_gradient(x, y))
    assert (classifier.forwards, classifier.backwards) == (120, 120)
    assert not torch.equal(classifier.loss_gradient(x, (y + 1) % 10), cached)
    assert not torch.equal(classifier.loss_gradient(x, y, margin), cached)
    cached.zero_()
    assert classifier.loss_gradient(x, y).any()


@pytest.mark.parametrize("view", VIEWS)
def test_views_pass_their_check_without_being_counted(view: str, classifier: Classifier) -> None:
    VIEWS[view](classifier)
    assert (classifier.forwards, classifier.backwards) == (0, 0)


def test_library_predictions_are_counted(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    as_art(classifier).predict(digits[0].numpy())
    as_foolbox(classifier)(digits[0])
    assert classifier.forwards == 120


def test_view_with_other_logits_or_gradients_is_refused(classifier: Classifier) -> None:
    def gradient(x: Tensor, y: Tensor) -> Tensor:
        return classifier.loss_gradient(x, y)

    with pytest.raises(
        ViewMismatchError, match=r"^doubled: its logits differ from the learner's by [\d.]+ \(allowed 1e-05\)$"
    ):
        check_view("doubled", classifier, lambda x: classifier((x - 0.3) / 0.4), gradient)
    with pytest.raises(ViewMismatchError, match=r"^averaged: its input gradients differ from the learner's by"):
        check_view("averaged", classifier, classifier, lambda x, y: gradient(x, y) / len(x))
    with pytest.raises(ViewMismatchError, match="its logits differ from the learner's by nan"):
        check_view("broken", classifier, lambda x: classifier(x) * torch.nan, gradient)
