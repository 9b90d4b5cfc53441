"""Preparation of networks of other people: the same logits and gradients, from a faster network."""

from __future__ import annotations

import copy
import itertools
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from gtn_bench.inference import acceleration, patch_convolution, pooled_convolution
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.folding import FlattenChannelsLast
from gtn_bench.inference.norm_block import NormBlock
from gtn_bench.inference.patch_convolution import PatchConv2d
from gtn_bench.inference.pooled_convolution import PooledConv2d
from gtn_bench.inference.preparation import prepared
from gtn_bench.inference.relu_pool import ReluPool
from gtn_bench.inference.simplification import Affine
from gtn_bench.inference.views import as_art, as_foolbox, as_torchattacks
from gtn_bench.inference.winograd import WinogradConv2d, transformed_weights
from gtn_bench.models import numba_backend
from gtn_bench.models.distillation.networks import VGG11, convnet, plain, resnet18
from gtn_bench.models.libraries.torchvision_networks import resnet
from gtn_bench.models.normalized import Normalized

PUBLIC = Path(__file__).parents[1] / "benchmarks" / "public-models"
LARGE, SMALL = (3, 32, 32), (1, 28, 28)
SIZES = [(32, 32), (16, 16), (8, 8), (4, 4)]
LAYOUT = torch.channels_last


def public(name: str) -> nn.Module:
    """Return an architecture of a public checkpoint."""
    sys.path.insert(0, str(PUBLIC))
    try:
        module: nn.Module = getattr(__import__("public_models"), name)()
    finally:
        sys.path.remove(str(PUBLIC))
    return module


