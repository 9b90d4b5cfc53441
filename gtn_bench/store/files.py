"""Files and folders: checked before a computation, written atomically, verified when they are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.store.format import Header, check_payload, header_length, pack, parse_header, unpack

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

MISSING = (FileNotFoundError, NotADirectoryError)  # errors of a file that does not exist
_START = 4096  # bytes that are read first; most headers are shorter


class DamagedFileError(RunError, ValueError):
    """A stored file that cannot be read, or whose content is not what was written.

    Attributes:
        reason: What is wrong with it.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class OlderFileError(DamagedFileError):
    """A stored file without checksums, as earlier versions of gtn-bench wrote them."""


class StorageError(RunError):
    """A file cannot be written."""


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor | np.ndarray[Any, Any]],
    metadata: Mapping[str, Any] | None = None,
    *,
    key: str = "",
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write a safetensors file atomically, with checksums.

    Args:
        path: The file to write.
        tensors: Arrays or tensors by name.
        metadata: Plain data to store beside them.
        key: Key of the content, which `read_tensors` compares.
        origin: What computed the content, as plain data.

    Raises:
        StorageError: If the file cannot be written.
    """
    content = {name: np.ascontiguousarray(_array(value)) for name, value in tensors.items()}
    write_atomically(path, pack(content, metadata or {}, key, origin or {}))


def read_tensors(
    path: Path, framework: Literal["np", "pt"] = "np", *, key: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file that `write_tensors` has written, and verify it.

    Args:
        path: The file to read.
        framework: "np" for NumPy arrays, "pt" for tensors on the CPU.
        key: Key that the file must have. Without one, a file without checksums is accepted, too: those of earlier
            versions.

    Returns:
        Arrays or tensors by name, and the metadata.

    Raises:
        FileNotFoundError: If there is no file.
        DamagedFileError: If the file is damaged or has another key.
    """
    content, header = _read_all(path, key)
    try:
        return unpack(content, framework), header.about
    except ValueError as error:
        raise DamagedFileError(path, str(error)) from None


def read_header(path: Path, *, key: str = "") -> Header:
    """Read and verify the header of a file that `write_tensors` has written.

    Args:
        path: The file to read.
        key: Key that the file must have, as in `read_tensors`.

    Raises:
        FileNotFoundError: If there is no file.
        DamagedFileError: If the header is damaged, has another key, or states another size of the file.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_START)
            length = header_length(start)
            start += file.read(max(0, length - len(start)))
            header = _expect(parse_header(start), path, key)
            size = os.fstat(file.fileno()).st_size
            if size != length + header.size:
                raise ValueError(f"it has {size} bytes, its header states {length + header.size}")
            return header
    except (*MISSING, DamagedFileError):
        raise
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def verify(path: Path, key: str) -> Header:
    """Read a file, verify all of it and return its header.

    Args:
        path: The file to read.
        key: Key that the file must have.

    Raises:
        FileNotFoundError: If there is no file.
        DamagedFileError: If the file is damaged, has another key, or has no checksums.
    """
    return _read_all(path, key)[1]


def _read_all(path: Path, key: str) -> tuple[bytes, Header]:
    try:
        content = path.read_bytes()
        header = _expect(parse_header(content), path, key)
        check_payload(content, header)
    except (*MISSING, DamagedFileError):
        raise
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return content, header


def _expect(header: Header, path: Path, key: str) -> Header:
    if key and not header.has_metadata:
        raise ValueError("it has neither checksums nor metadata")
    if key and not header.payload:
        raise OlderFileError(path, "it has no checksum")
    if key and header.key != key:
        raise ValueError(f"it holds {header.key or 'a file without a key'}")
    return header


def _damaged(path: Path, error: OSError | ValueError) -> DamagedFileError:
    reason = f"it cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
    return DamagedFileError(path, reason)


def _array(value: Tensor | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()


def open_for_arrow(path: Path) -> pa.NativeFile:
    """Open a file so that no thread of pyarrow holds a Python object.

    A thread of pyarrow that releases a Python file after the interpreter has ended aborts the process
    (https://github.com/apache/arrow/issues/34314). A path alone would be read as a URL if it has a colon.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """
    import pyarrow as pa

    return pa.OSFile(os.fsencode(path), "rb")


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

    Raises:
        StorageError: If it cannot be written; an old file is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None
