"""Examination of networks before their evaluation: every fault is found alone, and healthy networks have none."""

from __future__ import annotations

import copy
import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.checks.accuracy import paired_test
from gtn_bench.checks.changes import USUAL
from gtn_bench.checks.doctor import BUDGETS, examine
from gtn_bench.checks.findings import Finding, describe, finding
from gtn_bench.checks.table import CHECKS
from gtn_bench.data import DATASETS, Digits, Split
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.architectures import ConvNet
from gtn_bench.models.normalized import Normalized
from gtn_bench.modes.real_data import Vanilla

Change = Callable[[Tensor], Tensor]
DIGITS = Digits()
TEST = DIGITS()["test"]


def found(network: Any, images: Any = TEST, **options: Any) -> list[Finding]:
    """Examine a network of ten classes, on the test images of digits if no others are given."""
    return examine(network, images, num_classes=10, **options)


def names(network: Any, images: Any = TEST, **options: Any) -> list[str]:
    """Return the names of the findings."""
    return [one.name for one in found(network, images, **options)]


def mlp(features: int = 64) -> nn.Sequential:
    """Return an untrained network of one hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 10))


def trained(network: nn.Module, change: Change = lambda x: x, images: Any = None, steps: int = 150) -> nn.Module:
    """Train a network on images after a change, by default the training images of digits."""
    x, y = images or DIGITS()["train"][:]
    x, optimizer = change(x), torch.optim.Adam(network.train().parameters(), 3e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def healthy() -> nn.Module:
    """Return a network with an accuracy of about 0.95."""
    torch.manual_seed(0)
    return trained(mlp())


class Wrapped(nn.Module):
    """A network inside a function of network and images."""

    def __init__(self, network: nn.Module, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.network, self.function = copy.deepcopy(network), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.network, x)


class StubbornDropout(nn.Dropout):
    """Dropout that stays in train mode."""

    def train(self, mode: bool = True) -> StubbornDropout:
        return super().train(True)


class ModelOutput(OrderedDict[str, Tensor]):
    """A mapping whose entries are attributes, too."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


class NoBackward(torch.autograd.Function):
    """A function without a backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()


class Locked(nn.Module):
    """A network that can be copied neither by `copy` nor by `pickle`."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("it is locked")


def subtract(network: nn.Module, x: Tensor) -> Tensor:
    """Subtract a mean in place."""
    return cast(Tensor, network(x.sub_(0.01)))


def only_batches(network: nn.Module, x: Tensor) -> Tensor:
    """Refuse a single image."""
    if len(x) == 1:
        raise ValueError("expected more than one image")
    return cast(Tensor, network(x))


def bright_is_nan(network: nn.Module, x: Tensor) -> Tensor:
    """Divide by zero for the images whose first pixels are dark."""
    return cast(Tensor, network(x)) / (x[:, 0, 0, :4].mean(1) > 0.3)[:, None].float()


def dark_is_detached(network: nn.Module, x: Tensor) -> Tensor:
    """Return logits without a gradient for every image whose mean is below 0.3."""
    logits: Tensor = network(x)
    return torch.where(x.mean((1, 2, 3))[:, None] > 0.3, logits, logits.detach())


