"""Corruptions of images of any size. Beta 0 is the identity for all of them.

The families are those of https://arxiv.org/abs/1903.12261 and https://arxiv.org/abs/1906.02337, with a continuous
strength instead of five levels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from gtn_bench.config.description import Probability
from gtn_bench.perturbations.base import Corruption, uniform_like

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_SOURCE = "https://arxiv.org/abs/1903.12261"


class Brightness(Corruption):
    """Shift of every pixel value by beta.

    Attributes:
        towards: Direction of the shift.
    """

    name = "brightness"
    source = _SOURCE
    beta_meaning = "shift"
    pixel_fields = ("beta",)

    towards: Literal["white", "black"] = "white"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return (x + (self.beta if self.towards == "white" else -self.beta)).clamp(0, 1)


class Contrast(Corruption):
    """Reduction of the contrast: differences from the mean of an image are multiplied by ``1 - beta``."""

    name = "contrast"
    source = _SOURCE
    beta_meaning = "share of contrast lost"

    beta: Probability

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return x.lerp(x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x), self.beta)


class Translation(Corruption):
    """Translation by beta pixels in a random direction, with bilinear interpolation and black outside the image."""

    name = "translation"
    source = "https://arxiv.org/abs/1906.02337"
    beta_meaning = "distance, pixels"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        import torch

        angle = 2 * math.pi * uniform_like(x.new_empty(len(x)), seeds)
        shift = self.beta * torch.stack([angle.cos(), angle.sin()], dim=1)
        return _resampled(x, torch.eye(2).to(x).expand(len(x), 2, 2), shift)


class Rotation(Corruption):
    """Rotation by beta degrees about the center in a random direction, bilinear, with black outside the image."""

    name = "rotation"
    source = "https://arxiv.org/abs/1906.02337"
    beta_meaning = "angle, degrees"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        import torch

        sign = (uniform_like(x.new_empty(len(x)), seeds) < 0.5).to(x) * 2 - 1
        angle = sign * math.radians(self.beta)
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
        return _resampled(x, rotation, x.new_zeros(len(x), 2))


class SaltAndPepper(Corruption):
    """Replacement of pixels, each with probability beta, by white or black. A larger beta replaces a superset."""

    name = "salt-and-pepper"
    source = _SOURCE
    beta_meaning = "share of pixels"

    beta: Probability

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        chance, color = uniform_like(x.new_empty(len(x), 2, *x.shape[2:]), seeds).split(1, dim=1)
        return (color < 0.5).to(x).expand_as(x).where(chance < self.beta, x)


class Quantization(Corruption):
    """Rounding of the cosine coefficients of 8x8 blocks to multiples of beta times the luminance table of JPEG.

    Quality q of libjpeg corresponds to ``beta = 50 / q`` for q up to 50, and to ``beta = 2 - q / 50`` above. All
    channels use the same table.
    """

    name = "quantization"
    source = "ITU-T T.81, table K.1"
    beta_meaning = "multiple of the JPEG table"
    packages = ("scipy",)

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        if self.beta == 0:
            return x
        import torch
        from scipy.fft import dct
        from torch.nn import functional as F

        height, width = x.shape[2:]
        cosines = torch.from_numpy(dct(torch.eye(8).double().numpy(), axis=0, norm="ortho")).to(x)
        table = self.beta * torch.tensor(_JPEG).to(x) / 255
        padded = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
        blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8) - 128 / 255  # (N, C, rows, columns, 8, 8)
        rounded = (cosines @ blocks @ cosines.T / table).round() * table
        pixels = (cosines.T @ rounded @ cosines + 128 / 255).transpose(3, 4).reshape(padded.shape)
        return pixels[:, :, :height, :width].clamp(0, 1)


class Occlusion(Corruption):
    """Square with sides of beta pixels at a random position in the image.

    Attributes:
        color: Pixel value of the square.
    """

    name = "occlusion"
    source = "https://arxiv.org/abs/1708.04552"
    beta_meaning = "side, pixels"

    color: Probability = 0.0

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        corner = uniform_like(x.new_empty(len(x), 2), seeds)
        rows, columns = (
            self._covered(size, corner[:, side : side + 1]) for side, size in enumerate(x.shape[2:])
        )  # (N, H), (N, W)
        return x.lerp(x.new_full((), self.color).expand_as(x), (rows[:, :, None] * columns[:, None, :])[:, None])

    def _covered(self, size: int, corner: Tensor) -> Tensor:
        """Return the share of each pixel that the square covers along one side of the image.

        Args:
            size: Number of pixels of the side.
            corner: Position of the square (N, 1) in [0, 1).

        Returns:
            Shares (N, size).
        """
        import torch

        side = min(self.beta, size)
        first = corner * (size - side)
        pixels = torch.arange(size).to(corner)
        return (torch.minimum(pixels + 1, first + side) - torch.maximum(pixels, first)).clamp(0, 1)


def _resampled(x: Tensor, rotation: Tensor, shift: Tensor) -> Tensor:
    """Rotate images about their center, then translate them, with bilinear interpolation.

    Args:
        x: Images (N, C, H, W).
        rotation: Rotation matrices (N, 2, 2) of column and row.
        shift: Translations (N, 2) of column and row, in pixels.

    Returns:
        Images (N, C, H, W), black outside of the given ones.
    """
    import torch
    from torch.nn import functional as F

    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height).to(x) - (height - 1) / 2, torch.arange(width).to(x) - (width - 1) / 2, indexing="ij"
    )
    target = torch.stack([columns, rows], dim=-1).view(1, -1, 2) - shift[:, None]
    origin = (target @ rotation).view(len(x), height, width, 2)  # the inverse of a rotation is its transpose
    scale = x.new_tensor([2 / width, 2 / height])
    return F.grid_sample(x, origin * scale, mode="bilinear", padding_mode="zeros", align_corners=False)


_JPEG = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
