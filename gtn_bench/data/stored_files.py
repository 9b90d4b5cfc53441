"""Checks of data files on disk, which find out what is wrong with a damaged file.

A check takes the path of an existing file. It returns what is wrong with it, as the end of a sentence that starts with
the path, or None. It raises OSError if the file cannot be read.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

Check = Callable[[Path], str | None]

_SIGNATURES = {  # of what is often stored under the name of a data file
    b"\x1f\x8b": "a gzip archive, expected its content",
    b"PK\x03\x04": "a zip archive, expected its content",
    b"version https://git-lfs": "a Git LFS pointer, expected its content",
    b"<": "an HTML page, expected data",
}
_ITEM_SIZES = {0x08: 1, 0x0C: 4}  # bytes per value, by the type code of an IDX file
_BLOCK = 1 << 20


def idx_check(shape: tuple[int, ...], code: int = 0x08) -> Check:
    """Return a check of the header and the length of an IDX file, the format of MNIST.

    Args:
        shape: Expected shape of the array.
        code: Expected type of its values: 0x08 for bytes, 0x0C for integers of four bytes.
    """
    header = bytes([0, 0, code, len(shape)])
    length = 4 * (1 + len(shape)) + math.prod(shape) * _ITEM_SIZES[code]

    def check(path: Path) -> str | None:
        with path.open("rb") as file:
            head = file.read(4 * (1 + len(shape)))
        found = path.stat().st_size
        if not head.startswith(header):
            return f"is {kind_of(path) or f'no IDX file of {len(shape)} dimensions'}"
        sizes = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
        if len(head) == 4 * (1 + len(shape)) and sizes != shape:
            return f"holds an array of shape {sizes}, expected {shape}"
        if found != length:
            return f"has {found} bytes, expected {length}"
        return None

    return check


def checksum_check(md5: str) -> Check:
    """Return a check of the content of a file.

    Args:
        md5: Expected MD5 checksum.
    """

    def check(path: Path) -> str | None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found == md5:
            return None
        kind = kind_of(path)
        return f"is {kind}" if kind else f"has the MD5 checksum {found}, expected {md5}"

    return check


def archive_check(path: Path) -> str | None:
    """Check that an archive of type gzip or zip is complete.

    Args:
        path: The file, with the suffix of its type.
    """
    if path.stat().st_size == 0:
        return "is empty"
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return "is incomplete" if archive.testzip() else None
        with gzip.open(path) as file:
            while file.read(_BLOCK):
                pass
    except (EOFError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile):
        return "is incomplete or no archive"
    return None


def kind_of(path: Path) -> str | None:
    """Return what a file is, if it is empty or has a known signature.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return kind_of_bytes(file.read(100))


def kind_of_bytes(start: bytes) -> str | None:
    """Return what a file is, if it is empty or has a known signature.

    Args:
        start: Its first 100 bytes.
    """
    if not start:
        return "empty"
    return next((kind for signature, kind in _SIGNATURES.items() if start.lstrip().startswith(signature)), None)
