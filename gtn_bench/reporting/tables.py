"""Tables of the report, for readers: names of perturbations with their details, intervals in brackets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, pooled_or_all
from gtn_bench.analysis.leaderboard import leaderboard
from gtn_bench.analysis.measures import overview
from gtn_bench.analysis.results import Results
from gtn_bench.config.labels import NO_TEACHER
from gtn_bench.reference.curves import beside, distances
from gtn_bench.reporting import numbers
from gtn_bench.reporting.accuracies import accuracy_table, clean_cell
from gtn_bench.reporting.findings import missing_checks, suspect_checks
from gtn_bench.reporting.grading import CURVE, curve_grades, overview_grade
from gtn_bench.reporting.proofs import certificate_tables, settled_table

_KEYS = ["teacher", "architecture", "mode", "seed", "perturbation", "beta"]


def published_beside(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the reference study beside the curves of each teacher.

    Args:
        curves: Rows of curves.csv. Only teachers with accepted architectures, or with one architecture, count.
    """
    shown = pooled_or_all(curves)
    return beside(shown[shown.groupby("teacher")["architecture"].transform("nunique") == 1])


def published_table(results: Results, published: pd.DataFrame) -> pd.DataFrame:
    """Return the distance of the curves from the published ones.

    Args:
        results: The results.
        published: The table that `published_beside` returns.
    """
    names = {"mean distance": "mean difference", "largest": "largest difference", "at beta": "beta of the largest"}
    found = distances(published)
    found = found.assign(**{"at beta": [numbers.strength(float(beta)) for beta in found["at beta"]]})
    return _displayed(results, found.rename(columns=names))


def overview_table(results: Results) -> pd.DataFrame:
    """Return clean accuracy, mean accuracy over each sweep, and the grades of the curves: one row per teacher and mode.

    Args:
        results: The results of a run.
    """
    table = overview(results.summary, results.rule)
    known = set(results.summary["perturbation"])
    names = {name: results.display_name(name) for name in table.columns if name in known}
    grades = dict(list(curve_grades(results).groupby(CURVE[:3], sort=False)))
    rows = zip(*(table[column] for column in CURVE[:3]), strict=True)
    table["grade"] = [overview_grade(grades[row], names) for row in rows]
    return _without_constants(results, table.rename(columns=names))


def accuracies_table(results: Results, perturbation: str, clean: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each mode at each strength of a perturbation, and without it, with intervals and grades.

    Args:
        results: The results of a run.
        perturbation: Label of the perturbation.
        clean: The clean points of sweeps without strength 0.
    """
    table = accuracy_table(results.curves, perturbation)
    points = pooled_or_all(clean[clean["perturbation"] == perturbation]) if len(clean) else clean
    if len(points):
        names = CURVE[:3]
        known = {tuple(row[name] for name in names): clean_cell(row) for row in points.to_dict("records")}
        keys = table[names].itertuples(index=False, name=None)
        table.insert(len(names), "clean", [known.get(key, "") for key in keys])
    return _without_constants(results, table)


def suspects_table(results: Results) -> pd.DataFrame:
    """Return the failed checks with their reasons, one row per curve and check.

    Args:
        results: The results of a run.
    """
    return _displayed(results, suspect_checks(results))


def missing_table(results: Results) -> pd.DataFrame:
    """Return what withholds the grade `reliable` from cells that are not suspect.

    Args:
        results: The results of a run.
    """
    return missing_checks(results)


def proofs_table(results: Results) -> pd.DataFrame:
    """Return the share of images that an attack or a certificate settles.

    Args:
        results: The results of a run.
    """
    return _without_constants(results, settled_table(results))


def certificates_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Return the certified accuracy at each radius, a table for each norm.

    Args:
        results: The results of a run.
    """
    return {norm: _without_constants(results, table) for norm, table in certificate_tables(results).items()}


def leaderboard_table(results: Results) -> pd.DataFrame:
    """Return the metrics of leaderboards, one row per teacher, architecture and mode.

    Args:
        results: The results of a run.
    """
    return _without_constants(results, leaderboard(results.summary))


def acceptance_table(results: Results) -> pd.DataFrame:
    """Return all architectures, with the modes that reject those that are not accepted.

    Args:
        results: The results of a run.
    """
    rule = results.rule
    table = acceptance(results.summary, rule)
    decisive = [mode for mode in table.columns[2:-1] if mode not in rule.controls]
    reasons = []
    for row in table.to_dict("records"):
        short = {mode: row[mode] for mode in decisive if not row[mode] > rule.threshold}
        reasons.append(", ".join(f"{mode} {numbers.accuracy(mean, missing='failed')}" for mode, mean in short.items()))
    return _without_constants(results, table.assign(reason=reasons), "teacher")


def measures_table(results: Results) -> pd.DataFrame:
    """Return the measures of the pooled accepted architectures, or of each architecture if none is accepted.

    Args:
        results: The results of a run.
    """
    shown = pooled_or_all(results.measures)
    rows = shown[["teacher", "architecture", "perturbation", "mode"]].copy()
    rows["area"] = _rowwise(numbers.with_interval, shown, "area", "ci_low", "ci_high")
    rows["area, initially correct"] = [numbers.accuracy(value) for value in shown["area_given_correct"]]
    half = ("half_strength", "half_ci_low", "half_ci_high")
    rows["beta at half accuracy"] = _rowwise(_reached, shown, *half)
    texts = curve_grades(results).set_index(CURVE)["text"].to_dict()
    rows["grade"] = [texts.get(tuple(row), "") for row in shown[CURVE].itertuples(index=False)]
    keys = ["teacher", "architecture", "perturbation"]
    return _displayed(results, rows.sort_values(keys, kind="stable", key=_order_of_appearance))


def cells_table(results: Results, cells: pd.DataFrame, *more: str) -> pd.DataFrame:
    """Return the identity of some cells, with strengths as the suite has them, however small.

    Args:
        results: The results.
        cells: Rows of the summary.
        more: Further columns.
    """
    return _displayed(results, cells.assign(beta=cells["beta"].map(numbers.strength))[[*_KEYS, *more]])


def _displayed(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the display names of its perturbations."""
    names = [results.display_name(str(name)) for name in table["perturbation"]]
    return _without_constants(results, table.assign(perturbation=names))


def _without_constants(results: Results, table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return a table without the columns `teacher` and `architecture` if a run has no teacher, or one architecture."""
    summary = results.summary
    constant = {
        "teacher": (summary["teacher"] == NO_TEACHER).all(),
        "architecture": summary["architecture"].nunique() == 1,
    }
    return table.drop(columns=[name for name in names or constant if constant[name]], errors="ignore")


def _order_of_appearance(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map({value: place for place, value in enumerate(column.unique())})


def _rowwise(text: Callable[[float, float, float], str], table: pd.DataFrame, *columns: str) -> list[str]:
    """Return a text for the numbers in three columns of each row."""
    return [text(*map(float, row)) for row in table[list(columns)].itertuples(index=False, name=None)]


def _reached(value: float, low: float, high: float) -> str:
    """Return a strength with its interval, or that no strength of the sweep reaches it."""
    if np.isinf([value, low, high]).all():
        return numbers.distance(value)
    return numbers.distance_interval(value, low, high)
