"""Networks of the dataset-distillation field as modules, without normalization of the images.

Layer sizes, padding and the names of parameters are those of https://github.com/VICO-UoE/DatasetCondensation, so that
state dicts of networks trained with that code load. The first convolution pads images of one channel by two more
pixels on each side, which makes those of MNIST as large as those of CIFAR-10.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

ChannelNorm = Literal["instance", "batch"]
Norm = Literal["instance", "batch", "group", "layer", "none"]
Activation = Literal["relu", "sigmoid", "leakyrelu", "swish"]
Pooling = Literal["avg", "max", "none"]
Size = tuple[int, int]  # height and width of feature maps

GROUPS = 4  # of channels, with the norm "group"


class Step(NamedTuple):
    """A convolution and ReLU, and possibly max pooling of 2x2 pixels.

    Attributes:
        kernel: Side of the kernel.
        factor: Number of output channels, as a factor on the width of the network.
        pool: Whether there is pooling.
    """

    kernel: int
    factor: float
    pool: bool


ALEXNET = (Step(5, 1, True), Step(5, 1.5, True), Step(3, 2, False), Step(3, 1.5, False), Step(3, 1.5, True))
VGG11 = (
    *(Step(3, 1, True), Step(3, 2, True), Step(3, 4, False), Step(3, 4, True)),
    *(Step(3, 8, False), Step(3, 8, True), Step(3, 8, False), Step(3, 8, True)),
)


def first_padding(kernel: int, channels: int) -> int:
    """Return the padding of the first convolution.

    Args:
        kernel: Side of its kernel.
        channels: Number of image channels.
    """
    return kernel // 2 + (2 if channels == 1 else 0)


def convnet(
    channels: int,
    classes: int,
    sizes: Sequence[Size],
    *,
    width: int,
    norm: Norm,
    activation: Activation,
    pooling: Pooling,
) -> nn.Module:
    """Return a ConvNet: blocks of convolution, norm, activation and pooling, then one layer of logits.

    Args:
        channels: Number of image channels.
        classes: Number of classes.
        sizes: Size of the feature maps in each block before pooling, followed by that of the last ones.
        width: Number of channels of every block.
        norm: Normalization.
        activation: Activation.
        pooling: Pooling of 2x2 pixels.
    """
    layers: list[nn.Module] = []
    inputs, padding = channels, first_padding(3, channels)
    for size in sizes[:-1]:
        layers += [nn.Conv2d(inputs, width, 3, padding=padding), *_norm(norm, width, size)]
        layers += [_activation(activation), *_pooling(pooling)]
        inputs, padding = width, 1
    return _with_head(layers, {"classifier": nn.Linear(_features(width, sizes[-1]), classes)})


def plain(
    steps: Sequence[Step],
    channels: int,
    classes: int,
    sizes: Sequence[Size],
    *,
    width: int,
    norm: Norm,
    head: str,
) -> nn.Module:
    """Return a network of convolutions, ReLU and max pooling, such as AlexNet or VGG11.

    Args:
        steps: The convolutions.
        channels: Number of image channels.
        classes: Number of classes.
        sizes: Size of the feature maps behind each convolution, followed by that of the last ones.
        width: Number of channels of the first convolution.
        norm: Normalization behind every convolution.
        head: Name of the layer of logits.
    """
    layers: list[nn.Module] = []
    inputs = channels
    for step, size in zip(steps, sizes[:-1], strict=True):
        padding = step.kernel // 2 if layers else first_padding(step.kernel, channels)
        outputs = max(1, round(step.factor * width))
        layers += [nn.Conv2d(inputs, outputs, step.kernel, padding=padding), *_norm(norm, outputs, size)]
        layers += [nn.ReLU(inplace=True), *_pooling("max" if step.pool else "none")]
        inputs = outputs
    return _with_head(layers, {head: nn.Linear(_features(inputs, sizes[-1]), classes)})


def lenet(channels: int, classes: int, size: Size) -> nn.Module:
    """Return LeNet with ReLU and max pooling.

    Args:
        channels: Number of image channels.
        classes: Number of classes.
        size: Size of the last feature maps.
    """
    first = nn.Conv2d(channels, 6, 5, padding=first_padding(5, channels) - 2)
    layers = [
        first,
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    ]
    return _with_head(layers, _hidden(_features(16, size), (120, 84), classes))


def mlp(features: int, classes: int, *, width: int) -> nn.Module:
    """Return a network of two hidden layers with ReLU.

    Args:
        features: Number of values of an image.
        classes: Number of classes.
        width: Number of units of the hidden layers.
    """
    return nn.Sequential(OrderedDict({"flatten": nn.Flatten(), **_hidden(features, (width, width), classes)}))


def resnet18(
    channels: int, classes: int, size: Size, *, width: int, norm: ChannelNorm, average_pooling: bool
) -> nn.Module:
    """Return a ResNet18 for small images.

    Args:
        channels: Number of image channels.
        classes: Number of classes.
        size: Size of the last feature maps.
        width: Number of channels of the first stage; each following one has twice as many.
        norm: Normalization.
        average_pooling: Whether average pooling takes the place of strides and of the global pooling.
    """
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, width, 3, padding=1, bias=False),
        "bn1": _channel_norm(norm, width),
        "relu": nn.ReLU(inplace=True),
    }
    inputs = width
    for stage in range(4):
        outputs = width * 2**stage
        first = Block(inputs, outputs, norm, halves=stage > 0, average_pooling=average_pooling)
        second = Block(outputs, outputs, norm, halves=False, average_pooling=average_pooling)
        layers[f"layer{stage + 1}"] = nn.Sequential(first, second)
        inputs = outputs
    if not average_pooling:
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers |= {"flatten": nn.Flatten(), "classifier": nn.Linear(_features(inputs, size), classes)}
    return nn.Sequential(OrderedDict(layers))


class Block(nn.Module):
    """A residual block of two convolutions.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        norm: Normalization.
        halves: Whether the block halves its images.
        average_pooling: Whether it does so by average pooling and not by strides.
    """

    def __init__(self, inputs: int, outputs: int, norm: ChannelNorm, *, halves: bool, average_pooling: bool) -> None:
        super().__init__()
        stride = 2 if halves and not average_pooling else 1
        pool = [nn.AvgPool2d(2)] if halves and average_pooling else []
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = _channel_norm(norm, outputs)
        self.pool = nn.Sequential(*pool)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = _channel_norm(norm, outputs)
        self.shortcut = nn.Sequential()
        if halves or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution, *pool, _channel_norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(F.relu(self.bn1(self.conv1(x))))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def _channel_norm(norm: ChannelNorm, channels: int) -> nn.Module:
    """Return a normalization layer. That of instances is a group norm of single channels, as in the original code."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(channels, channels)


