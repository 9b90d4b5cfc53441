"""Sentences about a run that is compared with a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gtn_bench.analysis.run_comparison import RunComparison
from gtn_bench.analysis.suite_differences import FieldDifference
from gtn_bench.config.errors import listed, shortened
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.reporting.numbers import accuracy, counted, p_equals, p_value, with_interval

_ORDER = ("worse", "better", "not significant", "no interval", "no difference seen")
_MOST = 80  # characters of a value that is shown


def headline(comparison: RunComparison) -> str:
    """Return one sentence about all curves, without a full stop.

    Args:
        comparison: The comparison.
    """
    return f"{comparison.folder} compared with {comparison.baseline}: {counts(comparison)}"


def counts(comparison: RunComparison) -> str:
    """Return the number of curves with each verdict: ``worse on 2 of 12 curves, no difference seen on 10``.

    Args:
        comparison: The comparison.
    """
    found = comparison.table["verdict"].value_counts()
    first, *others = [f"{verdict} on {found[verdict]}" for verdict in _ORDER if found.get(verdict, 0)]
    return ", ".join([f"{first} of {counted(len(comparison.table), 'curve')}", *others])


def curve_sentences(comparison: RunComparison) -> list[str]:
    """Return one sentence per curve, without a full stop: first those that are worse, then those that are better.

    Args:
        comparison: The comparison.
    """
    ordered = sorted(comparison.rows, key=lambda row: (_ORDER.index(row["verdict"]), row["difference"]))
    return [curve_sentence(row, comparison) for row in ordered]


def curve_sentence(row: Mapping[str, Any], comparison: RunComparison) -> str:
    """Return one sentence about a curve, without a full stop.

    Args:
        row: A row of the table of the comparison.
        comparison: The comparison.
    """
    who, where = curve_name(row, comparison), f"under {row['perturbation']}"
    areas = f"area {accuracy(row['area'])} vs. {accuracy(row['baseline_area'])}"
    if row["verdict"] == "no interval":
        return f"{who} {where}: {areas}; no confidence interval with one image"
    found = f"{areas}, difference {with_interval(row['difference'], row['ci_low'], row['ci_high'], signed=True)}"
    scope = _about_single(row)
    family = f"{counted(len(comparison.table), 'comparison')}{_pairs(row)}"
    found += f", {p_equals(row['p_holm'])} after Holm correction ({family})"
    if row["verdict"] == "no difference seen":
        effect = f"minimum detectable effect {accuracy(row['minimum_detectable_effect'])}"
        return f"{who} {where}: no difference seen; {found}, {effect}{scope}"
    text = f"{who} is {'less' if row['difference'] < 0 else 'more'} robust than in the baseline {where}: {found}"
    if row["verdict"] == "not significant":
        needed = comparison.pairs_needed
        text += f": not significant{f'; at least {needed} pairs are needed' if needed and row['n_pairs'] else ''}"
    return f"{text}{scope}"


def curve_name(row: Mapping[str, Any], comparison: RunComparison) -> str:
    """Return the mode of a curve, with teacher and architecture if the comparison has several.

    Args:
        row: A row of the table of the comparison.
        comparison: The comparison.
    """
    table = comparison.table
    parts = []
    if table["architecture"].nunique() > 1 and row["architecture"] != ACCEPTED:
        parts.append(str(row["architecture"]))
    if table["teacher"].nunique() > 1 and row["teacher"] != NO_TEACHER:
        parts.append(f"teacher {row['teacher']}")
    return f"{row['mode']} ({', '.join(parts)})" if parts else str(row["mode"])


def pairing_text(row: Mapping[str, Any]) -> str:
    """Return what a comparison is paired over, with the numbers of pairs and images.

    Args:
        row: A row of the table of the comparison.
    """
    images = counted(row["n_images"], "image")
    if row["pairing"] == "seeds and images":
        return f"{counted(row['n_pairs'], 'pair')} of learners, {images}"
    seeds = f"{row['n_seeds']} and {counted(row['baseline_n_seeds'], 'learner')}"
    return f"{seeds}, {images}" if row["pairing"] == "images" else f"unpaired: {seeds}, other images"


def difference_sentences(comparison: RunComparison) -> Iterator[tuple[str, list[str]]]:
    """Yield what suites, cells and provenance differ in: a heading, and one line for each difference.

    Args:
        comparison: The comparison.
    """
    suite, cells, provenance = comparison.differences
    yield "Suites", [field_text(each) for each in suite]
    lines = []
    if cells.only_first or cells.only_second:
        lines.append(
            f"{counted(cells.shared, 'cell')} in both runs, {cells.only_first} only in the baseline, "
            f"{cells.only_second} only in the run"
        )
    for each in cells.labels:
        for values, where in ((each.first, "baseline"), (each.second, "run")):
            if values:
                lines.append(f"{each.field} only in the {where}: {listed(values, _short)}")
    lines += [
        f"{counted(count, 'cell')}: {old} in the baseline, {new} in the run"
        for (old, new), count in cells.statuses.items()
    ]
    yield "Cells", lines
    modules = [each.field.removeprefix("code.") for each in provenance if each.field.startswith("code.")]
    lines = [field_text(each) for each in provenance if not each.field.startswith("code.")]
    if modules:
        differ = "differs" if len(modules) == 1 else "differ"
        lines.append(f"code: {counted(len(modules), 'module')} {differ}: {listed(modules, str)}")
    yield "Provenance", lines


def field_text(difference: FieldDifference, first: str = "in the baseline", second: str = "in the run") -> str:
    """Return one line about a field with different values.

    Args:
        difference: The field and its two values.
        first: Where it has its first value.
        second: Where it has its second value.
    """
    return f"{difference.field}: {_short(difference.first)} {first}, {_short(difference.second)} {second}"


def gate_sentence(comparison: RunComparison) -> str:
    """Return what a gate found, without a full stop; empty if it passes.

    It does not pass if a curve is significantly worse by more than the margin, or if the run lacks a curve of the
    baseline that it has planned.

    Args:
        comparison: The comparison.
    """
    beyond = f" by more than {comparison.margin:g}" if comparison.margin else ""
    found = []
    if worse := comparison.worse:
        marks = [f" (suspect {where})" if (where := _suspect_in(row)) else "" for row in worse]
        names = [f"{_curve_under(row, comparison)}{mark}" for row, mark in zip(worse, marks, strict=True)]
        found.append(f"{counted(len(worse), 'curve')} significantly worse{beyond}: {listed(names, str)}")
    if comparison.lost:
        found.append(
            f"{counted(len(comparison.lost), 'curve')} of the baseline missing: {listed(comparison.lost, str)}"
        )
    return "; ".join(found)


def power_sentence(comparison: RunComparison) -> str:
    """Return that too few pairs of learners make every difference not significant; empty if there are enough.

    Args:
        comparison: The comparison.
    """
    needed = comparison.pairs_needed
    if not needed:
        return ""
    paired = comparison.table[comparison.table["pairing"] == "seeds and images"]
    pairs = int(paired["n_pairs"].max())
    smallest = 2.0 ** (1 - pairs)
    family = counted(len(comparison.table), "comparison")
    return (
        f"no comparison of {counted(pairs, 'pair')} of learners can be significant: the smallest possible p is "
        f"{p_value(smallest)} before Holm correction ({family}); at least {needed} pairs are needed: more seeds, or "
        "more accepted architectures"
    )


def grade_text(row: Mapping[str, Any]) -> str:
    """Return the grade of a curve, with that in the baseline if it is another: ``suspect (baseline unknown)``.

    Args:
        row: A row of the table of the comparison.
    """
    same = row["grade"] == row["baseline_grade"]
    return str(row["grade"]) if same else f"{row['grade']} (baseline {row['baseline_grade']})"


def suspect_sentence(comparison: RunComparison) -> str:
    """Return which of the compared curves are suspect, and in which run; empty if none is.

    Args:
        comparison: The comparison.
    """
    names = [f"{_curve_under(row, comparison)} ({where})" for row in comparison.rows if (where := _suspect_in(row))]
    if not names:
        return ""
    what = "its difference is" if len(names) == 1 else "their differences are"
    return f"{counted(len(names), 'curve')} suspect, so {what} not to be relied on: {listed(names, str)}"


def _curve_under(row: Mapping[str, Any], comparison: RunComparison) -> str:
    return f"{curve_name(row, comparison)} under {row['perturbation']}"


def _suspect_in(row: Mapping[str, Any]) -> str:
    """Return where a curve is suspect: ``in the run``; empty if it is nowhere."""
    run, baseline = row["grade"] == "suspect", row["baseline_grade"] == "suspect"
    if run and baseline:
        return "in both runs"
    return "in the run" if run else "in the baseline" if baseline else ""


def _pairs(row: Mapping[str, Any]) -> str:
    return f", {counted(row['n_pairs'], 'pair')}" if row["n_pairs"] else ""


def _about_single(row: Mapping[str, Any]) -> str:
    """Return what a comparison with a single model is about."""
    learners = row["n_seeds"], row["baseline_n_seeds"]
    if min(learners) > 1:
        return ""
    if max(learners) == 1:
        return "; this concerns these two models, not how they were trained"
    return (
        f"; this concerns the single model of the {'run' if learners[0] == 1 else 'baseline'}, not how it was trained"
    )


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_short, value[:12]))}{', ...' if len(value) > 12 else ''}]"
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return shortened(text, _MOST)
