"""Images and labels of a source, decoded once into the cache: ``<cache>/data/<key>.safetensors``.

The header of a file holds what planning needs. The key covers the checksums of the source, how it is read, and the
code and libraries that read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.reading.array_files import IMAGES, LABELS, read_pair, read_single
from gtn_bench.data.reading.picture_files import read_folder, read_parquet
from gtn_bench.data.reading.pictures import Size, decode, resize
from gtn_bench.data.reading.pixels import Array, Layout, as_labels, as_levels
from gtn_bench.data.reading.sources import ArrayPair, DataPath, checksums
from gtn_bench.store.cache import cache_folder
from gtn_bench.store.downloads import fetch
from gtn_bench.store.files import MISSING, DamagedFileError, make_folder, read_header, read_tensors, write_tensors
from gtn_bench.store.hashing import digest
from gtn_bench.store.intact import report_damage
from gtn_bench.store.keys import code_digest, installed

Role = Literal["train", "test"]


class Part(NamedTuple):
    """A source and how to read it.

    Attributes:
        source: The source.
        role: What it is read as, for files that hold several parts.
        layout: Layout of arrays of images; None where their shape tells it.
        size: Height and width to resize images to; None to keep them.
    """

    source: DataPath | ArrayPair
    role: Role
    layout: Layout | None
    size: Size | None


@dataclass(frozen=True)
class Facts:
    """Facts about the images and labels of a part.

    Attributes:
        count: Number of images.
        shape: Channels, height, width.
        white: The level of the pixel value 1.0.
        mean: Mean of the pixels in [0, 1], per channel.
        std: Their standard deviation, per channel.
        labels: The class numbers that occur, in ascending order.
        covering: If the images are sorted by class number, how many of the first ones it takes to have all classes;
            else 0.
        width: Number of columns of one-hot labels; None for other labels.
        classes: Names of the classes in the source; empty if it has none.
        named_by_folders: Whether the class numbers are positions in `classes`, the names of folders.
        sha256: Checksum of images and labels.
    """

    count: int
    shape: tuple[int, int, int]
    white: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[int, ...]
    covering: int
    width: int | None
    classes: tuple[str, ...]
    named_by_folders: bool
    sha256: str


def facts_of(part: Part) -> Facts:
    """Return what is known about a part. It is decoded unless the cache holds it.

    Args:
        part: The part.

    Raises:
        ConfigError: If the source is damaged, or holds anything that cannot be read.
    """
    path = _path(part)
    try:
        return _from_json(read_header(path, key=_key(path)).about)
    except MISSING:
        pass
    except DamagedFileError as error:
        report_damage(error, path)
    return _decode(part)[2]


def load(part: Part, expected: Facts) -> tuple[Array, Array]:
    """Return the images and labels of a part.

    Args:
        part: The part.
        expected: What is known about it.

    Returns:
        Images (N, C, H, W), uint8 or float32, and class numbers (N,) int64.

    Raises:
        ConfigError: If the source has changed.
    """
    path = _path(part)
    try:
        arrays, about = read_tensors(path, key=_key(path))
        if about["sha256"] == expected.sha256:
            return arrays["levels"], arrays["labels"]
    except MISSING:
        pass
    except DamagedFileError as error:
        report_damage(error, path)
    levels, labels, found = _decode(part)
    if found.sha256 != expected.sha256:
        raise ConfigError(f"{_origin(part.source)}: its images have changed; run the command again")
    return levels, labels


def _covering(labels: Array) -> int:
    steps = np.diff(labels)
    is_sorted = bool((steps >= 0).all() or (steps <= 0).all())
    return int(np.flatnonzero(steps).max(initial=-1)) + 2 if is_sorted else 0


def checksum(levels: Array, labels: Array) -> str:
    """Return a hash of images and labels.

    Args:
        levels: Images.
        labels: Class numbers.
    """
    whole = hashlib.sha256()
    for array in (levels, labels):
        whole.update(f"{array.dtype} {array.shape} ".encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


def _path(part: Part) -> Path:
    key = digest(
        {
            "source": checksums(part.source),
            "as": [part.role, part.layout, part.size],
            "code": code_digest(__name__),
            "pillow": installed("pillow"),
        }
    )
    return cache_folder() / "data" / f"{key}.safetensors"


def _key(path: Path) -> str:
    return f"data/{path.stem}"


def _decode(part: Part) -> tuple[Array, Array, Facts]:
    """Read a source and store it in the cache."""
    levels, labels, facts = _read(part)
    path = _path(part)
    make_folder(path.parent)
    write_tensors(path, {"levels": levels, "labels": labels}, asdict(facts), key=_key(path))
    return levels, labels, facts


def _read(part: Part) -> tuple[Array, Array, Facts]:
    source, who = part.source, _origin(part.source)
    classes: tuple[str, ...] = ()
    if isinstance(source, DataPath) and (source.is_folder or source.suffix == ".parquet"):
        pictures, numbers, classes = (read_folder if source.is_folder else read_parquet)(fetch(source))
        labels = as_labels(numbers, len(pictures), who)
        levels, white = decode(pictures, part.size), 255
    else:
        if isinstance(source, ArrayPair):
            images = read_single(fetch(source.images), IMAGES, part.role)
            numbers = read_single(fetch(source.labels), LABELS, part.role)
        else:
            images, numbers = read_pair(fetch(source), part.role)
        levels, white = as_levels(images, part.layout, who)
        labels = as_labels(numbers, len(levels), str(source.labels) if isinstance(source, ArrayPair) else who)
        levels = resize(levels, part.size) if part.size else levels
    is_folder = isinstance(source, DataPath) and source.is_folder
    return levels, labels.numbers, _facts(levels, white, labels.numbers, labels.width, classes, is_folder)


def _origin(source: DataPath | ArrayPair) -> str:
    return str(source.images if isinstance(source, ArrayPair) else source)


def _facts(
    levels: Array, white: int, labels: Array, width: int | None, classes: tuple[str, ...], named_by_folders: bool
) -> Facts:
    channels, height, width_ = levels.shape[1:]
    mean, std = zip(*(_moments(levels[:, channel], white) for channel in range(channels)), strict=True)
    return Facts(
        count=len(levels),
        shape=(channels, height, width_),
        white=white,
        mean=mean,
        std=std,
        labels=tuple(np.unique(labels).tolist()),
        covering=_covering(labels),
        width=width,
        classes=classes,
        named_by_folders=named_by_folders,
        sha256=checksum(levels, labels),
    )


def _moments(values: Array, white: int) -> tuple[float, float]:
    """Return mean and standard deviation of pixels, in [0, 1]. They are rounded, so that they are equal everywhere."""
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=white + 1)
        levels = np.arange(white + 1) / white
        mean = float(counts @ levels / values.size)
        var = float(counts @ (levels - mean) ** 2 / values.size)
    else:
        mean, var = float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64))
    return round(mean, 6), round(var**0.5, 6)


def _from_json(fields: Mapping[str, Any]) -> Facts:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return Facts(**values)
