"""Markdown: text that is shown as it is, code, tables."""

from __future__ import annotations

import re

import pandas as pd

from gtn_bench.reporting import numbers


def escape(text: object) -> str:
    """Return Markdown that shows a text as it is, also inside a table.

    Args:
        text: The text.
    """
    return re.sub(r"\](?=[\[(:])", r"\\]", _escape(text))  # else the end of the text of a link


def alt(text: object) -> str:
    """Return Markdown that shows a text as it is between the brackets of an image.

    Args:
        text: The text.
    """
    return re.sub(r"[\[\]]", r"\\\g<0>", _escape(text))


def _escape(text: object) -> str:
    """Escape everything but brackets."""
    plain = " ".join(str(text).split())
    plain = re.sub(r"[\\`*~$|]", r"\\\g<0>", plain)
    plain = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", plain)  # an underscore inside a word is no markup
    return re.sub(r"&(?=[#\w])", "&amp;", plain).replace("<", "&lt;")


def code(text: object) -> str:
    """Return a code span, fenced by more backticks than the text has in a row.

    Args:
        text: The text.
    """
    plain = " ".join(str(text).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if "`" in plain[:1] + plain[-1:] else ""
    return f"{fence}{space}{plain}{space}{fence}"


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a table in Markdown. Numbers have three decimals; missing values are empty; truth values are words.

    Args:
        frame: The table. Its texts are shown as they are.
    """
    text = [[_cell(value) for value in row] for row in frame.astype(object).to_numpy().tolist()]
    rows = [[escape(column) for column in frame.columns], ["---"] * len(frame.columns), *text]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return numbers.accuracy(value)
    return escape(value)
