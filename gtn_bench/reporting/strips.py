"""Figures of images: a test image at each strength, and other grids of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gtn_bench.reporting.layout import PAGE, InlineFigure, finish, grid
from gtn_bench.reporting.numbers import strengths
from gtn_bench.reporting.text import text_width, wrap
from gtn_bench.reporting.theme import INK, SMALL, WARNING, theme

Array = np.ndarray[Any, Any]

_MOST = 10  # perturbed images per row
_SIDE, _THINNEST, _LONGEST = 0.6, 0.15, 1.8  # inches of an image: the usual longest side, bounds of elongated ones
_LABELS = 1.0  # inches of the labels of rows
_TEXT = 0.7  # inches of a line of text below an image
_ROOM = PAGE - _LABELS - 0.3  # inches for the images of a row


_BELOW: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": SMALL, "parse_math": False}


class Tile(NamedTuple):
    """An image in a grid.

    Attributes:
        row, column: Place in the grid.
        image: (C, H, W) in [0, 1]. Three channels are shown in color, any other number as their mean in gray.
        text: Text below the image.
        color: Color of the text.
    """

    row: int
    column: int
    image: Array
    text: str = ""
    color: str = INK


@theme()
def strip_figure(
    clean: Array,
    perturbed: Mapping[str, Mapping[float, Array]],
    predictions: pd.DataFrame,
    label: int,
    axis: str,
    *,
    classes: Sequence[str] = (),
    note: str = "",
    name: str = "",
) -> InlineFigure:
    """Draw a test image, clean and at each strength, with the predicted class below it; one row per mode.

    Args:
        clean: The image (C, H, W) in [0, 1].
        perturbed: Perturbed images (C, H, W) by mode and beta. Of many strengths, at most ten are shown, as they fit.
        predictions: Columns mode, beta, clean_prediction, prediction.
        label: True class of the image.
        axis: Meaning of beta.
        classes: Names of the classes; by default their numbers.
        note: Warning above the images.
        name: Name of the perturbation in the caption.
    """
    betas = sorted({beta for images in perturbed.values() for beta in images})
    names = dict(zip(betas, strengths(betas), strict=True))
    texts = [_class(number, classes) for number in predictions["prediction"].unique()]
    pitch = _pitch(clean.shape[1:], [*names.values(), *_below([f"{text} ✗" for text in texts])])
    shown = [betas[place] for place in _spread(len(betas), max(1, min(_MOST, int(_ROOM / pitch) - 1)))]
    tiles: list[Tile] = []

    def add(row: int, column: int, image: Array, predicted: int) -> None:
        name, right = _class(predicted, classes), predicted == label
        tiles.append(Tile(row, column, image, name if right else f"{name} ✗", INK if right else WARNING))

    for row, (mode, images) in enumerate(perturbed.items()):
        mine = predictions[predictions["mode"] == mode]
        predicted = dict(zip(mine["beta"], mine["prediction"], strict=True))
        add(row, 0, clean, mine["clean_prediction"].iloc[0])
        for column, beta in enumerate(shown, start=1):
            if beta in images:
                add(row, column, images[beta], predicted[beta])
    caption = [f"{name}: beta ({axis})" if name else f"beta ({axis})", "predicted class below each image, ✗ if wrong"]
    caption.append(f"true class {_class(label, classes)}")
    if len(shown) < len(betas):
        caption.append(f"{len(shown)} of {len(betas)} strengths")
    if len(clean) not in (1, 3):
        caption.append(f"mean of the {len(clean)} channels")
    columns = ["clean", *(names[beta] for beta in shown)]
    return tiles_figure(tiles, list(perturbed), columns, xlabel="; ".join(caption), note=note)


def tiles_figure(
    tiles: Sequence[Tile], rows: Sequence[str], columns: Sequence[str], *, xlabel: str, ylabel: str = "", note: str = ""
) -> InlineFigure:
    """Draw a grid of images of the same shape. Call it inside `theme`.

    Args:
        tiles: The images; places without one stay empty.
        rows: Labels of the rows.
        columns: Labels of the columns.
        xlabel: Caption below the images.
        ylabel: Label beside the images.
        note: Warning above the images.
    """
    width, height = _size(tiles[0].image.shape[1:])
    labels = [wrap(label, _LABELS, SMALL) for label in rows]
    lines = max(label.count("\n") + 1 for label in labels)
    texts = [wrap(tile.text, _TEXT, SMALL) for tile in tiles]
    most = max(text.count("\n") + 1 if text else 0 for text in texts)  # lines below an image
    below = 0.08 + most * (0.04 + 1.2 * SMALL / 72)
    pitch = (
        _pitch(tiles[0].image.shape[1:], [*columns, *_below([tile.text for tile in tiles])]),
        max(height + below, (1 + 1.25 * lines) * SMALL / 72),
    )
    panels = grid(1, 1, len(columns) * pitch[0], (len(rows) - 1) * pitch[1] + height)
    panel: Axes = panels.axes[0, 0]
    for tile, text in zip(tiles, texts, strict=True):
        center, top = (tile.column + 0.5) * pitch[0], tile.row * pitch[1]
        extent = (center - width / 2, center + width / 2, top + height, top)
        panel.imshow(
            _shown(tile.image), extent=extent, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto"
        )
        panel.text(center, top + height + 0.04, text, color=tile.color, **_BELOW)
    panel.set(xlim=(0, panels.width), ylim=(panels.height, 0))
    panel.set_xticks([(column + 0.5) * pitch[0] for column in range(len(columns))], columns)
    panel.set_yticks([row * pitch[1] + height / 2 for row in range(len(rows))], labels, parse_math=False)
    panel.tick_params(length=0, labeltop=True, labelbottom=False)
    panel.spines[:].set_visible(False)
    return finish(panels, xlabel=xlabel, ylabel=ylabel, note=note, width=PAGE)


def _below(texts: Sequence[str]) -> list[str]:
    """Return the lines of texts below images."""
    return [line for text in dict.fromkeys(texts) for line in wrap(text, _TEXT, SMALL).split("\n")]


def _pitch(shape: tuple[int, ...], texts: Sequence[str]) -> float:
    """Return the inches from an image of shape (H, W) to the next one, with texts above or below each."""
    return max(_size(shape)[0], *(text_width(text, SMALL) for text in texts), 0.0) + 0.08


def _class(number: int, names: Sequence[str]) -> str:
    """Return the name of a class; its number if it has none."""
    return " ".join(names[number].split()) if number < len(names) else f"{number}"


def _shown(image: Array) -> Array:
    """Return an image (C, H, W) as matplotlib shows it: (H, W, 3) in color, or (H, W) in gray."""
    image = np.clip(image, 0, 1)
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)


def _size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return width and height in inches of an image of shape (H, W)."""
    scale = _SIDE / max(shape)
    if min(shape) * scale < _THINNEST:
        scale = min(_THINNEST / min(shape), _LONGEST / max(shape))
    return shape[1] * scale, shape[0] * scale


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many of the places 0 to count - 1, evenly spread, with the first and the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})
