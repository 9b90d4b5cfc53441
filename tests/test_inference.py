"""Preparation of networks for inference: folding, the fused first block, in-place activations, bfloat16."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.description import Precision
from gtn_bench.data import Digits
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.first_block import FirstBlock, FirstConv2d
from gtn_bench.inference.folding import fold
from gtn_bench.models import ARCHITECTURES, numba_backend
from gtn_bench.models.architectures import ConvNet
from gtn_bench.models.layers import BatchStatistics, Conv2d, Flatten, FullBatchNorm, Linear, MaxPool2d, MeanBatchNorm


@pytest.mark.parametrize("batch_norm", ["mean", "full"])
@pytest.mark.parametrize("name", sorted(name for name, cls in ARCHITECTURES.items() if issubclass(cls, ConvNet)))
def test_folding_keeps_logits_and_gradients(name: str, batch_norm: str) -> None:
    """The gains, biases and means have both signs, and the statistics are those of a training batch."""
    network = ARCHITECTURES[name](batch_norm=batch_norm)(Digits(), seed=0).double()
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
    ids=["activation before batch norm", "channels moved", "no weights after pooling", "plain torch layers"],
)
def test_folding_keeps_the_function_of_other_orders_of_layers(layers: Callable[[], list[nn.Module]]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*layers()).double()
    x = torch.rand(20, 1, 8, 8, dtype=torch.float64)
    network.train()(x)
    assert torch.allclose(fold(network.eval())(x), network(x), atol=1e-9)


class Inverted(nn.Sequential):
    """A subclass of a network that inverts its images."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(1 - x)  # type: ignore[no-any-return]


class Residual(Conv2d):
    """A subclass of a layer that adds its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Halving(BatchStatistics):
    """A subclass of batch norm that also divides by a deviation."""

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
        nn.Sequential(Conv2d(1, 1, 3, padding=1), Halving(), Flatten(), Linear(64, 10)),
    ],
    ids=["network", "layer", "batch norm"],
)
def test_subclasses_of_package_layers_are_not_folded(network: nn.Module) -> None:
    x = torch.rand(5, 1, 8, 8)
    assert torch.allclose(fold(network.eval())(x), network(x), atol=1e-5)


def test_folding_changes_no_prediction(network: nn.Module) -> None:
    x, _ = Digits()()["test"][:]
    assert torch.equal(fold(network)(x).argmax(1), network(x).argmax(1))


def test_folding_keeps_logits_with_negative_gain_after_pooling() -> None:
    network = ARCHITECTURES["base"](batch_norm="full")(Digits(), seed=0).double().eval()
    for module in network:
        if isinstance(module, FullBatchNorm):
            module.gain.data[::2] = -1.0
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(network(x), fold(network)(x), atol=1e-9)


@pytest.mark.parametrize("stride, channels", [(1, 1), (2, 3)])
def test_first_convolution_gradients_equal_torch(stride: int, channels: int) -> None:
    layer = FirstConv2d(channels, 16, 3, stride, padding=1).double()
    plain = nn.Conv2d(channels, 16, 3, stride, padding=1).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.rand(2, channels, 9, 8, dtype=torch.float64, requires_grad=True)
    outputs = [module(x) for module in (layer, plain)]
    assert torch.equal(*outputs)
    ours, expected = (torch.autograd.grad(out.square().sum(), x, create_graph=True)[0] for out in outputs)
    assert torch.allclose(ours, expected, rtol=1e-12)
    second = [torch.autograd.grad(grad.square().sum(), x)[0] for grad in (ours, expected)]
    assert torch.allclose(*second, rtol=1e-12)


def first_layers(inputs: int, dtype: torch.dtype) -> tuple[FirstConv2d, nn.MaxPool2d, nn.LeakyReLU]:
    """Return the layers of a first block with `inputs` input channels."""
    convolution = FirstConv2d(inputs, 16, 3, padding=1).to(dtype).requires_grad_(False)
    return convolution, nn.MaxPool2d(3, 2, 1), nn.LeakyReLU(0.1)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(3, 1, 1, 1), (7, 1, 8, 7), (4, 3, 9, 8)])
def test_first_block_equals_its_layers(
    size: tuple[int, ...], dtype: torch.dtype, numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs in bfloat16 are rounded once. Some batches are not a multiple of `images_at_once`."""
    monkeypatch.setattr(FirstBlock, "images_at_once", 3)
    layers = first_layers(size[1], exact := torch.float32 if dtype == torch.bfloat16 else dtype)
    block, plain = FirstBlock(*layers), nn.Sequential(*(copy.deepcopy(layer) for layer in layers))
    layers[0].out_dtype = dtype
    x = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(exact).requires_grad_()
    if not numba:
        monkeypatch.setattr(numba_backend, "available", lambda: False)
    outputs = block(x), plain(x)
    assert outputs[0].dtype == dtype
    assert not numba or outputs[0].is_contiguous(memory_format=torch.channels_last)
    epsilon = torch.finfo(exact).eps
    assert torch.allclose(outputs[0], outputs[1].to(dtype), rtol=torch.finfo(dtype).eps, atol=8 * epsilon)
    grad = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours, expected = (torch.autograd.grad(y, x, grad.to(y.dtype))[0] for y in outputs)
    assert ours.dtype == exact
    assert torch.allclose(ours, expected, rtol=0, atol=float(expected.abs().max()) * 8 * torch.finfo(dtype).eps)
    assert FirstBlock(*layers).to("meta")(x.to("meta")).shape == outputs[0].shape


