"""Architectures, their layers and their derivatives, compared with PyTorch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from helpers.architectures import instance
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.config.errors import ConfigError
from gtn_bench.data import CIFAR10, DATASETS, MNIST, USPS, Dataset, Digits, Files
from gtn_bench.models import ARCHITECTURES, pooling
from gtn_bench.models.layers import (
    BatchStatistics,
    Conv2d,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    MeanBatchNorm,
    differentiable_statistics,
    estimate_statistics,
    weight_normalized,
)
from gtn_bench.models.second_order import conv2d, flatten, max_pool2d

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


def test_table_holds_the_nine_architectures_of_the_study() -> None:
    assert set(ARCHITECTURES) >= NAMES and len(NAMES) == 9


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("dataset", [Digits(), MNIST(), USPS(), CIFAR10()], ids=lambda dataset: dataset.name)
def test_logits_have_one_column_per_class_of_the_data_set(name: str, dataset: Dataset) -> None:
    network = ARCHITECTURES[name]()(dataset, seed=0)
    for mode in (True, False):
        logits = network.train(mode)(torch.rand(2, *dataset.input_shape))
        assert logits.shape == (2, dataset.num_classes) and logits.isfinite().all()


def layer_sizes(name: str) -> list[tuple[int, ...]]:
    """Return the shapes of the weights of an architecture for MNIST: (outputs, inputs, kernel height, width)."""
    modules = ARCHITECTURES[name]()(MNIST(), seed=0).modules()
    return [tuple(module.weight.shape) for module in modules if isinstance(module, Conv2d | Linear)]


def test_layer_sizes_are_those_of_the_study() -> None:
    assert layer_sizes("linear") == [(256, 784), (128, 256), (10, 128)]
    assert layer_sizes("base") == [(64, 1, 3, 3), (128, 64, 3, 3), (10, 128)]
    assert layer_sizes("base_larger") == [(64, 1, 3, 3), (128, 64, 3, 3), (256, 128 * 49), (10, 256)]
    assert layer_sizes("base_fc") == layer_sizes("base_larger")
    assert [size[0] for size in layer_sizes("base_larger2")] == [64, 128, 128, 256, 256, 10]
    assert [size[2:] for size in layer_sizes("base_larger3")[:6]] == [(3, 3), (1, 1)] * 3
    assert len(layer_sizes("base_larger4")) == len(layer_sizes("base_larger3")) + 2


def test_weights_depend_on_the_seed_and_not_on_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (ARCHITECTURES["base_larger3"]()(Digits(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["1.weight"], other["1.weight"])


def test_normalized_weights_have_the_gain_as_norm() -> None:
    weight, gain = torch.randn(5, 3, 3, 3), torch.rand(5) + 0.5
    assert torch.allclose(weight_normalized(weight, gain).flatten(1).norm(dim=1), gain)
    layer = Conv2d(3, 5, 3)
    assert torch.allclose(weight_normalized(layer.weight, layer.gain), layer.weight, atol=1e-6)


def test_full_batch_norm_equals_torch_batch_norm() -> None:
    ours, theirs = FullBatchNorm(4).double(), nn.BatchNorm2d(4, momentum=1.0).double()
    gain, bias = torch.rand(4).double() + 0.5, torch.randn(4).double()
    for norm, names in ((ours, ("gain", "bias")), (theirs, ("weight", "bias"))):
        norm.load_state_dict({names[0]: gain, names[1]: bias}, strict=False)
    x, unseen = torch.randn(8, 4, 3, 3).double(), torch.randn(2, 4, 3, 3).double()
    assert torch.allclose(ours(x), theirs(x), atol=1e-9)
    theirs.running_var.mul_((8 * 9 - 1) / (8 * 9))  # torch stores the unbiased variance
    assert torch.allclose(ours.eval()(unseen), theirs.eval()(unseen), atol=1e-9)


def test_mean_batch_norm_subtracts_batch_mean_in_training_and_stored_mean_in_evaluation() -> None:
    norm, x = MeanBatchNorm(3), torch.randn(6, 3, 2, 2)
    assert torch.allclose(norm(x), x - x.mean((0, 2, 3), keepdim=True), atol=1e-6)
    unseen = torch.randn(1, 3, 2, 2)
    assert torch.allclose(norm.eval()(unseen), unseen - x.mean((0, 2, 3), keepdim=True), atol=1e-6)


@pytest.mark.parametrize("norm", [MeanBatchNorm, FullBatchNorm])
def test_statistics_carry_gradients_only_if_differentiable(norm: type[BatchStatistics]) -> None:
    for differentiable in (False, True):
        layer = norm(2)
        if differentiable:
            differentiable_statistics(layer)
        x = torch.randn(4, 2, requires_grad=True)
        state = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
        functional_call(layer, state, (x,))
        assert state["running_mean"].requires_grad is differentiable
        assert not layer.running_mean.requires_grad  # the module itself does not change


def test_estimated_statistics_equal_those_of_the_training_set() -> None:
    train = Digits()()["train"]
    network = ARCHITECTURES["linear"]()(Digits(), seed=0).train()
    state = dict(network.state_dict())
    estimate = estimate_statistics(network, state, train)
    network(train[:][0])
    first = "3.running_mean"  # the first batch norm follows fixed weights, so its mean is exact
    assert torch.allclose(estimate[first], network.state_dict()[first], atol=1e-5)
    assert set(estimate) == {name for name in state if "running" in name}


def test_estimated_statistics_of_torch_batch_norm() -> None:
    train = Digits()()["train"]
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    estimate = estimate_statistics(network, state, train)
    pixels = train[:][0].flatten(1)
    assert torch.allclose(estimate["1.running_mean"], pixels.mean(0), atol=1e-5)
    assert torch.allclose(estimate["1.running_var"], pixels.var(0), rtol=0.05, atol=1e-3)
    assert network[1].momentum == 0.1
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_block_with_stride_and_pooling_halves_images_twice() -> None:
    one_block = ARCHITECTURES["base"](convolutions=[{"channels": 4, "stride": 2, "pool": True}], global_pooling=False)
    assert one_block(Digits(), seed=0)(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    two_blocks = [{"channels": 4, "stride": 2, "pool": True}] * 2
    with pytest.raises(ConfigError, match="halves its images 4 times and so needs at least 16x16 pixels"):
        ARCHITECTURES["base"](convolutions=two_blocks).check(Digits())


def test_data_sets_state_statistics_sizes_and_source() -> None:
    for dataset in (cls() for cls in DATASETS.values() if cls is not Files):
        assert len(dataset.mean) == len(dataset.std) == dataset.input_shape[0]
        assert min(dataset.sizes) > 0 and dataset.source.startswith("http")


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (lambda x, w: conv2d(x, w, 1, 1), lambda x, w: F.conv2d(x, w, None, 1, 1)),
        (lambda x, w: conv2d(x, w, 2, 1), lambda x, w: F.conv2d(x, w, None, 2, 1)),
        (lambda x, w: conv2d(x[:, :2], w[:, :2], 2, 1), lambda x, w: F.conv2d(x[:, :2], w[:, :2], None, 2, 1)),
        (lambda x, w: max_pool2d(x * w.sum(), 3, 2, 1), lambda x, w: F.max_pool2d(x * w.sum(), 3, 2, 1)),
        (lambda x, w: flatten(x * w.mean()), lambda x, w: (x * w.mean()).flatten(1)),
    ],
    ids=["conv2d", "strided conv2d", "conv2d of few inputs", "max_pool2d", "flatten"],
)
def test_first_and_second_derivatives_equal_those_of_torch(ours: Function, reference: Function) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    directions = [torch.randn_like(x), torch.randn_like(weight)]
    results = []
    for function in (ours, reference):
        y = function(x, weight)
        grad = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).view_as(y).requires_grad_()
        first = torch.autograd.grad(y, (x, weight), grad, create_graph=True)
        second = torch.autograd.grad(first, (x, weight, grad), directions, allow_unused=True)
        results.append([y, *first, *second])
    for name, one, two in zip(("y", "dx", "dw", "ddx", "ddw", "ddy"), *results, strict=True):
        assert (one is None) == (two is None), name
        assert one is None or torch.allclose(one, two, atol=1e-9), name


def test_second_derivatives_pass_gradgradcheck() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: flatten(max_pool2d(conv2d(x, w, 1, 1), 3, 2, 1)), (x, weight))


def test_widened_architecture_multiplies_channels_and_hidden_units() -> None:
    wide = ARCHITECTURES["base_larger"]().widened(2.0)
    assert [conv.channels for conv in wide.convolutions] == [128, 256] and wide.hidden == (512,)
    assert all(conv.pool for conv in wide.convolutions)
    assert ARCHITECTURES["linear"]().widened(0.001).hidden == (1, 1)
    assert wide(Digits(), 0)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_of_bfloat16_images_are_close_to_float32(name: str) -> None:
    network = instance(name)(MNIST(), 0).train()
    x = torch.rand(40, 1, 28, 28)
    exact, rounded = network(x), network(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert F.cosine_similarity(exact.flatten(), rounded.float().flatten(), dim=0) > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 8), (8, 7)])
def test_compiled_pooling_equals_torch_bit_for_bit(size: tuple[int, int], dtype: torch.dtype) -> None:
    """The inputs include windows with several maxima and windows with NaN."""
    draw = torch.Generator().manual_seed(0)
    ties = torch.randint(-2, 3, (3, 21, *size), generator=draw).to(dtype)
    ties[1, 3] = torch.nan
    ties[2, :, 0, 0] = -torch.inf
    for x in (ties, torch.randn(3, 21, *size, generator=draw).to(dtype).contiguous(memory_format=torch.channels_last)):
        (y, grad), (expected, expected_grad) = (pooled(pool, x) for pool in (MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1)))
        assert torch.equal(y.nan_to_num(9), expected.nan_to_num(9)) and y.isnan().equal(expected.isnan())
        assert torch.equal(grad, expected_grad) and grad.signbit().equal(expected_grad.signbit())


def pooled(pool: nn.MaxPool2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maxima of each window, and the gradient of x for random gradients of the maxima."""
    x = x.clone().requires_grad_()
    y = pool(x)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).round().to(x.dtype)  # some are -0
    return y.detach(), torch.autograd.grad(y, x, grad)[0]


