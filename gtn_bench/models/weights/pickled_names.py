"""Names in pickles, read without executing them."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple


class Pickled(NamedTuple):
    """Names in the pickles of a file.

    Attributes:
        classes: Full names of its classes and functions, in their order.
        texts: All texts in it, the names of attributes among them.
        protocol: The version of the pickle protocol; None if there is no pickle.
    """

    classes: list[str]
    texts: set[str]
    protocol: int | None


def pickled_names(path: Path) -> Pickled:
    """Return what the pickles in a file of `torch.save` name. Nothing is executed.

    Args:
        path: The file, which may be damaged.
    """
    classes: list[str] = []
    texts: list[str] = []
    protocol = None
    memo: dict[int, str] = {}
    for code, argument in _operations(path):
        if code == "PROTO":
            protocol, memo = argument, {}
        elif code == "GLOBAL":
            classes.append(argument.replace(" ", "."))
        elif code == "STACK_GLOBAL":
            classes.append(".".join(texts[-2:]))
        elif "UNICODE" in code or "STRING" in code:
            texts.append(str(argument))
        elif code == "MEMOIZE" or code.endswith("PUT"):
            memo[len(memo) if argument is None else argument] = texts[-1] if texts else ""
        elif code.endswith("GET"):
            texts.append(memo.get(argument, ""))
    return Pickled(classes, set(texts), protocol)


def _operations(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the names and arguments of the operations of all pickles, up to the first damage."""
    try:
        with _stream(path) as stream:
            for _ in range(4):  # before it wrote zip files, torch.save wrote three small pickles first
                for operation, argument, _ in pickletools.genops(stream):
                    yield operation.name, argument
    except Exception:  # a damaged file can raise anything
        return


def _stream(path: Path) -> IO[bytes]:
    """Return the pickle of a zip file, or else the file."""
    if not zipfile.is_zipfile(path):
        return path.open("rb")
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return io.BytesIO(archive.read(name))