@pytest.mark.parametrize("numba", [True, False])
def test_first_block_selects_the_first_of_equal_maxima(numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch does so too, and gradients on a constant background agree. NaN is larger than every number."""
    layers = first_layers(1, torch.float64)
    x = torch.full((2, 1, 12, 11), 0.3, dtype=torch.float64)
    x[0, 0, 5, 6] = 1
    x[1, 0, 7, 2] = torch.nan
    if not numba:
        monkeypatch.setattr(numba_backend, "available", lambda: False)
    gradients = []
    for module in (FirstBlock(*layers), nn.Sequential(*layers)):
        y = module(image := x.clone().requires_grad_())
        gradients.append(torch.autograd.grad(y, image, torch.arange(y.numel()).view_as(y) + 1.0)[0])
    assert torch.allclose(*gradients, rtol=1e-12)


@pytest.mark.parametrize("numba", [True, False])
def test_first_block_has_derivatives_of_every_order(numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numba:
        monkeypatch.setattr(numba_backend, "available", lambda: False)
    layers = first_layers(2, torch.float64)
    x = torch.rand(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FirstBlock(*layers), x) and torch.autograd.gradgradcheck(FirstBlock(*layers), x)
    ours, expected = (module(x).pow(4).sum() for module in (FirstBlock(*layers), nn.Sequential(*layers)))
    for _ in range(3):
        ours, expected = (torch.autograd.grad(y, x, create_graph=True)[0].square().sum() for y in (ours, expected))
        assert torch.allclose(ours, expected, rtol=1e-12)


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
def test_first_blocks_of_other_geometries_equal_their_layers(
    outputs: int, kernel: int, stride: int, padding: int, window: tuple[int, int, int]
) -> None:
    convolution = FirstConv2d(1, outputs, kernel, stride, padding).double().requires_grad_(False)
    layers = convolution, nn.MaxPool2d(*window), nn.LeakyReLU(0.1)
    x = torch.rand(3, 1, 12, 9, dtype=torch.float64, requires_grad=True)
    y, expected = FirstBlock(*layers)(x), nn.Sequential(*layers)(x)
    assert torch.allclose(y, expected, rtol=1e-12)
    grad = torch.randn_like(y)
    assert torch.allclose(*(torch.autograd.grad(out, x, grad)[0] for out in (y, expected)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8, 1), (2, 0, 8, 8)])
def test_compiled_first_block_refuses_other_numbers_of_channels(shape: tuple[int, ...]) -> None:
    block = FirstBlock(*first_layers(1, torch.float32))
    with pytest.raises(RuntimeError, match="channels"):
        block(torch.rand(shape))


@pytest.mark.parametrize("numba", [True, False])
def test_bfloat16_gradient_is_the_same_with_create_graph(numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numba:
        monkeypatch.setattr(numba_backend, "available", lambda: False)
    layers = first_layers(1, torch.float32)
    layers[0].out_dtype = torch.bfloat16
    x = torch.rand(4, 1, 12, 12, requires_grad=True)
    y = FirstBlock(*layers)(x)
    grad = torch.randn_like(y)
    once, again = (torch.autograd.grad(y, x, grad, retain_graph=True, create_graph=more)[0] for more in (False, True))
    assert again.requires_grad and not once.requires_grad
    assert torch.allclose(once, again, rtol=0, atol=float(once.abs().max()) * torch.finfo(torch.bfloat16).eps)


class Bounded(nn.LeakyReLU):
    """An activation that is a subclass of leaky ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(max=0.1)


@pytest.mark.parametrize(
    "following", [[Bounded(0.1)], [nn.LeakyReLU(0.1), nn.ReLU(inplace=True)], [nn.LeakyReLU(-0.1)], [nn.Tanh()]]
)
@pytest.mark.parametrize("pool", [MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1)])
def test_other_activations_after_first_convolution_keep_their_gradients(
    following: list[nn.Module], pool: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Some of the activations overwrite their inputs."""
    x, y = digits[0].clone().requires_grad_(), digits[1]
    network = nn.Sequential(Conv2d(1, 8, 3, padding=1), pool, *following, nn.Flatten(), nn.Linear(128, 10))
    gradients = [
        torch.autograd.grad(F.cross_entropy(learner(x), y, reduction="sum"), x)[0]
        for learner in (network, Classifier(copy.deepcopy(network), (1, 8, 8), 10))
    ]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize("name", sorted(name for name, cls in ARCHITECTURES.items() if issubclass(cls, ConvNet)))
def test_in_place_activations_save_memory_and_keep_gradients(name: str, digits: tuple[Tensor, Tensor]) -> None:
    """Fewer tensors are saved for the same gradients, and the layers of the network do not change."""
    learner = ARCHITECTURES[name]()(Digits(), seed=0)
    in_place, plain = (Classifier(learner, (1, 8, 8), 10) for _ in range(2))
    for module in plain.modules():
        if isinstance(module, nn.LeakyReLU):
            assert module.inplace
            module.inplace = False
    kept = sum(in_place.kept_per_image), sum(plain.kept_per_image)
    pairs = [(type(layer), type(following)) for layer, following in itertools.pairwise(cast(Any, in_place.network))]
    saves_input = (nn.LeakyReLU, nn.Conv2d) in pairs  # only a convolution saves its input
    assert kept[0] < kept[1] if saves_input else kept[0] == kept[1]
    assert torch.equal(in_place.loss_gradient(*digits), plain.loss_gradient(*digits))
    assert not any(module.inplace for module in learner.modules() if isinstance(module, nn.LeakyReLU))


class Squashed(nn.Linear):
    """A subclass of a torch layer whose gradient needs its output."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(super().forward(x))


def test_activations_do_not_overwrite_outputs_that_other_layers_need(digits: tuple[Tensor, Tensor]) -> None:
    kept = []
    network = nn.Sequential(nn.Flatten(), Squashed(64, 32), nn.LeakyReLU(0.1), nn.Linear(32, 10), nn.LeakyReLU(0.1))
    network[3].register_forward_hook(lambda layer, x, y: kept.append(y))
    logits = network(digits[0])
    gradient = Classifier(network, (1, 8, 8), 10).loss_gradient(*digits)
    assert gradient.flatten(1).any(dim=1).all()
    assert torch.equal(F.leaky_relu(kept[-1], 0.1), logits)


class Halved(nn.Module):
    """A network of another class than this package builds."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) / 2


@pytest.mark.parametrize("foreign", [False, True])
def test_bfloat16_changes_logits_and_gradients_only_by_rounding(
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


@pytest.mark.parametrize(
    ("name", "layers", "coarse_layers"), [("base_larger", 2, 2), ("base_larger3", 2, 2), ("linear", 3, 4)]
)
def test_bfloat16_does_not_round_pixels(
    name: str, layers: int, coarse_layers: int, digits: tuple[Tensor, Tensor]
) -> None:
    """The first layer reads the pixels in float32; only its outputs are rounded."""
    x = digits[0] * 0.25 + 0.7002  # bfloat16 would round these to multiples of 1/256
    learner = ARCHITECTURES[name]()(Digits(), seed=0)
    exact, coarse = (Classifier(learner, (1, 8, 8), 10, precision).network for precision in ("float32", "bfloat16"))
    assert isinstance(exact, nn.Sequential) and isinstance(coarse, nn.Sequential)
    assert torch.equal(coarse[:coarse_layers](x), exact[:layers](x).to(torch.bfloat16))


def test_gradients_without_numba_are_the_same_up_to_rounding(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    precisions: list[Precision] = ["float32", "bfloat16"]
    learners = [Classifier(network, (1, 8, 8), 10, precision) for precision in precisions]
    ours = [learner.loss_gradient(*digits) for learner in learners]
    monkeypatch.setitem(sys.modules, "numba", None)
    for package, module in (("models", "pooling_kernels"), ("inference", "first_block_kernels")):
        monkeypatch.setitem(sys.modules, f"gtn_bench.{package}.{module}", None)
        monkeypatch.delattr(f"gtn_bench.{package}.{module}")
    numba_backend.available.cache_clear()
    try:
        assert not numba_backend.available()
        float32, bfloat16 = (learner.loss_gradient(*digits) for learner in learners)
        assert torch.allclose(float32, ours[0], rtol=0, atol=1e-5 * float(ours[0].abs().max()))
        assert F.cosine_similarity(bfloat16.flatten(), ours[1].flatten(), dim=0) > 0.999
    finally:
        numba_backend.available.cache_clear()


@pytest.mark.parametrize("changed", [{"ceil_mode": True}, {"dilation": 2}, {"kernel_size": (3, 2)}])
def test_bfloat16_keeps_pooling_of_other_geometries(changed: dict[str, Any], digits: tuple[Tensor, Tensor]) -> None:
    pool = nn.MaxPool2d(**({"kernel_size": 3, "stride": 2} | changed))
    network = nn.Sequential(Conv2d(1, 4, 3, padding=1), pool, nn.LeakyReLU(0.1), nn.Flatten(), nn.LazyLinear(10))
    network(digits[0])
    exact, coarse = (Classifier(network, (1, 8, 8), 10, precision)(digits[0]) for precision in ("float32", "bfloat16"))
    assert torch.allclose(coarse, exact, atol=0.03 * float(exact.abs().max()))


def test_bfloat16_gradient_of_activation_with_negative_slope(digits: tuple[Tensor, Tensor]) -> None:
    """The sign of its output does not determine the sign of its input."""
    network = nn.Sequential(
        Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(3, 2), nn.LeakyReLU(-0.1), nn.Flatten(), nn.Linear(36, 10)
    )
    gradients = [
        Classifier(network, (1, 8, 8), 10, precision).loss_gradient(*digits).flatten()
        for precision in ("float32", "bfloat16")
    ]
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
