"""What a page shows of the tables of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gtn_bench import analysis
from gtn_bench.reference.curves import beside
from gtn_bench.results import Results


def markdown_table(frame: pd.DataFrame) -> str:
    """A Markdown table; numbers with three decimals, truth values in words."""
    text = [[_cell(value) for value in row] for row in frame.astype(object).to_numpy().tolist()]
    rows = [[str(column) for column in frame.columns], ["---"] * len(frame.columns), *text]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def published_beside(curves: pd.DataFrame) -> pd.DataFrame:
    """The study's points beside the curves of a teacher's accepted architectures, or of its only one; else none."""
    shown = analysis.pooled_or_all(curves)
    return beside(shown[shown.groupby("teacher")["architecture"].transform("nunique") == 1])


def acceptance_table(results: Results) -> pd.DataFrame:
    """All architectures, and why those that are not accepted are not."""
    rule = results.rule
    table = analysis.acceptance(results.summary, rule)
    decisive = [mode for mode in table.columns[2:-1] if mode not in rule.controls]
    reasons = []
    for row in table.to_dict("records"):
        short = {mode: row[mode] for mode in decisive if not row[mode] > rule.threshold}
        reasons.append(
            ", ".join(f"{mode} failed" if np.isnan(mean) else f"{mode} {mean:.3f}" for mode, mean in short.items())
        )
    return table.assign(reason=reasons)


def measures_table(results: Results) -> pd.DataFrame:
    """The measures for people: intervals in brackets."""
    shown = analysis.pooled_or_all(results.measures)
    rows = shown[["teacher", "architecture", "perturbation", "mode"]].copy()
    rows["area"] = _with_interval(shown, "area", "ci_low", "ci_high")
    rows["area, given clean-correct"] = [_short(value) for value in shown["area_given_correct"]]
    rows["beta at half"] = _with_interval(shown, "half_strength", "half_ci_low", "half_ci_high")
    return rows.sort_values(["teacher", "architecture", "perturbation"], kind="stable", key=_order_of_appearance)


def _order_of_appearance(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map({value: place for place, value in enumerate(column.unique())})


def _short(value: float) -> str:
    """Three digits; nothing for nan, `beyond` for infinity."""
    if np.isnan(value):
        return ""
    return "beyond" if np.isinf(value) else f"{float(f'{value:.3g}'):g}"


def _with_interval(table: pd.DataFrame, *columns: str) -> list[str]:
    """Of each row the value, and in brackets the ends of its interval, if there are any."""
    said = []
    for value, low, high in table[list(columns)].itertuples(index=False):
        ends = "" if np.isnan(low) else f" [{_short(low)}, {_short(high)}]"
        said.append(_short(value) + ends)
    return said
