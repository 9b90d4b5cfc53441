"""What the numbers of distilled images mean, and whether that can be true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Units = Literal["normalized", "pixel", "levels", "zca"]

ROUNDING = 0.002  # half of one of 255 levels
_FAR = 3.0  # a distance that images with the right units do not have, even if they are averages or learned


def as_batch(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return images as (N, C, H, W) float32, or int64 if they are integers.

    Args:
        images: Images (N, C, H, W), (N, H, W, C), or (N, H, W) of one channel.
        shape: Channels, height, width.

    Raises:
        ValueError: If they have another shape or are not finite, or if there are none. The message is the end of a
            sentence that starts with the name of the file.
    """
    if not len(images) or images.ndim == 0:
        raise ValueError("holds no images")
    channels, height, width = shape
    if images.shape[1:] == (height, width) and channels == 1:
        images = images.unsqueeze(1)
    elif images.ndim == 4 and images.shape[1:] != shape and images.shape[1:] == (height, width, channels):
        images = images.permute(0, 3, 1, 2).contiguous()
    if images.shape[1:] != shape:
        needed = f"(N, {channels}, {height}, {width})"
        raise ValueError(f"holds images of shape {tuple(images.shape)}, the data set needs {needed}")
    if not images.is_floating_point():
        return images.long()
    images = images.float()
    if not bool(images.isfinite().all()):
        wrong = int((~images.isfinite()).sum())
        raise ValueError(f"holds images with {wrong} of {images.numel()} values that are not finite")
    return images


def meaning(images: Tensor, units: Units | None) -> Units:
    """Return the units of images: integers are levels, other numbers are normalized unless it is said otherwise.

    Args:
        images: Images (N, C, H, W) as `as_batch` returns them.
        units: What is said of them, if anything.

    Raises:
        ValueError: If the images are integers and something else is said, or are no levels.
    """
    if images.is_floating_point():
        return units or "normalized"
    found = f"holds integers from {int(images.min())} to {int(images.max())}"
    if units not in (None, "levels"):
        raise ValueError(f"{found}, and 'units: {units}' needs other numbers; did you mean 'units: levels'?")
    if images.min() < 0 or images.max() > 255:
        raise ValueError(f"{found} as images, expected levels from 0 to 255")
    return "levels"


def per_channel(values: Sequence[float]) -> Tensor:
    """Return numbers, one per channel, as a tensor (C, 1, 1).

    Args:
        values: The numbers.
    """
    return torch.tensor(tuple(values)).view(-1, 1, 1)


def in_pixels(images: Tensor, units: Units, mean: Tensor, std: Tensor) -> Tensor:
    """Return images in pixel values.

    Args:
        images: Images (N, C, H, W) in the units of the file, other than ZCA.
        units: The units.
        mean: Mean that was subtracted from normalized images (C, 1, 1).
        std: Standard deviation by which normalized images were divided (C, 1, 1).

    Returns:
        Images (N, C, H, W) float32. What is outside of [0, 1] stays there.
    """
    images = images.float()
    if units == "normalized":
        return images * std + mean
    return images / 255 if units == "levels" else images


def check_units(
    images: Tensor, units: Units, constants: tuple[Tensor, Tensor], usual: tuple[Tensor, Tensor]
) -> str | None:
    """Check that images can have the units that they are said to have.

    Pixels should have about the mean and standard deviation of the data set. Units are certainly wrong if these are far
    from them and other units come much closer.

    Args:
        images: Images (N, C, H, W) in the units of the file.
        units: What they are said to be.
        constants: Mean and standard deviation (C, 1, 1) of the normalization that the images are said to have.
        usual: Mean and standard deviation (C, 1, 1) of the pixels of the data set.

    Returns:
        What is outside of [0, 1], as the end of a sentence that starts with the name of the file; None if nothing is.

    Raises:
        ValueError: If the units are certainly wrong. The message is the end of a sentence that starts with the name of
            the file.
    """
    alternatives: list[Units] = [other for other in ("pixel", "levels", "normalized") if other != units]
    pixels = None if units == "zca" else in_pixels(images, units, *constants)
    distance = 0.0 if pixels is None else _distance(pixels, *usual)
    limit = distance / 2 if distance > _FAR else 0.0
    black = float(-(usual[0] / usual[1]).mean())  # in normalized images
    if units in ("normalized", "zca") and images.min() > 0.3 * black:
        limit = _FAR
    if units == "zca":
        alternatives.remove("normalized")  # whitened images look much like them
    readings = {other: _distance(in_pixels(images, other, *constants), *usual) for other in alternatives}
    nearest = min(alternatives, key=lambda other: readings[other])
    if readings[nearest] < limit:
        found = f"holds numbers from {images.min():.3g} to {images.max():.3g} with the mean {images.mean():.3g}"
        raise ValueError(f"{found}, which are not '{units}'; did you mean 'units: {nearest}'?")
    if pixels is None or not _outside(pixels):
        return None
    share = f"has {100 * _outside(pixels):.3g} % of its pixel values outside of [0, 1]"
    return f"{share}, from {pixels.min():.3g} to {pixels.max():.3g}"


def check_whitened(images: Tensor, pixels: Tensor, usual: tuple[Tensor, Tensor]) -> None:
    """Check that images can be whitened ones, once the whitening is fitted.

    Undoing a whitening scales the directions in which training images differ most by up to the square root of their
    variance. Images that were never whitened then get pixels that are far from those of the data set.

    Args:
        images: Images (N, C, H, W) that are said to be whitened.
        pixels: Their pixels (N, C, H, W), if they are.
        usual: Mean and standard deviation (C, 1, 1) of the pixels of the data set.

    Raises:
        ValueError: If they are certainly normalized. The message is the end of a sentence that starts with the name of
            the file.
    """
    distance = _distance(pixels, *usual)
    if distance > _FAR and _distance(in_pixels(images, "normalized", *usual), *usual) < distance / 2:
        raise ValueError(
            f"holds numbers that are not 'zca': without the whitening they are pixels from {pixels.min():.3g} to "
            f"{pixels.max():.3g}; did you mean 'units: normalized'?"
        )


def _outside(pixels: Tensor) -> float:
    """Return the share of values outside of [0, 1] by more than rounding."""
    return float(((pixels < -ROUNDING) | (pixels > 1 + ROUNDING)).float().mean())


def _distance(pixels: Tensor, mean: Tensor, std: Tensor) -> float:
    """Return twice the divergence of a Gaussian with the moments of images from that of a data set, over channels."""
    channels = pixels.transpose(0, 1).flatten(1).double()
    ratio = channels.var(1, correction=0).clamp(min=1e-12) / std.flatten().double() ** 2
    shift = (channels.mean(1) - mean.flatten().double()) ** 2 / std.flatten().double() ** 2
    return float((shift + ratio - 1 - ratio.log()).mean())
