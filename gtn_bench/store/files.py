"""Files and folders: checked before a computation, written atomically."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from gtn_bench.config.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_METADATA = "about"  # the key in the header of a safetensors file under which its metadata is stored as JSON


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | np.ndarray[Any, Any]], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a safetensors file atomically.

    Args:
        path: The file to write.
        tensors: Arrays or tensors by name.
        metadata: Plain data to store beside them.
    """
    content = {name: np.ascontiguousarray(_array(value)) for name, value in tensors.items()}
    write_atomically(path, save(content, {_METADATA: json.dumps(metadata or {})}))


def read_tensors(path: Path, framework: Literal["np", "pt"] = "np") -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file that `write_tensors` has written.

    Args:
        path: The file to read.
        framework: "np" for NumPy arrays, "pt" for tensors on the CPU.

    Returns:
        Arrays or tensors by name, and the metadata.
    """
    with safe_open(path, framework=framework) as file:
        names = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, metadata_of(file)


def metadata_of(file: Any) -> dict[str, Any]:
    """Return the metadata in the header of an open safetensors file that `write_tensors` has written.

    Args:
        file: The open file.
    """
    metadata: dict[str, Any] = json.loads(file.metadata()[_METADATA])
    return metadata


def _array(value: Tensor | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents unless they exist.

    Args:
        folder: The folder.

    Raises:
        ConfigError: If the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise ConfigError(f"{folder}: expects a folder that can be written to, got a file") from None
    except OSError as error:
        raise ConfigError(f"{folder}: expects a folder that can be written to ({error.strerror})") from None


def check_folder(folder: Path) -> None:
    """Check that a folder can be created and written to. It is not created.

    Args:
        folder: The folder.

    Raises:
        ConfigError: If it cannot.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        make_folder(folder)
    finally:
        for path in missing:
            with suppress(OSError):  # another process uses it by now
                path.rmdir()


def check_file(path: Path) -> None:
    """Check that a file can be created or replaced. It is not created.

    Args:
        path: The file.

    Raises:
        ConfigError: If it cannot.
    """
    check_folder(path.parent)
    try:
        is_folder = path.is_dir()
        path.exists()
    except OSError as error:
        raise ConfigError(f"{path}: expects a file that can be written to ({error.strerror})") from None
    if is_folder:
        raise ConfigError(f"{path}: expects a file, got a folder")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, then rename it: readers see the old content or the new content.

    Args:
        path: The file to write; its folder is created if necessary.
        content: The new content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
