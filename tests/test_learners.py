from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.datasets import CIFAR10, DATASETS, MNIST, USPS, Dataset, Digits
from gtn_bench.description import Mistake
from gtn_bench.learners import LEARNERS
from gtn_bench.learners.derivatives import conv2d, flatten, max_pool2d
from gtn_bench.learners.folding import fold
from gtn_bench.learners.layers import (
    BatchStatistics,
    Conv2d,
    Flatten,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    MeanBatchNorm,
    differentiable_statistics,
    estimate_statistics,
    weight_normalised,
)

Function = Callable[[Tensor, Tensor], Tensor]

NAMES = {
    "base",
    "base_fc",
    "linear",
    "base_larger",
    "base_larger2",
    "base_larger3",
    "base_larger3_global_pooling",
    "base_larger4",
    "base_larger4_global_pooling",
}


def test_the_nine_architectures_of_the_study() -> None:
    assert set(LEARNERS) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("dataset", [Digits(), MNIST(), USPS(), CIFAR10()], ids=lambda dataset: dataset.name)
def test_shapes_follow_from_the_data_set(name: str, dataset: Dataset) -> None:
    network = LEARNERS[name]()(dataset, seed=0)
    for mode in (True, False):
        logits = network.train(mode)(torch.rand(2, *dataset.input_shape))
        assert logits.shape == (2, dataset.num_classes) and logits.isfinite().all()


def layer_sizes(name: str) -> list[tuple[int, ...]]:
    """(outputs, inputs, kernel) of the weighted layers, for MNIST."""
    modules = LEARNERS[name]()(MNIST(), seed=0).modules()
    return [tuple(module.weight.shape) for module in modules if isinstance(module, Conv2d | Linear)]


def test_layers_are_those_of_the_study() -> None:
    assert layer_sizes("linear") == [(256, 784), (128, 256), (10, 128)]
    assert layer_sizes("base") == [(64, 1, 3, 3), (128, 64, 3, 3), (10, 128)]
    assert layer_sizes("base_larger") == [(64, 1, 3, 3), (128, 64, 3, 3), (256, 128 * 49), (10, 256)]
    assert layer_sizes("base_fc") == layer_sizes("base_larger")
    assert [size[0] for size in layer_sizes("base_larger2")] == [64, 128, 128, 256, 256, 10]
    assert [size[2:] for size in layer_sizes("base_larger3")[:6]] == [(3, 3), (1, 1)] * 3
    assert len(layer_sizes("base_larger4")) == len(layer_sizes("base_larger3")) + 2


