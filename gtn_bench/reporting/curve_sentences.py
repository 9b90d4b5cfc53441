"""Sentences about curves: robust accuracies, clean accuracies, suspect and proven curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from gtn_bench.analysis.acceptance import for_each_teacher, pooled_or_all
from gtn_bench.analysis.measures import overview
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import listed
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reporting import numbers
from gtn_bench.reporting.grading import CURVE, curve_grades, graded_points

_DIFFERS = 0.05  # clean accuracies of modes, by so much: told beside areas
_MOST = 3  # strengths or perturbations in a sentence
_AREAS = "areas also count images that are misclassified without a perturbation"

Name = Callable[[object], str]


def accuracy_sentences(results: Results, name: Name = str) -> list[str]:
    """Return a sentence about the accuracies of each curve, without a full stop; those with the lowest accuracy first.

    Each tells the accuracies at the weakest strength with less than the clean accuracy, at the one nearest to half of
    it, and at the strongest one.

    Args:
        results: The results of a run.
        name: Returns the text of a name.
    """
    curves = pooled_or_all(results.curves)
    grades = _grades(results)
    found = []
    for key, curve in curves.groupby(CURVE, sort=False):
        telling = _telling(curve)
        if not len(telling):
            continue
        parts = [
            f"{numbers.with_interval(accuracy, low, high)} at beta {numbers.strength(beta)}"
            for beta, accuracy, low, high in telling[["beta", "accuracy", "ci_low", "ci_high"]].to_numpy(float).tolist()
        ]
        grade = grades.get(tuple(map(str, key)), "n/a")
        graded = "" if grade == "n/a" else f"; grade: {grade}"
        text = f"{_where(results, key, name)}: accuracy {', '.join(parts)}{_clean(curve)}{graded}"
        found.append((float(curve["accuracy"].min()), text))
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def clean_sentences(results: Results, name: Name = str) -> list[str]:
    """Return a sentence for each teacher and architecture whose modes differ in clean accuracy by 0.05 or more.

    Areas include images that are misclassified without a perturbation. The largest difference comes first.

    Args:
        results: The results of a run.
        name: Returns the text of a name.
    """
    found = []
    table = overview(results.summary, results.rule)
    several = table["teacher"].nunique() > 1
    for (teacher, architecture), rows in table.groupby(["teacher", "architecture"], sort=False):
        clean = rows.set_index("mode")["clean accuracy"].dropna().sort_values(ascending=False, kind="stable")
        if len(clean) < 2 or (spread := float(clean.max() - clean.min())) < _DIFFERS:
            continue
        where = about(teacher if several else None, architecture, name)
        values = listed([f"{name(mode)} {numbers.accuracy(value)}" for mode, value in clean.items()], str)
        text = f"Clean accuracy differs{' for ' + where if where else ''}: {values}; {_AREAS}"
        found.append((spread, text))
    return [text for _, text in sorted(found, key=lambda pair: -pair[0])]


def suspect_sentences(results: Results, among: pd.DataFrame | None, name: Name = str) -> list[str]:
    """Return one sentence about the suspect curves; none if there are none.

    Args:
        results: The results of a run.
        among: Curves that count, with the columns of `CURVE`; None for all.
        name: Returns the text of a name.
    """
    points = _points(results, among)
    suspect = points[points["grade"] == "suspect"]
    if not len(suspect):
        return []
    checks = listed(list(dict.fromkeys(flag for flags in suspect["flags"] for flag in flags)), str)
    return [f"Suspect, see Checks: {_curves(results, suspect, name)} (failed: {checks})"]


def proven_sentences(results: Results, among: pd.DataFrame | None, name: Name = str) -> list[str]:
    """Return one sentence about the curves with proven points; none if there are none.

    Args:
        results: The results of a run.
        among: Curves that count, with the columns of `CURVE`; None for all.
        name: Returns the text of a name.
    """
    points = _points(results, among)
    proven = points[points["proven"]]
    if not len(proven):
        return []
    count = f"{len(proven)} of {len(points)} points"
    why = "no attack can find an accuracy that is lower by more than 0.01"
    return [f"Proven at {count}: {_curves(results, proven, name)}; {why}"]


def not_attacked(results: Results) -> list[str]:
    """Return why a run has no curves, if all its architectures were rejected.

    Args:
        results: The results of a run.
    """
    if len(results.summary) and (results.summary["status"] == "rejected").all():
        return [f"no architecture is accepted at clean accuracy {results.rule.threshold:g}; nothing was attacked"]
    return []


def _points(results: Results, among: pd.DataFrame | None) -> pd.DataFrame:
    """Return the graded points of some curves."""
    points = graded_points(results)
    return points if among is None else points.merge(among, on=CURVE)


def _grades(results: Results) -> dict[tuple[str, ...], str]:
    """Return the grade of each curve as text."""
    table = curve_grades(results)
    return {tuple(map(str, key)): text for *key, _, text in table.itertuples(index=False)}


def _telling(curve: pd.DataFrame) -> pd.DataFrame:
    """Return the points of a curve that tell most about it, at most `_MOST`, by strength."""
    points = curve.sort_values("beta")
    changed = points[points["mean_l2"] > 0] if points["mean_l2"].notna().any() else points
    points = changed if len(changed) else points
    clean = _clean_accuracy(curve)
    half = (points["accuracy"] - (clean if clean is not None else 1.0) / 2).abs().idxmin() if len(points) else None
    rows = [points.index[0], half, points.index[-1]] if len(points) else []
    return points.loc[list(dict.fromkeys(rows))].sort_values("beta")


def _clean_accuracy(curve: pd.DataFrame) -> float | None:
    """Return the accuracy at the strength with unperturbed images; None if the sweep lacks it."""
    clean = curve[curve["mean_l2"] == 0]
    return float(clean["accuracy"].iloc[0]) if len(clean) else None


def _clean(curve: pd.DataFrame) -> str:
    clean = _clean_accuracy(curve)
    return "" if clean is None else f" (clean {numbers.accuracy(clean)})"


def _where(results: Results, key: Sequence[object], name: Name) -> str:
    """Return what a curve is about: ``vanilla under fgsm``, with teacher and architecture if there are several."""
    teacher, architecture, mode, perturbation = map(str, key)
    curves = for_each_teacher(results.curves)
    teachers, architectures = (curves[column].nunique() for column in ("teacher", "architecture"))
    where = about(teacher if teachers > 1 else None, architecture if architectures > 1 else None, name)
    return f"{where + ': ' if where else ''}{name(mode)} under {name(results.display_name(perturbation))}"


def about(teacher: object | None, architecture: object | None, name: Name = str) -> str:
    """Return which learners a sentence is about: ``teacher base_larger, architecture linear``; may be empty.

    Args:
        teacher: The teacher; None if there are not several.
        architecture: The architecture; None if there are not several. All accepted ones together are not named.
        name: Returns the text of a name.
    """
    parts = [] if teacher is None else [f"teacher {name(teacher)}"]
    parts += [] if architecture in (None, ACCEPTED) else [f"architecture {name(architecture)}"]
    return ", ".join(parts)


def _curves(results: Results, points: pd.DataFrame, name: Name) -> str:
    """Return the modes of some points, by perturbation: ``gtn and vanilla under fgsm, 10 steps``."""
    parts = []
    for perturbation, rows in points.groupby("perturbation", sort=False):
        modes = " and ".join(name(mode) for mode in rows["mode"].unique())
        parts.append(f"{modes} under {name(results.display_name(str(perturbation)))}")
    more = f"; {len(parts) - _MOST} more perturbations" if len(parts) > _MOST + 1 else ""
    return "; ".join(parts[:_MOST] if more else parts) + more
