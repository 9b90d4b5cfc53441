"""Reader of labeled image files: folders with a folder per class, and parquet files in the layout of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.reading.array_files import IMAGES, LABELS, errors_of, named_as
from gtn_bench.data.reading.pictures import Picture
from gtn_bench.data.reading.pixels import Array
from gtn_bench.data.reading.sources import is_visible, pictures_in
from gtn_bench.store.files import open_for_arrow

_LABELS = (*LABELS, "fine_label")  # of CIFAR-100
_PARTS = ("train", "training", "test", "testing", "val", "valid", "validation")


class Labeled(NamedTuple):
    """Encoded images with labels.

    Attributes:
        pictures: The encoded images.
        labels: Their labels.
        classes: Names of the classes; empty if they have none.
    """

    pictures: list[Picture]
    labels: Array
    classes: tuple[str, ...]


def read_folder(folder: Path) -> Labeled:
    """Find the images in a folder with one folder per class. Classes have the order of their names.

    The images are in a random order, always the same one, so that the first ones are of all classes.

    Args:
        folder: The folder. Class folders may contain other folders. Hidden files and files of other types are left out.

    Raises:
        ConfigError: If there is another structure.
    """
    files = list(pictures_in(folder))
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and is_visible(path.name))
    if parts := [name for name in classes if name.lower() in _PARTS]:
        raise ConfigError(
            f"{folder}: expects one folder per class, got the folder '{parts[0]}'; name {folder / parts[0]}"
        )
    if not files:
        tables = sorted(path.name for path in folder.glob("*.parquet"))
        remedy = f"; name one file, such as {folder / tables[0]}" if tables else ""
        raise ConfigError(f"{folder}: holds no images; expects a folder with one folder of images per class{remedy}")
    if loose := [name for name, _ in files if "/" not in name]:
        raise ConfigError(f"{folder}: {loose[0]} has no label; move it to a folder with the name of its class")
    owners = [name.partition("/")[0] for name, _ in files]
    if empty := [name for name in classes if name not in set(owners)]:
        raise ConfigError(f"{folder}: the class '{empty[0]}' has no images; delete its folder, or add images")
    order = np.random.default_rng(0).permutation(len(files))
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[owners[index]] for index in order])
    return Labeled([Picture(str(path), path) for _, path in (files[index] for index in order)], labels, tuple(classes))


def read_parquet(path: Path) -> Labeled:
    """Read a parquet file with a column of encoded images and one of labels.

    Args:
        path: The file. An image is its bytes, or a mapping with them under `bytes`. The names of the classes are those
            of the `ClassLabel` in the metadata, if there is one.

    Raises:
        ConfigError: If the file is damaged, or holds anything else.
    """
    from pyarrow import compute, parquet, types

    with errors_of(path), open_for_arrow(path) as file:
        schema = parquet.read_schema(file)
    image, label = (named_as(names, schema.names, path) for names in (IMAGES, _LABELS))
    with errors_of(path), open_for_arrow(path) as file:
        table = parquet.read_table(file, columns=[image, label])
        column, labels = table.column(image), table.column(label)
    kind = column.type
    if types.is_struct(kind) and "bytes" in [field.name for field in kind]:
        column = compute.struct_field(column, "bytes")
    if not (types.is_binary(column.type) or types.is_large_binary(column.type)):
        raise ConfigError(f"{path}: expects encoded images in column '{image}', got values of type {kind}")
    for name, values in ((image, column), (label, labels)):
        if values.null_count:
            where = "; its images may be in other files" if name == image else ""
            raise ConfigError(f"{path}: column '{name}' lacks {values.null_count} of {len(values)} values{where}")
    if not len(column):
        raise ConfigError(f"{path}: holds no images")
    pictures = [Picture(f"{path}, image {row}", content) for row, content in enumerate(column.to_pylist())]
    return Labeled(pictures, labels.to_numpy(), _class_names(schema.metadata, label))


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Return the names of the `ClassLabel` in the metadata of Hugging Face."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    if isinstance(names, dict):  # of old versions: name by number
        names = [names[number] for number in sorted(names, key=int)]
    return tuple(map(str, names))