def _norm(norm: Norm, channels: int, size: Size) -> list[nn.Module]:
    if norm == "none":
        return []
    if norm == "layer":
        return [nn.LayerNorm([channels, *size])]
    return [nn.GroupNorm(GROUPS, channels) if norm == "group" else _channel_norm(norm, channels)]


def _activation(name: Activation) -> nn.Module:
    if name == "relu":
        return nn.ReLU(inplace=True)
    return {"sigmoid": nn.Sigmoid(), "leakyrelu": nn.LeakyReLU(0.01), "swish": nn.SiLU()}[name]


def _pooling(name: Pooling) -> list[nn.Module]:
    if name == "none":
        return []
    return [nn.AvgPool2d(2) if name == "avg" else nn.MaxPool2d(2)]


def _features(channels: int, size: Size) -> int:
    return channels * size[0] * size[1]


def _hidden(features: int, widths: Size, classes: int) -> dict[str, nn.Module]:
    """Return two hidden layers with ReLU and the layer of logits."""
    first, second = widths
    layers = {"fc_1": nn.Linear(features, first), "relu_1": nn.ReLU()}
    return layers | {"fc_2": nn.Linear(first, second), "relu_2": nn.ReLU(), "fc_3": nn.Linear(second, classes)}


def _with_head(layers: Sequence[nn.Module], head: Mapping[str, nn.Module]) -> nn.Module:
    """Return a network with the parameters ``features.0.weight`` and so on, and those of the layers behind."""
    return nn.Sequential(OrderedDict({"features": nn.Sequential(*layers), "flatten": nn.Flatten(), **head}))
