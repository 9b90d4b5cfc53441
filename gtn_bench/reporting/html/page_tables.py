"""The tables of a page, from those of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import clean_accuracies, pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.config.labels import NO_TEACHER, WORST
from gtn_bench.config.suite import Suite
from gtn_bench.reporting import numbers, tables
from gtn_bench.reporting.accuracies import clean_cell
from gtn_bench.reporting.findings import action
from gtn_bench.reporting.grading import CURVE, curve_grades
from gtn_bench.reporting.html.tables import Cell, Table, cell, table
from gtn_bench.reporting.html.training_time import training_times
from gtn_bench.reporting.names import SMALLEST_AREA
from gtn_bench.reporting.training import TAUGHT, training_of

_NAMES = ("teacher", "architecture", "mode")
_MARKS = {"suspect": "†", "reliable": "✓"}


def areas(results: Results, shown_points: pd.DataFrame) -> Table:
    """Return the area under each curve with its interval and grade: a row per mode, a column per perturbation.

    Args:
        results: The results of a run.
        shown_points: Points of its curves, with the clean ones.
    """
    shown = pooled_or_all(results.measures)
    if not len(shown):
        return table(tables.overview_table(results), "Mean accuracy over each sweep", heads=_NAMES)
    graded = curve_grades(results)
    grades = dict(zip(graded[CURVE].itertuples(index=False, name=None), graded["grade"], strict=True))
    names = [name for name in _NAMES if not _is_constant(results, name)]
    labels = [str(label) for label in shown["perturbation"].unique()]
    clean = _clean(results, shown_points)
    rows = []
    for key, part in shown.groupby(list(_NAMES), sort=False):
        of = {str(row["perturbation"]): row for row in part.to_dict("records")}
        cells = [cell(str(dict(zip(_NAMES, key, strict=True))[name])) for name in names]
        cells.append(cell(clean.get(tuple(map(str, key)), "")))
        cells += [_area(of.get(label), _MARKS.get(grades.get((*key, label), ""), "")) for label in labels]
        rows.append(cells)
    shown_names = [SMALLEST_AREA if label == WORST else results.display_name(label) for label in labels]
    caption = "Area under the accuracy curve with its 95 % confidence interval"
    columns = [*names, "clean accuracy", *shown_names]
    return Table(caption, columns, rows, len(names)).without_constants(("teacher", "architecture"))


def _clean(results: Results, shown_points: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """Return the clean accuracy of each row with its interval, on the largest set of images that a perturbation has."""
    images = results.summary.groupby("perturbation")["n"].max().to_dict()
    rows = pooled_or_all(shown_points[shown_points["beta"] == 0])
    rows = rows.assign(images=rows["perturbation"].map(images), known=rows["ci_low"].notna())
    rows = rows.sort_values(["images", "known"], kind="stable")
    return {tuple(str(row[name]) for name in _NAMES): clean_cell(row) for row in rows.to_dict("records")}


def _area(row: dict[Any, Any] | None, mark: str) -> Cell:
    if row is None or np.isnan(row["area"]):
        return Cell("", numeric=True)
    return cell(numbers.with_interval(row["area"], row["ci_low"], row["ci_high"]) + mark)


def accuracies(results: Results, label: str, clean: pd.DataFrame) -> Table:
    """Return the accuracy of each mode at each strength of a perturbation, and without it, with intervals and grades.

    Args:
        results: The results of a run.
        label: Label of the perturbation.
        clean: The clean points of sweeps without strength 0.
    """
    frame = tables.accuracies_table(results, label, clean)
    caption = f"Accuracy under {results.display_name(label)} at each strength, with 95 % confidence intervals"
    return table(frame, caption, heads=_NAMES).without_constants(("teacher", "architecture"))


def points(results: Results, label: str, shown: pd.DataFrame) -> Table:
    """Return every point of the curves of a perturbation, with the distances over all and over the fooled images.

    Args:
        results: The results of a run.
        label: Label of the perturbation.
        shown: Points of the curves with the columns that `with_fooled` adds.
    """
    rows = pooled_or_all(shown[shown["perturbation"] == label])
    names = [name for name in _NAMES if not _is_constant(results, name)]
    columns: dict[str, list[Any]] = {name: [str(value) for value in rows[name]] for name in names}
    columns["beta"] = [numbers.strength(beta) for beta in rows["beta"]]
    ends = zip(rows["accuracy"], rows["ci_low"], rows["ci_high"], strict=True)
    columns["accuracy"] = [numbers.with_interval(*values) for values in ends]
    bands = zip(rows["band_low"], rows["band_high"], strict=True)
    columns["simultaneous band"] = [numbers.interval(*band) for band in bands]
    columns["learners"] = [int(count) for count in rows["n_seeds"]]
    columns["grade"] = [str(grade) for grade in rows["grade"]]
    if rows["certified_accuracy"].notna().any():
        columns["certified"] = [float(value) for value in rows["certified_accuracy"]]
    for norm, name in (("l2", "L2"), ("linf", "L-infinity")):
        columns[f"{name}, all images"] = [numbers.distance(value) for value in rows[f"mean_{norm}"]]
        if rows[f"fooled_{norm}"].notna().any():
            columns[f"{name}, fooled images"] = [numbers.distance(value) for value in rows[f"fooled_{norm}"]]
    frame = pd.DataFrame(columns)
    caption = f"All points of the curves under {results.display_name(label)}"
    return table(frame, caption, heads=_NAMES).without_constants(("teacher", "architecture"))


def suspects(results: Results) -> Table | None:
    """Return the failed checks with their reasons and what to do; None if no check failed.

    Args:
        results: The results of a run.
    """
    frame = tables.suspects_table(results)
    if not len(frame):
        return None
    frame = frame.assign(**{"what to do": [action(str(name)).replace("`", "") for name in frame["check"]]})
    return table(frame, "Suspect cells, with reasons and what to do", heads=_NAMES)


def costs(results: Results, suite: Suite) -> Table:
    """Return clean accuracy, training and cost of the attacks of each mode.

    Args:
        results: The results of a run.
        suite: Its suite.
    """
    summary = results.summary[results.summary["status"] == "done"]
    entries = {entry.title: entry for entry in (*suite.modes, *suite.controls)}
    taught = [title for title, entry in entries.items() if entry.name in TAUGHT]
    times = training_times(results.folder, list(map(str, results.summary["mode"].unique())), taught)
    rows = []
    accuracies_of = dict(list(clean_accuracies(results.summary).groupby("mode", sort=False)["clean_accuracy"]))
    for mode, part in summary.groupby("mode", sort=False):
        learners = accuracies_of[mode]
        count = len(part[["teacher", "architecture", "seed"]].drop_duplicates())
        training = training_of(entries[str(mode)]) if str(mode) in entries else "not known"
        lowest, highest = (numbers.accuracy(float(value)) for value in (learners.min(), learners.max()))
        spread = f"{lowest} to {highest}" if len(learners) > 1 else ""
        passes = [f"{part[name].sum() / count:.0f}" for name in ("forwards", "backwards")]
        seconds = f"{part['seconds'].sum():.1f}"
        trained = str(times.get(str(mode), _UNLOGGED))
        measured = (float(learners.mean()), spread, training, trained)
        rows.append((str(mode), count, *measured, *passes, seconds))
    columns = ["mode", "learners", "clean accuracy, mean", "range", "training", *_COSTS]
    frame = pd.DataFrame(rows, columns=columns).drop(columns=[] if times else [_COSTS[0]])
    return table(frame, "Clean accuracy of all learners; passes of all attacks, per image and learner")


def classes(data: Mapping[str, Any]) -> Table:
    """Return the accuracy on each class at the middle strength of each sweep.

    Args:
        data: What `class_data` returns.
    """
    rows = pd.DataFrame(data["rows"])
    strengths = rows.groupby("perturbation", sort=False)["beta"].unique()
    middle = {label: np.sort(betas)[len(betas) // 2] for label, betas in strengths.items()}
    shown = rows[rows["beta"] == rows["perturbation"].map(middle)]
    names = ["perturbation", *(name for name in _NAMES if rows[name].nunique() > 1 or name == "mode")]
    cells = [
        [
            *(cell(str(row[name])) for name in names),
            cell(numbers.strength(row["beta"])),
            *(_share(value) for value in row["accuracy"]),
        ]
        for row in shown.to_dict("records")
    ]
    return Table("Accuracy on the images of each class", [*names, "beta", *data["classes"]], cells, len(names))


def _share(value: float | None) -> Cell:
    return Cell("", numeric=True) if value is None else cell(float(value))


_UNLOGGED = "not in the log"  # the learners of a mode come from the cache or from files
_COSTS = ("seconds per learner", "forward passes", "backward passes", "seconds of attacks")


def _is_constant(results: Results, name: str) -> bool:
    values = results.summary[name]
    return bool((values == NO_TEACHER).all()) if name == "teacher" else name != "mode" and values.nunique() == 1
