"""The augmentation of dataset condensation: DSA, differentiable Siamese augmentation, as it is used to train networks.

One part of a list, drawn at random, changes a batch; each image has its own draws. Sizes are fractions of the image.
Source: https://arxiv.org/abs/2102.08259, with the parameters of https://github.com/VICO-UoE/DatasetCondensation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

BRIGHTNESS = 1.0  # width of the interval around 0 from which the shift is drawn
SATURATION = 2.0  # largest factor; the smallest is 0
CONTRAST = 0.5  # smallest factor; the largest is 1 more
SHIFT = 0.125  # largest shift of a crop
CUTOUT = 0.5  # side of the square that is cut out
FLIP = 0.5  # probability
SCALE = 1.2  # largest factor on height and width; the smallest is its inverse
ROTATION = 15.0  # largest angle in degrees


def augment(x: Tensor, parts: Sequence[str], generator: Generator) -> Tensor:
    """Change a batch of images by one part, drawn at random.

    Args:
        x: Images (B, C, H, W) in the units in which a network sees them: normalized or whitened.
        parts: Names of parts: keys of `PARTS`.
        generator: Source of the random draws, on the CPU.

    Returns:
        Images (B, C, H, W).
    """
    chosen = int(torch.randint(len(parts), (1,), generator=generator))
    return PARTS[parts[chosen]](x, generator)


def color(x: Tensor, generator: Generator) -> Tensor:
    """Change brightness, saturation and contrast.

    Args:
        x: Images (B, C, H, W).
        generator: Source of the random draws.
    """
    shift, saturation, contrast = (_uniform(x, generator) for _ in range(3))
    x = x + (shift - 0.5) * BRIGHTNESS
    gray = x.mean(1, keepdim=True)
    x = gray + saturation * SATURATION * (x - gray)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + CONTRAST) * (x - mean)


def crop(x: Tensor, generator: Generator) -> Tensor:
    """Shift images by whole pixels. Zeros fill what becomes free.

    Args:
        x: Images (B, C, H, W).
        generator: Source of the random draws.
    """
    for dim in (2, 3):
        size = x.shape[dim]
        most = int(size * SHIFT + 0.5)
        shift = torch.randint(-most, most + 1, (len(x), 1), generator=generator).to(x.device)
        place = torch.arange(size, device=x.device) + shift  # (B, size), where each row or column comes from
        inside = (place >= 0) & (place < size)
        x = _along(place.clamp(0, size - 1), x, dim) * _mask(inside, x, dim)
    return x


def cutout(x: Tensor, generator: Generator) -> Tensor:
    """Set a rectangle to zero. Its center is anywhere in the image, so that parts of it may be outside.

    Args:
        x: Images (B, C, H, W).
        generator: Source of the random draws.
    """
    inside = torch.ones_like(x[:, :1])
    for dim in (2, 3):
        size = x.shape[dim]
        side = int(size * CUTOUT + 0.5)
        center = torch.randint(0, size + (1 - side % 2), (len(x), 1), generator=generator).to(x.device)
        place = torch.arange(size, device=x.device) - (center - side // 2)
        inside = inside * _mask((place >= 0) & (place < side), x, dim)
    return x * (1 - inside)


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the images, left to right.

    Args:
        x: Images (B, C, H, W).
        generator: Source of the random draws.
    """
    return torch.where(_uniform(x, generator) < FLIP, x.flip(3), x)


def scale(x: Tensor, generator: Generator) -> Tensor:
    """Scale height and width independently, around the center. Zeros fill what becomes free.

    Args:
        x: Images (B, C, H, W).
        generator: Source of the random draws.
    """
    least = 1 / SCALE
    width, height = (_uniform(x, generator).flatten() * (SCALE - least) + least for _ in range(2))
    zero = torch.zeros_like(width)
    return _resample(x, [[width, zero, zero], [zero, height, zero]])


def rotate(x: Tensor, generator: Generator) -> Tensor:
    """Rotate around the center. Zeros fill what becomes free.

    Args:
        x: Images (B, C, H, W).
        generator: Source of the random draws.
    """
    angle = (_uniform(x, generator).flatten() - 0.5) * 2 * math.radians(ROTATION)
    zero = torch.zeros_like(angle)
    return _resample(x, [[angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]])


PARTS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = {
    "color": color,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "scale": scale,
    "rotate": rotate,
}


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    """Return one number in [0, 1) per image (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, generator=generator).to(x)


def _along(index: Tensor, x: Tensor, dim: int) -> Tensor:
    """Return the rows or columns (B, size) of images by their index."""
    return x.gather(dim, _shaped(index, dim).expand_as(x))


def _mask(inside: Tensor, x: Tensor, dim: int) -> Tensor:
    return _shaped(inside, dim).to(x.dtype)


def _shaped(values: Tensor, dim: int) -> Tensor:
    """Return values (B, size) of rows or columns in the shape of images."""
    return values.view(len(values), 1, -1, 1) if dim == 2 else values.view(len(values), 1, 1, -1)


def _resample(x: Tensor, rows: list[list[Tensor]]) -> Tensor:
    """Return images behind an affine map of their coordinates, with one matrix (2, 3) per image."""
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)
