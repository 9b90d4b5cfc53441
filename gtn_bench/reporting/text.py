"""Text in figures: its width, lines that fit, and short names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, cast

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

_SEPARATORS = "/_.,+-"
LONGEST = {"teacher": 20, "architecture": 20, "mode": 24, "perturbation": 40}  # characters of names in figures


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text in the fonts of the current rcParams.

    Args:
        text: The line.
        size: Font size in points.

    Returns:
        The width in inches.
    """
    fonts = cast(Mapping[str, Any], rcParams)
    family = [name for each in fonts["font.family"] for name in fonts.get(f"font.{each}", [each])]
    return _width(text, size, tuple(family))


@cache
def _width(text: str, size: float, family: tuple[str, ...]) -> float:
    font = FontProperties(family=list(family), size=size)
    width: float = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return width / 72


def wrap(text: str, width: float, size: float) -> str:
    """Break a text into lines.

    Args:
        text: The text. Words that do not fit on a line are broken, behind a separator if there is one near its end.
        width: Width of the lines in inches.
        size: Font size in points.

    Returns:
        The lines, separated by newlines.
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if text_width(longer, size) <= width:
                line = longer
                continue
            *whole, rest = _pieces(word, width, size)
            lines += [line] * bool(line) + whole
            line = rest
        lines.append(line)
    return "\n".join(lines)


def _pieces(word: str, width: float, size: float) -> list[str]:
    """Return the parts of a word, each of which fits on a line."""
    parts = []
    while text_width(word, size) > width and len(word) > 1:
        fitting = [count for count in range(1, len(word)) if text_width(word[:count], size) <= width]
        longest = max(fitting, default=1)
        behind = 1 + max(word.rfind(mark, 0, longest) for mark in _SEPARATORS)
        cut = behind if behind > longest // 2 else longest
        parts.append(word[:cut])
        word = word[cut:]
    return [*parts, word]


def short_names(names: Iterable[str], most: int) -> dict[str, str]:
    """Return a name of limited length for each of some names, distinct if they are.

    Args:
        names: The names.
        most: The largest number of characters. Longer names lose their middle.

    Returns:
        The short name of each name.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        plain = " ".join(name.split())
        tail, number, short = (most - 1) // 2, 1, plain
        if len(plain) > most:
            short = f"{plain[: most - 1 - tail]}…{plain[len(plain) - tail :]}"
        while short in taken:
            number += 1
            end = f"…{number}"
            short = plain[: most - len(end)] + end
        taken.add(short)
        found[name] = short
    return found
