from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.classifiers import Classifier, ViewMismatch, as_art, as_foolbox, as_torchattacks, check_view
from gtn_bench.datasets import Digits
from gtn_bench.description import Precision
from gtn_bench.learners import LEARNERS, compiled, pooling
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


@pytest.mark.parametrize("name, layers, theirs", [("base_larger", 2, 2), ("base_larger3", 2, 2), ("linear", 3, 4)])
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


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(3, 1, 1, 1), (7, 1, 8, 7), (4, 3, 9, 8)])
def test_the_first_block_is_its_layers(
    size: tuple[int, ...], dtype: torch.dtype, numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images at a time, and in bfloat16 to its rounding: in its outputs, which are rounded once."""
    monkeypatch.setattr(FirstBlock, "images_at_once", 3)
    layers = first_layers(size[1], exact := torch.float32 if dtype == torch.bfloat16 else dtype)
    block, torchs = FirstBlock(*layers), nn.Sequential(*(copy.deepcopy(layer) for layer in layers))
    layers[0].out_dtype = dtype
    x = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(exact).requires_grad_()
    if not numba:
        monkeypatch.setattr(compiled, "kernels", lambda: None)
    outputs = block(x), torchs(x)
    assert outputs[0].dtype == dtype
    assert not numba or outputs[0].is_contiguous(memory_format=torch.channels_last)
    epsilon = torch.finfo(exact).eps
    assert torch.allclose(outputs[0], outputs[1].to(dtype), rtol=torch.finfo(dtype).eps, atol=8 * epsilon)
    grad = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours, theirs = (torch.autograd.grad(y, x, grad.to(y.dtype))[0] for y in outputs)
    assert ours.dtype == exact
    assert torch.allclose(ours, theirs, rtol=0, atol=float(theirs.abs().max()) * 8 * torch.finfo(dtype).eps)
    assert FirstBlock(*layers).to("meta")(x.to("meta")).shape == outputs[0].shape


@pytest.mark.parametrize("numba", [True, False])
def test_the_first_block_chooses_the_first_of_equals(numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch does, and so the same pixels of an even background; what is no number before all."""
    layers = first_layers(1, torch.float64)
    x = torch.full((2, 1, 12, 11), 0.3, dtype=torch.float64)
    x[0, 0, 5, 6] = 1
    x[1, 0, 7, 2] = torch.nan
    if not numba:
        monkeypatch.setattr(compiled, "kernels", lambda: None)
    gradients = []
    for module in (FirstBlock(*layers), nn.Sequential(*layers)):
        y = module(image := x.clone().requires_grad_())
        gradients.append(torch.autograd.grad(y, image, torch.arange(y.numel()).view_as(y) + 1.0)[0])
    assert torch.allclose(*gradients, rtol=1e-12)


@pytest.mark.parametrize("numba", [True, False])
def test_the_first_block_has_derivatives_of_every_order(numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numba:
        monkeypatch.setattr(compiled, "kernels", lambda: None)
    layers = first_layers(2, torch.float64)
    x = torch.rand(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FirstBlock(*layers), x) and torch.autograd.gradgradcheck(FirstBlock(*layers), x)
    ours, theirs = (module(x).pow(4).sum() for module in (FirstBlock(*layers), nn.Sequential(*layers)))
    for _ in range(3):
        ours, theirs = (torch.autograd.grad(y, x, create_graph=True)[0].square().sum() for y in (ours, theirs))
        assert torch.allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    "outputs, kernel, stride, padding, window",
    [
        (6, 3, 1, 1, (3, 2, 1)),
        (8, 5, 1, 2, (3, 2, 1)),
        (8, 3, 2, 1, (3, 2, 1)),
        (8, 3, 1, 0, (3, 2, 1)),
        (8, 3, 1, 1, (2, 2, 0)),
        (8, 3, 1, 1, (3, 1, 1)),
    ],
)
def test_other_first_blocks_are_their_layers_too(
    outputs: int, kernel: int, stride: int, padding: int, window: tuple[int, int, int]
) -> None:
    convolution = FirstConv2d(1, outputs, kernel, stride, padding).double().requires_grad_(False)
    layers = convolution, nn.MaxPool2d(*window), nn.LeakyReLU(0.1)
    x = torch.rand(3, 1, 12, 9, dtype=torch.float64, requires_grad=True)
    y, defined = FirstBlock(*layers)(x), nn.Sequential(*layers)(x)
    assert torch.allclose(y, defined, rtol=1e-12)
    grad = torch.randn_like(y)
    assert torch.allclose(*(torch.autograd.grad(out, x, grad)[0] for out in (y, defined)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8, 1), (2, 0, 8, 8)])
