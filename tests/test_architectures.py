"""Architectures of the dataset-distillation field, and all architectures in training, meta-training and inference."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from helpers.architectures import instance
from helpers.messages import OWN
from helpers.runs import run
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.description import build, choose
from gtn_bench.config.errors import ConfigError
from gtn_bench.data import CIFAR10, DATASETS, MNIST, Dataset, Digits
from gtn_bench.data.base import Split, SplitName, split_images
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.models.distillation.base import DistillationNetwork
from gtn_bench.models.layers import estimate_statistics
from gtn_bench.models.normalized import Normalized
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.modes.training import train
from gtn_bench.store.keys import imports_of
from gtn_bench.teaching import TEACHERS
from gtn_bench.teaching.inner_loop import initial_state, inner_step, meta_gradient
from gtn_bench.teaching.meta_training import draw_meta_batch
from gtn_bench.teaching.optimizers import SGD


class Photos(Dataset):
    """Random images of three channels that are not square, for networks that need larger images than digits."""

    name = "photos"
    source = "https://example.org"
    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 40)
    sizes: ClassVar[tuple[int, int, int]] = (24, 8, 12)
    num_classes: ClassVar[int] = 5
    mean: ClassVar[tuple[float, ...]] = (0.4, 0.5, 0.6)
    std: ClassVar[tuple[float, ...]] = (0.2, 0.25, 0.3)

    def __call__(self) -> dict[SplitName, Split]:
        draw = torch.Generator().manual_seed(0)
        total = sum(self.sizes)
        levels = torch.randint(256, (total, *self.input_shape), generator=draw, dtype=torch.uint8)
        return split_images(levels, torch.arange(total) % self.num_classes, self.sizes, 255)


class Shape(NamedTuple):
    """What a network needs to know about a data set."""

    input_shape: tuple[int, int, int]
    num_classes: int = 10
    name: str = "shape"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)


def conv(inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> int:
    """Return the number of parameters of a convolution."""
    return outputs * (inputs * kernel**2 + bias)


def linear(*widths: int) -> int:
    """Return the number of parameters of fully connected layers."""
    return sum((one + 1) * other for one, other in itertools.pairwise(widths))


def residual(inputs: int, outputs: int) -> int:
    """Return the number of parameters of a stage of ResNet18, with two per channel in each norm."""
    shortcut = conv(inputs, outputs, 1, bias=False) + 2 * outputs if inputs != outputs else 0
    convolutions = conv(inputs, outputs, 3, bias=False) + 3 * conv(outputs, outputs, 3, bias=False)
    return convolutions + 4 * 2 * outputs + shortcut


BODY = conv(3, 64, 3, bias=False) + 2 * 64 + residual(64, 64) + residual(64, 128) + residual(128, 256)
BODY += residual(256, 512)
VGG = (64, 128, 256, 256, 512, 512, 512, 512)

# The published layer sizes: name, fields, image shape, number of parameters.
COUNTS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int], int]] = {
    "ConvNetD3": ("convnet", {}, (3, 32, 32), 320_010),
    "ConvNetD3 by hand": (
        "convnet",
        {},
        (3, 32, 32),
        conv(3, 128, 3) + 2 * conv(128, 128, 3) + 3 * 2 * 128 + linear(128 * 4 * 4, 10),
    ),
    "ConvNetD3 on MNIST": (
        "convnet",
        {},
        (1, 28, 28),
        conv(1, 128, 3) + 2 * conv(128, 128, 3) + 3 * 2 * 128 + linear(128 * 4 * 4, 10),
    ),
    "ConvNetD4W64NN": (
        "convnet",
        {"depth": 4, "width": 64, "norm": "none"},
        (3, 64, 64),
        conv(3, 64, 3) + 3 * conv(64, 64, 3) + linear(64 * 4 * 4, 10),
    ),
    "ConvNetLN": (
        "convnet",
        {"norm": "layer"},
        (3, 32, 32),
        conv(3, 128, 3) + 2 * conv(128, 128, 3) + 2 * 128 * (32**2 + 16**2 + 8**2) + linear(128 * 4 * 4, 10),
    ),
    "ConvNetNP": (
        "convnet",
        {"pooling": "none"},
        (3, 32, 32),
        conv(3, 128, 3) + 2 * conv(128, 128, 3) + 3 * 2 * 128 + linear(128 * 32 * 32, 10),
    ),
    "ResNet18": ("resnet18", {}, (3, 32, 32), 11_173_962),
    "ResNet18BN by hand": ("resnet18", {"norm": "batch"}, (3, 32, 32), BODY + linear(512, 10)),
    "ResNet18_AP": ("resnet18", {"average_pooling": True}, (3, 32, 32), BODY + linear(512 * 4 * 4, 10)),
    "ResNet18_AP on MNIST": (
        "resnet18",
        {"average_pooling": True},
        (1, 28, 28),
        BODY - 2 * 9 * 64 + linear(512 * 3 * 3, 10),
    ),
    "VGG11": (
        "vgg11",
        {},
        (3, 32, 32),
        sum(conv(one, other, 3) + 2 * other for one, other in zip((3, *VGG), VGG, strict=False)) + linear(512, 10),
    ),
    "AlexNet": (
        "alexnet",
        {},
        (1, 28, 28),
        conv(1, 128, 5)
        + conv(128, 192, 5)
        + conv(192, 256, 3)
        + conv(256, 192, 3)
        + conv(192, 192, 3)
        + linear(192 * 4 * 4, 10),
    ),
    "LeNet": ("lenet", {}, (3, 32, 32), conv(3, 6, 5) + conv(6, 16, 5) + linear(16 * 5 * 5, 120, 84, 10)),
    "LeNet on MNIST": ("lenet", {}, (1, 28, 28), conv(1, 6, 5) + conv(6, 16, 5) + linear(16 * 5 * 5, 120, 84, 10)),
    "MLP": ("mlp", {}, (1, 28, 28), linear(28 * 28, 128, 128, 10)),
    "MLP on CIFAR-10": ("mlp", {}, (3, 32, 32), linear(32 * 32 * 3, 128, 128, 10)),
}


@pytest.mark.parametrize("name, fields, shape, expected", COUNTS.values(), ids=COUNTS)
def test_networks_have_as_many_parameters_as_published(
    name: str, fields: dict[str, Any], shape: tuple[int, int, int], expected: int
) -> None:
    with torch.device("meta"):
        network = ARCHITECTURES[name](**fields).bare(Shape(shape), seed=0)  # type: ignore[arg-type]
    assert sum(value.numel() for value in network.parameters()) == expected


KEYS = {
    "convnet": ["features.0.weight", "features.1.weight", "features.4.bias", "features.9.bias", "classifier.weight"],
    "resnet18": ["conv1.weight", "bn1.bias", "layer1.0.conv2.weight", "layer2.0.shortcut.1.weight", "classifier.bias"],
    "vgg11": ["features.0.weight", "features.4.weight", "features.25.weight", "classifier.weight"],
    "alexnet": ["features.0.weight", "features.3.weight", "features.10.bias", "fc.weight"],
    "lenet": ["features.0.weight", "features.3.bias", "fc_1.weight", "fc_2.weight", "fc_3.bias"],
    "mlp": ["fc_1.weight", "fc_2.bias", "fc_3.weight"],
}
FIELD = sorted(name for name, cls in ARCHITECTURES.items() if issubclass(cls, DistillationNetwork))


@pytest.mark.parametrize("name", FIELD)
def test_state_dicts_have_the_published_names_and_no_normalization(name: str) -> None:
    with torch.device("meta"):
        state = ARCHITECTURES[name]().bare(CIFAR10(), seed=0).state_dict()
    assert {*KEYS[name]} <= {*state} and len(KEYS[name]) >= 3
    assert not any(part in key for key in state for part in ("mean", "std", "network"))
    average_pooling = {"average_pooling": True} if name == "resnet18" else {}
    if average_pooling:
        with torch.device("meta"):
            assert (
                "layer2.0.shortcut.2.weight" in ARCHITECTURES[name](**average_pooling).bare(CIFAR10(), 0).state_dict()
            )


def test_convnet_computes_the_published_function() -> None:
    """Convolution padded by three pixels for one channel, norm of each image and channel, ReLU, average pooling."""
    dataset = MNIST()
    network = ARCHITECTURES["convnet"](width=6, depth=2).bare(dataset, seed=3).double()
    state = network.state_dict()
    x = torch.randn(4, 1, 28, 28, dtype=torch.float64)
    out = x
    for block, padding in enumerate((3, 1)):
        prefix = f"features.{4 * block}"
        out = F.conv2d(out, state[f"{prefix}.weight"], state[f"{prefix}.bias"], padding=padding)
        assert out.shape[2:] == (32 // 2**block, 32 // 2**block)
        mean, var = out.mean((2, 3), keepdim=True), out.var((2, 3), keepdim=True, unbiased=False)
        gain, bias = (state[f"features.{4 * block + 1}.{part}"].view(-1, 1, 1) for part in ("weight", "bias"))
        out = ((out - mean) / (var + 1e-5).sqrt() * gain + bias).clamp(min=0)
        out = out.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))
    expected = out.flatten(1) @ state["classifier.weight"].T + state["classifier.bias"]
    assert torch.allclose(network(x), expected, atol=1e-12)
    normalized = ARCHITECTURES["convnet"](width=6, depth=2)(dataset, seed=3).double()
    assert isinstance(normalized, Normalized)
    assert torch.allclose(normalized(x), network((x - 0.1307) / 0.3081), atol=1e-4)


@pytest.mark.parametrize("average_pooling", [False, True])
def test_resnet_block_adds_its_shortcut(average_pooling: bool) -> None:
    architecture = ARCHITECTURES["resnet18"](width=4, norm="batch", average_pooling=average_pooling)
    block: Any = architecture.bare(CIFAR10(), seed=0).double().eval().layer2[0]
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    stride = 1 if average_pooling else 2

    def halved(y: Tensor) -> Tensor:
        return F.avg_pool2d(y, 2) if average_pooling else y

    scale = (1 + 1e-5) ** -0.5  # fresh batch norms in evaluation mode
    out = halved((F.conv2d(x, block.conv1.weight, stride=stride, padding=1) * scale).relu())
    out = F.conv2d(out, block.conv2.weight, padding=1) * scale
    out = out + halved(F.conv2d(x, block.shortcut[0].weight, stride=stride)) * scale
    assert block(x).shape == (2, 8, 3, 4) and torch.allclose(block(x), out.relu(), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 40, 64), (2, 33, 47)], ids=str)
@pytest.mark.parametrize("name", FIELD)
def test_networks_of_the_field_take_images_of_every_shape_that_fits(name: str, shape: tuple[int, int, int]) -> None:
    dataset: Any = Shape(shape, 7)
    architecture = ARCHITECTURES[name]()
    architecture.check(dataset)
    with torch.device("meta"):
        network = architecture.bare(dataset, seed=0)
        assert network(torch.empty(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "layer", "none"])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_every_convnet_fits_exactly_the_images_that_it_accepts(norm: str, pooling: str) -> None:
    """The smallest accepted images work and have informative logits; `check` refuses smaller ones."""
    for channels, depth in ((1, 3), (3, 3), (3, 1)):
        architecture = ARCHITECTURES["convnet"](width=4, depth=depth, norm=norm, pooling=pooling)
        refused = 0
        for side in range(1, 12):
            dataset: Any = Shape((channels, side, side))
            try:
                architecture.check(dataset)
            except ConfigError as error:
                refused = side
                assert f"got {side}" not in str(error) and f"has {side} x {side}" in str(error)
                continue
            network = architecture.bare(dataset, seed=0)
            x = torch.randn(2, channels, side, side)
            assert network(x).shape == (2, 10) and not torch.equal(*network(x))
            assert refused < side
        least = {"avg": 2**depth, "max": 2**depth, "none": 1 if norm != "instance" else 2}[pooling]
        assert refused == max(least - (4 if channels == 1 else 0), 1) - 1


PHOTO = Photos()
ERRORS: dict[str, tuple[Any, Dataset, str]] = {
    "small for a convnet": (
        {"name": "convnet", "depth": 5},
        Digits(),
        "architecture 'convnet' needs images of at least 28 x 28 pixels for 1 channel, data set 'digits' has 8 x 8",
    ),
    "single pixels": (
        "resnet18",
        Digits(),
        "architecture 'resnet18' needs images of at least 9 x 9 pixels for 1 channel, data set 'digits' has 8 x 8",
    ),
    "small for VGG": (
        "vgg11",
        Digits(),
        "architecture 'vgg11' needs images of at least 28 x 28 pixels for 1 channel, data set 'digits' has 8 x 8",
    ),
    "small for LeNet": (
        "lenet",
        Digits(),
        "architecture 'lenet' needs images of at least 12 x 12 pixels for 1 channel, data set 'digits' has 8 x 8",
    ),
    "deep": (
        {"name": "convnet", "depth": 50},
        PHOTO,
        f"architecture 'convnet' needs images of at least {2**50} x {2**50} pixels for 3 channels, data set 'photos' "
        "has 32 x 40",
    ),
    "too deep": ({"name": "convnet", "depth": 51}, PHOTO, "depth: 'convnet' expects a number at most 50, got 51"),
    "groups": (
        {"name": "convnet", "norm": "group", "width": 6},
        PHOTO,
        "'convnet' with norm: group expects a multiple of 4 as width, got 6",
    ),
    "norm of the field": (
        {"name": "convnet", "norm": "instancenorm"},
        PHOTO,
        "norm: 'convnet' expects one of instance, batch, group, layer, none, got 'instancenorm'; did you mean "
        "'instance'?",
    ),
    "norm of a ResNet": (
        {"name": "resnet18", "norm": "layer"},
        PHOTO,
        "norm: 'resnet18' expects one of instance, batch, got 'layer'; known: batch, instance",
    ),
    "no width": ({"name": "lenet", "width": 3}, PHOTO, "width: 'lenet' does not know this key"),
    "misspelt": ("convnett", PHOTO, "unknown architecture 'convnett'; did you mean 'convnet'?" + OWN["architecture"]),
}


@pytest.mark.parametrize("entry, dataset, message", ERRORS.values(), ids=ERRORS)
def test_bad_input_has_one_line(entry: Any, dataset: Dataset, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(ARCHITECTURES, "architecture", entry).check(dataset)
    assert str(caught.value) == message


def test_widened_networks_scale_their_widths() -> None:
    for name, width in (("convnet", 128), ("resnet18", 64), ("vgg11", 64), ("alexnet", 128), ("mlp", 128)):
        wide: Any = ARCHITECTURES[name]().widened(1.5)
        assert wide.width == width * 3 // 2
        tiny: Any = ARCHITECTURES[name]().widened(0.001)
        assert tiny.width == 1 and tiny(PHOTO, 0)(torch.rand(2, 3, 32, 40)).shape == (2, 5)
    grouped: Any = ARCHITECTURES["convnet"](norm="group").widened(0.26)
    assert grouped.width == 32  # a multiple of the number of groups
    with pytest.raises(
        ConfigError, match=r"^architecture 'lenet' has no widths to scale; leave 'widths' and 'narrow' out$"
    ):
        ARCHITECTURES["lenet"]().widened(2.0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    architecture = instance(name)
    before = torch.random.get_rng_state()
    one, same, other = (architecture.bare(MNIST(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keys_cover_the_modules_that_build_a_network(name: str) -> None:
    code = imports_of(frozenset(instance(name).code_modules()))
    assert "gtn_bench.models.trial" not in code  # it changes no number
    if not instance(name).normalizes_itself:
        assert "gtn_bench.models.normalized" in code
        networks = {"gtn_bench.models.distillation.networks", "gtn_bench.models.libraries.torchvision_networks"}
        assert code & networks or name == "timm"


SMALL: dict[str, dict[str, Any]] = {
    "convnet": {"width": 8},
    "resnet18": {"width": 8, "norm": "batch"},
    "vgg11": {"width": 8},
    "alexnet": {"width": 8, "norm": "batch"},
    "torchvision": {"model": "mobilenet_v2", "width": 0.25},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnet", "resnet18", "vgg11", "alexnet", "lenet", "mlp", "torchvision", "timm"])
def test_a_trained_network_is_the_same_in_inference(name: str) -> None:
    """Logits agree with the network in evaluation mode, gradients with autograd, and bfloat16 only rounds."""
    architecture = ARCHITECTURES[name](**SMALL[name]) if name in SMALL else instance(name)
    splits, mode = PHOTO(), Vanilla(steps=4, batch_size=8, lr=1e-3)
    mode.check_architecture(architecture, PHOTO)
    network = architecture(PHOTO, seed=0)
    states = [train([mode], architecture(PHOTO, 0), PHOTO, splits["train"], None, seed=5)[0] for _ in range(2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    initial = {key: value.clone() for key, value in network.state_dict().items()}
    assert states[0].keys() == initial.keys()
    assert any(not torch.equal(states[0][key], initial[key]) for key in initial)
    network.load_state_dict(states[0])
    x, y = splits["test"][:]
    exact, coarse = (Classifier(network, PHOTO.input_shape, 5, precision) for precision in ("float32", "bfloat16"))
    expected = network.eval()(x)
    assert torch.allclose(exact(x), expected, atol=1e-5)
    double = copy.deepcopy(network).double()  # in float32, rounding moves single values across a kink
    pixels = x.double().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(double(pixels), y, reduction="sum"), pixels)
    assert gradient.flatten(1).any(dim=1).all()
    found = Classifier(double, PHOTO.input_shape, 5).loss_gradient(pixels.detach(), y)
    assert torch.allclose(found, gradient, atol=1e-9 * gradient.abs().max().item())
    rounded = coarse(x)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, expected)
    assert F.cosine_similarity(rounded.flatten(), expected.flatten(), dim=0) > 0.99


def test_statistics_are_those_of_evaluation_without_dropout() -> None:
    dataset, train_split = Digits(), Digits()()["train"]
    dropped = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 10))
    plain = nn.Sequential(nn.Flatten(), nn.Identity(), *dropped[2:])
    one, other = (estimate_statistics(net, dict(net.state_dict()), train_split) for net in (dropped, plain))
    assert {*one} == {"2.running_mean", "2.running_var"}
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert estimate_statistics(nn.Linear(2, 2), {}, train_split) == {}  # needs no images
    resnet = ARCHITECTURES["resnet18"](width=4, norm="batch")(dataset, 0)  # single pixels in its last stage
    few = Split(train_split.levels[:501], train_split.labels[:501], train_split.white)
    estimate = estimate_statistics(resnet, dict(resnet.state_dict()), few)
    assert all(bool(value.isfinite().all()) for value in estimate.values()) and len(estimate) > 30


# Meta-training


def derivative(architecture: Architecture, dataset: Dataset) -> tuple[float, float]:
    """Return the derivative of the meta-loss along a direction, by the meta-gradient and by differences."""
    teacher: Any = build(
        TEACHERS["distillation"],
        {"architecture": [architecture], "inner_steps": 3, "batch_size": 10, "meta_batch_size": 6, "meta_steps": 1},
        "",
    )
    splits = dataset()
    module = teacher.curriculum_module(dataset, splits["train"]).double()
    module.prepare(torch.Generator().manual_seed(0))
    module.redraw(torch.Generator().manual_seed(0))
    network = architecture(dataset, seed=0).double().train()
    batch = draw_meta_batch(splits["train"], (3, 6), torch.Generator().manual_seed(1))
    batch = batch._replace(images=batch.images.double())

    def meta_loss(block_size: int) -> tuple[float, list[Tensor]]:
        loss, grads = meta_gradient(module, network, network, SGD(), batch, block_size=block_size)
        return loss.item(), grads

    _, grads = meta_loss(2)
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(grads, meta_loss(3)[1], strict=True))
    draw = torch.Generator().manual_seed(2)
    directions = [torch.randn(grad.shape, generator=draw, dtype=grad.dtype) for grad in grads]
    slope = sum(float((grad * way).sum()) for grad, way in zip(grads, directions, strict=True))
    losses = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            for value, way in zip(module.parameters(), directions, strict=True):
                value += step * way
        losses.append(meta_loss(3)[0])
        with torch.no_grad():
            for value, way in zip(module.parameters(), directions, strict=True):
                value -= step * way
    return slope, (losses[0] - losses[1]) / 2e-5


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "convnet", "width": 4, "depth": 2, "activation": "swish"},
        {"name": "convnet", "width": 4, "depth": 2, "norm": "batch", "activation": "sigmoid"},
        {"name": "mlp", "width": 4},
    ],
    ids=["instance norm", "batch norm", "mlp"],
)
def test_meta_gradients_equal_differences_of_the_meta_loss(entry: dict[str, Any]) -> None:
    slope, expected = derivative(choose(ARCHITECTURES, "architecture", entry), Digits())
    assert math.isclose(slope, expected, rel_tol=1e-4) and abs(slope) > 1e-4


def test_an_inner_step_leaves_the_batch_norm_statistics_of_its_state() -> None:
    """PyTorch's layers write them in place; the state before the step may be that of another learner."""
    learner = ARCHITECTURES["convnet"](width=4, depth=1, norm="batch")(Digits(), 0).train()
    state = initial_state(learner, SGD())
    before = {name: value.clone() for name, value in state.buffers.items()}
    x, y = Digits()()["train"][:20]
    after = inner_step(learner, SGD(), state, x, F.one_hot(y, 10).float(), *torch.tensor([0.1, 0.5]), create_graph=True)
    assert all(torch.equal(value, before[name]) for name, value in state.buffers.items())
    name = "network.features.1.running_mean"
    assert not torch.equal(after.buffers[name], before[name])


