"""The page of boards: one file that needs no network, readable without scripts."""

from __future__ import annotations

from collections.abc import Sequence

from gtn_bench.reporting.board import BY_NAMES, Board, By
from gtn_bench.reporting.board_table import explanation, shown_table, title
from gtn_bench.reporting.html.page import render
from gtn_bench.reporting.html.tables import table

_HEADS = ("rank", "run", "teacher", "architecture", "mode")
_COUNTED = ("learners", "images")


def as_html(found: Sequence[Board], by: By) -> str:
    """Return the page of boards.

    Args:
        found: The boards.
        by: What they are ranked by.
    """
    runs = sum(len(board.runs) for board in found)
    sections = [
        {
            "title": title(board, place),
            "why": explanation(board, place),
            "about": _about(board),
            "table": table(shown_table(board), f"Ranked by {BY_NAMES[by]}", heads=_HEADS).without_constants(_COUNTED),
        }
        for place, board in enumerate(found)
    ]
    return render("board.html.j2", {"runs": runs, "boards": sections, "by": BY_NAMES[by]})


def _about(board: Board) -> str:
    """Return the perturbations of a board, and the numbers of learners and images where all rows have the same."""
    parts = [f"Perturbations: {', '.join(board.perturbations)}"]
    for column, noun in (("n_seeds", "learner"), ("n_images", "image")):
        numbers = board.table[column].unique()
        if len(numbers) == 1:
            parts.append(f"{int(numbers[0])} {noun}{'' if numbers[0] == 1 else 's'} in each row")
    return f"{'; '.join(parts)}."
