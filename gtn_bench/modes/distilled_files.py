"""Reader of distilled images from PyTorch files and NumPy archives. No code in a file is executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset

IMAGES = ("images", "x", "image_syn", "data")
LABELS = ("labels", "y", "label_syn", "targets")


def read(path: Path, dataset: Dataset, *, normalized: bool, soften: bool, run: int) -> tuple[Tensor, Tensor]:
    """Read distilled images and labels. See `gtn_bench.modes.distilled.Distilled` for the formats.

    Args:
        path: Path of the file.
        dataset: The data set. The file must have the same image shape and classes.
        normalized: Whether the images are normalized. Mean and standard deviation are those of the training pixels.
        soften: Whether floating-point labels are logits.
        run: Index of the set of images, if the file holds a list of several.

    Returns:
        Images (N, C, H, W) in pixel values, and label probabilities (N, K).

    Raises:
        ConfigError: If the file holds anything else.
    """
    try:
        images, labels = (_plain(part) for part in _pair(_content(path), run))
    except Exception as error:  # the file is not under the control of this package
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{path} holds no distilled images: {reason}") from None
    if not len(images):
        raise ConfigError(f"{path} holds no distilled images: it is empty")
    if not bool(images.isfinite().all() and labels.isfinite().all()):
        raise ConfigError(f"{path} holds images or labels that are not finite")
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.shape[1:] != dataset.input_shape or not images.is_floating_point():
        raise ConfigError(
            f"{path} holds {images.dtype} images of shape {tuple(images.shape)}, "
            f"data set '{dataset.name}' needs floats of shape (N, {', '.join(map(str, dataset.input_shape))})"
        )
    if normalized:
        mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (dataset.mean, dataset.std))
        images = images * std + mean
    return images.float(), _probabilities(path, labels, len(images), dataset.num_classes, soften)


def _plain(part: Any) -> Tensor:
    """Return a dense tensor that supports arithmetic.

    Raises:
        ValueError: If the part is a number or a tensor of another kind.
    """
    tensor = torch.as_tensor(part).detach()
    if tensor.ndim == 0 or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise ValueError(f"it holds {'a number' if tensor.ndim == 0 else 'a tensor of an unusual kind'}")
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def _content(path: Path) -> Any:
    """Return the content of a file, restricted to tensors, arrays and containers of them."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError("it is no file of tensors, or holds more than tensors and containers of them") from None


def _pair(content: Any, run: int) -> tuple[Any, Any]:
    """Return the images and the labels of the content of a file.

    Raises:
        ValueError: If the content has another form, or too few runs.
    """
    if isinstance(content, Mapping):
        if isinstance(content.get("data"), list):
            runs = content["data"]
            if run >= len(runs):
                raise ValueError(f"it has {len(runs)} runs, got run {run}")
            return _pair(runs[run], run)
        images = next((content[key] for key in IMAGES if key in content), None)
        labels = next((content[key] for key in LABELS if key in content), None)
        if images is None or labels is None:
            raise ValueError(f"it has the keys {sorted(map(str, content))}, expected 'images' and 'labels'")
        return images, labels
    if isinstance(content, list | tuple) and len(content) == 2:
        return content[0], content[1]
    raise ValueError(f"it is {type(content).__name__}, expected a mapping or a pair of images and labels")


def _probabilities(path: Path, labels: Tensor, count: int, classes: int, soften: bool) -> Tensor:
    """Return label probabilities (count, classes) for classes, probabilities or logits."""
    if labels.ndim == 1 and len(labels) == count and not labels.is_floating_point():
        labels = labels.long()
        if labels.min() < 0 or labels.max() >= classes:
            raise ConfigError(
                f"{path} has classes {int(labels.min())} to {int(labels.max())}, expected 0 to {classes - 1}"
            )
        return F.one_hot(labels, classes).float()
    if labels.shape != (count, classes) or not labels.is_floating_point():
        raise ConfigError(
            f"{path} has {labels.dtype} labels of shape {tuple(labels.shape)}, "
            f"expected {count} integers or ({count}, {classes}) floats"
        )
    labels = labels.float()
    if soften:
        return labels.softmax(1)
    if labels.min() < 0 or not torch.allclose(labels.sum(1), torch.ones(count), atol=1e-3):
        raise ConfigError(f"{path} has labels that are no probabilities; if they are logits, say 'soften: true'")
    return labels
