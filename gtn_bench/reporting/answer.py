"""The results of a run as JSON for another program: curves, comparisons and sentences."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import COMPARISON_COLUMNS, MEASURE_COLUMNS
from gtn_bench.reporting.grading import CURVE, curve_grades, graded_points
from gtn_bench.reporting.sentences import headlines

_POINT = ["beta", "accuracy", "ci_low", "ci_high", "mean_linf", "mean_l2", "grade", "certified_accuracy", "proven"]


def answer(results: Results) -> dict[str, Any]:
    """Return what came out of a run, of the accepted architectures together where there are any.

    Args:
        results: The results of a run.

    Returns:
        What JSON can hold. Numbers that are not known are None; so is the strength at half accuracy of a curve that
        stays above.

        - `cells`, `failed`: numbers of cells.
        - `grades`: number of finished cells of each grade.
        - `sentences`: the sentences at the top of the report.
        - `curves`: one entry per curve: columns of measures.csv, `grade`, `failed_checks`, and `points`, the columns
          of curves.csv at each strength.
        - `comparisons`: columns of comparisons.csv.
    """
    summary = results.summary
    done = summary[summary["status"] == "done"]
    return {
        "cells": len(summary),
        "failed": int((summary["status"] == "error").sum()),
        "grades": {str(grade): int(count) for grade, count in done["grade"].value_counts().items()},
        "sentences": list(headlines(results).shown),
        "curves": curves_of(results),
        "comparisons": _records(pooled_or_all(results.comparisons), COMPARISON_COLUMNS),
    }


def curves_of(results: Results) -> list[dict[str, Any]]:
    """Return the measures, the grade and the points of each curve.

    Args:
        results: The results of a run.
    """
    graded = curve_grades(results).to_numpy().tolist()
    grades = {tuple(known): grade for *known, grade, _ in graded}
    failed: dict[tuple[Any, ...], dict[str, None]] = {}
    for *known, flags in graded_points(results)[[*CURVE, "flags"]].to_numpy().tolist():
        failed.setdefault(tuple(known), {}).update(dict.fromkeys(flags))
    curves = pooled_or_all(results.curves).groupby(CURVE, sort=False)
    points: dict[Any, list[dict[str, Any]]] = {of: _records(part, _POINT) for of, part in curves}
    found = []
    for record in _records(pooled_or_all(results.measures), MEASURE_COLUMNS):
        name = tuple(record[column] for column in CURVE)
        about = {"grade": grades.get(name), "failed_checks": list(failed.get(name, ())), "points": points.get(name, [])}
        found.append({**record, **about})
    return found


def suspect_curves(results: Results) -> list[str]:
    """Return the suspect curves, one text for each: ``gtn under fgsm (other_loss)``.

    Args:
        results: The results of a run.
    """
    found = []
    for curve in curves_of(results):
        if curve["grade"] == "suspect":
            name = f"{curve['mode']} under {results.display_name(curve['perturbation'])}"
            found.append(f"{name} ({', '.join(curve['failed_checks'])})")
    return list(dict.fromkeys(found))


def _records(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: numbers that are not finite become None."""
    known = [column for column in columns if column in table]
    rows = table[known].astype(object).to_numpy().tolist()
    return [dict(zip(known, map(_finite, row), strict=True)) for row in rows]


def _finite(value: Any) -> Any:
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
