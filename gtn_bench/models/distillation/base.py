"""What the architectures of the dataset-distillation field have in common: sizes of feature maps, normalization."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.models.architectures import Architecture

if TYPE_CHECKING:
    from torch import nn

    from gtn_bench.models.distillation.networks import Size

Shape = tuple[int, int, int]  # channels, height, width


class DistillationNetwork(Architecture):
    """Base of the architectures of the field."""

    source = "https://github.com/VICO-UoE/DatasetCondensation"
    normalizes_itself: ClassVar[bool] = False

    def sides(self, side: int, channels: int) -> list[int]:
        """Return the side of the feature maps of each normalization layer, followed by that of the last maps.

        Args:
            side: Height or width of the images.
            channels: Number of image channels.
        """
        raise NotImplementedError

    def sizes(self, shape: Shape) -> list[Size]:
        """Return the sizes of the same feature maps.

        Args:
            shape: Channels, height and width of the images.
        """
        channels, height, width = shape
        return list(zip(self.sides(height, channels), self.sides(width, channels), strict=True))

    def fits(self, shape: Shape) -> bool:
        """Return False if the images are too small.

        Args:
            shape: Channels, height and width of the images.
        """
        return min(map(min, self.sizes(shape))) >= 1

    def check(self, dataset: Dataset) -> None:
        channels, height, width = dataset.input_shape
        if not self.fits(dataset.input_shape):
            sides = range(1, 2**60)
            needed = sides[bisect.bisect_left(sides, True, key=lambda side: self.fits((channels, side, side)))]
            raise ConfigError(
                f"architecture '{self.name}' needs images of at least {needed} x {needed} pixels for {channels} "
                f"channel{'' if channels == 1 else 's'}, data set '{dataset.name}' has {height} x {width}"
            )

    def check_meta_training(self, dataset: Dataset, statistics: Literal["real", "teaching"]) -> None:
        pass  # its layers have second derivatives

    def build(self, shape: Shape, classes: int) -> nn.Module:
        """Return the network with initial weights from torch's global random generator.

        Args:
            shape: Channels, height and width of the images.
            classes: Number of classes.
        """
        raise NotImplementedError

    def bare(self, dataset: Dataset, seed: int) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.build(dataset.input_shape, dataset.num_classes)

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        from gtn_bench.models.normalized import Normalized

        return Normalized(self.bare(dataset, seed), dataset.mean, dataset.std)


class WideNetwork(DistillationNetwork):
    """Base of those with a width.

    Attributes:
        width: Number of channels or units of the first layer. Those of the other layers are in proportion to it.
    """

    width: PositiveInt

    def widened(self, factor: float) -> Self:
        return self.model_copy(update={"width": max(1, round(self.width * factor))})


class NormalizedNetwork(WideNetwork):
    """Base of those with a choice of the norm.

    Attributes:
        norm: Normalization of feature maps.
    """

    norm: Literal["instance", "batch", "group", "layer", "none"]

    def fits(self, shape: Shape) -> bool:
        vanish = self.norm == "instance" and (1, 1) in self.sizes(shape)[:-1]  # a single pixel becomes zero
        return super().fits(shape) and not vanish

    def check_meta_training(self, dataset: Dataset, statistics: Literal["real", "teaching"]) -> None:
        if self.norm == "batch" and statistics == "teaching":
            raise ConfigError(
                f"architecture '{self.name}' with norm: batch keeps running averages, not the statistics of the last "
                "batch; write statistics: real"
            )