def test_compiled_pooling_has_derivatives_of_every_order() -> None:
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert pooling.max_pool(x, pooling.COMPILED)[1].dtype == torch.uint8
    pool = MaxPool2d(3, 2, 1)
    assert torch.autograd.gradcheck(pool, x) and torch.autograd.gradgradcheck(pool, x)
    ours, expected = pool(x).pow(4).sum(), F.max_pool2d(x, 3, 2, 1).pow(4).sum()
    for _ in range(4):
        ours, expected = (torch.autograd.grad(y, x, create_graph=True)[0].square().sum() for y in (ours, expected))
        assert torch.allclose(ours, expected, rtol=1e-12)


FIRST_POOLING = """
import os, torch
from gtn_bench.models.layers import MaxPool2d
torch.set_num_threads({threads})
x = torch.rand(4, 2, 6, 6)
y = MaxPool2d(3, 2, 1)(x)
assert torch.get_num_threads() == {threads}, torch.get_num_threads()
torch.set_num_threads(1)  # the threads of PyTorch do not survive a fork
child = os.fork()
if not child:
    os._exit(not torch.equal(MaxPool2d(3, 2, 1)(x), y))
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_first_compiled_pooling_keeps_thread_count_and_works_after_fork(threads: int) -> None:
    """Requires a new process, because numba starts its threads once per process."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_POOLING.format(threads=threads)], check=True, timeout=120
    )
