from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.classifiers import Classifier, ViewMismatch, as_art, as_foolbox, as_torchattacks, check_view
from gtn_bench.datasets import Digits
from gtn_bench.description import Precision
from gtn_bench.learners import LEARNERS, pooling
from gtn_bench.learners.folding import FirstBlock, FirstConv2d
from gtn_bench.learners.layers import Conv2d, MaxPool2d
from gtn_bench.losses import margin

VIEWS = {"ART PyTorchClassifier": as_art, "foolbox PyTorchModel": as_foolbox, "torchattacks Attack": as_torchattacks}


def test_a_classifier_is_frozen_and_stays_in_evaluation_mode(network: nn.Module) -> None:
    classifier = Classifier(network.train(), (1, 8, 8), 10).train()
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_it_computes_what_the_network_computes(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    network.eval()
    x, _ = digits
    assert torch.allclose(Classifier(network, (1, 8, 8), 10)(x), network(x), atol=1e-5)


def test_it_counts_images(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    classifier.predict(x)
    assert (classifier.forwards, classifier.backwards) == (60, 0)
    classifier.loss_gradient(x[:7], y[:7])
    assert (classifier.forwards, classifier.backwards) == (67, 7)


def test_loss_gradients_do_not_depend_on_the_batch(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    together, alone = classifier.loss_gradient(x, y), classifier.loss_gradient(x[3:4], y[3:4])
    assert torch.allclose(together[3:4], alone, atol=1e-6)


def test_a_remembered_gradient_is_the_same_and_is_counted(
    classifier: Classifier, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = digits
    remembered = classifier.remember(x, y)
    classifier.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))  # is asked for nothing that is known
    assert torch.equal(classifier.loss_gradient(x.clone(), y.clone()), remembered)
    assert torch.equal(remembered, Classifier(network, (1, 8, 8), 10).loss_gradient(x, y))
    assert (classifier.forwards, classifier.backwards) == (120, 120)
    assert not torch.equal(classifier.loss_gradient(x, (y + 1) % 10), remembered)
    assert not torch.equal(classifier.loss_gradient(x, y, margin), remembered)
    remembered.zero_()
    assert classifier.loss_gradient(x, y).any()


class Halved(nn.Module):
    """A network that is none of ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) / 2


@pytest.mark.parametrize("foreign", [False, True])
def test_in_bfloat16_it_is_the_same_learner_but_for_rounding(
    foreign: bool, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = digits
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learner = Halved(network) if foreign else network
    exact, coarse = (Classifier(learner, (1, 8, 8), 10, precision) for precision in ("float32", "bfloat16"))
    logits = coarse(x)
    assert logits.dtype == coarse.dtype == torch.float32
    assert 0 < (logits - exact(x)).abs().max() < 0.03 * exact(x).abs().max()
    gradients = [classifier.loss_gradient(x, y).flatten() for classifier in (coarse, exact)]
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name, layers, theirs", [("base_larger", 4, 2), ("base_larger3", 2, 2), ("linear", 3, 4)])
def test_in_bfloat16_pixels_are_not_rounded(name: str, layers: int, theirs: int, digits: tuple[Tensor, Tensor]) -> None:
    """The first layer reads them as they are; only what it makes of them is rounded."""
    x = digits[0] * 0.25 + 0.7002  # bfloat16 would round these to multiples of 1/256
    learner = LEARNERS[name]()(Digits(), seed=0)
    exact, coarse = (Classifier(learner, (1, 8, 8), 10, precision).network for precision in ("float32", "bfloat16"))
    assert isinstance(exact, nn.Sequential) and isinstance(coarse, nn.Sequential)
    assert torch.equal(coarse[:theirs](x), exact[:layers](x).to(torch.bfloat16))


@pytest.mark.parametrize("stride, channels", [(1, 1), (2, 3)])
def test_the_first_gradient_is_torchs(stride: int, channels: int) -> None:
    layer = FirstConv2d(channels, 16, 3, stride, padding=1).double()
    plain = nn.Conv2d(channels, 16, 3, stride, padding=1).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.rand(2, channels, 9, 8, dtype=torch.float64, requires_grad=True)
    outputs = [module(x) for module in (layer, plain)]
    assert torch.equal(*outputs)
    ours, torchs = (torch.autograd.grad(out.square().sum(), x, create_graph=True)[0] for out in outputs)
    assert torch.allclose(ours, torchs, rtol=1e-12)
    second = [torch.autograd.grad(grad.square().sum(), x)[0] for grad in (ours, torchs)]
    assert torch.allclose(*second, rtol=1e-12)


@pytest.mark.parametrize("images", [3, 7])
def test_the_first_block_is_its_layers(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images at a time."""
    monkeypatch.setattr(FirstBlock, "images_at_once", 3)
    layers = FirstConv2d(2, 16, 3, padding=1).double(), nn.MaxPool2d(3, 2, 1), nn.LeakyReLU(0.1)
    x = torch.rand(images, 2, 9, 8, dtype=torch.float64).requires_grad_()
    outputs = [module(x) for module in (FirstBlock(*layers), nn.Sequential(*layers))]
    assert torch.equal(*outputs)
    gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in outputs]
    assert torch.allclose(*gradients, rtol=1e-12)
    assert FirstBlock(*layers).to("meta")(x.to("meta")).shape == outputs[0].shape


@pytest.mark.parametrize("name", LEARNERS)
def test_activations_take_the_place_of_their_inputs(name: str, digits: tuple[Tensor, Tensor]) -> None:
    """Less is kept for the same gradients, and the learner's own layers stay as they are."""
    learner = LEARNERS[name]()(Digits(), seed=0)
    frugal, lavish = (Classifier(learner, (1, 8, 8), 10) for _ in range(2))
    for module in lavish.modules():
        if isinstance(module, nn.LeakyReLU):
            assert module.inplace
            module.inplace = False
    kept = sum(frugal.kept_per_image), sum(lavish.kept_per_image)
    assert kept[0] < kept[1] or name == "linear"  # frozen linear layers keep nothing
    assert torch.equal(frugal.loss_gradient(*digits), lavish.loss_gradient(*digits))
    assert not any(module.inplace for module in learner.modules() if isinstance(module, nn.LeakyReLU))


class Squashed(nn.Linear):
    """A layer of somebody else, whose gradient needs its output."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x))


def test_activations_leave_alone_what_others_may_need(digits: tuple[Tensor, Tensor]) -> None:
    kept = []
    network = nn.Sequential(nn.Flatten(), Squashed(64, 32), nn.LeakyReLU(0.1), nn.Linear(32, 10), nn.LeakyReLU(0.1))
    network[3].register_forward_hook(lambda layer, x, y: kept.append(y))
    logits = network(digits[0])
    gradient = Classifier(network, (1, 8, 8), 10).loss_gradient(*digits)
    assert gradient.flatten(1).any(dim=1).all()
    assert torch.equal(F.leaky_relu(kept[-1], 0.1), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 8), (8, 7)])
def test_compiled_pooling_is_torchs_to_the_last_bit(size: tuple[int, int], dtype: torch.dtype) -> None:
    """Where several are the largest too, and where one is no number."""
    draw = torch.Generator().manual_seed(0)
    few = torch.randint(-2, 3, (3, 21, *size), generator=draw).to(dtype)
    few[1, 3] = torch.nan
    few[2, :, 0, 0] = -torch.inf
    for x in (few, torch.randn(3, 21, *size, generator=draw).to(dtype).contiguous(memory_format=torch.channels_last)):
        (ours, to_ours), (torchs, to_torchs) = (pooled(pool, x) for pool in (MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1)))
        assert torch.equal(ours.nan_to_num(9), torchs.nan_to_num(9)) and ours.isnan().equal(torchs.isnan())
        assert torch.equal(to_ours, to_torchs) and to_ours.signbit().equal(to_torchs.signbit())


def pooled(pool: nn.MaxPool2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each window, and what comes back of gradients drawn for them."""
    x = x.clone().requires_grad_()
    y = pool(x)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).round().to(x.dtype)  # -0 among them
    return y.detach(), torch.autograd.grad(y, x, grad)[0]


