"""Example images of a perturbation in one PNG: perturbed images, and amplified differences below them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]

_SIDE = 96  # pixels of the longest side of an image in a page
_BUDGET = 3_000_000  # pixels of a sprite
_STRENGTHS = 12  # strengths of a sweep in a page


class Sprite(NamedTuple):
    """All images of a perturbation.

    Attributes:
        png: The PNG file in base64. Column c of row r is the image at ``(c * width, r * height)``.
        width, height: Pixels of an image.
        columns: Images per row.
        amplified: The factor of the differences.
        places: For each mode and strength, the row of its perturbed images; the next row has their differences. Row 0
            has the clean images.
        reduced: Whether images are smaller than they were.
    """

    png: str
    width: int
    height: int
    columns: int
    amplified: float
    places: Mapping[str, Mapping[float, int]]
    reduced: bool


def sprite(clean: Array, perturbed: Mapping[str, Mapping[float, Array]]) -> Sprite:
    """Return the images of a perturbation in one PNG.

    Args:
        clean: Clean images (k, C, H, W) in [0, 1]. Three channels are shown in color, others as their mean in gray.
        perturbed: Perturbed images (k, C, H, W) by mode and strength.
    """
    shown = {mode: _few(images) for mode, images in perturbed.items()}
    count = min(len(images) for images in (clean, *(each for images in shown.values() for each in images.values())))
    rows = 1 + 2 * sum(len(images) for images in shown.values())
    height, width = clean.shape[2:]
    scale = min(1.0, _SIDE / max(height, width), (_BUDGET / (rows * count * height * width)) ** 0.5)
    clean = clean[:count].astype(np.float64)
    moved = [np.abs(each[:count] - clean).max() for images in shown.values() for each in images.values()]
    factor = _factor(max(moved, default=0.0))
    lines = [_line(clean, scale)]
    places: dict[str, dict[float, int]] = {}
    for mode, images in shown.items():
        places[mode] = {}
        for beta, each in images.items():
            places[mode][beta] = len(lines)
            lines += [_line(each[:count], scale), _line(0.5 + factor * (each[:count] - clean), scale)]
    sheet = np.concatenate(lines)
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG", optimize=True)
    size = (sheet.shape[1] // count, len(lines[0]))
    png = base64.b64encode(stream.getvalue()).decode()
    return Sprite(png, *size, count, factor, places, scale < 1)


def _few(images: Mapping[float, Array]) -> dict[float, Array]:
    """Return the images at so many strengths, evenly chosen, with the first and the last."""
    betas = sorted(images)
    places = sorted({round(place) for place in np.linspace(0, len(betas) - 1, min(_STRENGTHS, len(betas)))})
    return {betas[place]: images[betas[place]] for place in places}


def _factor(moved: float) -> float:
    """Return a round factor that makes the largest change fill the range of gray values."""
    if not moved > 0:
        return 1.0
    return float(next((round_ for round_ in (100, 50, 20, 10, 5, 2, 1) if round_ * moved <= 0.5), 1))


def _line(images: Array, scale: float) -> Array:
    """Return images (k, C, H, W) side by side as 8-bit pixels (h, k * w) or (h, k * w, 3)."""
    return np.concatenate([_pixels(image, scale) for image in images], axis=1)


def _pixels(image: Array, scale: float) -> Array:
    shown = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)
    pixels = (np.clip(shown, 0, 1) * 255).round().astype(np.uint8)
    if scale == 1:
        return pixels
    size = tuple(max(1, round(scale * side)) for side in (pixels.shape[1], pixels.shape[0]))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def class_names(numbers: Sequence[int], names: Sequence[str]) -> list[str]:
    """Return the names of classes; their numbers without names.

    Args:
        numbers: The classes.
        names: The names of all classes; empty if they have none.
    """
    return [" ".join(names[number].split()) if 0 <= number < len(names) else f"{number}" for number in numbers]
