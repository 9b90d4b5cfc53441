"""Architectures of the dataset-distillation field.

Their state dicts have the parameters of https://github.com/VICO-UoE/DatasetCondensation, whose networks the field
trains and compares. Images are normalized outside of the state dict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.models.distillation.base import DistillationNetwork, NormalizedNetwork, Shape, WideNetwork

if TYPE_CHECKING:
    from torch import nn


class ConvNetD(NormalizedNetwork):
    """Blocks of convolution, norm, activation and pooling: the standard network of dataset distillation.

    Attributes:
        width: Number of channels of every block.
        depth: Number of blocks.
        norm: Normalization; `group` has four groups of channels.
        activation: Activation.
        pooling: Pooling of 2x2 pixels.
    """

    name = "convnet"
    width: PositiveInt = 128
    depth: Annotated[int, Field(gt=0, le=50)] = 3
    norm: Literal["instance", "batch", "group", "layer", "none"] = "instance"
    activation: Literal["relu", "sigmoid", "leakyrelu", "swish"] = "relu"
    pooling: Literal["avg", "max", "none"] = "avg"

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.norm == "group" and self.width % 4:
            raise ConfigError(f"'{self.name}' with norm: group expects a multiple of 4 as width, got {self.width}")
        return self

    def sides(self, side: int, channels: int) -> list[int]:
        sides = [_padded(side, channels)]
        for _ in range(self.depth):
            sides.append(sides[-1] if self.pooling == "none" else sides[-1] // 2)
        return sides

    def widened(self, factor: float) -> Self:
        unit = 4 if self.norm == "group" else 1
        return self.model_copy(update={"width": unit * max(1, round(self.width * factor / unit))})

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.distillation.networks import convnet

        return convnet(
            shape[0],
            classes,
            self.sizes(shape),
            width=self.width,
            norm=self.norm,
            activation=self.activation,
            pooling=self.pooling,
        )


class ResNet18(NormalizedNetwork):
    """ResNet18 for small images: its first convolution has a 3x3 kernel and no stride.

    Attributes:
        width: Number of channels of the first stage; each following one has twice as many.
        norm: Normalization.
        average_pooling: Whether average pooling takes the place of strides and of the global pooling.
    """

    name = "resnet18"
    width: PositiveInt = 64
    norm: Literal["instance", "batch"] = "instance"
    average_pooling: bool = False

    def sides(self, side: int, channels: int) -> list[int]:
        halved = [side // 2**stage if self.average_pooling else -(-side // 2**stage) for stage in range(4)]
        return [*halved, halved[-1] if self.average_pooling else 1]

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.distillation.networks import resnet18

        return resnet18(
            shape[0],
            classes,
            self.sizes(shape)[-1],
            width=self.width,
            norm=self.norm,
            average_pooling=self.average_pooling,
        )


class VGG11(NormalizedNetwork):
    """VGG11 for small images, with one layer of logits.

    Attributes:
        width: Number of channels of the first convolution; the last ones have eight times as many.
        norm: Normalization.
    """

    name = "vgg11"
    width: PositiveInt = 64
    norm: Literal["instance", "batch"] = "instance"

    def sides(self, side: int, channels: int) -> list[int]:
        side = _padded(side, channels)
        return [side // divisor for divisor in (1, 2, 4, 4, 8, 8, 16, 16, 32)]

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.distillation.networks import VGG11, plain

        return plain(VGG11, shape[0], classes, self.sizes(shape), width=self.width, norm=self.norm, head="classifier")


class AlexNet(NormalizedNetwork):
    """AlexNet for small images: five convolutions and one layer of logits.

    Attributes:
        width: Number of channels of the first convolution; the others have 1.5 or 2 times as many.
        norm: Normalization.
    """

    name = "alexnet"
    width: PositiveInt = 128
    norm: Literal["batch", "none"] = "none"

    def sides(self, side: int, channels: int) -> list[int]:
        side = _padded(side, channels)
        return [side // divisor for divisor in (1, 2, 4, 4, 4, 8)]

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.distillation.networks import ALEXNET, plain

        return plain(ALEXNET, shape[0], classes, self.sizes(shape), width=self.width, norm=self.norm, head="fc")


class LeNet(DistillationNetwork):
    """LeNet with ReLU and max pooling: two convolutions and three fully connected layers."""

    name = "lenet"

    def sides(self, side: int, channels: int) -> list[int]:
        return [((_padded(side, channels) - 4) // 2 - 4) // 2]

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.distillation.networks import lenet

        return lenet(shape[0], classes, self.sizes(shape)[-1])


class MLP(WideNetwork):
    """Two hidden layers with ReLU and one layer of logits.

    Attributes:
        width: Number of units of the hidden layers.
    """

    name = "mlp"
    width: PositiveInt = 128

    def sides(self, side: int, channels: int) -> list[int]:
        return [side]

    def build(self, shape: Shape, classes: int) -> nn.Module:
        from gtn_bench.models.distillation.networks import mlp

        return mlp(shape[0] * shape[1] * shape[2], classes, width=self.width)


def _padded(side: int, channels: int) -> int:
    """Return the side of the images behind a first convolution that pads those of one channel."""
    return side + (4 if channels == 1 else 0)