def test_a_compiled_block_reads_no_other_channels_than_it_has_weights_for(shape: tuple[int, ...]) -> None:
    block = FirstBlock(*first_layers(1, torch.float32))
    with pytest.raises(RuntimeError, match="channels"):
        block(torch.rand(shape))


@pytest.mark.parametrize("numba", [True, False])
def test_in_bfloat16_gradients_that_can_be_differentiated_are_the_same(
    numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not numba:
        monkeypatch.setattr(compiled, "kernels", lambda: None)
    layers = first_layers(1, torch.float32)
    layers[0].out_dtype = torch.bfloat16
    x = torch.rand(4, 1, 12, 12, requires_grad=True)
    y = FirstBlock(*layers)(x)
    grad = torch.randn_like(y)
    once, again = (torch.autograd.grad(y, x, grad, retain_graph=True, create_graph=more)[0] for more in (False, True))
    assert again.requires_grad and not once.requires_grad
    assert torch.allclose(once, again, rtol=0, atol=float(once.abs().max()) * torch.finfo(torch.bfloat16).eps)


class Bounded(nn.LeakyReLU):
    """An activation of somebody else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(max=0.1)


@pytest.mark.parametrize(
    "behind", [[Bounded(0.1)], [nn.LeakyReLU(0.1), nn.ReLU(inplace=True)], [nn.LeakyReLU(-0.1)], [nn.Tanh()]]
)
@pytest.mark.parametrize("pool", [MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1)])
def test_what_others_put_behind_a_convolution_stays(
    behind: list[nn.Module], pool: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """And has its gradients, though it may overwrite what it is given."""
    x, y = digits[0].clone().requires_grad_(), digits[1]
    network = nn.Sequential(Conv2d(1, 8, 3, padding=1), pool, *behind, nn.Flatten(), nn.Linear(128, 10))
    gradients = [
        torch.autograd.grad(F.cross_entropy(learner(x), y, reduction="sum"), x)[0]
        for learner in (network, Classifier(copy.deepcopy(network), (1, 8, 8), 10))
    ]
    assert torch.allclose(*gradients, atol=1e-5)


def first_layers(inputs: int, dtype: torch.dtype) -> tuple[FirstConv2d, nn.MaxPool2d, nn.LeakyReLU]:
    convolution = FirstConv2d(inputs, 16, 3, padding=1).to(dtype).requires_grad_(False)
    return convolution, nn.MaxPool2d(3, 2, 1), nn.LeakyReLU(0.1)


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
    pairs = [(type(layer), type(following)) for layer, following in itertools.pairwise(cast(Any, frugal.network))]
    keeps = (nn.LeakyReLU, nn.Conv2d) in pairs  # only a convolution keeps what it is given
    assert kept[0] < kept[1] if keeps else kept[0] == kept[1]
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


def test_without_numba_torch_computes_the_same(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """A learner's gradients, but for rounding, in either precision."""
    precisions: list[Precision] = ["float32", "bfloat16"]
    learners = [Classifier(network, (1, 8, 8), 10, precision) for precision in precisions]
    ours = [learner.loss_gradient(*digits) for learner in learners]
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "gtn_bench.learners.kernels")
    monkeypatch.delattr("gtn_bench.learners.kernels")
    compiled.kernels.cache_clear()
    try:
        assert compiled.kernels() is None
        float32, bfloat16 = (learner.loss_gradient(*digits) for learner in learners)
        assert torch.allclose(float32, ours[0], rtol=0, atol=1e-5 * float(ours[0].abs().max()))
        assert F.cosine_similarity(bfloat16.flatten(), ours[1].flatten(), dim=0) > 0.999
    finally:
        compiled.kernels.cache_clear()


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
