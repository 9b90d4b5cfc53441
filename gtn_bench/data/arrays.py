"""Data sets from arrays, tensors, and the data sets and data loaders of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from gtn_bench.config.description import build, choose
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.paths import user_path
from gtn_bench.data import DATASETS
from gtn_bench.data.base import Dataset
from gtn_bench.data.files import Files
from gtn_bench.data.reading.decoded import checksum
from gtn_bench.data.reading.pixels import Array, Layout, as_labels, as_levels
from gtn_bench.store.cache import cache_folder
from gtn_bench.store.files import make_folder, write_tensors
from gtn_bench.store.intact import is_intact

_UNDO = "leave Normalize out of the transform, and pass mean= and std= to evaluate"


def from_arrays(
    data: Any,
    *,
    layout: Layout | None = None,
    classes: Sequence[str] = (),
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Return a data set whose test images are the given ones, in the given order.

    Images and labels are written once to the cache, as a file that is named by their content. A data loader is iterated
    once. If it shuffles, every call finds another order, and so another data set.

    Args:
        data: A pair ``(x, y)`` of arrays, tensors or lists: images (N, C, H, W), (N, H, W, C) or (N, H, W), of uint8 or
            of floats in [0, 1], and labels (N,). Or a torch data set of pairs of an image and a label, where the image
            is a tensor, an array or a PIL image. Or a data loader of batches of such pairs. Or the path of a file or
            folder, as the field `test` of `Files`. Or the name of a data set. A `Dataset` is returned as it is.
        layout: Layout of the images; None where their shape tells it.
        classes: Names of the classes; by default the attribute `classes` of a torch data set.
        num_classes: Number of classes; by default that of the names, or else the largest label plus one.
        mean: Mean of the pixels in [0, 1], per channel; by default that of the images.
        std: Their standard deviation, per channel.
        cache: Folder of the cache; by default `GTN_BENCH_CACHE`, or else the user's cache folder.

    Raises:
        ConfigError: If the data is anything else, or cannot be read.
    """
    from gtn_bench.data.reading.in_memory import given_data  # imports torch

    if layout not in (None, *get_args(Layout)):
        known = get_args(Layout)
        raise ConfigError(f"layout expects one of {', '.join(known)}, got {shown(layout)}{did_you_mean(layout, known)}")
    fields: dict[str, Any] = {"layout": layout, "classes": list(classes) or None, "num_classes": num_classes}
    fields |= {"mean": _listed(mean), "std": _listed(std)}
    stated = {name: value for name, value in fields.items() if value is not None}
    if isinstance(data, Dataset) or (isinstance(data, str) and data in _named()):
        if stated:
            raise ConfigError(f"data: the data set has its own {', '.join(stated)}; leave them out")
        return choose(DATASETS, "dataset", data)
    if isinstance(data, str | os.PathLike):
        return _from_path(data, stated)
    given = given_data(data)
    if given.layout and layout:
        raise ConfigError("data: PIL images have no layout; leave layout out")
    levels, _ = as_levels(given.images, given.layout or layout, "data", _UNDO)
    labels = as_labels(given.labels, len(levels), "data")
    if num_classes in (None, len(given.classes)) and given.classes:
        stated.setdefault("classes", given.classes)
    if stated.setdefault("num_classes", labels.width) not in (labels.width, None) and labels.width:
        raise ConfigError(f"data: has one-hot labels of {labels.width} classes, got num_classes {num_classes}")
    path = _stored(levels, labels.numbers, user_path(cache) if cache else cache_folder())
    try:
        return build(Files, {**stated, "test": str(path), "layout": "NCHW"}, "")
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(path), "data")) from None


def _named() -> list[str]:
    """Return the names of the data sets that need no parameters."""
    return [name for name, cls in DATASETS.items() if not any(f.is_required() for f in cls.model_fields.values())]


def _listed(values: Any) -> Any:
    """Return numbers as a list, whichever sequence they are in."""
    if hasattr(values, "tolist"):  # an array or a tensor
        values = values.tolist()
    return list(values) if isinstance(values, tuple) else values


def _from_path(path: str | os.PathLike[str], fields: Mapping[str, Any]) -> Files:
    try:
        return build(Files, {**fields, "test": str(user_path(path)) if isinstance(path, os.PathLike) else path}, "")
    except ConfigError as error:
        if isinstance(path, str) and "no such file" in str(error) and Path(path).name == path and not Path(path).suffix:
            known = did_you_mean(path, _named())
            raise ConfigError(f"data: {shown(path)} is no file, no folder and no data set{known}") from None
        raise


def _stored(levels: Array, labels: Array, cache: Path) -> Path:
    """Return the file in the cache that holds the images and labels."""
    content = checksum(levels, labels)
    path = cache / "data" / f"arrays-{content[:32]}.safetensors"
    key = f"data/{path.stem}"
    if not is_intact(path, key):
        make_folder(path.parent)
        write_tensors(path, {"images": levels, "labels": labels}, key=key)
    return path