def test_meta_training_in_bfloat16_is_close_to_float32() -> None:
    gradients = []
    for precision in (None, torch.bfloat16):
        architecture = ARCHITECTURES["convnet"](width=8, depth=2)
        teacher: Any = TEACHERS["cgtn"](architecture=architecture, inner_steps=2, batch_size=10, latent_size=4)
        torch.manual_seed(0)
        splits = Digits()()
        module = teacher.curriculum_module(Digits(), splits["train"])
        module.redraw(torch.Generator().manual_seed(0))
        network = architecture(Digits(), seed=0).train()
        batch = draw_meta_batch(splits["train"], (2, 20), torch.Generator().manual_seed(1))
        _, grads = meta_gradient(module, network, network, SGD(), batch, block_size=2, precision=precision)
        gradients.append(torch.cat([grad.flatten() for grad in grads]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.97 and not torch.equal(*gradients)


NOT_META_TRAINED: dict[str, tuple[Any, str, str]] = {
    "batch norm": (
        {"name": "convnet", "norm": "batch"},
        "teaching",
        "architecture 'convnet' with norm: batch keeps running averages, not the statistics of the last batch; write "
        "statistics: real",
    ),
    "batch norm of torchvision": (
        {"name": "torchvision.resnet18", "width": 0.1},
        "teaching",
        "architecture 'torchvision.resnet18' cannot be meta-trained: it keeps running averages, not the batch-norm "
        "statistics of the last batch; write statistics: real",
    ),
    "no second derivative": (
        {"name": "torchvision.mobilenet_v3_small", "width": 0.1},
        "real",
        "architecture 'torchvision.mobilenet_v3_small' cannot be meta-trained: RuntimeError: derivative for "
        "aten::hardsigmoid_backward is not implemented",
    ),
    "dropout": (
        {"name": "torchvision.mobilenet_v2", "width": 0.1},
        "real",
        "architecture 'torchvision.mobilenet_v2' cannot be meta-trained: it draws random numbers in train mode, as "
        "dropout does",
    ),
}


@pytest.mark.parametrize("entry, statistics, message", NOT_META_TRAINED.values(), ids=NOT_META_TRAINED)
def test_what_cannot_be_meta_trained_is_refused(entry: Any, statistics: str, message: str) -> None:
    teacher = TEACHERS["cgtn"](architecture=entry, statistics=statistics)
    with pytest.raises(ConfigError) as caught:
        teacher.check(Digits())
    assert str(caught.value) == message


def test_a_last_batch_of_one_image_is_refused_where_batch_norm_has_single_pixels() -> None:
    deep, flat = ({"name": "resnet18", "width": 4, "norm": "batch"}, {"name": "convnet", "width": 4, "norm": "batch"})
    single, whole = Vanilla(batch_size=8), Vanilla(batch_size=8, steps=1)
    dataset: Any = Shape((1, 8, 8))
    object_with_sizes: Any = type("Odd", (), {**dataset._asdict(), "sizes": (17, 1, 1)})()
    message = r"^mode 'vanilla': the last batch of 17 images has one image; choose another batch_size \(architecture "
    with pytest.raises(ConfigError, match=message + r"'resnet18' cannot train on a batch of one image: ValueError"):
        single.check_architecture(choose(ARCHITECTURES, "architecture", deep), object_with_sizes)
    for mode, entry in ((single, flat), (whole, deep), (single, "base")):
        mode.check_architecture(choose(ARCHITECTURES, "architecture", entry), object_with_sizes)


SUITE = """
name: field
dataset: digits
teachers:
  - {name: cgtn, architecture: {name: convnet, width: 8, depth: 2}, inner_steps: 2, batch_size: 20,
     meta_batch_size: 10, latent_size: 4, meta_steps: 2}
architectures:
  - {name: convnet, width: 8, depth: 2}
  - {name: torchvision.resnet18, width: 0.125, stem: cifar}
modes: [gtn, {name: vanilla, steps: 2, statistics_samples: 60}]
seeds: [0]
acceptance: 0.0
perturbations:
  - {name: fgsm, steps: 2, samples: 12, beta: [0, 0.05]}
  - {name: torchattacks.PGD, samples: 6, beta: [0.1]}
"""


@pytest.mark.slow
def test_a_suite_runs_with_a_teacher_of_the_field(tmp_path: Path) -> None:
    results = run(SUITE, tmp_path / "out", tmp_path / "store")
    assert {*results.summary["architecture"]} == {"convnet", "torchvision.resnet18"}
    assert len(results.summary) == 2 * 2 * 3 and not len(results.errors)
    accuracy = results.summary["clean_accuracy"]
    assert ((accuracy >= 0) & (accuracy <= 1)).all()
    assert {"torchvision", "torchattacks"} <= results.provenance["versions"].keys()


def test_photos_is_no_entry_of_the_table() -> None:
    assert Photos.name not in DATASETS
