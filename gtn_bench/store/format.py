"""The format of stored tensors: safetensors files whose header holds checksums and the key of the content.

The metadata of the header has five entries: `about` (plain data as JSON), `origin` (what computed it, as JSON), `key`,
`payload` (a hash of all bytes after the header) and `checksum` (a hash of the header, with zeros in its own place).
The two hashes cover every byte of the file, and the header can be verified alone. The bytes depend on the content and
on nothing else. Checksums find accidents; they do not protect against someone who writes to the file on purpose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import SafetensorError

Array = np.ndarray[Any, Any]

DIGITS = 32  # hexadecimal digits of a checksum
_LENGTH = 8  # bytes in front of the header, which state its length
_LONGEST = 100_000_000  # bytes of a header
_PLACE = b'"checksum":"'  # in texts inside of the header, quotation marks have a backslash before them
_ZEROS = b"0" * DIGITS
_OWN = {"checksum", "key", "origin", "payload"}
_TYPES = {
    **{"bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32"},
    **{"uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"},
}


class Header(NamedTuple):
    """A verified header.

    Attributes:
        key: Key of the content; empty if it has none.
        about: The plain data beside the tensors.
        payload: The hash of all bytes after the header; empty in a file without checksums.
        size: Bytes after the header, according to the header.
        tensors: Types, shapes and places of the tensors, by name.
        origin_text: What computed the content, as JSON.
        has_metadata: Whether the plain data are there, which every version of gtn-bench has stored.
    """

    key: str
    about: dict[str, Any]
    payload: str
    size: int
    tensors: dict[str, Any]
    origin_text: str
    has_metadata: bool

    @property
    def origin(self) -> dict[str, Any]:
        """The hardware and versions that computed the content; empty if they are unknown."""
        found: dict[str, Any] = json.loads(self.origin_text)
        return found

    @property
    def digest(self) -> str:
        """A hash of names, types, shapes and values of the tensors; empty in a file without checksums."""
        return _hash(json.dumps(self.tensors, sort_keys=True).encode(), self.payload.encode()) if self.payload else ""


def pack(arrays: Mapping[str, Array], about: Mapping[str, Any], key: str, origin: Mapping[str, Any]) -> bytes:
    """Return the content of a file.

    Args:
        arrays: Contiguous arrays by name.
        about: Plain data to store beside them.
        key: Key of the content.
        origin: What computed the content, as plain data.
    """
    # The order of the package safetensors, in which every array begins at a multiple of the size of its numbers.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    payload = b"".join(array.tobytes() for _, array in ordered)
    entries: dict[str, Any] = {}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        entries[name] = {"dtype": _TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, end]}
    hashes = {"checksum": "0" * DIGITS, "payload": _hash(payload)}
    metadata = {"about": json.dumps(about), "origin": json.dumps(origin), "key": key, **hashes}
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start_of_file = len(text).to_bytes(_LENGTH, "little") + text
    place = start_of_file.index(_PLACE) + len(_PLACE)
    checksum = _hash(start_of_file).encode()
    return start_of_file[:place] + checksum + start_of_file[place + DIGITS :] + payload


def header_length(start: bytes) -> int:
    """Return the number of bytes of length and header.

    Args:
        start: At least the first 8 bytes of a file.

    Raises:
        ValueError: If no header can be so long.
    """
    length = int.from_bytes(start[:_LENGTH], "little")
    if len(start) < _LENGTH or not 2 <= length <= _LONGEST:
        raise ValueError("it is no safetensors file")
    return _LENGTH + length


def parse_header(start: bytes) -> Header:
    """Verify and parse a header. A file without checksums has none to verify.

    Args:
        start: Length and header, or more.

    Raises:
        ValueError: If it is damaged.
    """
    text = start[: header_length(start)]
    has_checksum = _PLACE in text
    if has_checksum:
        place = text.index(_PLACE) + len(_PLACE)
        after = place + DIGITS
        if _hash(text[:place], _ZEROS, text[after:]).encode() != text[place:after]:
            raise ValueError("the checksum of its header does not match")
    try:
        tensors = json.loads(text[_LENGTH:])
        metadata = tensors.pop("__metadata__", None) or {}
        about = json.loads(metadata.get("about", "{}"))
        size = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ValueError("its header is no header of a safetensors file") from None
    if has_checksum:
        return Header(metadata["key"], about, metadata["payload"], size, tensors, metadata["origin"], True)
    if _OWN & metadata.keys():
        raise ValueError("its header lacks the checksum")
    return Header("", about, "", size, tensors, "{}", "about" in metadata)


def check_payload(content: bytes, header: Header) -> None:
    """Verify all bytes after the header.

    Args:
        content: The whole file.
        header: Its header.

    Raises:
        ValueError: If they are damaged.
    """
    payload = memoryview(content)[header_length(content) :]
    if len(payload) != header.size:
        raise ValueError(f"it has {len(payload)} bytes of tensors, its header states {header.size}")
    if header.payload and _hash(payload) != header.payload:
        raise ValueError("the checksum of its tensors does not match")


def unpack(content: bytes, framework: Literal["np", "pt"]) -> dict[str, Any]:
    """Return the arrays or tensors of a file by name, in the order of their names.

    Args:
        content: The whole file.
        framework: "np" for NumPy arrays, "pt" for tensors on the CPU.

    Raises:
        ValueError: If it is no safetensors file. One whose checksums were verified always is.
    """
    try:
        if framework == "np":
            from safetensors.numpy import load

            return dict(sorted(load(content).items()))  # their order differs between processes
        from safetensors.torch import load as load_torch

        # Cloned: the memory of bytes is aligned less than that of tensors, and kernels may choose by the alignment.
        return {name: tensor.clone() for name, tensor in sorted(load_torch(content).items())}
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"it is no safetensors file ({error})") from None


def _hash(*parts: bytes | memoryview) -> str:
    whole = hashlib.blake2b(digest_size=DIGITS // 2)
    for part in parts:
        whole.update(part)
    return whole.hexdigest()