FAULTS: dict[str, tuple[Callable[[nn.Module], Any], str, str]] = {
    "exception": (
        lambda net: Wrapped(net, lambda network, x: network(x[:, :, :4])),
        "forward_fails",
        "A forward pass of images (32, 1, 8, 8) raised RuntimeError:",
    ),
    "exception for one image": (
        lambda net: Wrapped(net, only_batches),
        "forward_fails",
        "A forward pass of images (1, 1, 8, 8) raised ValueError: expected more than one image;",
    ),
    "tuple": (
        lambda net: Wrapped(net, lambda network, x: (network(x), x)),
        "output_type",
        "returns a tuple of 2 entries, expected a tensor of logits (N, 10); evaluate lambda x: network(x)[0]",
    ),
    "dict": (
        lambda net: Wrapped(net, lambda network, x: {"aux": x, "out": network(x)}),
        "output_type",
        "returns a mapping (dict) with the keys aux, out, expected a tensor of logits (N, 10); "
        "evaluate lambda x: network(x)['out']",
    ),
    "model output": (
        lambda net: Wrapped(net, lambda network, x: ModelOutput(logits=network(x))),
        "output_type",
        "evaluate lambda x: network(x).logits",
    ),
    "array": (
        lambda net: Wrapped(net, lambda network, x: network(x).detach().numpy()),
        "output_type",
        "returns an object of type ndarray",
    ),
    "nothing": (lambda net: Wrapped(net, lambda network, x: None), "output_type", "returns nothing"),
    "classes": (
        lambda net: Wrapped(net, lambda network, x: network(x).argmax(1)),
        "output_type",
        "returns numbers of type int64, expected a tensor of logits (N, 10); return logits, without argmax",
    ),
    "four dimensions": (
        lambda net: Wrapped(net, lambda network, x: network(x)[:, :, None, None]),
        "output_shape",
        "returns shape (32, 10, 1, 1) for a batch of 32, expected (32, 10)",
    ),
    "transposed outputs": (
        lambda net: Wrapped(net, lambda network, x: network(x).T),
        "output_shape",
        "returns shape (10, 32) for a batch of 32, expected (32, 10)",
    ),
    "squeezed outputs": (
        lambda net: Wrapped(net, lambda network, x: network(x).squeeze()),
        "output_shape",
        "returns shape (10,) for a batch of 1, expected (1, 10)",
    ),
    "more outputs": (
        lambda net: nn.Sequential(nn.Flatten(), nn.Linear(64, 12)),
        "num_outputs",
        "returns 12 outputs for 10 classes; give the last layer 10 outputs, or set num_classes to 12",
    ),
    "fewer outputs": (
        lambda net: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)),
        "num_outputs",
        "returns 1 output for 10 classes",
    ),
    "not finite": (lambda net: Wrapped(net, bright_is_nan), "non_finite", " % of 32 images are not finite"),
    "probabilities": (
        lambda net: Wrapped(net, lambda network, x: network(x).softmax(1)),
        "probabilities",
        "those of 32 images are in [0, 1] and sum to 1; return the logits before the softmax",
    ),
    "in place": (lambda net: Wrapped(net, subtract), "input_modified", "in place, by up to 0.01;"),
    "bfloat16": (
        lambda net: copy.deepcopy(net).bfloat16(),
        "rounded_pixels",
        "are bfloat16, which rounds pixels by up to 0.002",
    ),
    "dropout": (
        lambda net: Wrapped(net, lambda network, x: network(F.dropout(x, 0.3))),
        "random",
        "between five forward passes of the same images",
    ),
    "stubborn dropout": (
        lambda net: nn.Sequential(StubbornDropout(0.3), *copy.deepcopy(net)),
        "random",
        "; in train mode: 0 (StubbornDropout); turn the randomness off in evaluation mode, or set samples_per_forward",
    ),
    "noise of NumPy": (
        lambda net: Wrapped(net, lambda network, x: network(x) + np.random.randn()),
        "random",
        "The network is random",
    ),
    "weak noise": (
        lambda net: Wrapped(net, lambda network, x: network(x + 1e-3 * torch.randn_like(x))),
        "random",
        "The network is random",
    ),
    "function of a network in train mode": (
        lambda net: functools.partial(lambda network, x: network(x), nn.Sequential(nn.Dropout(), *net).train()),
        "random",
        "; in train mode: Sequential;",
    ),
    "statistics of the batch": (
        lambda net: nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), *copy.deepcopy(net)),
        "batch_dependent",
        "depend on the other images of its batch: they differ by up to",
    ),
    "detached statistics of the batch": (
        lambda net: Wrapped(net, lambda network, x: network(x / x.detach().mean() / 3)),
        "batch_dependent",
        "depend on the other images of its batch",
    ),
    "weak dependence on the batch": (
        lambda net: Wrapped(net, lambda network, x: network(x + 1e-3 * x.mean())),
        "batch_dependent",
        "depend on the other images of its batch",
    ),
    "position in the batch": (
        lambda net: Wrapped(net, lambda network, x: network(x) * torch.linspace(0.5, 1, len(x))[:, None]),
        "batch_dependent",
        "depend on their position in the batch",
    ),
    "size of the batch": (
        lambda net: Wrapped(net, lambda network, x: network(x) / len(x)),
        "batch_dependent",
        "depend on the size of the batch",
    ),
    "train mode": (
        lambda net: nn.Sequential(*copy.deepcopy(net), nn.Dropout(0.5)).train(),
        "train_mode",
        "Of 1 modules that differ between train and evaluation mode, 1 are in train mode",
    ),
    "modules that stay in train mode": (
        lambda net: nn.Sequential(StubbornDropout(0.0), *copy.deepcopy(net)),
        "stays_in_train_mode",
        "after network.eval(): 1, namely 0 (StubbornDropout)",
    ),
    "no_grad": (
        lambda net: Wrapped(net, torch.no_grad()(lambda network, x: network(x))),
        "no_gradient",
        "The logits of 100% of 32 images have no gradient",
    ),
    "inference_mode": (
        lambda net: Wrapped(net, torch.inference_mode()(lambda network, x: network(x))),
        "no_gradient",
        "remove torch.no_grad()",
    ),
    "NumPy": (
        lambda net: Wrapped(net, lambda network, x: network(torch.from_numpy(x.detach().numpy()))),
        "no_gradient",
        "remove torch.no_grad()",
    ),
    "no derivative": (
        lambda net: Wrapped(net, lambda network, x: network(NoBackward.apply(x))),
        "gradient_fails",
        "A backward pass to images (32, 1, 8, 8) raised NotImplementedError:",
    ),
    "gradient not finite": (
        lambda net: Wrapped(net, lambda network, x: network(x) + 0 * (x - x).flatten(1).norm(dim=1)[:, None].sqrt()),
        "non_finite_gradient",
        "The gradients for 100.0% of 32 images are not finite",
    ),
    "rounding": (
        lambda net: Wrapped(net, lambda network, x: network((16 * x).round() / 16)),
        "zero_gradient",
        "is exactly zero for 100% of 32 images",
    ),
    "rounding of some images": (
        lambda net: Wrapped(net, dark_is_detached),
        "zero_gradient",
        "% of 32 images: gradient attacks cannot change these",
    ),
    "saturation": (
        lambda net: Wrapped(net, lambda network, x: 100 * network(x)),
        "saturated_loss",
        "The gradient of the cross-entropy is exactly zero for",
    ),
    "untrained": (lambda net: mlp().eval(), "near_chance", " on 360 images, where the most frequent class has 0.131"),
    "inverted": (lambda net: Wrapped(net, lambda network, x: network(1 - x)), "pixel_range", "network(1 - x)"),
    "from 0 to 255": (
        lambda net: Wrapped(net, lambda network, x: network(x.clamp(0, 255) / 255)),
        "pixel_range",
        "to 0.9",
    ),
    "transposed images": (
        lambda net: Wrapped(net, lambda network, x: network(x.transpose(2, 3))),
        "layout",
        "if height and width are exchanged; the images seem to be transposed: use x.transpose(2, 3)",
    ),
    "renamed classes": (
        lambda net: Wrapped(net, lambda network, x: network(x).roll(1, 1)),
        "permuted_labels",
        "if the classes are renamed (output 0 is class 9, output 1 is class 0, output 2 is class 1 and 7 more)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_and_nothing_else(fault: str, healthy: nn.Module) -> None:
    make, name, text = FAULTS[fault]
    network = make(healthy)
    network = network if fault == "train mode" or not isinstance(network, nn.Module) else network.eval()
    (one,) = found(network, mean=DIGITS.mean, std=DIGITS.std)
    assert (one.name, one.severity) == (name, CHECKS[name].severity)
    assert text.replace(" %", "%") in one.sentence.replace(" %", "%")
    assert "{" not in one.sentence and "\n" not in one.sentence and not one.sentence.endswith(".")


def test_every_check_of_the_table_has_a_faulty_network() -> None:
    elsewhere = {"unusable", "labels", "averaged", "unseeded", "not_random", "not_normalized", "normalized_twice"}
    elsewhere |= {"normalization", "second_normalization"}
    assert {name for _, name, _ in FAULTS.values()} | elsewhere | {"channel_order"} == {*CHECKS}


def test_numbers_are_measured(healthy: nn.Module) -> None:
    def measured(function: Callable[[nn.Module, Tensor], Any]) -> float:
        (one,) = found(Wrapped(healthy, function).eval())
        return one.measured

    x = TEST[torch.arange(32) * 360 // 360][0]
    rows = torch.arange(360)[:: 360 // 360][:32]
    assert torch.equal(x, TEST[rows][0])
    assert measured(lambda network, x: network(x)[:, :7]) == 3
    assert measured(subtract) == pytest.approx(0.01, rel=1e-5)
    assert measured(dark_is_detached) == (x.mean((1, 2, 3)) <= 0.3).double().mean().item()
    assert measured(bright_is_nan) == (x[:, 0, 0, :4].mean(1) <= 0.3).double().mean().item()
    scale = 32 / 1 - 1  # outputs of single images are 32 times as large
    logits = healthy(x[:4]) / 32
    assert measured(lambda network, x: network(x) / len(x)) == pytest.approx(
        scale * logits.abs().max().item(), rel=1e-4
    )


def shrunk(dataset: str) -> Split:
    """Return the test images of digits in the shape of another data set, in color if it has three channels."""
    channels, height, width = DATASETS[dataset].input_shape
    x = F.interpolate(TEST[:][0], (height, width))
    tint = torch.tensor([1.0, 0.6, 0.2])[:channels].view(-1, 1, 1)
    return Split((255 * (x * tint)).round().byte(), TEST.labels, 255)


@pytest.fixture(scope="module")
def colored() -> tuple[nn.Module, Split]:
    """Return a network of color images of 6x5 pixels, whose channels differ, and the test images."""
    torch.manual_seed(0)
    levels = {}
    for name in ("train", "test"):
        x, y = DIGITS()[name][:]  # type: ignore[index]
        planes = [x[:, :, :6, :5], 0.5 * x[:, :, 2:, :5], 0.2 * x[:, :, :6, 3:]]
        levels[name] = Split((255 * torch.cat(planes, dim=1)).round().byte(), y, 255)
    return trained(mlp(90), images=levels["train"][:]), levels["test"]


def test_healthy_network_of_color_images_that_are_not_square(colored: tuple[nn.Module, Split]) -> None:
    network, images = colored
    assert found(network, images) == []


@pytest.mark.parametrize(
    ("mistake", "name", "text"),
    [
        (lambda x: x.flip(1), "channel_order", "evaluate lambda x: network(x.flip(1))"),
        (lambda x: x.permute(0, 3, 1, 2).reshape(len(x), 3, 6, 5), "layout", "network(x.permute(0, 2, 3, 1))"),
    ],
)
def test_channels_and_layout_that_the_network_expects(
    mistake: Change, name: str, text: str, colored: tuple[nn.Module, Split]
) -> None:
    """The second network takes images (N, H, W, C), as well as its fully connected layers accept any layout."""
    network, images = colored
    (one,) = found(Wrapped(network, lambda network, x: network(mistake(x))).eval(), images)
    assert one.name == name and text in one.sentence


def test_images_that_were_reshaped_instead_of_permuted(colored: tuple[nn.Module, Split]) -> None:
    network, images = colored
    reshaped = images.levels.permute(0, 2, 3, 1).reshape(images.levels.shape)
    (one,) = found(network, Split(reshaped, images.labels, 255))
    assert one.name == "layout" and "reshaped from (N, H, W, C): use x.permute(0, 3, 1, 2)" in one.sentence


def test_network_that_accepts_only_the_other_layout(colored: tuple[nn.Module, Split]) -> None:
    network, images = colored
    channels_last = Wrapped(network, lambda network, x: network(x.reshape(-1, 6, 5, 3).permute(0, 3, 1, 2))).eval()
    strict = Wrapped(channels_last, lambda network, x: network(x) if x.shape[3] == 3 else network.missing)
    (one,) = found(strict.eval(), images)
    assert one.name == "forward_fails" and "raised AttributeError: 'Wrapped' object has no attribute" in one.sentence
    assert one.sentence.endswith("it accepts images (N, H, W, C): evaluate lambda x: network(x.permute(0, 2, 3, 1))")


def pixels_only(network: nn.Module, x: Tensor) -> Tensor:
    """Return the logits of images in [0, 1], and wrong ones of all others."""
    inside = (x.amin((1, 2, 3)) > -1e-3) & (x.amax((1, 2, 3)) < 1.001)
    return cast(Tensor, network(x)) * torch.where(inside, 1, -1)[:, None]


def expecting(network: nn.Module, mean: float, std: float) -> nn.Module:
    """Return a network that is right for normalized images alone."""
    return Wrapped(network, lambda network, x: pixels_only(network, x * std + mean)).eval()


@pytest.mark.parametrize("name", ["MNIST", "Fashion-MNIST", "images from -1 to 1"])
def test_missing_normalization_is_found_with_its_constants(name: str, healthy: nn.Module) -> None:
    (mean,), (std,) = USUAL[name]
    (one,) = found(expecting(healthy, mean, std))
    assert one.name == "not_normalized" and one.measured > 0.05
    assert f"if they are normalized by mean=({mean:g},), std=({std:g},), the constants of {name}" in one.sentence
    assert one.sentence.endswith(f"pass mean=({mean:g},), std=({std:g},)")


def test_missing_normalization_by_the_constants_of_the_data_set(healthy: nn.Module) -> None:
    network = expecting(healthy, 0.8, 2.0)
    assert "not_normalized" not in names(network)
    (one,) = found(network, mean=(0.8,), std=(2.0,))
    assert (
        one.name == "not_normalized" and "mean=(0.8,), std=(2,), the constants of the training images" in one.sentence
    )


def test_missing_normalization_that_costs_little_is_a_note(healthy: nn.Module) -> None:
    """Without its normalization the network misclassifies one image in 22."""
    brightness = TEST[:][0].mean((1, 2, 3))
    dark = float(brightness.quantile(1 / 22))

    def forward(network: nn.Module, x: Tensor) -> Tensor:
        is_normalized = (x.amin((1, 2, 3), keepdim=True) < -0.1).to(x)
        pixels = is_normalized * (2 * x + 0.8) + (1 - is_normalized) * x
        wrong = (is_normalized.flatten() == 0) & (pixels.mean((1, 2, 3)) < dark)
        return cast(Tensor, network(pixels)) * torch.where(wrong, -1, 1)[:, None]

    (one,) = found(Wrapped(healthy, forward).eval(), mean=(0.8,), std=(2.0,))
    assert one.name == "normalization" and one.severity == "note" and 0.03 < one.measured < 0.05
    assert "if they are normalized by mean=" in one.sentence


@pytest.mark.parametrize("constants", [(0.3, 0.4), (torch.tensor([0.3]), torch.tensor([[[0.4]]])), ([0.3], [0.4])])
def test_second_normalization_is_found_whatever_it_costs(constants: tuple[Any, Any], healthy: nn.Module) -> None:
    inner = Wrapped(healthy, lambda network, x: network(0.4 * x + 0.3)).eval()  # right if normalized twice or not
    inner.mean, inner.std = constants
    sentences = {one.name: one.sentence for one in found(Normalized(nn.Sequential(inner), (0.3,), (0.4,)).eval())}
    assert "Module 0 (Wrapped) holds the mean and std" in sentences["second_normalization"]
    inner.std = 0.5
    assert "second_normalization" not in names(Normalized(nn.Sequential(inner), (0.3,), (0.4,)).eval())


@pytest.mark.parametrize("package", [True, False], ids=["normalization of the package", "own normalization"])
def test_double_normalization_is_found(package: bool, healthy: nn.Module) -> None:
    only_pixels = Wrapped(healthy, pixels_only)
    twice = Normalized(only_pixels, (0.5,), (0.5,)) if package else Wrapped(only_pixels, lambda net, x: net(2 * x - 1))
    (one,) = found(twice.eval())
    assert one.name == "normalized_twice" and "leave mean and std out" in one.sentence


def test_rise_must_be_significant(healthy: nn.Module) -> None:
    """With 12 images even an accuracy that rises from 0 to 1 could be chance among all changes that are tried."""
    inverted = Wrapped(healthy, lambda network, x: network(1 - x)).eval()
    assert names(inverted, samples=12) == ["near_chance"]
    won, lost = torch.tensor([True] * 9 + [False] * 3), torch.tensor([False] * 9 + [True] * 3)
    assert paired_test(won, lost) == pytest.approx((1 + 12 + 66 + 220) / 2**12)


def test_permutation_is_not_found_in_guesses() -> None:
    """A fitted permutation of two classes always helps on the images that it is fitted to."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(500, 1, 4, 4, generator=draw), torch.randint(2, (500,), generator=draw)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    assert [one.name for one in examine(network, (x, y), num_classes=2)] == ["near_chance"]


def test_names_of_classes_are_in_the_sentence(healthy: nn.Module) -> None:
    two = Wrapped(healthy, lambda network, x: network(x)[:, [1, 0, *range(2, 10)]]).eval()
    (one,) = found(two)
    assert "(output 0 is class 1, output 1 is class 0)" in one.sentence
    swapped = Wrapped(healthy, lambda network, x: network(x)[:, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]).eval()
    (one,) = found(swapped, classes=[f"digit {name}" for name in "0123456789"])
    assert "(output 0 is digit 9, output 1 is digit 8, output 2 is digit 7 and 7 more)" in one.sentence


def test_labels_that_are_no_classes(healthy: nn.Module) -> None:
    x, y = TEST[:]
    (one,) = found(healthy, (x, y + 1))
    assert one.name == "labels" and one.measured == int((y == 9).sum())
    assert "they range from 1 to 10, expected 0 to 9" in one.sentence


@pytest.mark.parametrize(
    ("network", "images", "text"),
    [
        (Locked(), TEST, "ConfigError: network Locked cannot be copied (TypeError: it is locked)"),
        (mlp(), (torch.zeros(0, 1, 8, 8), torch.zeros(0)), "got 0 of shape (0, 1, 8, 8)"),
        (mlp(), (torch.zeros(3, 64), torch.zeros(3)), "got 3 of shape (3, 64)"),
    ],
)
def test_what_cannot_be_examined(network: Any, images: Any, text: str) -> None:
    (one,) = found(network, images)
    assert (one.name, one.severity) == ("unusable", "error") and text in one.sentence


class Attention(nn.Module):
    """A transformer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 32), nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 10))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.layer(self.embed(x[:, 0])).flatten(1)))