def test_compiled_pooling_has_derivatives_of_every_order() -> None:
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert pooling.largest(x, pooling.KNOWN)[1].dtype == torch.uint8
    pool = MaxPool2d(3, 2, 1)
    assert torch.autograd.gradcheck(pool, x) and torch.autograd.gradgradcheck(pool, x)
    ours, torchs = pool(x).pow(4).sum(), F.max_pool2d(x, 3, 2, 1).pow(4).sum()
    for _ in range(4):  # and what lies behind them
        ours, torchs = (torch.autograd.grad(value, x, create_graph=True)[0].square().sum() for value in (ours, torchs))
        assert torch.allclose(ours, torchs, rtol=1e-12)


FRESH = """
import os, torch
from gtn_bench.learners.layers import MaxPool2d
torch.set_num_threads({threads})
x = torch.rand(4, 2, 6, 6)
y = MaxPool2d(3, 2, 1)(x)
assert torch.get_num_threads() == {threads}, torch.get_num_threads()
torch.set_num_threads(1)  # PyTorch's own threads do not outlive a fork
child = os.fork()
if not child:
    os._exit(not torch.equal(MaxPool2d(3, 2, 1)(x), y))
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_pooling_leaves_threads_and_forks_alone(threads: int) -> None:
    """In a process of its own, as numba starts its threads once."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FRESH.format(threads=threads)], check=True, timeout=120)


