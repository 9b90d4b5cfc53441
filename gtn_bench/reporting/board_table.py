"""Boards as CSV, text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from gtn_bench.analysis.tables import to_csv
from gtn_bench.config.errors import listed
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reporting.board import BY_NAMES, COLUMNS, NAMES, Board, By
from gtn_bench.reporting.markdown import escape, markdown_table
from gtn_bench.reporting.names import SMALLEST_AREA
from gtn_bench.reporting.numbers import accuracy, counted, with_interval
from gtn_bench.reporting.run_sentences import field_text


def as_json(found: Sequence[Board]) -> list[dict[str, Any]]:
    """Return boards as plain data. Missing numbers are None.

    Args:
        found: The boards.
    """
    return [_plain(board) for board in found]


def as_text(found: Sequence[Board], by: By, *, markdown: bool) -> str:
    """Return boards as text for a terminal, or as Markdown.

    Args:
        found: The boards.
        by: What they are ranked by.
        markdown: Whether to return Markdown.
    """
    parts = []
    for place, board in enumerate(found):
        table = shown_table(board)
        lines = [f"{title(board, place)}, ranked by {BY_NAMES[by]}", *explanation(board, place)]
        if markdown:
            lines = [
                f"## {escape(lines[0])}",
                "",
                *(f"- {escape(line)}" for line in lines[1:]),
                "",
                markdown_table(table),
            ]
        else:
            lines = [*lines[:1], *(f"  {line}" for line in lines[1:]), table.to_string(index=False)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def board_csv(found: Sequence[Board]) -> bytes:
    """Return boards as one CSV table with a column `board`, the number of the board.

    Args:
        found: The boards.
    """
    tables = [board.table.assign(board=place) for place, board in enumerate(found, start=1)]
    table = pd.concat(tables, ignore_index=True)
    return to_csv(table[["board", *(column for column in table if column != "board")]])


def title(board: Board, place: int) -> str:
    """Return what a board is about.

    Args:
        board: The board.
        place: Its place, from 0.
    """
    count = len(board.runs)
    return f"Board {place + 1}: {counted(count, 'run')}"


def explanation(board: Board, place: int) -> list[str]:
    """Return why a board is apart from the first one, one line per difference; empty for the first.

    Args:
        board: The board.
        place: Its place, from 0.
    """
    if not place:
        return []
    lines = [field_text(each, "on board 1", "here") for each in board.differences]
    return [f"differs from board 1: {line}" for line in lines]


def shown_table(board: Board) -> pd.DataFrame:
    """Return a board as a table of texts.

    Args:
        board: The board.
    """
    table = board.table
    shown = table[["rank", *NAMES]].copy()
    shown["architecture"] = [
        f"{len(pooled.split())} accepted: {listed(pooled.split(), str)}" if architecture == ACCEPTED else architecture
        for architecture, pooled in zip(table["architecture"], table["pooled"], strict=True)
    ]
    if (table["teacher"] == "none").all():
        shown = shown.drop(columns="teacher")
    shown["clean accuracy"] = [accuracy(value) for value in table["clean_accuracy"]]
    shown["area"] = [accuracy(value) for value in table["area"]]
    shown[SMALLEST_AREA] = _with_interval(table, "worst_case", "worst_case_low", "worst_case_high")
    for label in board.perturbations if len(board.perturbations) > 1 else ():
        shown[f"area, {label}"] = _with_interval(table, f"area_{label}", f"low_{label}", f"high_{label}")
    shown["grade"] = table["grade"]
    shown["learners"] = table["n_seeds"].astype(int)
    shown["images"] = table["n_images"].astype(int)
    return shown


def _with_interval(table: pd.DataFrame, value: str, low: str, high: str) -> list[str]:
    return [with_interval(*row) for row in table[[value, low, high]].itertuples(index=False, name=None)]


def _plain(board: Board) -> dict[str, Any]:
    rows = json.loads(board.table.to_json(orient="records"))
    return {
        "runs": [str(run) for run in board.runs],
        "perturbations": list(board.perturbations),
        "differences": [{key: value for key, value in each._asdict().items()} for each in board.differences],
        "columns": [*COLUMNS, *(column for column in board.table if column not in COLUMNS)],
        "rows": rows,
    }
