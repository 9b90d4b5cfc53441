"""Sentences that answer the question of a suite: about each comparison of two modes, and the few that come first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.significance import SIGNIFICANCE, pairs_needed
from gtn_bench.config.labels import NO_TEACHER
from gtn_bench.reporting import numbers
from gtn_bench.reporting.curve_sentences import (
    about,
    accuracy_sentences,
    clean_sentences,
    not_attacked,
    proven_sentences,
    suspect_sentences,
)
from gtn_bench.reporting.grading import curve_grades
from gtn_bench.reporting.ranking import ranked

SHOWN = 5  # sentences at the top of a report
PUBLISHED = "with the published protocol, in which modes differ in how batch normalization is computed"
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Headlines(NamedTuple):
    """The sentences of a report.

    Attributes:
        shown: The most important ones.
        folded: The others.
    """

    shown: tuple[str, ...]
    folded: tuple[str, ...]


class Family(NamedTuple):
    """The comparisons whose p-values are corrected together.

    Attributes:
        comparisons: Their number.
        open: The number of those by pairs of learners that are not significant.
    """

    comparisons: int
    open: int


def headlines(results: Results, name: Callable[[object], str] = str) -> Headlines:
    """Return the sentences that answer the question of a suite: at most `SHOWN`, and the others.

    Significant differences come first, the largest before others; then those that are nearest to significance.
    Perturbations and pairs of modes take turns. Clean accuracy is told if it differs between modes; so are suspect and
    proven curves among the shown ones. Without comparisons, the sentences are about accuracies. So are those of the
    published protocol, which does not compare the modes: its comparisons are among the others.

    Args:
        results: The results of a run.
        name: Returns the text of a name, such as `gtn_bench.reporting.markdown.escape`.
    """
    if not (results.summary["status"] == "done").any():
        return Headlines(tuple(not_attacked(results)), ())
    rows = _compared(results)
    if not rows or _is_published(results):
        known = accuracy_sentences(results, name)
        others = [*suspect_sentences(results, None, name), *proven_sentences(results, None, name)]
        space = max(SHOWN - len(others[:2]), 1)
        compared = comparison_sentences(results, ranked(rows), name)
        return Headlines((*known[:space], *others[:2]), (*known[space:], *others[2:], *compared))
    ordered = ranked(rows)
    clean = clean_sentences(results, name)
    lines = comparison_sentences(results, ordered, name)
    space, others = SHOWN + 1, [""]
    while space + len(others) > SHOWN:  # as many comparisons as leave space for the sentences about their curves
        space -= 1
        curves = _curves_of(ordered[:space])
        others = [*clean[:1], *suspect_sentences(results, curves, name), *proven_sentences(results, curves, name)]
    return Headlines((*lines[:space], *others), (*lines[space:], *clean[1:]))


def differences(results: Results, name: Callable[[object], str] = str) -> list[str]:
    """Return a sentence for each comparison of a teacher's accepted architectures together, or else of each.

    Args:
        results: The results of a run.
        name: Returns the text of a name, such as `gtn_bench.reporting.markdown.escape`.
    """
    return comparison_sentences(results, _compared(results), name)


def sentence(comparison: Mapping[str, Any], family: Family) -> str:
    """Return one sentence about a comparison of two modes, without a full stop.

    A difference counts as significant if its confidence interval excludes 0 and its corrected p-value is at most 0.05.
    The sentence has no direction if the interval contains 0.

    Args:
        comparison: A row of comparisons.csv.
        family: The comparisons that it is corrected with.
    """
    c = comparison
    mode, other, where = c["mode"], c["other"], f"under {c['perturbation']}"
    areas = f"area {numbers.accuracy(c['area'])} vs. {numbers.accuracy(c['other_area'])}"
    if np.isnan(c["ci_low"]):
        return f"{mode} and {other} {where}: {areas}; no confidence interval with one image"
    ends = numbers.interval(c["ci_low"], c["ci_high"], signed=True)
    found = f"{areas}, difference {numbers.difference(c['difference'])} {ends}"
    found += f", {numbers.p_equals(c['p_holm'])} after Holm correction"
    found += f" ({numbers.counted(family.comparisons, 'comparison')}"
    found += f", {_compared_over(c)})"
    if c["ci_low"] <= 0 <= c["ci_high"]:
        effect = f"minimum detectable effect {numbers.accuracy(c['minimum_detectable_effect'])}"
        return f"no difference seen between {mode} and {other} {where}: {found}, {effect}{_scope(c)}"
    text = f"{mode} is {'less' if c['difference'] < 0 else 'more'} robust than {other} {where}: {found}"
    if c["p_holm"] <= SIGNIFICANCE:
        return f"{text}{_scope(c)}"
    return f"{text}: not significant{_needed(c, family)}{_scope(c)}"


def pairs_of_learners(comparison: Mapping[str, Any]) -> bool:
    """Return True if a comparison is one of pairs of learners, and False if a mode has a single model.

    Args:
        comparison: A row of comparisons.csv.
    """
    return bool(comparison["over"] == "learners" and min(comparison["n_seeds"], comparison["other_n_seeds"]) > 1)


def _compared(results: Results) -> list[dict[str, Any]]:
    """Return the comparisons of a teacher's accepted architectures together, or else all."""
    records = pooled_or_all(results.comparisons).to_dict("records")
    return [{str(column): value for column, value in record.items()} for record in records]