def test_same_seed_same_weights_and_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (LEARNERS["base_larger3"]()(Digits(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["1.weight"], other["1.weight"])


def test_weight_normalisation_keeps_the_gain_as_norm() -> None:
    weight, gain = torch.randn(5, 3, 3, 3), torch.rand(5) + 0.5
    assert torch.allclose(weight_normalised(weight, gain).flatten(1).norm(dim=1), gain)
    layer = Conv2d(3, 5, 3)
    assert torch.allclose(weight_normalised(layer.weight, layer.gain), layer.weight, atol=1e-6)


def test_full_batch_norm_is_torchs() -> None:
    ours, theirs = FullBatchNorm(4).double(), nn.BatchNorm2d(4, momentum=1.0).double()
    gain, bias = torch.rand(4).double() + 0.5, torch.randn(4).double()
    for norm, names in ((ours, ("gain", "bias")), (theirs, ("weight", "bias"))):
        norm.load_state_dict({names[0]: gain, names[1]: bias}, strict=False)
    x, unseen = torch.randn(8, 4, 3, 3).double(), torch.randn(2, 4, 3, 3).double()
    assert torch.allclose(ours(x), theirs(x), atol=1e-9)
    theirs.running_var.mul_((8 * 9 - 1) / (8 * 9))  # torch keeps the unbiased variance
    assert torch.allclose(ours.eval()(unseen), theirs.eval()(unseen), atol=1e-9)


def test_mean_batch_norm_subtracts_the_batch_then_the_kept_mean() -> None:
    norm, x = MeanBatchNorm(3), torch.randn(6, 3, 2, 2)
    assert torch.allclose(norm(x), x - x.mean((0, 2, 3), keepdim=True), atol=1e-6)
    unseen = torch.randn(1, 3, 2, 2)
    assert torch.allclose(norm.eval()(unseen), unseen - x.mean((0, 2, 3), keepdim=True), atol=1e-6)


@pytest.mark.parametrize("norm", [MeanBatchNorm, FullBatchNorm])
def test_statistics_carry_gradients_only_when_asked(norm: type[BatchStatistics]) -> None:
    for differentiable in (False, True):
        layer = norm(2)
        if differentiable:
            differentiable_statistics(layer)
        x = torch.randn(4, 2, requires_grad=True)
        state = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
        functional_call(layer, state, (x,))
        assert state["running_mean"].requires_grad is differentiable
        assert not layer.running_mean.requires_grad  # the module itself is untouched


def test_estimated_statistics_are_those_of_the_whole_set() -> None:
    train = Digits()()["train"]
    network = LEARNERS["linear"]()(Digits(), seed=0).train()
    state = dict(network.state_dict())
    estimate = estimate_statistics(network, state, train)
    network(train[:][0])
    first = "3.running_mean"  # the first norm sees the data through fixed weights: its mean is exact
    assert torch.allclose(estimate[first], network.state_dict()[first], atol=1e-5)
    assert set(estimate) == {name for name in state if "running" in name}


def test_estimated_statistics_of_torchs_own_batch_norm() -> None:
    train = Digits()()["train"]
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    estimate = estimate_statistics(network, state, train)
    pixels = train[:][0].flatten(1)
    assert torch.allclose(estimate["1.running_mean"], pixels.mean(0), atol=1e-5)
    assert torch.allclose(estimate["1.running_var"], pixels.var(0), rtol=0.05, atol=1e-3)
    assert network[1].momentum == 0.1
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_a_block_may_halve_its_images_twice() -> None:
    twice = LEARNERS["base"](convolutions=[{"channels": 4, "stride": 2, "pool": True}], global_pooling=False)
    assert twice(Digits(), seed=0)(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    thrice = [{"channels": 4, "stride": 2, "pool": True}] * 2
    with pytest.raises(Mistake, match="halves its images 4 times and so needs at least 16x16 pixels"):
        LEARNERS["base"](convolutions=thrice).check(Digits())


@pytest.mark.parametrize("batch_norm", ["mean", "full"])
@pytest.mark.parametrize("name", sorted(NAMES))
def test_folding_keeps_logits_and_gradients(name: str, batch_norm: str) -> None:
    """With gains, biases and means of both signs, and statistics that training left behind."""
    network = LEARNERS[name](batch_norm=batch_norm)(Digits(), seed=0).double()
    draw = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        if value.ndim == 1:
            value.add_(torch.randn(value.shape, generator=draw, dtype=value.dtype))
    network.train()(torch.rand(20, 1, 8, 8, generator=draw, dtype=torch.float64))
    network.eval()
    x = torch.rand(7, 1, 8, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    logits = [net(x) for net in (network, fold(network))]
    assert (logits[0] - logits[1]).abs().max() < 1e-9 * logits[0].abs().max()
    gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in logits]
    assert (gradients[0] - gradients[1]).abs().max() < 1e-9 * gradients[0].abs().max()


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Conv2d(1, 4, 3, padding=1), nn.LeakyReLU(0.1), FullBatchNorm(4), Flatten(), Linear(256, 10)],
        lambda: [Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2), Flatten(), Linear(256, 10)],
        lambda: [Conv2d(1, 4, 3, padding=1), MaxPool2d(2, 2), FullBatchNorm(4), nn.LeakyReLU(0.1), Flatten()],
        lambda: [nn.Conv2d(1, 2, 3), Conv2d(2, 6, 1), nn.Conv2d(6, 4, 1), Flatten(), Linear(144, 10)],
    ],
    ids=["activation before batch norm", "channels moved", "no weights behind", "layers of others between"],
)
def test_folding_leaves_other_orders_of_layers_right(layers: Callable[[], list[nn.Module]]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*layers()).double()
    x = torch.rand(20, 1, 8, 8, dtype=torch.float64)
    network.train()(x)
    assert torch.allclose(fold(network.eval())(x), network(x), atol=1e-9)


