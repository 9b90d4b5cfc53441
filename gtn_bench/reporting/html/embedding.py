"""What a page holds inside itself: JSON, images, scripts and style sheets."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

_PACKAGE = "gtn_bench.reporting.html"
_UNSAFE = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


def json_for_script(value: Any) -> Markup:
    """Return a value as JSON for a ``<script type="application/json">`` element.

    No text in it can end the element or start a comment.

    Args:
        value: Lists, mappings, texts, finite numbers, truth values and None.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup("".join(_UNSAFE.get(character, character) for character in text))


def asset(names: Iterable[str]) -> Markup:
    """Return the text of files of this package, one behind the other.

    Args:
        names: Names of the files.
    """
    folder = files(_PACKAGE).joinpath("static")
    text = "\n".join(folder.joinpath(name).read_text(encoding="utf-8").strip() for name in names)
    return Markup(text)


def content_hash(text: str) -> str:
    """Return the hash by which a content security policy allows a script.

    Args:
        text: The text of the script element.
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def data_uri(content: bytes, kind: str) -> str:
    """Return an image as a ``data:`` URI.

    Args:
        content: The bytes of its file.
        kind: Its media type.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def figure_uri(name: str, folders: Iterable[Path]) -> str:
    """Return a figure as a ``data:`` URI, in the smaller of its formats; empty if there is none.

    Args:
        name: Name of the figure without ending.
        folders: The folders to look in. The first that has the figure counts.
    """
    for folder in folders:
        found = [path for ending in _KINDS if (path := folder / f"{name}{ending}").is_file()]
        if found:
            smallest = min(found, key=lambda path: path.stat().st_size)
            return data_uri(smallest.read_bytes(), _KINDS[smallest.suffix])
    return ""
