"""The accuracy of each mode at each strength, as a table with intervals and grades."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.reporting import numbers

MOST = 12  # columns of strengths
SUSPECT, RELIABLE, PROVEN = "†", "✓", "■"


def few(values: Any) -> list[float]:
    """Return at most `MOST` of some values in ascending order, evenly chosen, with the first and the last.

    Args:
        values: The values.
    """
    known = np.sort(np.asarray(values, dtype=float))
    places = np.unique(np.linspace(0, len(known) - 1, min(MOST, len(known))).round().astype(int))
    return [float(value) for value in known[places]]


def accuracy_table(curves: pd.DataFrame, perturbation: str) -> pd.DataFrame:
    """Return the accuracy of each mode at each strength of a perturbation, with its 95 % confidence interval.

    Accepted architectures are pooled; if a teacher has none, each architecture has its own row. Marks behind an
    accuracy: `SUSPECT`, `RELIABLE`, `PROVEN`.

    Args:
        curves: Rows of curves.csv.
        perturbation: Label of the perturbation.

    Returns:
        Columns teacher, architecture, mode, and one for each of at most `MOST` strengths.
    """
    shown = pooled_or_all(curves[curves["perturbation"] == perturbation])
    names = ["teacher", "architecture", "mode"]
    betas = few(shown["beta"].unique())
    rows = []
    for name, curve in shown.groupby(names, sort=False):
        points = {float(row["beta"]): row for row in curve.to_dict("records")}
        rows.append((*name, *(_cell(points[beta]) if beta in points else "" for beta in betas)))
    return pd.DataFrame(rows, columns=[*names, *numbers.strengths(betas)])


def marks_of(results: Results) -> str:
    """Return what the marks in the tables of accuracies mean; empty if none is used.

    Args:
        results: The results of a run.
    """
    curves = pooled_or_all(results.curves)
    meaning = {
        f"{SUSPECT} suspect": curves["grade"].eq("suspect").any(),
        f"{RELIABLE} reliable": curves["grade"].eq("reliable").any(),
        f"{PROVEN} proven": curves["proven"].eq(True).any(),
    }
    return ", ".join(text for text, used in meaning.items() if used)


def clean_cell(point: Any) -> str:
    """Return a clean accuracy with its interval.

    Args:
        point: A clean point, columns as in curves.csv.
    """
    return numbers.with_interval(point["accuracy"], point["ci_low"], point["ci_high"])


def _cell(point: Any) -> str:
    text = clean_cell(point)
    text += {"suspect": SUSPECT, "reliable": RELIABLE}.get(point["grade"], "")
    return text + (PROVEN if point["proven"] else "")
