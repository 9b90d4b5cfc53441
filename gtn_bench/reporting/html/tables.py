"""Tables of pages: texts with their intervals and marks apart, and what to sort them by."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.reporting import numbers

_SHORT, _LONG = 24, 44  # characters of texts that stay on one line, and of those that need a wide column
_NUMBER = re.compile(r"[+\-−]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)
_WITH_INTERVAL = re.compile(rf"({_NUMBER.pattern}|not reached) (\[[^\[\]]*\])([†✓■]*)", re.IGNORECASE)


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: The value.
        interval: Its interval in brackets, if it has one.
        mark: Marks behind it, such as those of grades.
        sort: The number to sort by; None for a text.
        numeric: Whether the cell is aligned as a number.
    """

    text: str
    interval: str = ""
    mark: str = ""
    sort: float | None = None
    numeric: bool = False


class Table(NamedTuple):
    """A table of a page.

    Attributes:
        caption: What it shows.
        columns: Headers.
        rows: Cells by row.
        heads: Number of columns that identify a row.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    heads: int = 1

    @property
    def kinds(self) -> list[str]:
        """The class of each column: ``n`` for numbers, ``short`` for texts on one line, ``long`` for sentences."""
        columns = zip(*self.rows, strict=True) if self.rows else ([] for _ in self.columns)
        return [_kind(column) for column in columns]

    def without_constants(self, names: Collection[str]) -> Table:
        """Return the table without columns in which all rows have the same text.

        Args:
            names: The columns that may be left out.
        """
        left_out = {
            place
            for place, name in enumerate(self.columns)
            if name in names and len({row[place].text for row in self.rows}) == 1
        }
        kept = [place for place in range(len(self.columns)) if place not in left_out]
        rows = [[row[place] for place in kept] for row in self.rows]
        heads = sum(place < self.heads for place in kept)
        return Table(self.caption, [self.columns[place] for place in kept], rows, heads)


def table(frame: pd.DataFrame, caption: str, *, heads: Collection[str] = ()) -> Table:
    """Return a table of a report as a table of a page.

    Args:
        frame: The table. Floating-point numbers have three decimals.
        caption: What it shows.
        heads: Names of the first columns, which identify a row and hold names; by default the first column.
    """
    columns = [str(column) for column in frame.columns]
    count = sum(column in heads for column in columns)
    rows = [
        [Cell(" ".join(str(value).split())) if place < count else cell(value) for place, value in enumerate(row)]
        for row in frame.astype(object).to_numpy().tolist()
    ]
    return Table(caption, columns, rows, count or 1)


def cell(value: Any) -> Cell:
    """Return a value as a cell.

    Args:
        value: A text, possibly with an interval in brackets and marks behind it; or a number, or a truth value.
    """
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no")
    if isinstance(value, float):
        return Cell("", numeric=True) if np.isnan(value) else Cell(numbers.accuracy(value), sort=value, numeric=True)
    if isinstance(value, int):
        return Cell(f"{value}", sort=float(value), numeric=True)
    text = " ".join(str(value).split())
    if found := _WITH_INTERVAL.fullmatch(text):
        shown = found[1]
        return Cell(shown, found[4], found[5], _number(shown), numeric=True)
    plain = re.fullmatch(rf"({_NUMBER.pattern})\s*([†✓■]*)", text, re.IGNORECASE)
    if plain:
        return Cell(plain[1], mark=plain[4] or "", sort=_number(plain[1]), numeric=True)
    return Cell(text, sort=float("inf") if text == "not reached" else None, numeric=text == "not reached")


def _kind(cells: Sequence[Cell]) -> str:
    if any(cell.numeric for cell in cells):
        return "n"
    longest = max((len(cell.text) for cell in cells), default=0)
    return "long" if longest > _LONG else "short" if longest <= _SHORT else ""


def _number(text: str) -> float:
    found = _NUMBER.fullmatch(text)
    return float(found[0].replace("−", "-")) if found else float("inf")