class Viewing(nn.Module):
    """A convolutional network that requires contiguous feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.linear(self.convolution(x).relu().view(len(x), -1)))


def group_norm() -> nn.Sequential:
    """Return a convolutional network with other normalizations than batch norm."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(inplace=True), nn.Dropout2d(0.1)),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.InstanceNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)),
    )


def batch_norm() -> nn.Sequential:
    """Return a convolutional network with PyTorch's batch norm."""
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


@pytest.fixture(scope="module", params=[Attention, Viewing, group_norm, batch_norm])
def foreign(request: pytest.FixtureRequest) -> nn.Module:
    """Return a trained network of layers that are not this package's."""
    torch.manual_seed(0)
    return trained(request.param(), steps=80)


VARIANTS: dict[str, Callable[[nn.Module], Any]] = {
    "float32": lambda network: network,
    "float64": lambda network: copy.deepcopy(network).double(),
    "log-probabilities": lambda network: Wrapped(network, lambda net, x: net(x).log_softmax(1)).eval(),
    "inside a sequence": lambda network: nn.Sequential(nn.Identity(), network),
    "function": lambda network: lambda x: network(x),
    "method": lambda network: network.forward,
    "data parallel": lambda network: nn.DataParallel(network),
    "autocast": lambda network: Wrapped(network, torch.autocast("cpu", torch.bfloat16)(lambda net, x: net(x))).eval(),
    "bfloat16": lambda network: copy.deepcopy(network).bfloat16(),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_healthy_networks_of_other_layers_have_no_findings(foreign: nn.Module, variant: str) -> None:
    expected = ["rounded_pixels"] if variant == "bfloat16" else []
    assert names(VARIANTS[variant](foreign)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, cls in ARCHITECTURES.items() if issubclass(cls, ConvNet)])
