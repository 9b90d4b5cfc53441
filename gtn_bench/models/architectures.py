"""Architectures as descriptions that build plain `nn.Module`s, the nine of the reference study among them.

The networks map pixels in [0, 1] to logits and include the normalization. Shapes follow from the data set. Source: "GTN
Robustness Tests", K. Willis, TU Berlin 2021, based on Generative Teaching Networks, https://arxiv.org/abs/1912.07768.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field

from gtn_bench.config.description import Description, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset

if TYPE_CHECKING:
    from torch import nn


class Architecture(Description):
    """A network. Calling it returns the network with fresh weights.

    A subclass declares its parameters as fields. One that is made of convolution blocks derives from `ConvNet`.

    Attributes:
        normalizes_itself: Whether normalization is part of the network and of its state dict. If it is not, `bare`
            returns the network without it, and the network of a call is `Normalized`.
        has_weights: Whether networks come with trained weights. Then the only mode is `pretrained`.
    """

    normalizes_itself: ClassVar[bool] = True
    has_weights: ClassVar[bool] = False

    def check(self, dataset: Dataset) -> None:
        """Check that the network applies to the images of a data set.

        Args:
            dataset: The data set.

        Raises:
            ConfigError: If it does not.
        """

    def check_meta_training(self, dataset: Dataset, statistics: Literal["real", "teaching"]) -> None:
        """Check that meta-training can differentiate the training of the network.

        Args:
            dataset: The data set.
            statistics: Batch-norm statistics with which learners are evaluated.

        Raises:
            ConfigError: If it cannot.
        """
        from gtn_bench.models.trial import meta_training_problem

        who = f"architecture '{self.identity()['name']}'"
        if self.has_weights:
            raise ConfigError(f"{who} comes with weights; meta-training needs fresh ones")
        if problem := meta_training_problem(self, dataset, statistics == "teaching"):
            raise ConfigError(f"{who} cannot be meta-trained: {problem}")

    def check_single_image(self, dataset: Dataset) -> None:
        """Check that the network can train on a batch of one image. Batch norm of a single pixel cannot.

        Args:
            dataset: The data set.

        Raises:
            ConfigError: If it cannot.
        """
        from gtn_bench.models.trial import single_image_problem

        if problem := single_image_problem(self, dataset):
            title = self.identity()["name"]
            raise ConfigError(f"architecture '{title}' cannot train on a batch of one image: {problem}")

    def widened(self, factor: float) -> Self:
        """Return the architecture with scaled widths, for teachers with the options `widths` and `narrow`.

        Args:
            factor: The factor on the number of channels and hidden units.

        Raises:
            ConfigError: If the architecture has no widths to scale.
        """
        raise ConfigError(f"architecture '{self.name}' has no widths to scale; leave 'widths' and 'narrow' out")

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        """Return a freshly initialized network.

        Args:
            dataset: The data set whose image shape and number of classes the network has.
            seed: Seed of the initial weights, their only source of randomness.

        Returns:
            A module that maps images (N, C, H, W) in [0, 1] to logits (N, K).
        """
        raise NotImplementedError

    def bare(self, dataset: Dataset, seed: int) -> nn.Module:
        """Return the network without the normalization that a call adds.

        Args:
            dataset: The data set whose image shape and number of classes the network has.
            seed: Seed of the initial weights, their only source of randomness.

        Returns:
            A module that maps images (N, C, H, W) to logits (N, K).
        """
        return self(dataset, seed)


class Conv(BaseModel):
    """A block: convolution, optional max pooling (3, stride 2), batch norm, LeakyReLU 0.1.

    Attributes:
        channels: Number of output channels.
        kernel: Side of the kernel.
        stride: Stride of the convolution.
        pool: Whether there is max pooling.
    """

    model_config = Description.model_config

    channels: PositiveInt
    kernel: Literal[1, 3] = 3
    stride: Literal[1, 2] = 1
    pool: bool = False

    @property
    def halvings(self) -> int:
        """Number of times that the block halves its images."""
        return self.pool + (self.stride == 2)


Convolutions = Annotated[tuple[Conv, ...], Field(strict=False)]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False)]


class ConvNet(Architecture):
    """Convolution blocks, then global average pooling or hidden layers, then one layer of logits.

    Attributes:
        convolutions: The blocks.
        hidden: Widths of the hidden layers.
        global_pooling: Whether images are averaged over all positions after the blocks.
        batch_norm: `mean` subtracts the mean of the batch, `full` also divides by the standard deviation.
    """

    convolutions: Convolutions = ()
    hidden: Widths = ()
    global_pooling: bool = False
    batch_norm: Literal["mean", "full"] = "mean"

    def idle_fields(self) -> Mapping[str, str]:
        return {} if self.convolutions or self.hidden else {"batch_norm": "it has no blocks and no hidden layers"}

    def check(self, dataset: Dataset) -> None:
        size = min(dataset.input_shape[1:])
        needed = 2 ** sum(conv.halvings for conv in self.convolutions)
        if size < needed:
            raise ConfigError(
                f"architecture '{self.name}' halves its images {needed.bit_length() - 1} times and so needs "
                f"at least {needed}x{needed} pixels, data set '{dataset.name}' has {size}x{size}"
            )

    def check_meta_training(self, dataset: Dataset, statistics: Literal["real", "teaching"]) -> None:
        pass  # its layers have second derivatives, and keep the statistics of the last batch

    def check_single_image(self, dataset: Dataset) -> None:
        pass  # its batch norms accept a single pixel

    def widened(self, factor: float) -> Self:
        convolutions = tuple(
            conv.model_copy(update={"channels": max(1, round(conv.channels * factor))}) for conv in self.convolutions
        )
        hidden = tuple(max(1, round(size * factor)) for size in self.hidden)
        return self.model_copy(update={"convolutions": convolutions, "hidden": hidden})

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        import torch
        from torch import nn

        from gtn_bench.models.layers import Conv2d, Flatten, FullBatchNorm, Linear, MaxPool2d, MeanBatchNorm, Normalize

        norm = {"mean": MeanBatchNorm, "full": FullBatchNorm}[self.batch_norm]
        channels, height, width = dataset.input_shape
        layers: list[nn.Module] = [Normalize(dataset.mean, dataset.std)]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
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


class Linear3(ConvNet):
    """Three fully connected layers."""

    name = "linear"
    hidden: Widths = (256, 128)


class Base(ConvNet):
    """Two pooled convolutions, global average pooling."""

    name = "base"
    convolutions: Convolutions = (Conv(channels=64, pool=True), Conv(channels=128, pool=True))
    global_pooling: bool = True


class BaseFC(ConvNet):
    """Two pooled convolutions, one hidden layer."""

    name = "base_fc"
    convolutions: Convolutions = (Conv(channels=64, pool=True), Conv(channels=128, pool=True))
    hidden: Widths = (256,)


class BaseLarger(BaseFC):
    """`base_fc` under a second name, as in the reference study."""

    name = "base_larger"


class BaseLarger2(ConvNet):
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


class BaseLarger3(ConvNet):
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


class BaseLarger4(ConvNet):
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