class Small(nn.Module):
    """A network whose forward pass is a function of its layers, for variations."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.pool, self.drop, self.head = nn.AdaptiveAvgPool2d(2), nn.Dropout(0.5), nn.Linear(32, 10)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def residual(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return net.head(net.pool(F.relu(net.norm(x + net.second(F.relu(x))))).flatten(1))  # type: ignore[no-any-return]


def in_place(net: Any, x: Tensor) -> Tensor:
    y = net.first(x)
    z = net.norm(net.second(F.relu(y, inplace=True)))
    z += y  # the rectified values
    return net.head(net.pool(z.relu_()).flatten(1))  # type: ignore[no-any-return]


def rectified_input(net: Any, x: Tensor) -> Tensor:
    y = net.norm(net.first(x))
    z = F.max_pool2d(F.relu_(y), 2)
    return net.head(net.pool(z).flatten(1)) + net.head(net.pool(y).flatten(1))  # type: ignore[no-any-return]


def shared(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.norm(net.second(net.first(x))))
    x = F.max_pool2d(torch.relu(net.other(net.second(x))), 2)
    return net.head(net.drop(net.pool(x)).view(x.size(0), -1))  # type: ignore[no-any-return]


def two_users(net: Any, x: Tensor) -> Tensor:
    y = net.first(x)
    return net.head(net.pool(net.norm(y) - y.tanh()).reshape(-1, 32))  # type: ignore[no-any-return]


def functional(net: Any, x: Tensor) -> Tensor:
    x = F.dropout(F.leaky_relu(net.norm(net.first(x)), 0.2), 0.5, training=net.training)
    return net.head(torch.flatten(F.avg_pool2d(net.second(x).clamp(min=0), 16), 1))  # type: ignore[no-any-return]


def dependent(net: Any, x: Tensor) -> Tensor:
    x = net.norm(net.first(x))
    x = x.tanh() if x.mean() > 0 else x.sigmoid()
    return net.head(net.pool(x).flatten(1))  # type: ignore[no-any-return]


def rectified_twice(net: Any, x: Tensor) -> Tensor:
    y = F.leaky_relu(F.relu(net.norm(net.first(x))), 0.1)
    y = F.relu(net.second(y)) + y
    z = net.other(y)
    z += y
    return net.head(net.pool(F.relu(F.relu(z))).flatten(1))  # type: ignore[no-any-return]


def sum_before_pooling(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return net.head(net.pool(F.max_pool2d(F.relu(x + net.second(x)), 2)).flatten(1))  # type: ignore[no-any-return]


def pool_of_few_channels(net: Any, x: Tensor) -> Tensor:
    return net.head(net.pool(F.max_pool2d(net.first(x).relu(), 2)).flatten(1))  # type: ignore[no-any-return]


def dense(net: Any, x: Tensor) -> Tensor:
    x = F.relu(net.norm(net.first(x)))
    y = torch.cat([x, net.second(x)], dim=1)[:, 4:12]
    return net.head(net.pool(net.other(y.permute(0, 1, 3, 2))).flatten(1))  # type: ignore[no-any-return]


def norm(layer: nn.Module) -> Callable[[], nn.Module]:
    tail = nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(8 * 64, 10)
    return lambda: nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, padding=2), copy.deepcopy(layer), *tail)


def gated() -> nn.Module:
    return nn.Sequential(Small(dependent), nn.Softplus())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet-18": (lambda: resnet("resnet18", 3, 10, width=0.25, small_stem=True), LARGE),
    "resnet-50": (lambda: resnet("resnet50", 3, 10, width=0.125, small_stem=False), LARGE),
    "distillation resnet": (
        lambda: resnet18(3, 10, (4, 4), width=8, norm="instance", average_pooling=True),
        LARGE,
    ),
    "vgg11": (
        lambda: plain(
            VGG11,
            3,
            10,
            [(32, 32), (16, 16), (8, 8), (8, 8), (4, 4), (4, 4), (2, 2), (2, 2), (1, 1)],
            width=8,
            norm="batch",
            head="classifier",
        ),
        LARGE,
    ),
    **{
        f"convnet {kind}": (
            lambda kind=kind: convnet(3, 10, SIZES, width=16, norm=kind, activation="relu", pooling="avg"),  # type: ignore[misc]
            LARGE,
        )
        for kind in ("instance", "batch", "group", "none")
    },
    "wide resnet": (lambda: resnet("resnet18", 3, 10, width=0.75, small_stem=True), (3, 16, 16)),
    "trades": (lambda: public("SmallCNN"), SMALL),
    "certified": (lambda: public("convex_adversarial"), SMALL),
    "normalized": (lambda: Normalized(Small(shared), (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)), LARGE),
    **{
        function.__name__: (lambda function=function: Small(function), LARGE)  # type: ignore[misc]
        for function in (
            residual,
            in_place,
            rectified_input,
            shared,
            two_users,
            functional,
            dependent,
            rectified_twice,
            sum_before_pooling,
            pool_of_few_channels,
            dense,
        )
    },
    "instance norm": (norm(nn.InstanceNorm2d(8, affine=True)), LARGE),
    "stored instance norm": (norm(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)), LARGE),
    "batch norm without weights": (norm(nn.BatchNorm2d(8, affine=False)), LARGE),
    "batch norm without statistics": (norm(nn.BatchNorm2d(8, track_running_stats=False)), LARGE),
    "part without a graph": (gated, LARGE),
}
VIEWS = {"shared", "normalized"}  # refuse images in the channels-last layout themselves
AS_THEY_ARE = {"dependent", "part without a graph"}


def network_of(title: str) -> tuple[nn.Module, Tensor]:
    """Return a network in float64 whose constants are random and whose statistics are those of a batch, and images."""
    build, shape = NETWORKS[title]
    torch.manual_seed(0)
    network = build().double()
    for name, value in network.state_dict().items():
        if value.ndim == 1 and "running_var" not in name:
            value.add_(0.3 * torch.randn_like(value))
    network.train()(torch.rand(20, *shape, dtype=torch.float64))
    return network.eval(), torch.rand(5, *shape, dtype=torch.float64)


def gradient(network: nn.Module, x: Tensor) -> Tensor:
    """Return the gradient of the summed cross-entropy for class 3."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(network(x).double(), torch.full((len(x),), 3), reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def close(ours: Tensor, expected: Tensor, tolerance: float) -> bool:
    return ours.shape == expected.shape and bool((ours - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradients_are_equal_in_float64(name: str) -> None:
    network, x = network_of(name)
    before = copy.deepcopy(network.state_dict())
    faster = prepared(network, NETWORKS[name][1], "float32")
    assert (name in AS_THEY_ARE) != isinstance(faster, fx.GraphModule)
    for images in (x, x[:1] if name in VIEWS else x.contiguous(memory_format=LAYOUT)):
        assert close(faster(images), network(images), 1e-9)
        assert close(gradient(faster, images), gradient(network, images), 1e-9)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_differs_by_rounding_alone(name: str, numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is the network in float64. Few images have a value so close to zero that rounding changes its sign."""
    if not numba:
        monkeypatch.setattr(numba_backend, "available", lambda: False)
    network, x = network_of(name)
    classifier = Classifier(copy.deepcopy(network).float(), NETWORKS[name][1], 10)
    assert close(classifier(x.float()).double(), network(x), 2e-5)
    errors = (gradient(classifier, x.float()).double() - (truth := gradient(network, x))).flatten(1).norm(dim=1)
    assert (errors / truth.flatten(1).norm(dim=1)).median() < 1e-4


@pytest.mark.parametrize(
    "name, layers",
    [
        ("certified", {PatchConv2d: 1, FlattenChannelsLast: 1}),
        ("wide resnet", {WinogradConv2d: 10, nn.BatchNorm2d: 0}),
        ("trades", {WinogradConv2d: 0, PatchConv2d: 1, PooledConv2d: 2, FlattenChannelsLast: 1, nn.Dropout: 0}),
        ("convnet instance", {PatchConv2d: 1, NormBlock: 3, nn.GroupNorm: 0, nn.ReLU: 0, nn.AvgPool2d: 0}),
        ("resnet-18", {PatchConv2d: 1, nn.BatchNorm2d: 0, nn.Identity: 0}),
        ("residual", {Affine: 1, nn.BatchNorm2d: 0}),
        ("shared", {nn.BatchNorm2d: 0, PooledConv2d: 1, nn.Conv2d: 1}),
        ("sum_before_pooling", {PatchConv2d: 1, PooledConv2d: 0, ReluPool: 1}),
        ("pool_of_few_channels", {PatchConv2d: 0, PooledConv2d: 1, ReluPool: 0}),
        ("two_users", {nn.BatchNorm2d: 0, Affine: 1}),
        ("rectified_input", {nn.BatchNorm2d: 0, PooledConv2d: 0, ReluPool: 0}),
        ("batch norm without statistics", {nn.BatchNorm2d: 1}),
    ],
)
def test_layers_are_replaced(name: str, layers: dict[type[nn.Module], int]) -> None:
    network, _ = network_of(name)
    faster = prepared(network.float(), NETWORKS[name][1], "float32")
    found = [type(module) for module in faster.modules()]
    assert {kind: found.count(kind) for kind in layers} == layers


def test_parts_of_a_network_without_a_graph_are_folded() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.head = nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x).mean((2, 3))
            return self.head(y if y.max() > 0.5 else 2 * y)  # type: ignore[no-any-return]

    network, x = Outer(), torch.rand(4, 3, 8, 8)
    network(x)
    faster = prepared(network.eval(), (3, 8, 8), "float32")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in faster.modules())
    assert close(faster(x), network(x), 1e-5) and close(gradient(faster, x), gradient(network, x), 1e-4)


class Counting(nn.Module):
    """A network that stores the number of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls = nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.body(x) / self.calls  # type: ignore[no-any-return]


def drawing(draw: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Small(lambda net, x: residual(net, x + draw(x)))


def no_gradient(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.first(x)
    return net.head(net.pool(net.norm(x)).flatten(1))  # type: ignore[no-any-return]


def coarse(net: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return residual(net, x).float()


class Stubborn(nn.Dropout):
    """A dropout that stays active."""

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(True)


@pytest.mark.parametrize(
    "build",
    [
        Counting,
        drawing(torch.rand_like),
        drawing(lambda x: random.random()),
        drawing(lambda x: float(np.random.rand())),
        drawing(lambda x: torch.rand(1)),
        lambda: Small(no_gradient),
        lambda: Small(coarse),
        lambda: nn.Sequential(Small(residual), Stubborn(0.5)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
        lambda: Small(lambda net, x: residual(net, x) if torch.is_grad_enabled() else -residual(net, x)),
    ],
)
def test_networks_that_a_graph_would_change_run_as_they_are(build: Callable[[], nn.Module]) -> None:
    faster = prepared(build().eval(), LARGE, "float32")
    assert not isinstance(faster, fx.GraphModule)


def test_networks_that_depend_on_gradients_keep_their_gradients() -> None:
    torch.manual_seed(0)
    for function in (no_gradient, coarse):
        network, x = Small(function).eval(), torch.rand(3, *LARGE)
        classifier = Classifier(network, LARGE, 10)
        assert torch.equal(classifier(x), network(x))
        assert classifier.differentiable == (function is coarse)


def test_hooks_keep_their_effect() -> None:
    torch.manual_seed(0)
    network, x = Small(shared).eval(), torch.rand(3, *LARGE)
    seen: list[torch.Size] = []
    network.second.register_forward_hook(lambda module, inputs, output: seen.append(output.shape) or 2 * output)
    network.pool.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous().view(-1, 8, 16, 16) + 1,))
    faster = prepared(network, LARGE, "float32")
    seen.clear()
    assert close(faster(x), network(x), 1e-5) and len(seen) == 4
    assert close(gradient(faster, x), gradient(network, x), 1e-4)


def test_parametrized_weights_are_kept() -> None:
    torch.manual_seed(0)
    network, x = Small(shared), torch.rand(8, *LARGE)
    nn.utils.parametrizations.weight_norm(network.second)
    nn.utils.parametrizations.spectral_norm(network.head)
    network(x)
    faster = prepared(network.eval(), LARGE, "float32")
    assert close(faster(x), network(x), 1e-5) and close(gradient(faster, x), gradient(network, x), 1e-4)


def test_the_reason_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="gtn_bench"):
        prepared(nn.Sequential(Small(dependent).eval()), LARGE, "float32")
        prepared(Small(dependent), LARGE, "float32")
        prepared(drawing(torch.rand_like)(), LARGE, "float32")
        prepared(Small(coarse), LARGE, "float32")
        prepared(public("SmallCNN"), SMALL, "float32")
    text = " | ".join(caplog.messages)
    assert "Small has no graph (TraceError: symbolically traced variables cannot be used as inputs to" in text
    assert "Small runs as it is: it draws random numbers, or changes from call to call" in text
    assert "Small has no graph (its forward uses autocast)" in text or "Small runs as it is, because" in text
    assert "SmallCNN is prepared: " in text and "ReLU and pooling" in text


@pytest.mark.parametrize("name", ["trades", "convnet instance"])
def test_views_of_libraries_see_the_same_network(name: str) -> None:
    network, _ = network_of(name)
    classifier = Classifier(network.float(), NETWORKS[name][1], 10)
    assert isinstance(classifier.network, fx.GraphModule)
    for view in (as_art, as_foolbox, as_torchattacks):
        view(classifier)


@pytest.mark.parametrize("name", ["trades", "convnet instance", "resnet-18"])
def test_bfloat16_changes_logits_by_rounding(name: str) -> None:
    network, x = network_of(name)
    exact, rounded = (Classifier(network.float(), NETWORKS[name][1], 10, kind) for kind in ("float32", "bfloat16"))  # type: ignore[arg-type]
    assert 0 < (rounded(x.float()) - exact(x.float())).abs().max() < 0.05 * exact(x.float()).abs().max()
    ours, expected = (gradient(each, x.float()).flatten() for each in (rounded, exact))
    assert F.cosine_similarity(ours, expected, dim=0) > 0.9


@pytest.mark.parametrize("name", ["trades", "convnet group", "certified", "wide resnet", "sum_before_pooling"])
def test_outputs_are_the_same_without_gradients(name: str) -> None:
    network, x = network_of(name)
    faster = prepared(network.float(), NETWORKS[name][1], "float32")
    with torch.no_grad():
        without = faster(x.float())
    assert torch.equal(without, faster(x.float().requires_grad_()))


@pytest.mark.parametrize("name", ["trades", "certified", "wide resnet", "convnet group", "pool_of_few_channels"])
def test_autocast_rounds_logits_and_gradients_only(name: str) -> None:
    network, x = network_of(name)
    faster = prepared(network.float(), NETWORKS[name][1], "float32")
    with torch.autocast("cpu", torch.bfloat16):
        assert close(faster(x.float()).float(), network(x.float()).float(), 0.05)
        found, expected = gradient(faster, x.float()), gradient(network, x.float())
    assert F.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.95


@pytest.mark.parametrize("layer", [PatchConv2d, PooledConv2d])
def test_gradient_of_no_images_is_empty(layer: type[PatchConv2d | PooledConv2d]) -> None:
    faster = layer.sharing(nn.Conv2d(1, 8, 3).requires_grad_(False))
    assert faster is not None
    faster.relu = True
    x = torch.rand(0, 1, 8, 8, requires_grad=True)
    faster(x).sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_traces_are_refused() -> None:
    """They would not contain the compiled kernels."""
    network, x = network_of("trades")
    faster = prepared(network.float(), NETWORKS["trades"][1], "float32")
    with torch.no_grad(), pytest.raises((RuntimeError, IndexError)):
        torch.jit.trace(faster, x.float(), check_trace=False)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_tangents_are_not_lost_without_gradients() -> None:
    """Derivatives in forward mode are refused."""
    network, x = network_of("trades")
    faster = prepared(network.float(), NETWORKS["trades"][1], "float32")
    x = x.float()
    with torch.no_grad(), forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp"):
        faster(forward_ad.make_dual(x, torch.ones_like(x)))


@pytest.mark.parametrize("name", ["trades", "convnet group", "certified", "wide resnet"])
def test_networks_keep_derivatives_of_second_order(name: str) -> None:
    network, x = network_of(name)
    faster = prepared(network.float(), NETWORKS[name][1], "float32")
    results = []
    for each in (faster, network):
        images = x.float().requires_grad_()
        (first,) = torch.autograd.grad(each(images).exp().sum(), images, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), images)[0])
    assert close(results[0], results[1], 1e-3)


@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (3, 2, 7, 5), (1, 1, 2, 3)])
def test_relu_pool_is_bitwise_relu_and_pooling(shape: tuple[int, ...]) -> None:
    """Of equal maxima the first one gets the gradient. A NaN is larger than any number."""
    layer, draw = ReluPool(), torch.Generator().manual_seed(0)
    x = torch.randint(-2, 3, shape, generator=draw).float().contiguous(memory_format=LAYOUT)
    x[0, 0, 0, 1] = torch.nan
    outputs = []
    for function in (layer, layer.layer_by_layer):
        images = x.clone().requires_grad_()
        y = function(images)
        outputs.append((y, torch.autograd.grad(y, images, torch.arange(y.numel()).view_as(y) + 1.0)[0]))
    for ours, expected in zip(*outputs, strict=True):
        assert torch.equal(ours.nan_to_num(nan=99), expected.nan_to_num(nan=99))


