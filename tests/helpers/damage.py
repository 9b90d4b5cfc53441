"""Damages of stored files: what disks, crashes and copying do to them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

Damage = Callable[[Path, list[Path], random.Random], None]  # the file, all files of its kind, random numbers


def _flip(path: Path, start: int, end: int, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(start, min(end, len(content)))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _header(path: Path) -> int:
    """Return the length of everything before the tensors."""
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def _another(path: Path, files: list[Path], draw: random.Random) -> None:
    others = [other for other in files if other.read_bytes() != path.read_bytes()]
    path.write_bytes(draw.choice(others).read_bytes() if others else b"another")


def _zero(path: Path) -> None:
    start, content = _header(path), path.read_bytes()
    rest = content[start:]
    path.write_bytes(content[:start] + bytes(len(rest)) if any(rest) else bytes(len(content)))


def _rename_tensors(path: Path, *, keep_metadata: bool) -> None:
    with safe_open(path, framework="np") as file:
        metadata = file.metadata() if keep_metadata else {"about": "{}"}
        tensors = {f"{name}x": file.get_tensor(name) for name in sorted(file.keys())}
    save_file({"y": np.ones(1), **tensors}, path, metadata)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(1, len(content))])


DAMAGES: dict[str, Damage] = {
    "bit of the length": lambda path, files, draw: _flip(path, 0, 8, draw),
    "bit of the header": lambda path, files, draw: _flip(path, 8, _header(path), draw),
    "last bit of the header": lambda path, files, draw: _flip(path, _header(path) - 1, _header(path), draw),
    "any bit": lambda path, files, draw: _flip(path, 0, 1 << 60, draw),
    "zeros": lambda path, files, draw: _zero(path),
    "cut off": lambda path, files, draw: _cut(path, draw),
    "another file": _another,
    "other names": lambda path, files, draw: _rename_tensors(path, keep_metadata=True),
    "no checksum": lambda path, files, draw: _rename_tensors(path, keep_metadata=False),
    "one more byte": lambda path, files, draw: _write(path, path.read_bytes() + b"\0"),
    "empty": lambda path, files, draw: _write(path, b""),
    "no tensors": lambda path, files, draw: _write(path, b"something else"),
}
