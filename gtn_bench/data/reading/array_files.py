"""Reader of images and labels in files of arrays. No code in a file is executed."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.data.reading.pixels import Array
from gtn_bench.data.stored_files import kind_of

IMAGES = ("images", "image", "imgs", "img", "x", "X", "data", "inputs")
LABELS = ("labels", "label", "y", "Y", "targets", "target")

_AGAIN = "copy or download it again"


def read_pair(path: Path, role: str) -> tuple[Array, Array]:
    """Read a file with an array of images and an array of labels.

    Args:
        path: The file. Its arrays are named as in `IMAGES` and `LABELS`; with the role before or after the name, as in
            ``x_test`` and ``test_images``, one file can hold several parts. A file of PyTorch may hold a pair.
        role: The part to read, "train" or "test".

    Raises:
        ConfigError: If the file is damaged, or holds anything else.
    """
    content = _content(path)
    if isinstance(content, list):
        if len(content) != 2:
            values = "one value" if len(content) == 1 else f"{len(content)} values"
            raise ConfigError(f"{path}: expects a mapping, or a pair of images and labels, got {values}")
        return content[0](), content[1]()
    images, labels = (named_as(names, content, path, role) for names in (IMAGES, LABELS))
    return content[images](), content[labels]()


def read_single(path: Path, names: tuple[str, ...], role: str) -> Array:
    """Read a file with one array, or one whose name is known.

    Args:
        path: The file.
        names: Names of the array, if there are several: `IMAGES` or `LABELS`.
        role: The part to read, "train" or "test".

    Raises:
        ConfigError: If the file is damaged, or holds anything else.
    """
    if path.suffix.lower() == ".npy":
        with errors_of(path):
            return np.load(path, allow_pickle=False)
    content = _content(path)
    arrays = content if isinstance(content, Mapping) else dict(enumerate(content))
    if len(arrays) == 1:
        return next(iter(arrays.values()))()
    if isinstance(content, list):
        raise ConfigError(f"{path}: expects one array, got {len(content)}")
    return content[named_as(names, content, path, role)]()


def named_as(names: Iterable[str], found: Iterable[Any], who: object, role: str = "") -> str:
    """Return the one name among those that are found that images, or labels, can have.

    Args:
        names: The names that they can have.
        found: The names that there are.
        who: The origin of the names, to start messages.
        role: The part that may stand before or after the name, "train" or "test".

    Raises:
        ConfigError: If there is none, or more than one.
    """
    found = [str(name) for name in found]
    names = tuple(names)
    for spelling in ("{0}", "{0}_{1}", "{1}_{0}"):
        here = [name for name in (spelling.format(name, role) for name in names) if name in found]
        if len(here) > 1:
            raise ConfigError(f"{who}: holds {' and '.join(here)}; keep one of them")
        if here:
            return here[0]
        if not role:
            break
    raise ConfigError(f"{who}: expects '{names[0]}', got {listed(sorted(found)) or 'nothing'}; rename what holds them")


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn whatever a library raises about a file, in the block, into one line.

    Args:
        path: The file.

    Raises:
        ConfigError: For every exception.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise ConfigError(f"{path}: cannot be read ({os.strerror(error.errno)})") from None
        if "Object arrays" in str(error):
            raise ConfigError(f"{path}: holds Python objects; save one array of uint8 or float32") from None
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            save = "torch.save({'images': x, 'labels': y}, FILE)"
            raise ConfigError(f"{path}: holds Python objects; save tensors alone: {save}") from None
        kind = kind_of(path)
        is_other = kind is not None and not kind.startswith("a zip")  # which is what the right formats are
        problem = f"is {kind}" if is_other else f"is damaged or no {path.suffix[1:]} file"
        raise ConfigError(f"{path}: {problem}; {_AGAIN}") from None


Content = dict[str, Callable[[], Array]] | list[Callable[[], Array]]


def _content(path: Path) -> Content:
    """Return the arrays of a file by name, or in their order. Each is read when it is called."""
    read = {".npz": _numpy, ".safetensors": _safetensors}.get(path.suffix.lower(), _pytorch)
    with errors_of(path):
        return read(path)


def _numpy(path: Path) -> Content:
    with path.open("rb") as file:  # NumPy leaves a damaged file open
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("an array without a name")
        names = archive.files
        archive.close()

    def reader(name: str) -> Callable[[], Array]:
        def read() -> Array:
            with errors_of(path), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return archive[name]

        return read

    return {name: reader(name) for name in names}


def _safetensors(path: Path) -> Content:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        names = list(file.keys())

    def reader(name: str) -> Callable[[], Array]:
        def read() -> Array:
            with errors_of(path), safe_open(path, framework="np") as file:
                kind = file.get_slice(name).get_dtype()
                if kind.startswith(("BF", "F8")):
                    raise ConfigError(f"{path}: holds '{name}' of type {kind}; save it as uint8 or float32")
                return file.get_tensor(name)

        return read

    return {name: reader(name) for name in names}


def _pytorch(path: Path) -> Content:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the cost of checking sparse tensors, which are refused
        content = torch.load(path, map_location="cpu", weights_only=True)

    def reader(value: Any) -> Callable[[], Array]:
        return lambda: plain(value, path)

    if isinstance(content, torch.Tensor):
        return [reader(content)]
    if isinstance(content, Mapping):
        return {str(name): reader(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [reader(value) for value in content]
    raise ConfigError(f"{path}: expects a mapping or a pair of tensors, got {type(content).__name__}")


def plain(value: Any, who: object) -> Array:
    """Return a tensor, an array, or a list of either as an array.

    Args:
        value: What was given.
        who: Its origin, to start messages.

    Raises:
        ConfigError: If it is none of these, or a list of arrays of different shapes.
    """
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value.detach()
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ConfigError(f"{who}: expects a dense tensor, got one of layout {tensor.layout}")
        small = tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64)
        array: Array = (tensor.float() if small else tensor).cpu().numpy()
        return array
    if isinstance(value, list | tuple) and any(isinstance(part, torch.Tensor | np.ndarray) for part in value):
        parts = [plain(part, who) for part in value]
        shapes = list(dict.fromkeys(part.shape for part in parts))
        if len(shapes) > 1:
            raise ConfigError(f"{who}: expects arrays of one shape, got {shapes[0]} and {shapes[1]}; resize the images")
        return np.stack(parts)
    try:
        return np.asarray(value)
    except ValueError:
        raise ConfigError(f"{who}: expects an array, got lists of different lengths") from None
