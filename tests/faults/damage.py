"""Kinds of damage: functions of the bytes of a file, of those of another one, and of a random generator."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, bytes, random.Random], bytes]


def _start(content: bytes) -> int:
    """Return where the tensors of a safetensors file start."""
    return min(8 + int(struct.unpack("<Q", content[:8])[0]), len(content))


def flip_bit_of_payload(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Flip a bit of a tensor; in a file without tensors, one of the header."""
    start = _start(content)
    return _flip(content, draw.randrange(start, len(content)) if start < len(content) else start - 3, draw)


def flip_bit_of_header(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Flip a bit of the header."""
    return _flip(content, draw.randrange(8, _start(content)), draw)


def flip_bit_of_length(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Flip a bit of the length of the header."""
    return _flip(content, draw.randrange(8), draw)


def _flip(content: bytes, place: int, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_many_bits(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Flip one bit in a hundred bytes, anywhere."""
    for _ in range(1 + len(content) // 100):
        content = _flip(content, draw.randrange(len(content)), draw)
    return content


def zero_payload(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Replace all tensors by zeros; in a file without tensors, the last bytes of the header."""
    start = min(_start(content), len(content) - 16)
    return content[:start] + bytes(len(content) - start)


def zero_block(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Replace 64 bytes by zeros, as a lost sector does."""
    start = draw.randrange(8, max(9, len(content) - 64))
    return content[:start] + bytes(len(content[start : start + 64])) + content[start + 64 :]


def zero_file(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Replace the file by zeros of the same length."""
    return bytes(len(content))


def truncate(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Cut the file at a random place."""
    return content[: draw.randrange(1, len(content))]


def cut_last_byte(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Cut the last byte."""
    return content[:-1]


def empty(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Leave nothing."""
    return b""


def append(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Append bytes."""
    return content + draw.randbytes(draw.randrange(1, 100))


def swap(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Replace the file by another intact one."""
    return other


def random_bytes(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Replace the file by random bytes."""
    return draw.randbytes(len(content))


def rename_tensor(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Rename a tensor, in a header that can still be read; in a file without tensors, add a key."""
    header, start = _header(content), _start(content)
    names = sorted(name for name in header if name != "__metadata__")
    if names:
        name = draw.choice(names)
        header[f"{name}_"] = header.pop(name)
    else:
        header["__metadata__"] = {**dict(header.get("__metadata__", {})), "renamed": "1"}
    return _with_header(header, content[start:])


def drop_metadata(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Remove the metadata, as a program that writes tensors alone does."""
    header = _header(content)
    header.pop("__metadata__", None)
    return _with_header(header, content[_start(content) :])


def mix(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Keep the header and take the tensors of another file, as far as they reach."""
    start, payload = _start(content), other[_start(other) :]
    mixed = content[:start] + payload[: len(content) - start] + content[start + len(payload) :]
    return mixed if mixed != content else flip_bit_of_payload(content, other, draw)


def _header(content: bytes) -> dict[str, Any]:
    return dict(json.loads(content[8 : _start(content)]))


def _with_header(header: dict[str, Any], payload: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + payload


DAMAGES: tuple[Damage, ...] = (
    *(flip_bit_of_payload, zero_payload, swap, truncate, rename_tensor, flip_bit_of_header, empty, append),
    *(flip_bit_of_length, zero_block, mix, zero_file, flip_many_bits, cut_last_byte, drop_metadata, random_bytes),
)
