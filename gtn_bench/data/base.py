"""The interface of data sets, and splits of images that are stored as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gtn_bench.config.description import Description

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images stored as bytes; indexing returns floats.

    ``split[index]`` returns images (N, C, H, W) in [0, 1] and labels (N,) int64.

    Attributes:
        levels: Images (N, C, H, W) uint8, from 0 to `white`.
        labels: Labels (N,) int64.
        white: The level of the pixel value 1.0.
    """

    levels: Tensor
    labels: Tensor
    white: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        return self.levels[index].float() / self.white, self.labels[index]

    def to(self, device: torch.device | str) -> Split:
        """Return the split on a device.

        Args:
            device: The device.
        """
        return Split(self.levels.to(device), self.labels.to(device), self.white)


class Dataset(Description):
    """A labeled image classification task. Calling it loads the three splits.

    Planning needs the class attributes before it loads any image.

    Attributes:
        input_shape: Channels, height, width.
        sizes: Number of images of the train, validation and test split.
        num_classes: Number of classes.
        mean: Mean of the training pixels in [0, 1], per channel.
        std: Standard deviation of the training pixels, per channel.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    sizes: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]

    def __call__(self) -> dict[SplitName, Split]:
        """Load the data set.

        Returns:
            The splits by name.

        Raises:
            ConfigError: If the files are missing or damaged.
        """
        raise NotImplementedError


def split_images(levels: Tensor, labels: Tensor, sizes: tuple[int, int, int], white: int) -> dict[SplitName, Split]:
    """Divide images into consecutive train, validation and test splits.

    Args:
        levels: Images (N, C, H, W) uint8.
        labels: Labels (N,) int64.
        sizes: Numbers of images of the three splits; their sum is N.
        white: The level of the pixel value 1.0.

    Returns:
        The splits by name.
    """
    parts = zip(levels.split(sizes), labels.split(sizes), strict=True)
    train, validation, test = (Split(x.contiguous(), y.contiguous(), white) for x, y in parts)
    return {"train": train, "validation": validation, "test": test}
