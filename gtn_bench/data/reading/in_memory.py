"""Reader of images and labels in memory: arrays, tensors, lists, the data sets and data loaders of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from PIL.Image import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.data.reading.array_files import IMAGES, LABELS, named_as, plain
from gtn_bench.data.reading.pictures import is_gray, to_array
from gtn_bench.data.reading.pixels import Array, Layout

_EXPECTED = (
    "expects images and labels as (x, y), a data set or data loader of torch, the path of a file or folder, "
    "or the name of a data set"
)


class Given(NamedTuple):
    """Images and labels.

    Attributes:
        images: The images, in any layout and of any type.
        labels: Their labels, in any form.
        layout: Layout of the images, if they were no arrays.
        classes: Names of the classes; empty if they have none.
    """

    images: Array
    labels: Array
    layout: Layout | None
    classes: list[str]


def given_data(data: Any) -> Given:
    """Return images and labels as arrays, in their order.

    Args:
        data: See `gtn_bench.data.arrays.from_arrays`.

    Raises:
        ConfigError: If the data has another form.
    """
    if isinstance(data, DataLoader):
        batches = [_sample(batch, "batches of images and labels") for batch in data]
        samples = [sample for batch in batches for sample in _samples_of(*batch)]
        return _given([image for image, _ in samples], [label for _, label in samples], _class_names(data.dataset))
    if isinstance(data, Dataset):
        if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
            every: Iterable[Any] = iter(data)
            samples = [_sample(sample, "samples of an image and a label") for sample in every]
        else:
            samples = [_sample(data[index], "samples of an image and a label") for index in range(len(data))]
        return _given([image for image, _ in samples], [label for _, label in samples], _class_names(data))
    if isinstance(data, Mapping):
        return _given(data[named_as(IMAGES, data, "data")], data[named_as(LABELS, data, "data")], [])
    if isinstance(data, tuple | list) and len(data) == 2:
        return _given(data[0], data[1], [])
    what = type(data).__name__
    size = len(data) if isinstance(data, tuple | list) else getattr(data, "shape", None)
    found = shown(data) if size is None else f"{what} of {size}" if isinstance(size, int) else f"{what} {tuple(size)}"
    raise ConfigError(f"data: {_EXPECTED}, got {found}")


def _given(images: Any, labels: Any, classes: list[str]) -> Given:
    if not isinstance(images, list | tuple) or not any(isinstance(image, Image) for image in images):
        return Given(plain(images, "data"), plain(labels, "data"), None, classes)
    if not all(isinstance(image, Image) for image in images):
        raise ConfigError("data: expects either PIL images or arrays, got both")
    mode = "L" if all(is_gray(image) for image in images) else "RGB"
    arrays = [to_array(image, f"data: image {number}", mode) for number, image in enumerate(images)]
    return Given(plain(arrays, "data"), plain(labels, "data"), "NCHW", classes)


def _sample(sample: Any, what: str) -> tuple[Any, Any]:
    """Return the image and the label of a sample, or the images and labels of a batch."""
    if isinstance(sample, Mapping):
        return sample[named_as(IMAGES, sample, "data")], sample[named_as(LABELS, sample, "data")]
    if isinstance(sample, tuple | list) and len(sample) == 2:
        return sample[0], sample[1]
    found = f"a {type(sample).__name__}" + (f" of {len(sample)}" if isinstance(sample, tuple | list) else "")
    raise ConfigError(f"data: expects {what}, got {found}")


def _samples_of(images: Any, labels: Any) -> Iterable[tuple[Any, Any]]:
    """Return the samples of a batch, or of a single sample, which a loader without batches yields."""
    if not isinstance(labels, list | tuple):
        labels = plain(labels, "data")
        if not labels.ndim:
            return [(images, labels)]
    images = images if isinstance(images, list | tuple) else plain(images, "data")
    if len(images) != len(labels):
        raise ConfigError(f"data: expects one label per image in a batch, got {len(labels)} for {len(images)}")
    return zip(images, labels, strict=True)


def _class_names(data: Any) -> list[str]:
    """Return the attribute `classes` of a data set of torch, or of the one that it is a subset of."""
    while not hasattr(data, "classes") and hasattr(data, "dataset"):
        data = data.dataset
    classes = getattr(data, "classes", ())
    if not isinstance(classes, Sequence) or isinstance(classes, str):
        return []
    names = [", ".join(map(str, name)) if isinstance(name, tuple | list) else str(name) for name in classes]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]
