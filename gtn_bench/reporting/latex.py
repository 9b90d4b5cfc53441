"""LaTeX: text that is shown as it is, and tables with the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "`": r"\symbol{96}",
    "†": r"\textdagger{}",
    "✓": r"\(\checkmark\)",
    "■": r"\(\blacksquare\)",
    "…": r"\dots{}",
    "−": r"\(-\)",
    **{character: rf"\{character}" for character in "#$%&_{}"},
}
_SIGNED = re.compile(r"(?<![\w.])-(?=\d)")  # the sign of a negative number
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def escape(text: object) -> str:
    """Return LaTeX that shows a text as it is, in one line.

    Args:
        text: The text. A hyphen before a digit becomes a minus sign.
    """
    plain = _CONTROL.sub(" ", " ".join(str(text).split()))
    escaped = "".join(_ESCAPED.get(character, character) for character in plain)
    escaped = re.sub(r"-(?=-)", "-{}", escaped)  # else two hyphens would be a dash
    return _SIGNED.sub(r"\\(-\\)", escaped)


def latex_table(caption: str, blocks: Sequence[pd.DataFrame], heads: int, wide: str = "") -> str:
    r"""Return a tabular of booktabs, to be read with ``\input`` inside of a table.

    Args:
        caption: What the table shows: comments above it.
        blocks: Tables of text with the same first columns, one below the other.
        heads: How many of the first columns are aligned left. The others are centered.
        wide: Title of a column of long text, which has lines; empty for none.
    """
    columns = max(block.shape[1] for block in blocks)
    kinds = ["l"] * heads + ["c"] * (columns - heads)
    if wide:
        kinds[list(blocks[0].columns).index(wide)] = r"p{0.45\linewidth}"
    lines = [f"% {_CONTROL.sub(' ', sentence)}" for sentence in caption.split("\n")]
    lines += [rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\toprule"]
    for place, block in enumerate(blocks):
        empty = [""] * (columns - block.shape[1])
        lines += [r"\midrule"] * (place > 0)
        lines += [_row([*map(str, block.columns), *empty]), r"\midrule"]
        lines += [_row([*row, *empty]) for row in block.astype(str).itertuples(index=False, name=None)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    texts = [escape(cell) for cell in cells]
    if texts[0].startswith("["):
        texts[0] = "{}" + texts[0]  # else it would be an argument of the line break before it
    return f"{' & '.join(texts)} \\\\"
