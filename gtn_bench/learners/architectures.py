"""The nine architectures of the reference study, as descriptions that build plain `nn.Module`s.

Each takes pixels in [0, 1] and gives logits; the normalisation lies inside. All shapes follow
from the data set. Source: "GTN Robustness Tests", K. Willis, TU Berlin 2021, after the
Generative Teaching Networks of https://arxiv.org/abs/1912.07768.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, Field

from gtn_bench.datasets import Dataset
from gtn_bench.description import Description, Mistake, PositiveInt

if TYPE_CHECKING:
    from torch import nn


class Conv(BaseModel):
    """One block: convolution, max pooling (3, stride 2) if asked, batch norm, LeakyReLU 0.1."""

    model_config = Description.model_config

    channels: PositiveInt
    kernel: Literal[1, 3] = 3
    stride: Literal[1, 2] = 1
    pool: bool = False

    @property
    def halvings(self) -> int:
        """How often it halves its images."""
        return self.pool + (self.stride == 2)


Convolutions = Annotated[tuple[Conv, ...], Field(strict=False)]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False)]


class Architecture(Description):
    """Convolution blocks, then global average pooling or hidden layers, then one layer of logits."""

    convolutions: Convolutions = ()
    hidden: Widths = ()
    global_pooling: bool = False
    batch_norm: Literal["mean", "full"] = "mean"

    def check(self, dataset: Dataset) -> None:
        """Raise `Mistake` if the blocks shrink the data set's images away."""
        size = min(dataset.input_shape[1:])
        needed = 2 ** sum(conv.halvings for conv in self.convolutions)
        if size < needed:
            raise Mistake(
                f"architecture '{self.name}' halves its images {needed.bit_length() - 1} times and so needs "
                f"at least {needed}x{needed} pixels, data set '{dataset.name}' has {size}x{size}"
            )

    def widened(self, factor: float) -> Self:
        """The same with so many times the channels and hidden units."""
        convolutions = tuple(
            conv.model_copy(update={"channels": max(1, round(conv.channels * factor))}) for conv in self.convolutions
        )
        hidden = tuple(max(1, round(size * factor)) for size in self.hidden)
        return self.model_copy(update={"convolutions": convolutions, "hidden": hidden})

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        """A freshly initialised network for the data set's shape, drawn from `seed` alone."""
        import torch
        from torch import nn

        from gtn_bench.learners.layers import (
            Conv2d,
            Flatten,
            FullBatchNorm,
            Linear,
            MaxPool2d,
            MeanBatchNorm,
            Normalize,
        )

        norm = {"mean": MeanBatchNorm, "full": FullBatchNorm}[self.batch_norm]
        channels, height, width = dataset.input_shape
        layers: list[nn.Module] = [Normalize(dataset.mean, dataset.std)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for conv in self.convolutions:
                layers.append(Conv2d(channels, conv.channels, conv.kernel, conv.stride, padding=conv.kernel // 2))
                channels = conv.channels
                for _ in range(conv.halvings):
                    height, width = -(-height // 2), -(-width // 2)
                if conv.pool:
                    layers.append(MaxPool2d(3, stride=2, padding=1))
                layers += [norm(channels), nn.LeakyReLU(0.1)]
            if self.global_pooling:
                layers.append(nn.AdaptiveAvgPool2d(1))
                height, width = 1, 1
            layers.append(Flatten())
            features = channels * height * width
            for size in self.hidden:
                layers += [Linear(features, size), norm(size), nn.LeakyReLU(0.1)]
                features = size
            layers.append(Linear(features, dataset.num_classes, bias=True))
        return nn.Sequential(*layers)


class Linear3(Architecture):
    """Three fully connected layers."""

    name = "linear"
    hidden: Widths = (256, 128)


class Base(Architecture):
    """Two pooled convolutions, global average pooling."""

    name = "base"
    convolutions: Convolutions = (Conv(channels=64, pool=True), Conv(channels=128, pool=True))
    global_pooling: bool = True


class BaseFC(Architecture):
    """Two pooled convolutions, one hidden layer."""

    name = "base_fc"
    convolutions: Convolutions = (Conv(channels=64, pool=True), Conv(channels=128, pool=True))
    hidden: Widths = (256,)


class BaseLarger(BaseFC):
    """The same layers as `base_fc`, as in the study."""

    name = "base_larger"


class BaseLarger2(Architecture):
    """Five convolutions, two of them strided, global average pooling."""

    name = "base_larger2"
    convolutions: Convolutions = (
        Conv(channels=64),
        Conv(channels=128, stride=2),
        Conv(channels=128),
        Conv(channels=256, stride=2),
        Conv(channels=256),
    )
    global_pooling: bool = True


class BaseLarger3(Architecture):
    """Three convolutions, each followed by a 1x1 convolution, one hidden layer."""

    name = "base_larger3"
    convolutions: Convolutions = (
        Conv(channels=64),
        Conv(channels=64, kernel=1),
        Conv(channels=128, stride=2),
        Conv(channels=128, kernel=1),
        Conv(channels=256, stride=2),
        Conv(channels=256, kernel=1),
    )
    hidden: Widths = (256,)


class BaseLarger3GlobalPooling(BaseLarger3):
    """`base_larger3` with global average pooling in place of the hidden layer."""

    name = "base_larger3_global_pooling"
    hidden: Widths = ()
    global_pooling: bool = True


class BaseLarger4(Architecture):
    """`base_larger3` with two more 1x1 convolutions and full batch norm, one hidden layer."""

    name = "base_larger4"
    convolutions: Convolutions = (
        Conv(channels=64),
        Conv(channels=64, kernel=1),
        Conv(channels=128, stride=2),
        Conv(channels=128, kernel=1),
        Conv(channels=128, kernel=1),
        Conv(channels=256, stride=2),
        Conv(channels=256, kernel=1),
        Conv(channels=256, kernel=1),
    )
    hidden: Widths = (256,)
    batch_norm: Literal["mean", "full"] = "full"


class BaseLarger4GlobalPooling(BaseLarger4):
    """`base_larger4` with global average pooling in place of the hidden layer."""

    name = "base_larger4_global_pooling"
    hidden: Widths = ()
    global_pooling: bool = True
