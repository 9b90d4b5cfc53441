"""A comparison of two runs as text, Markdown and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.run_comparison import COLUMNS, RunComparison
from gtn_bench.config.labels import NO_TEACHER
from gtn_bench.reporting.markdown import escape, markdown_table
from gtn_bench.reporting.numbers import accuracy, p_value, with_interval
from gtn_bench.reporting.run_sentences import (
    curve_sentences,
    difference_sentences,
    grade_text,
    headline,
    pairing_text,
    power_sentence,
    suspect_sentence,
)

_VERSION = 1  # of the JSON


def as_text(comparison: RunComparison) -> str:
    """Return a comparison as lines for a terminal: what differs, then one line per curve.

    Args:
        comparison: The comparison.
    """
    lines = [headline(comparison)]
    for heading, found in difference_sentences(comparison):
        lines += [f"{heading}: {'' if found else 'no difference'}".rstrip(), *(f"  {line}" for line in found)]
    lines += ["Curves:", *(f"  {line}" for line in curve_sentences(comparison))]
    notes = remarks(comparison)
    return "\n".join([*lines, *(["Notes:"] if notes else []), *(f"  {note}" for note in notes)])


def as_markdown(comparison: RunComparison) -> str:
    """Return a comparison as a Markdown page.

    Args:
        comparison: The comparison.
    """
    lines = ["# Comparison of two runs", "", f"{escape(headline(comparison))}.", "", "## Curves", ""]
    lines += [
        markdown_table(curves_table(comparison)),
        "",
        *(f"- {escape(line)}." for line in curve_sentences(comparison)),
    ]
    if notes := remarks(comparison):
        lines += ["", "## Notes", "", *(f"- {escape(note)}." for note in notes)]
    lines += ["", "## Differences between the runs", ""]
    for heading, found in difference_sentences(comparison):
        lines += [f"**{heading}**: {'' if found else 'no difference.'}".rstrip(), ""]
        lines += [*(f"- {escape(line)}" for line in found), ""] if found else []
    return "\n".join(lines).rstrip() + "\n"


def as_json(comparison: RunComparison) -> dict[str, Any]:
    """Return a comparison as plain data. Missing numbers are None.

    Args:
        comparison: The comparison.
    """
    suite, cells, provenance = comparison.differences
    rows = [{column: _plain(row[column]) for column in COLUMNS} for row in comparison.rows]
    return {
        "version": _VERSION,
        "baseline": str(comparison.baseline),
        "run": str(comparison.folder),
        "margin": comparison.margin,
        "differences": {
            "suite": [each._asdict() for each in suite],
            "cells": {
                **{"shared": cells.shared, "only_baseline": cells.only_first, "only_run": cells.only_second},
                "labels": [each._asdict() for each in cells.labels],
                "statuses": [[*pair, count] for pair, count in cells.statuses.items()],
            },
            "provenance": [each._asdict() for each in provenance],
        },
        "curves": rows,
        "sentences": [headline(comparison), *curve_sentences(comparison)],
        "notes": remarks(comparison),
        "lost": list(comparison.lost),
    }


def remarks(comparison: RunComparison) -> list[str]:
    """Return what restricts a comparison: what it covers, what the run lacks, suspect curves, and too few pairs.

    Args:
        comparison: The comparison.
    """
    lost = [f"missing in the run: {line}" for line in comparison.lost]
    return [*comparison.notes, *lost, *filter(None, [suspect_sentence(comparison), power_sentence(comparison)])]


def curves_table(comparison: RunComparison) -> pd.DataFrame:
    """Return the differences as a table of texts, one row per curve.

    Args:
        comparison: The comparison.
    """
    table = comparison.table
    names = [name for name in ("teacher", "architecture") if table[name].nunique() > 1]
    names = [name for name in names if name != "teacher" or (table[name] != NO_TEACHER).any()]
    shown = table[[*names, "mode", "perturbation"]].copy()
    shown["area"] = [accuracy(value) for value in table["area"]]
    shown["baseline"] = [accuracy(value) for value in table["baseline_area"]]
    ends = zip(table["difference"], table["ci_low"], table["ci_high"], strict=True)
    shown["difference"] = [with_interval(*each, signed=True) for each in ends]
    shown["p (Holm)"] = [p_value(value) for value in table["p_holm"]]
    shown["minimum detectable effect"] = [accuracy(value) for value in table["minimum_detectable_effect"]]
    shown["compared"] = [pairing_text(row) for row in comparison.rows]
    shown["verdict"] = table["verdict"]
    shown["grade"] = [grade_text(row) for row in comparison.rows]
    return shown


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