class Inverted(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(1 - x)  # type: ignore[no-any-return]


class Residual(Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Normed(BatchStatistics):
    """Divides by a deviation as well."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(1))
        self.register_buffer("running_mean", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.running_mean) / 2 + self.bias


@pytest.mark.parametrize(
    "network",
    [
        Inverted(Flatten(), Linear(64, 10)),
        nn.Sequential(Residual(1, 1, 3, padding=1), MeanBatchNorm(1), Flatten(), Linear(64, 10)),
        nn.Sequential(Conv2d(1, 1, 3, padding=1), Normed(), Flatten(), Linear(64, 10)),
    ],
    ids=["network", "layer", "batch norm"],
)
def test_what_derives_from_this_packages_layers_is_not_taken_for_them(network: nn.Module) -> None:
    x = torch.rand(5, 1, 8, 8)
    assert torch.allclose(fold(network.eval())(x), network(x), atol=1e-5)


def test_folding_changes_no_prediction(network: nn.Module) -> None:
    x, _ = Digits()()["test"][:]
    assert torch.equal(fold(network)(x).argmax(1), network(x).argmax(1))


def test_folding_survives_a_negative_gain_behind_pooling() -> None:
    network = LEARNERS["base"](batch_norm="full")(Digits(), seed=0).double().eval()
    for module in network:
        if isinstance(module, FullBatchNorm):
            module.gain.data[::2] = -1.0
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(network(x), fold(network)(x), atol=1e-9)


def test_facts_of_the_data_sets() -> None:
    for dataset in (cls() for cls in DATASETS.values()):
        assert len(dataset.mean) == len(dataset.std) == dataset.input_shape[0]
        assert min(dataset.sizes) > 0 and dataset.source.startswith("http")


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (lambda x, w: conv2d(x, w, 1, 1), lambda x, w: F.conv2d(x, w, None, 1, 1)),
        (lambda x, w: conv2d(x, w, 2, 1), lambda x, w: F.conv2d(x, w, None, 2, 1)),
        (lambda x, w: conv2d(x[:, :2], w[:, :2], 2, 1), lambda x, w: F.conv2d(x[:, :2], w[:, :2], None, 2, 1)),
        (lambda x, w: max_pool2d(x * w.sum(), 3, 2, 1), lambda x, w: F.max_pool2d(x * w.sum(), 3, 2, 1)),
        (lambda x, w: flatten(x * w.mean()), lambda x, w: (x * w.mean()).flatten(1)),
    ],
    ids=["conv2d", "strided conv2d", "conv2d of few inputs", "max_pool2d", "flatten"],
)
def test_first_and_second_derivatives_are_torchs(ours: Function, torchs: Function) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    along = [torch.randn_like(x), torch.randn_like(weight)]
    results = []
    for function in (ours, torchs):
        y = function(x, weight)
        grad = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).view_as(y).requires_grad_()
        first = torch.autograd.grad(y, (x, weight), grad, create_graph=True)
        second = torch.autograd.grad(first, (x, weight, grad), along, allow_unused=True)
        results.append([y, *first, *second])
    for name, one, two in zip(("y", "dx", "dw", "ddx", "ddw", "ddy"), *results, strict=True):
        assert (one is None) == (two is None), name
        assert one is None or torch.allclose(one, two, atol=1e-9), name


def test_second_derivatives_pass_gradgradcheck() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: flatten(max_pool2d(conv2d(x, w, 1, 1), 3, 2, 1)), (x, weight))


def test_widened_architectures_have_as_many_times_the_units() -> None:
    wide = LEARNERS["base_larger"]().widened(2.0)
    assert [conv.channels for conv in wide.convolutions] == [128, 256] and wide.hidden == (512,)
    assert all(conv.pool for conv in wide.convolutions)
    assert LEARNERS["linear"]().widened(0.001).hidden == (1, 1)
    assert wide(Digits(), 0)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", LEARNERS)
def test_bfloat16_images_give_nearly_the_same_logits(name: str) -> None:
    network = LEARNERS[name]()(Digits(), 0).train()
    x = torch.rand(40, 1, 8, 8)
    exact, rounded = network(x), network(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert F.cosine_similarity(exact.flatten(), rounded.float().flatten(), dim=0) > 0.99