def families_of(results: Results) -> Callable[[Mapping[str, Any]], Family]:
    """Return the function that returns the family of a comparison.

    Args:
        results: The results of a run.
    """
    table, controls = results.comparisons, results.rule.controls
    controlled = table["mode"].isin(controls) | table["other"].isin(controls)
    known: dict[tuple[str, bool], Family] = {}
    for (architecture, control), rows in table.groupby([table["architecture"], controlled]):
        pairs = (rows["over"] == "learners") & (rows[["n_seeds", "other_n_seeds"]].min(axis=1) > 1)
        unsettled = int((pairs & ~(rows["p_holm"] <= SIGNIFICANCE)).sum())
        known[str(architecture), bool(control)] = Family(len(rows), unsettled)
    return lambda row: known[row["architecture"], bool({row["mode"], row["other"]} & set(controls))]


def comparison_sentences(
    results: Results, rows: Iterable[Mapping[str, Any]], name: Callable[[object], str] = str
) -> list[str]:
    """Return the sentences about comparisons, with teacher and architecture where needed and the grades of the curves.

    Args:
        results: The results of a run.
        rows: Rows of comparisons.csv.
        name: Returns the text of a name, such as `gtn_bench.reporting.markdown.escape`.
    """
    families, protocol = families_of(results), f"; {PUBLISHED}" if _is_published(results) else ""
    several = results.summary.loc[results.summary["teacher"] != NO_TEACHER, "teacher"].nunique() > 1
    table = curve_grades(results)
    grades = {tuple(map(str, curve)): str(grade) for *curve, grade, _ in table.itertuples(index=False)}
    found = []
    for row in rows:
        shown = {"perturbation": results.display_name(row["perturbation"]), "mode": row["mode"], "other": row["other"]}
        text = sentence({**row, **{key: name(value) for key, value in shown.items()}}, families(row))
        where = about(row["teacher"] if several else None, row["architecture"], name)
        found.append(f"{where + ': ' if where else ''}{text}{protocol}{_graded(row, grades, name)}")
    return found


def _is_published(results: Results) -> bool:
    """Return whether a run measured its learners with the protocol of the reference study."""
    return bool(results.provenance.get("protocol") == "published")


def _graded(row: Mapping[str, Any], grades: Mapping[tuple[str, ...], str], name: Callable[[object], str]) -> str:
    """Return the grades of the two curves of a comparison; empty if there is nothing to grade."""
    curves = {row[mode]: (row["teacher"], row["architecture"], row[mode], row["perturbation"]) for mode in _PAIR}
    known = {mode: grades.get(tuple(map(str, curve)), "n/a") for mode, curve in curves.items()}
    if len(set(known.values())) == 1:
        (grade,) = set(known.values())
        return "" if grade == "n/a" else f"; grade: {grade}"
    return f"; grades: {', '.join(f'{name(mode)} {grade}' for mode, grade in known.items())}"


def _curves_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the curves of some comparisons: teacher, architecture, mode, perturbation."""
    names = ["teacher", "architecture", "mode", "perturbation"]
    curves = [(row["teacher"], row["architecture"], row[mode], row["perturbation"]) for row in rows for mode in _PAIR]
    return pd.DataFrame(list(dict.fromkeys(curves)), columns=names)


_PAIR = ("mode", "other")


def _compared_over(c: Mapping[str, Any]) -> str:
    """Return what a comparison is over."""
    if c["over"] == "images":
        return numbers.counted(c["n_images"], "image")
    return numbers.counted(c["n_pairs"], "pair")


def _needed(c: Mapping[str, Any], family: Family) -> str:
    """Return how many pairs of learners make a significant difference possible; empty if there are enough."""
    needed = pairs_needed(family.open)
    if not pairs_of_learners(c) or c["n_pairs"] >= needed:
        return ""
    architectures = max(c["n_pairs"] // c["n_seeds"], 1)
    seeds = -(-needed // architectures)
    of = "" if architectures == 1 else f" of {_word(architectures)} architectures"
    return f"; at least {needed} pairs ({seeds} seeds{of}) are needed"


def _scope(c: Mapping[str, Any]) -> str:
    """Return what a comparison with a single model is about."""
    if pairs_of_learners(c):
        return ""
    if c["over"] == "images":
        return f"; this concerns these {'two ' if c['n_pairs'] == 1 else ''}models, not how they were trained"
    single = c["mode"] if c["n_seeds"] == 1 else c["other"]
    if c["n_pairs"] == max(c["n_seeds"], c["other_n_seeds"]):
        return f"; this concerns the one model of {single}, not how it was trained"
    return f"; this concerns the models of {single}, not how they were trained"


def _word(number: int) -> str:
    return _WORDS[number] if number < len(_WORDS) else str(number)