@pytest.mark.parametrize("groups, size", list(itertools.product([1, 2, 8], [(6, 8), (7, 5), (2, 2)])))
@pytest.mark.parametrize("relu, pool", list(itertools.product([False, True], repeat=2)))
def test_norm_block_equals_its_layers(groups: int, size: tuple[int, int], relu: bool, pool: bool) -> None:
    draw = torch.Generator().manual_seed(groups)
    weight, bias = torch.randn(2, 8, generator=draw)
    block = NormBlock(groups, weight, bias, 1e-5, relu=relu, pool=pool)
    x = (3 + torch.randn(3, 8, *size, generator=draw)).requires_grad_()
    y = block(x)
    truth = copy.deepcopy(block).double()
    exact = x.detach().double().requires_grad_()
    expected = truth(exact)
    assert close(y.double(), expected, 1e-5)
    grad = torch.randn(y.shape, generator=draw)
    found, wanted = torch.autograd.grad(y, x, grad)[0], torch.autograd.grad(expected, exact, grad.double())[0]
    assert torch.allclose(found.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels, kernel, stride, padding", [(1, 3, 1, 0), (1, 4, 2, 1), (3, 3, 1, 1), (2, 5, 3, 2)])
@pytest.mark.parametrize("relu", [False, True])
def test_patch_convolution_equals_torch(channels: int, kernel: int, stride: int, padding: int, relu: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 12, kernel, stride, padding).requires_grad_(False)
    layer = PatchConv2d.of(copy.deepcopy(plain))
    assert layer is not None
    layer.relu = relu
    x = torch.randn(5, channels, 11, 9, requires_grad=True)
    exact = x.detach().double().requires_grad_()
    expected = plain.double()(exact)
    expected = expected.relu() if relu else expected
    y = layer(x)
    grad = torch.randn_like(y)
    assert close(y.double(), expected, 1e-5)
    truth = torch.autograd.grad(expected, exact, grad.double())[0]
    assert close(torch.autograd.grad(y, x, grad)[0].double(), truth, 1e-5)


@pytest.mark.parametrize("share", [-1.0, 0.1, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_patch_convolution_skips_zeros(channels: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images with few, with many and without elements of the gradient agree with PyTorch, and zeros stay zeros."""
    monkeypatch.setattr(patch_convolution, "LARGEST_SHARE", share)
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 12, 3, 2, 1).requires_grad_(False)
    layer = PatchConv2d.of(copy.deepcopy(plain))
    assert layer is not None
    layer.relu = True
    x = torch.randn(4, channels, 11, 9, requires_grad=True)
    grad = sparse(torch.randn(layer(x).shape), [0, 0.05, 0.3, 1])
    check_gradient(layer, lambda x: plain.double()(x).relu(), x, grad)


@pytest.mark.parametrize(
    "channels, maps, kernel, stride, padding",
    [(32, 8, 3, 1, 0), (5, 12, 3, 1, 1), (6, 7, 5, 1, 2), (4, 6, 4, 2, 1), (3, 5, 1, 1, 0), (1, 4, 3, 3, 2)],
)
@pytest.mark.parametrize("share", [-1.0, 0.3, 1.0])
def test_pooled_convolution_equals_torch(
    channels: int, maps: int, kernel: int, stride: int, padding: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do its gradients, those of a part of the images and of second order too; zeros stay zeros."""
    monkeypatch.setattr(pooled_convolution, "MOST_CHANNELS", 0)
    monkeypatch.setattr(pooled_convolution, "LARGEST_SHARE", share)
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, maps, kernel, stride, padding).requires_grad_(False)
    layer = PooledConv2d.sharing(copy.deepcopy(plain))
    assert layer is not None

    def layers(x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(plain.double()(x).relu(), 2)

    x = torch.randn(4, channels, 15, 13, requires_grad=True)
    grad = sparse(torch.randn(layer(x).shape), [0, 0.1, 0.5, 1])
    check_gradient(layer, layers, x, grad)
    weights = torch.randn(layer(x).shape, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x), x, weights, create_graph=True)
    exact, exact_weights = x.detach().double().requires_grad_(), weights.detach().double().requires_grad_()
    (truth,) = torch.autograd.grad(layers(exact), exact, exact_weights, create_graph=True)
    seconds = [
        torch.autograd.grad(value.pow(3).sum(), of)[0] for value, of in ((first, weights), (truth, exact_weights))
    ]
    assert close(seconds[0].double(), seconds[1], 1e-4)


def test_gradient_behind_a_pooling_is_sparse_in_small_layers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large layer with a dense gradient uses PyTorch's convolution, because that is faster."""
    calls = []
    monkeypatch.setattr(
        pooled_convolution.relu_pool, "gradient", lambda *each: calls.append(len(each[0])) or torch.zeros(each[2])
    )
    for channels, expected in ((8, []), (pooled_convolution.MOST_CHANNELS + 1, [3])):
        calls.clear()
        layer = PooledConv2d.sharing(nn.Conv2d(channels, 4, 3).requires_grad_(False))
        assert layer is not None
        layer.bias.fill_(100)  # type: ignore[union-attr]
        layer(torch.rand(3, channels, 6, 6, requires_grad=True)).sum().backward()
        assert calls == expected


def test_zeros_of_a_gradient_stay_zeros() -> None:
    """Sign steps would move these pixels otherwise."""
    network, x = network_of("trades")
    x[:, :, :14] = 0
    faster = prepared(network.float(), NETWORKS["trades"][1], "float32")
    zeros = gradient(network, x.float()) == 0
    assert 0.01 < zeros.float().mean() < 0.99 and torch.equal(gradient(faster, x.float()) == 0, zeros)


def sparse(grad: Tensor, shares: list[float]) -> Tensor:
    """Return gradients whose images have shares of elements that are not zero."""
    return grad * (torch.rand(grad.shape) < torch.tensor(shares)[:, None, None, None])


def check_gradient(layer: nn.Module, truth: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> None:
    """Compare outputs and gradients of a layer in float32 with those of a function in float64."""
    exact = x.detach().double().requires_grad_()
    y, expected = layer(x), truth(exact)
    assert close(y.double(), expected, 1e-5)
    found, wanted = torch.autograd.grad(y, x, grad)[0], torch.autograd.grad(expected, exact, grad.double())[0]
    assert close(found.double(), wanted, 1e-5)
    assert (found[0] == 0).all()


@pytest.mark.parametrize(
    "channels, maps, size, padding, images",
    [
        (48, 48, (4, 4), 1, 1),
        (48, 64, (16, 12), 1, 5),
        (50, 49, (13, 8), 0, 3),
        (64, 48, (7, 7), 2, 2),
        (48, 48, (32, 32), 1, 9),
        (64, 64, (3, 3), 1, 4),
    ],
)
def test_winograd_convolution_equals_torch(
    channels: int, maps: int, size: tuple[int, int], padding: int, images: int
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, maps, 3, padding=padding).requires_grad_(False)
    layer = WinogradConv2d.of(copy.deepcopy(plain), size)
    assert layer is not None
    shape = images, channels, size[0] + 2 - 2 * padding, size[1] + 2 - 2 * padding
    x = torch.randn(shape, requires_grad=True)
    exact = x.detach().double().requires_grad_()
    expected = copy.deepcopy(plain).double()(exact)
    y = layer(x)
    assert y.shape == (images, maps, *size) and layer._kept is not None  # the kernels ran
    assert close(y.double(), expected, 5e-6)
    grad = torch.randn_like(y)
    truth = torch.autograd.grad(expected, exact, grad.double(), retain_graph=True)[0]
    found = torch.autograd.grad(y, x, grad, retain_graph=True)[0]
    assert close(found.double(), truth, 5e-6)
    again = torch.autograd.grad(y, x, grad, create_graph=True)[0]
    assert close(again.double(), truth, 5e-6)
    assert torch.equal(layer(x), y) and torch.equal(torch.autograd.grad(layer(x), x, grad)[0], found)
    assert torch.equal(layer(x.detach().contiguous(memory_format=LAYOUT)), y)
    assert plain.bias is not None and not (layer(torch.zeros_like(x)) - plain.bias[:, None, None]).any()


def test_winograd_transforms_are_exact_in_float64() -> None:
    """Products of transformed kernels and tiles, transformed back, are the convolution, for any kernel."""
    from gtn_bench.inference import winograd_kernels

    torch.manual_seed(0)
    x, weight = torch.randn(1, 1, 6, 6), torch.randn(1, 1, 3, 3)
    tile = np.eye(6)
    inputs = np.array([winograd_kernels._inputs.py_func(*column) for column in tile.T]).T
    outputs = np.array([winograd_kernels._outputs.py_func(*column) for column in tile.T]).T
    products = transformed_weights(weight.double()).view(6, 6).numpy() * (inputs @ x[0, 0].double().numpy() @ inputs.T)
    expected = F.conv2d(x.double(), weight.double())[0, 0].numpy()
    assert outputs @ products @ outputs.T == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "options, size",
    [
        ({"kernel_size": 1}, (8, 8)),
        ({"stride": 2}, (8, 8)),
        ({"dilation": 2}, (8, 8)),
        ({"groups": 2}, (8, 8)),
        ({"padding": (0, 1)}, (8, 8)),
        ({"padding": 1, "padding_mode": "reflect"}, (8, 8)),
        ({"out_channels": 47}, (8, 8)),
        ({}, (2, 2)),
        ({}, (5, 5)),
    ],
)
def test_other_convolutions_stay_as_they_are(options: dict[str, Any], size: tuple[int, int]) -> None:
    plain = {"in_channels": 64, "out_channels": 64, "kernel_size": 3}
    assert WinogradConv2d.of(nn.Conv2d(**plain), (8, 8)) is not None
    assert WinogradConv2d.of(nn.Conv2d(**{**plain, **options}), size) is None


@fx.wrap
def wrapped_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


class Ranked(nn.Module):
    """Two convolutions, and another function at the end."""

    def __init__(self, before: nn.Module, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.before, self.second = nn.Conv2d(48, 48, 3, padding=1), before, nn.Conv2d(48, 48, 3, padding=1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.before(self.first(x))))


@pytest.mark.parametrize(
    "before, last, replaced",
    [
        (nn.ReLU(), lambda x: x.mean((2, 3)), 2),
        (nn.MaxPool2d(3, 1, 1), lambda x: x.mean((2, 3)), 1),
        (nn.ReLU(), lambda x: x.mean((2, 3)).softmax(1), 2),
        (nn.ReLU(), lambda x: x.amax((2, 3)), 0),
        (nn.ReLU(), lambda x: torch.max(x.flatten(2), 2)[0], 0),
        (nn.ReLU(), lambda x: F.adaptive_max_pool2d(x, 1).flatten(1), 0),
        (nn.ReLU(), lambda x: x.flatten(2).topk(3, 2).values.mean(2), 0),
        (nn.ReLU(), lambda x: x.flatten(2).quantile(0.9, dim=2), 0),
        (nn.ReLU(), lambda x: torch.where(x >= x.roll(1, 2), x, x.roll(1, 2)).mean((2, 3)), 0),
        (nn.ReLU(), lambda x: x.clamp(min=x.roll(1, 2)).mean((2, 3)), 0),
        (nn.ReLU(), lambda x: x.clamp(0, 6).clamp_min(0).mean((2, 3)), 2),
        (nn.ReLU(), lambda x: F.pad(x, (1, 1, 1, 1)).mean((2, 3)), 2),
        (nn.ReLU(), lambda x: wrapped_pool(x).flatten(1), 0),
        (nn.ReLU(), lambda x: (x.mean((2, 3)) / x.pow(2).sum((2, 3)).sqrt().clamp_min(1e-3)).log_softmax(1), 2),
    ],
)
def test_winograd_convolutions_are_not_used_before_a_selection(
    before: nn.Module, last: Callable[[Tensor], Tensor], replaced: int
) -> None:
    """Equal values have to stay equal, so that a maximum of them gives its gradient to the first."""
    network = Ranked(before, last).eval()
    faster = prepared(network, (48, 8, 8), "float32")
    assert sum(type(module) is WinogradConv2d for module in faster.modules()) == replaced


class Written(nn.Module):
    """A convolution whose result is written to another value."""

    def __init__(self, write: Callable[[Tensor, Tensor], Tensor], last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(48, 48, 3, padding=1), nn.Conv2d(48, 48, 3, padding=1)
        self.write, self.last = write, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.write(self.first(x), self.second(x)))


def added(y: Tensor, z: Tensor) -> Tensor:
    y.add_(z)
    return y


def added_at_once(y: Tensor, z: Tensor) -> Tensor:
    y += z
    return y


def rectified_and_added(y: Tensor, z: Tensor) -> Tensor:
    rectified = F.relu_(y)  # the same tensor
    rectified += z
    return y


@pytest.mark.parametrize(
    "write", [added, added_at_once, rectified_and_added, Tensor.copy_, lambda y, z: torch.add(y, z, out=y)]
)
@pytest.mark.parametrize("is_pooled", [True, False])
def test_winograd_convolutions_are_not_written_to_what_is_pooled(
    write: Callable[[Tensor, Tensor], Tensor], is_pooled: bool
) -> None:
    """A graph does not tell who reads a value that was written in place. A sum of two layers is known."""
    network = Written(write, lambda y: (F.max_pool2d(y, 2) if is_pooled else y).mean((2, 3))).eval()
    faster = prepared(network, (48, 8, 8), "float32")
    replaced = sum(type(module) is WinogradConv2d for module in faster.modules())
    assert replaced == (2 if write is added_at_once and not is_pooled else 0)


def test_transformed_weights_follow_the_weights() -> None:
    layer = WinogradConv2d.of(nn.Conv2d(48, 48, 3, padding=1).requires_grad_(False), (8, 8))
    assert layer is not None
    x = torch.rand(2, 48, 8, 8)
    first = layer(x)
    layer.weight.mul_(2)
    assert close(layer(x) - layer.bias[:, None, None], 2 * (first - layer.bias[:, None, None]), 1e-5)  # type: ignore[index]
    assert not torch.func.functional_call(
        layer, {"weight": torch.zeros(48, 48, 3, 3), "bias": torch.zeros(48)}, x
    ).any()
    assert copy.deepcopy(layer)._kept is None and layer._kept is not None


def test_a_shared_convolution_is_transformed_once() -> None:
    network = Ranked(nn.ReLU(), lambda x: x.mean((2, 3))).eval()
    network.second = network.first
    faster = prepared(network, (48, 8, 8), "float32")
    assert sum(type(module) is WinogradConv2d for module in faster.modules()) == 1


def test_transformed_weights_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Ranked(nn.ReLU(), lambda x: x.mean((2, 3))).eval()
    layer = WinogradConv2d.of(network.first, (8, 8))
    assert layer is not None
    assert layer.transformed_size == 8 * layer.transformed(gradient=True).numel() == 2 * 36 * 48 * 48 * 4
    monkeypatch.setattr(acceleration, "MOST_TRANSFORMED", layer.transformed_size)
    faster = prepared(network, (48, 8, 8), "float32")
    assert [type(module) for module in faster.modules() if isinstance(module, nn.Conv2d)].count(WinogradConv2d) == 1
