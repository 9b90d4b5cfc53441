"""Arrays of images and labels in any usual form become images (N, C, H, W) and class numbers (N,), or are refused."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from gtn_bench.config.errors import ConfigError

Array = np.ndarray[Any, Any]
Layout = Literal["NCHW", "NHWC"]

UNDO = "undo their normalization: images * std + mean"
_ROUNDING = 1e-6  # distance from [0, 1] that rounding causes
_CHANNELS = range(1, 5)  # numbers of channels that tell the axis of channels from those of height and width
_BLOCK = 1 << 24  # pixels that are converted at a time


class Labels(NamedTuple):
    """Class numbers, with the number of classes if their form tells it.

    Attributes:
        numbers: Class numbers (N,) int64, at least 0.
        width: Number of columns of one-hot labels; None for other labels.
    """

    numbers: Array
    width: int | None


def as_levels(images: Array, layout: Layout | None, who: str, undo: str = UNDO) -> tuple[Array, int]:
    """Return images as a `Split` stores them.

    Args:
        images: Images (N, H, W), (N, C, H, W) or (N, H, W, C), of type uint8, or floats or bool in [0, 1].
        layout: The layout; None where the shape tells it.
        who: The origin of the images, to start messages.
        undo: What to do about normalized images.

    Returns:
        Images (N, C, H, W), and the level of the pixel value 1.0: uint8 and 255 where all pixels are multiples of
        1/255 in float32, else float32 and 1.

    Raises:
        ConfigError: If the images are anything else.
    """
    if images.dtype.kind not in "bufi":
        kind = "Python objects" if images.dtype.kind == "O" else f"images of type {images.dtype}"
        raise ConfigError(f"{who}: holds {kind}; save one array of uint8 or float32")
    if not images.size:
        raise ConfigError(f"{who}: holds no images, its array has the shape {images.shape}")
    images = _with_layout(images, layout, who)
    if images.dtype == np.uint8:
        if images.max() <= 1:
            raise ConfigError(
                f"{who}: holds uint8 pixels of at most 1, expects 0 to 255; save zeros and ones as float32"
            )
        return np.ascontiguousarray(images), 255
    if images.dtype.kind in "ui":
        raise ConfigError(
            f"{who}: holds {images.dtype} pixels from {images.min()} to {images.max()}; {_convert(images)}"
        )
    return _from_floats(images.astype(np.float32, copy=False), who, undo)


def as_labels(labels: Array, count: int, who: str) -> Labels:
    """Return class numbers.

    Args:
        labels: Integers (N,) or (N, 1), floats that are integers, or one-hot rows (N, K).
        count: Number of images.
        who: The origin of the labels, to start messages.

    Raises:
        ConfigError: If the labels are anything else.
    """
    if labels.dtype.kind not in "bufi":
        is_text = labels.dtype.kind in "US" or (labels.size and isinstance(labels.flat[0], str))
        kind = "texts" if is_text else "Python objects" if labels.dtype.kind == "O" else str(labels.dtype)
        raise ConfigError(f"{who}: expects class numbers as labels, got {kind}; number the classes from 0")
    if labels.ndim == 0 or len(labels) != count:
        found = f"{len(labels)} labels" if labels.ndim else "a single number"
        raise ConfigError(f"{who}: expects one label for each of its {count} images, got {found}")
    if labels.size == count:
        labels = labels.reshape(count)
    width = None
    if labels.ndim > 1:
        if labels.ndim > 2 or not bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
            soft = labels.ndim == 2 and labels.dtype.kind == "f"
            remedy = "; take the most probable class: labels.argmax(1)" if soft else ""
            raise ConfigError(f"{who}: expects one class number per image, got labels of shape {labels.shape}{remedy}")
        width, labels = labels.shape[1], labels.argmax(1)
    if labels.dtype.kind == "f" and not bool(np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
        first = labels[~(labels == np.rint(labels)) | ~np.isfinite(labels)][0]
        raise ConfigError(f"{who}: expects class numbers as labels, got {first:g}")
    if labels.min() < 0:
        what = " (-1 often marks images without a label; leave them out)" if labels.min() == -1 else ""
        raise ConfigError(f"{who}: expects class numbers from 0, got {labels.min():g}{what}")
    if labels.max() >= 1 << 31:
        raise ConfigError(f"{who}: expects class numbers, got {labels.max():g}")
    return Labels(labels.astype(np.int64), width)


def _with_layout(images: Array, layout: Layout | None, who: str) -> Array:
    """Return images as (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        side = round(images.shape[1] ** 0.5) if images.ndim == 2 else 0
        square = images.ndim == 2 and images.shape[1] == side**2
        remedy = f"; if they are square and gray: images.reshape(-1, {side}, {side})" if square else ""
        expected = "expects images of shape (N, C, H, W), (N, H, W, C) or (N, H, W)"
        raise ConfigError(f"{who}: {expected}, got {images.shape}{remedy}")
    if layout is None:
        first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
        if first == last:
            raise ConfigError(f"{who}: images of shape {images.shape} can be NCHW or NHWC; set layout to what they are")
        layout = "NCHW" if first else "NHWC"
    channels, other = images.shape[1::2] if layout == "NCHW" else images.shape[:0:-2]
    if channels not in _CHANNELS and other in _CHANNELS:
        opposite = "NHWC" if layout == "NCHW" else "NCHW"
        raise ConfigError(
            f"{who}: images of shape {images.shape} have {channels} channels in the layout {layout}; did you mean "
            f"layout {opposite}, with {other}?"
        )
    return images if layout == "NCHW" else images.transpose(0, 3, 1, 2)


def _from_floats(images: Array, who: str, undo: str) -> tuple[Array, int]:
    low, high = images.min(), images.max()  # NaN if there is any
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ConfigError(f"{who}: holds {np.count_nonzero(~np.isfinite(images))} pixels that are NaN or infinite")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        bytes_in_float = "divide them by 255, or save them as uint8"
        scaled = bytes_in_float if 127 < high <= 255 else "divide them by the level of white"
        remedy = undo if low < -_ROUNDING else scaled
        raise ConfigError(f"{who}: holds pixels from {low:g} to {high:g}, expects 0 to 1; {remedy}")
    if 0 < high < 1.5 / 255:
        raise ConfigError(f"{who}: holds pixels of at most {high:g}, expects 0 to 1; they were divided by 255 twice")
    if low < 0 or high > 1:
        images = images.clip(0, 1)
    levels = np.empty(images.shape, np.uint8)
    step = max(1, _BLOCK // images[0].size)
    for start in range(0, len(images), step):
        part = images[start : start + step]
        whole = np.rint(part * np.float32(255)).astype(np.uint8)
        if not np.array_equal(whole / np.float32(255), part):
            return np.ascontiguousarray(images), 1
        levels[start : start + step] = whole
    return levels, 255


def _convert(images: Array) -> str:
    """Return how to convert integers that are no bytes."""
    if images.min() < 0:
        return "save them as uint8, or as float32 from 0 to 1"
    if images.max() <= 1:
        return "if 1 is white, save them as float32: images.astype('float32')"
    if images.max() <= 127:
        return "save them as uint8 if 255 is white, else divide them by the level of white and save them as float32"
    if images.max() <= 255:
        return "save them as uint8: images.astype('uint8')"
    return "divide them by the level of white, such as 65535, and save them as float32"
