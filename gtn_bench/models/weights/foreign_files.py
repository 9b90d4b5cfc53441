"""Files that hold no weights, or hold them in a form that only other code can read, and how to convert them.

The kind of a file is found from its content. Nothing in it is executed.
"""

from __future__ import annotations

import pickle
import re
import tarfile
import zipfile
from pathlib import Path

from gtn_bench.models.weights.pickled_names import pickled_names

_SAVE = "torch.save(model.state_dict(), FILE)"
_COPY = f"copy its arrays into the PyTorch network, then {_SAVE}"
_AGAIN = "copy or download it again"

# The first bytes of a file, what it is, and what to do.
_MAGIC = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights", "run 'git lfs pull'"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras and TensorFlow write it", _COPY),
    (b"\x93NUMPY", "is one array without a name", f"save all weights: {_SAVE}"),
    (b"\x1f\x8b", "is a compressed archive", "unpack it"),
    (b"BZh", "is a compressed archive", "unpack it"),
    (b"\xfd7zXZ", "is a compressed archive", "unpack it"),
    (b"7z\xbc\xaf", "is a compressed archive", "unpack it"),
    (b"Rar!", "is a compressed archive", "unpack it"),
)
_LEGACY = bytes.fromhex("6cfc9c46f9206aa85019")  # what torch.save wrote first, before it wrote zip files
_ONNX = re.compile(rb"\x08[\x01-\x20]\x12[\x01-\x40][ -~]")  # version, then the name of the producer
_NOT_TEXT = {*range(9), *range(14, 32), 127}


def refusal(path: Path) -> str | None:
    """Return why a file cannot hold weights that `read_state` reads, and how to convert it.

    Args:
        path: The file.

    Returns:
        The end of a sentence that starts with the name of the file; None if the file may hold weights.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return f"is empty; {_AGAIN}"
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            return f"{what}; {remedy}"
    if head[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model; {_COPY}"
    if head.startswith(b"PK"):
        return _refused_zip(path)
    if head[257:262] == b"ustar":
        return _refused_tar(path)
    if is_safetensors(head) or _LEGACY in head[:40]:
        return None
    if head.startswith(b"\x80"):
        return f"is a pickle that torch.save has not written; save the weights: {_SAVE}"
    if path.suffix == ".onnx" or _ONNX.match(head):
        return f"is an ONNX model; {_COPY}"
    return _refused_text(head) or f"is no file of weights; expects safetensors, or a file of {_SAVE}"


def is_safetensors(head: bytes) -> bool:
    """Check that the first bytes of a file are those of the safetensors format.

    Args:
        head: At least nine bytes.
    """
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000  # the limit of the format


def is_numpy_archive(path: Path) -> bool:
    """Check that a file is a zip archive of NumPy arrays.

    Args:
        path: The file.
    """
    names = _zip_members(path)
    return bool(names) and all(name.endswith(".npy") for name in names)


def _zip_members(path: Path) -> list[str]:
    """Return the names of the files in a zip archive; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # a damaged archive can raise anything
        return []


def explain(path: Path, error: Exception) -> str:
    """Return why PyTorch could not load a file as weights, and how to convert it.

    Args:
        path: A file of `torch.save`.
        error: The error of `torch.load`.

    Returns:
        The end of a sentence that starts with the name of the file.
    """
    pickled = pickled_names(path)
    if pickled.classes and {"_parameters", "_modules"} <= pickled.texts:
        return f"is a pickle of a whole module ({pickled.classes[0]}), not of its weights; where its code is: {_SAVE}"
    message = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the documentation of torch.load")[0]
    if refused := re.search(r"GLOBAL ([\w.]+)", message):
        return f"holds '{refused[1]}', which is no weight and could run code; save the weights alone: {_SAVE}"
    if pickled.protocol not in (None, 2):
        return f"is a pickle of protocol {pickled.protocol}, expects 2; leave pickle_protocol out: {_SAVE}"
    if not isinstance(error, pickle.UnpicklingError):
        return f"is truncated or damaged; {_AGAIN}"
    return f"cannot be read as weights ({' '.join(message.split())[:200]}); save the weights alone: {_SAVE}"


def _refused_zip(path: Path) -> str | None:
    names = _zip_members(path)
    if not names:
        return f"is truncated or damaged; {_AGAIN}"
    inside = {name.partition("/")[2] for name in names}  # PyTorch's files have one folder
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return "is a TorchScript archive; convert it: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"
    if {"models/model.json", "serialized_exported_program.json"} & {*inside, *names}:
        return "is an exported program; convert it: torch.save(torch.export.load(FILE).state_dict, 'weights.pt')"
    if ".data/extern_modules" in inside:
        return f"is an archive of torch.package, not of weights; where its code is: {_SAVE}"
    if any(name.endswith(".weights.h5") for name in names):
        return f"is a Keras model; {_COPY}"
    return None if "data.pkl" in inside or is_numpy_archive(path) else "is an archive of other files; unpack it"


def _refused_tar(path: Path) -> str:
    try:
        with tarfile.open(path, "r:") as archive:
            names = set(archive.getnames())
    except Exception:  # a damaged archive can raise anything
        return f"is truncated or damaged; {_AGAIN}"
    if {"storages", "tensors", "pickle"} <= names:
        return f"is in the tar format of the first versions of PyTorch; load it where you trust it, then {_SAVE}"
    return "is an archive of other files; unpack it"


def _refused_text(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not the weights; download the file itself"
    if not _NOT_TEXT.intersection(head):
        return f"is a text file; expects safetensors, or a file of {_SAVE}"
    return None
