"""The file format of teaching sets, read without torch.

Images are stored as bytes: 256 levels between the smallest and the largest pixel value of the set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from gtn_bench.config.errors import ConfigError
from gtn_bench.store.files import DamagedFileError, read_header

Array = np.ndarray[Any, Any]


class Facts(NamedTuple):
    """The header of a teaching set: what a plan needs to know without its images.

    Attributes:
        inner_steps: Number of inner steps.
        image_shape: Channels, height, width.
        num_classes: Number of classes.
        batch_size: Images per inner step.
        even_labels: Whether the labels are one-hot, evenly spread over the classes and the same in every inner step.
        metadata: Data set, teacher, history and accuracy, as plain data.
    """

    inner_steps: int
    image_shape: tuple[int, ...]
    num_classes: int
    batch_size: int
    even_labels: bool
    metadata: dict[str, Any]


def facts(path: Path) -> Facts:
    """Read the header of a teaching set.

    Args:
        path: The file.

    Raises:
        ConfigError: If the file is not a teaching set.
    """
    try:
        metadata = read_header(path).about
        with safe_open(path, framework="np") as file:
            steps, batch_size, *image = file.get_slice("images").get_shape()
            labels = file.get_tensor("labels")
            classes = labels.shape[-1]
            even = np.array_equal(labels, np.eye(classes, dtype=labels.dtype)[None, np.arange(batch_size) % classes])
            return Facts(steps, tuple(image), classes, batch_size, even, metadata)
    except DamagedFileError as error:
        raise ConfigError(f"{path} is not a teaching set ({error.reason})") from None
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a teaching set ({type(error).__name__}: {error})") from None


def decode_images(levels: Array, extremes: Array) -> Array:
    """Return images as floats.

    Args:
        levels: Bytes of any shape.
        extremes: The pixel values (2,) of level 0 and of level 255, both reproduced exactly.

    Returns:
        float32 array of the same shape as `levels`.
    """
    low, high = np.float32(extremes[0]), np.float32(extremes[1])
    step = np.maximum(high - low, np.float32(1e-12)) / np.float32(255)
    return np.where(levels == 255, high, low + levels.astype(np.float32) * step)