def test_healthy_architectures_have_no_findings(name: str) -> None:
    network = ARCHITECTURES[name]()(DIGITS, seed=0)
    state = Vanilla(epochs=1)(network.train(), DIGITS, DIGITS()["train"], None, seed=0)
    network.load_state_dict(state)
    assert found(network.eval(), mean=DIGITS.mean, std=DIGITS.std) == []
    assert found(network.double(), mean=DIGITS.mean, std=DIGITS.std) == []
    assert names(network.bfloat16()) == ["rounded_pixels"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_untrained_networks_of_torchvision_are_near_chance(name: str) -> None:
    x, y = F.interpolate(TEST[:][0], (32, 32)).repeat(1, 3, 1, 1), TEST.labels
    network = getattr(torchvision.models, name)(num_classes=10).eval()
    start = time.process_time()
    assert names(network, (x, y), samples=100) == ["near_chance"]
    assert time.process_time() - start < 20


def test_binary_network_with_one_output() -> None:
    x, y = torch.rand(40, 1, 4, 4), torch.arange(40) % 2
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).eval()
    (one,) = examine(network, (x, y), num_classes=2)
    assert "returns 1 output for 2 classes; return the logits torch.cat([-z, z], dim=1) / 2" in one.sentence


@pytest.mark.parametrize(
    ("function", "name", "text"),
    [
        (lambda network, x: network(F.dropout(x, 0.3)), "averaged", "attacks and predictions average 10 passes"),
        (lambda network, x: network(x), "not_random", "is not random, and 10 forward passes are averaged"),
    ],
)
def test_random_networks_are_noted_if_passes_are_averaged(
    function: Callable[[nn.Module, Tensor], Tensor], name: str, text: str, healthy: nn.Module
) -> None:
    (one,) = found(Wrapped(healthy, function).eval(), forward_samples=10)
    assert (one.name, one.severity) == (name, "note") and text in one.sentence


