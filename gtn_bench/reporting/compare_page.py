"""The page of a comparison of two runs: one file that needs no network, readable without scripts."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtn_bench.analysis.run_comparison import RunComparison
from gtn_bench.reporting.html.forest import axis_limit, place_on_axis
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
        "limit": axis_limit(comparison.table),
        "rows": _forest(comparison),
        "table": table(curves_table(comparison), "Differences of areas, run minus baseline", heads=_HEADS),
        "differences": list(difference_sentences(comparison)),
    }
    return render("compare.html.j2", context)


def _forest(comparison: RunComparison) -> list[dict[str, Any]]:
    """Return the rows of the forest plot; places on its axis are in percent of its width."""
    limit = axis_limit(comparison.table)
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
                "grade": text["grade"],
                "value": row["difference"],
                "difference": value,
                "interval": interval,
                "p": text["p (Holm)"],
                "detectable": text["minimum detectable effect"],
                "at": place_on_axis(row["difference"], limit),
                "low": place_on_axis(row["ci_low"], limit) if known else None,
                "high": place_on_axis(row["ci_high"], limit) if known else None,
                "compared": pairing_text(row),
            }
        )
    return rows
