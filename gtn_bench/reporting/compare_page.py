"""The page of a comparison of two runs: one file that needs no network, readable without scripts."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtn_bench.analysis.run_comparison import RunComparison
from gtn_bench.reporting.html.page import render
from gtn_bench.reporting.html.tables import table
from gtn_bench.reporting.run_comparison_text import curves_table, remarks
from gtn_bench.reporting.run_sentences import (
    counts,
    curve_name,
    curve_sentences,
    difference_sentences,
    headline,
    pairing_text,
)

_LIMITS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # ends of the axis of the forest plot
_HEADS = ("teacher", "architecture", "mode", "perturbation")
_SHOWN = 5  # sentences at the top; the others are folded


def as_html(comparison: RunComparison) -> str:
    """Return the page of a comparison.

    Args:
        comparison: The comparison.
    """
    sentences = curve_sentences(comparison)
    found = [row for row in comparison.rows if row["verdict"] in ("worse", "better")]
    shown = min(max(len(found), 1), _SHOWN)
    context = {
        "title": headline(comparison),
        "baseline": str(comparison.baseline),
        "folder": str(comparison.folder),
        "counts": counts(comparison),
        "shown": sentences[:shown],
        "more": sentences[shown:],
        "remarks": remarks(comparison),
        "limit": _limit(comparison),
        "rows": _forest(comparison),
        "table": table(curves_table(comparison), "Differences of areas, run minus baseline", heads=_HEADS),
        "differences": list(difference_sentences(comparison)),
    }
    return render("compare.html.j2", context)


def _limit(comparison: RunComparison) -> float:
    ends = comparison.table[["difference", "ci_low", "ci_high"]].abs().max().max()
    return next((limit for limit in _LIMITS if ends <= limit), _LIMITS[-1])


def _forest(comparison: RunComparison) -> list[dict[str, Any]]:
    """Return the rows of the forest plot; places on its axis are in percent of its width."""
    limit = _limit(comparison)
    texts = curves_table(comparison)
    rows = []
    for row, text in zip(comparison.rows, texts.to_dict("records"), strict=True):
        known = not np.isnan(row["ci_low"])
        value, _, interval = str(text["difference"]).partition(" ")
        rows.append(
            {
                "who": curve_name(row, comparison),
                "perturbation": row["perturbation"],
                "kind": {"worse": "less", "better": "more"}.get(row["verdict"], "open"),
                "verdict": row["verdict"],
                "value": row["difference"],
                "difference": value,
                "interval": interval,
                "p": text["p (Holm)"],
                "detectable": text["minimum detectable effect"],
                "at": _place(row["difference"], limit),
                "low": _place(row["ci_low"], limit) if known else None,
                "high": _place(row["ci_high"], limit) if known else None,
                "compared": pairing_text(row),
            }
        )
    return rows


def _place(value: float, limit: float) -> float:
    return round(50 + 50 * max(-1.0, min(1.0, value / limit)), 3)
