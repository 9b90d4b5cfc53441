"""Where images come from: a file, a folder of images, or a file of images and one of labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from gtn_bench.config.errors import ConfigError, did_you_mean, listed, shown
from gtn_bench.config.filepath import FilePath

ARRAYS = (".npz", ".safetensors", ".pt", ".pth")
SINGLE_ARRAYS = (".npy", *ARRAYS)
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_EXPECTED = f"a file that ends in {', '.join(ARRAYS)} or .parquet, or a folder with one folder of images per class"


class DataPath(FilePath):
    """A file or a folder of labeled images. The checksum of a folder covers names and contents of its images."""

    accepts_folders: ClassVar[bool] = True

    @classmethod
    def of(cls, text: object) -> DataPath:
        path = super().of(text)
        if path.suffix in (*ARRAYS, ".parquet") or path.is_folder:
            return path
        if path.suffix == ".npy":
            raise ConfigError(f"{path}: holds one array; write {{images: IMAGES.npy, labels: LABELS.npy}}")
        raise ConfigError(f"{path}: expects {_EXPECTED}{_remedy(path.suffix)}")

    @property
    def suffix(self) -> str:
        """End of the name of the file, in lower case."""
        return _suffix(self)

    @property
    def is_folder(self) -> bool:
        """True for a folder of images."""
        return not self.is_url and Path(self).is_dir()

    @staticmethod
    def digest(path: Path) -> str:
        if not path.is_dir():
            return FilePath.digest(path)
        whole = hashlib.sha256()
        for name, file in pictures_in(path):
            whole.update(f"{FilePath.digest(file)} {name}\n".encode(errors="surrogateescape"))
        return whole.hexdigest()


class ArrayPair(NamedTuple):
    """A file of images and a file of labels, each with one array."""

    images: FilePath
    labels: FilePath


def pictures_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the image files in a folder and the folders in it, in the order of their names. Hidden ones are left out.

    Args:
        folder: The folder.

    Yields:
        The name relative to the folder, with forward slashes, and the path.

    Raises:
        ConfigError: If a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror})")

    found = []
    for home, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        folders[:] = [name for name in folders if is_visible(name)]
        paths = (Path(home, name) for name in files if is_visible(name))
        found += [(path.relative_to(folder).as_posix(), path) for path in paths if path.suffix.lower() in PICTURES]
        if os.path.islink(home) and Path(home).parent.resolve().is_relative_to(Path(home).resolve()):
            raise ConfigError(f"{home}: links to a folder that contains it; remove the link")
    yield from sorted(found)


def is_visible(name: str) -> bool:
    """Check that a file or folder is none that an operating system or a program has added.

    Args:
        name: Name of the file or folder.
    """
    return not name.startswith(".") and name != "__MACOSX"


def holds_pictures(source: DataPath | ArrayPair) -> bool:
    """Check that a source holds image files, which have a layout and a size of their own.

    Args:
        source: The source.
    """
    return isinstance(source, DataPath) and (source.is_folder or source.suffix == ".parquet")


def checksums(source: DataPath | ArrayPair) -> list[str]:
    """Return the checksums of the files of a source.

    Args:
        source: The source.
    """
    return [file.sha256 for file in (source if isinstance(source, ArrayPair) else (source,))]


def _suffix(path: str) -> str:
    return Path(path.partition("?")[0] if "://" in path else path).suffix.lower()


def _remedy(suffix: str) -> str:
    """Return what to do with a file of another type, as the end of a message."""
    if suffix in PICTURES:
        return "; name the folder of the image, not the image"
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"):
        return "; unpack the archive"
    return ""


def _source(value: object) -> DataPath | ArrayPair:
    if isinstance(value, ArrayPair):
        return value
    if not isinstance(value, Mapping):
        return DataPath.of(value)
    wrong = [key for key in value if key not in ArrayPair._fields]
    if wrong:
        raise ConfigError(f"does not know the key {shown(wrong[0])}{did_you_mean(wrong[0], ArrayPair._fields)}")
    if missing := [key for key in ArrayPair._fields if key not in value]:
        raise ConfigError(f"expects the files {{images: ..., labels: ...}}, got no {listed(missing, str)}")
    pair = ArrayPair(*(FilePath.of(value[key]) for key in ArrayPair._fields))
    for file in pair:
        if _suffix(file) not in SINGLE_ARRAYS:
            raise ConfigError(f"{file}: expects a file of one array that ends in {', '.join(SINGLE_ARRAYS)}")
    return pair


def _written(source: DataPath | ArrayPair) -> str | dict[str, str]:
    if isinstance(source, ArrayPair):
        return {key: file.written for key, file in source._asdict().items()}
    return source.written


_TEXT = {"type": "string", "minLength": 1}
_SCHEMA = {
    "description": f"{_EXPECTED[0].upper()}{_EXPECTED[1:]}; or a file of images and a file of labels.",
    "anyOf": [
        _TEXT,
        {
            "type": "object",
            "properties": {"images": _TEXT, "labels": _TEXT},
            "required": ["images", "labels"],
            "additionalProperties": False,
        },
    ],
}
Source = Annotated[DataPath | ArrayPair, PlainValidator(_source), PlainSerializer(_written), WithJsonSchema(_SCHEMA)]
