"""The interface of data sets, and splits of images that are stored as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gtn_bench.config.description import Description
from gtn_bench.config.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images stored as bytes, or as floats that are no multiples of 1/255; indexing returns floats.

    ``split[index]`` returns images (N, C, H, W) in [0, 1] and labels (N,) int64.

    Attributes:
        levels: Images (N, C, H, W) uint8 from 0 to `white`, or float32 in [0, 1] if `white` is 1.
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

    def at(self, index: Any) -> Split:
        """Return the split of some of the images, in their order.

        Args:
            index: Their positions.
        """
        return Split(self.levels[index], self.labels[index], self.white)

    def to(self, device: torch.device | str) -> Split:
        """Return the split on a device.

        Args:
            device: The device.
        """
        return Split(self.levels.to(device), self.labels.to(device), self.white)


class Dataset(Description):
    """A labeled image classification task. Calling it loads the three splits.

    Planning needs the attributes before it loads any image. They are class attributes, or properties of a data set
    that is read from files.

    Attributes:
        input_shape: Channels, height, width.
        sizes: Number of images of the train, validation and test split.
        num_classes: Number of classes; 10 by default.
        mean: Mean of the training pixels in [0, 1], per channel.
        std: Standard deviation of the training pixels, per channel.
        classes: Names of the classes; empty if they have none.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    sizes: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    classes: ClassVar[tuple[str, ...]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # Assigned above, these defaults would hide fields of the same names.
        for name, default in (("num_classes", 10), ("classes", ())):
            if not hasattr(cls, name) and name not in cls.model_fields:
                setattr(cls, name, default)

    @property
    def pixel_scale(self) -> float:
        """The unit of normalized strengths, in pixel values: the mean over channels of `std`."""
        return sum(self.std) / len(self.std)

    def check_training(self, who: str, *, validation: bool = False) -> None:
        """Check that there are images to train on.

        Args:
            who: What needs them, to start the message.
            validation: Whether it needs validation images, too.

        Raises:
            ConfigError: If there are none.
        """
        train, held_out, _ = self.sizes
        if not train:
            raise ConfigError(f"{who} needs training images, data set '{self.name}' has none; set 'train'")
        if validation and not held_out:
            raise ConfigError(f"{who} needs validation images, data set '{self.name}' has none; increase 'validation'")

    def check_samples(self, samples: int) -> None:
        """Check that the first test images represent the others.

        Args:
            samples: Number of test images that are evaluated, the first ones.

        Raises:
            ConfigError: If they do not.
        """

    def __call__(self) -> dict[SplitName, Split]:
        """Load the data set.

        Returns:
            The splits by name.

        Raises:
            ConfigError: If the files are missing or damaged.
        """
        raise NotImplementedError


def layout_hint(values: int, shape: tuple[int, int, int]) -> str:
    """Return the suggestion that images have another layout, if a side has as many pixels as there are values.

    Args:
        values: Number of values that are given, one per channel.
        shape: Channels, height, width of the images as they were read.
    """
    if values not in shape[1:]:
        return ""
    return f"; images of {' x '.join(map(str, shape))} may have another layout than the one that is set"


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