def test_random_networks_whose_draws_cannot_be_repeated(healthy: nn.Module) -> None:
    own = torch.Generator()
    network = Wrapped(healthy, lambda network, x: network(x) + torch.randn(len(x), 10, generator=own)).eval()
    assert names(network, forward_samples=10) == ["unseeded"]
    assert names(network)[0] == "random"


def test_random_network_that_depends_on_its_batch(healthy: nn.Module) -> None:
    network = Wrapped(healthy, lambda network, x: network(F.dropout(x - x.mean(), 0.3))).eval()
    assert names(network, forward_samples=10) == ["averaged", "batch_dependent"]


@pytest.fixture
def state() -> Iterator[list[Any]]:
    """Return the states of the global generators."""
    yield [torch.get_rng_state(), np.random.get_state()[1].copy()]  # type: ignore[index, union-attr]


def test_nothing_changes_outside(healthy: nn.Module, state: list[Any]) -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), *copy.deepcopy(healthy)).train()
    lock = network.__dict__["lock"] = threading.Lock()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, y = TEST[:]
    images = x.clone()
    assert names(network, (x, y)) == ["train_mode"]
    assert network.training and all(module.training for module in network.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(images, x) and network.lock is lock and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # type: ignore[index]


def test_results_are_repeatable_and_few_images_suffice(healthy: nn.Module) -> None:
    seen: list[int] = []

    def network(x: Tensor) -> Tensor:
        seen.append(len(x))
        return cast(Tensor, healthy(F.dropout(x, 0.3)))

    first, calls = found(network), len(seen)
    assert found(network) == first and seen[:calls] == seen[calls:]
    assert max(seen) <= 64 and sum(seen[:calls]) < 5000
    seen.clear()
    examine(lambda x: network(x[:, :, :8, :8]), (torch.rand(90, 1, 200, 200), TEST.labels[:90]), num_classes=10)
    assert sum(seen) < 1000
    assert names(healthy, (TEST[:2][0], TEST.labels[:2])) == []
    assert BUDGETS[-1][0] == float("inf")


def test_descriptions_begin_with_the_severity_and_errors_are_first() -> None:
    findings = [
        finding("not_random", 4),
        finding("saturated_loss", 0.5, images=32),
        finding("num_outputs", 2, outputs="12 outputs", classes=10, hint="give it 10"),
    ]
    assert describe(findings) == [
        "error: The network returns 12 outputs for 10 classes; give it 10",
        "warning: The gradient of the cross-entropy is exactly zero for 50% of 32 images, because the largest logits "
        "exceed the others by too much; use attacks on a loss of logits, such as margin or dlr, or gradient-free "
        "attacks",
        "note: The network is not random, and 4 forward passes are averaged; leave samples_per_forward out",
    ]
    assert findings[0]._asdict() == {
        "name": "not_random",
        "severity": "note",
        "measured": 4.0,
        "sentence": "The network is not random, and 4 forward passes are averaged; leave samples_per_forward out",
    }
    assert describe([]) == []