def test_without_numba_torch_pools(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """A learner's gradients are the same, in either precision."""
    precisions: list[Precision] = ["float32", "bfloat16"]
    learners = [Classifier(network, (1, 8, 8), 10, precision) for precision in precisions]
    compiled = [learner.loss_gradient(*digits) for learner in learners]
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "gtn_bench.learners.kernels")
    monkeypatch.delattr("gtn_bench.learners.kernels")
    pooling.kernels.cache_clear()
    try:
        assert pooling.kernels() is None
        assert all(
            torch.equal(learner.loss_gradient(*digits), x) for learner, x in zip(learners, compiled, strict=True)
        )
    finally:
        pooling.kernels.cache_clear()


@pytest.mark.parametrize("changed", [{"ceil_mode": True}, {"dilation": 2}, {"kernel_size": (3, 2)}])
def test_in_bfloat16_another_pool_stays_what_it_is(changed: dict[str, Any], digits: tuple[Tensor, Tensor]) -> None:
    pool = nn.MaxPool2d(**({"kernel_size": 3, "stride": 2} | changed))
    network = nn.Sequential(Conv2d(1, 4, 3, padding=1), pool, nn.LeakyReLU(0.1), nn.Flatten(), nn.LazyLinear(10))
    network(digits[0])
    exact, coarse = (Classifier(network, (1, 8, 8), 10, precision)(digits[0]) for precision in ("float32", "bfloat16"))
    assert torch.allclose(coarse, exact, atol=0.03 * float(exact.abs().max()))


def test_in_bfloat16_a_falling_activation_has_its_gradient(digits: tuple[Tensor, Tensor]) -> None:
    """Its output does not say on which side of zero the input was."""
    network = nn.Sequential(
        Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(3, 2), nn.LeakyReLU(-0.1), nn.Flatten(), nn.Linear(36, 10)
    )
    gradients = [
        Classifier(network, (1, 8, 8), 10, precision).loss_gradient(*digits).flatten()
        for precision in ("float32", "bfloat16")
    ]
    assert F.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize("view", VIEWS)
def test_views_pass_their_check_and_are_not_counted(view: str, classifier: Classifier) -> None:
    VIEWS[view](classifier)
    assert (classifier.forwards, classifier.backwards) == (0, 0)


def test_library_predictions_are_counted(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    as_art(classifier).predict(digits[0].numpy())
    as_foolbox(classifier)(digits[0])
    assert classifier.forwards == 120


def test_a_view_that_normalises_twice_is_an_error(classifier: Classifier) -> None:
    def gradient(x: Tensor, y: Tensor) -> Tensor:
        return classifier.loss_gradient(x, y)

    with pytest.raises(
        ViewMismatch, match=r"^doubled: its logits differ from the learner's by [\d.]+ \(allowed 1e-05\)$"
    ):
        check_view("doubled", classifier, lambda x: classifier((x - 0.3) / 0.4), gradient)
    with pytest.raises(ViewMismatch, match=r"^averaged: its input gradients differ from the learner's by"):
        check_view("averaged", classifier, classifier, lambda x, y: gradient(x, y) / len(x))
    with pytest.raises(ViewMismatch, match="its logits differ from the learner's by nan"):
        check_view("broken", classifier, lambda x: classifier(x) * torch.nan, gradient)


def test_gradients_are_those_of_autograd_on_the_plain_network(
    network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    x, y = digits
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(F.cross_entropy(network.eval()(leaf), y, reduction="sum"), leaf)[0]
    assert torch.allclose(Classifier(network, (1, 8, 8), 10).loss_gradient(x, y), expected, atol=1e-4)
