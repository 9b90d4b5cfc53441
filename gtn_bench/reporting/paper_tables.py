"""The content of tables for papers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, pooled_or_all
from gtn_bench.analysis.measures import overview
from gtn_bench.analysis.results import Results
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER, WORST
from gtn_bench.reporting import numbers
from gtn_bench.reporting.accuracies import SUSPECT
from gtn_bench.reporting.grading import curve_grades
from gtn_bench.reporting.html.clean import clean_points
from gtn_bench.reporting.html.samples import SampleFacts
from gtn_bench.reporting.names import SMALLEST_AREA

HEADS = ("teacher", "architecture", "perturbation", "mode", "other")  # columns that identify a row
AREAS = (
    "Mean accuracy over each sweep (the area under the accuracy curve) with 95 % confidence intervals. "
    "Smallest area over perturbations: the mean over images of the smallest area of an image under any perturbation; "
    "it depends on the ranges of the sweeps."
)
COMPARISONS = (
    "Differences of areas between modes with 95 % confidence intervals. p: with Holm correction. Detectable: the "
    "smallest true difference that such a run detects with 80 % power."
)
GRADES = "Grade of each curve: the worst of its strengths."
_CURVE = ("teacher", "architecture", "mode")


def clean_accuracies(results: Results) -> pd.DataFrame:
    """Return the clean accuracies of the perturbations whose sweep lacks strength 0, as points of strength 0.

    Args:
        results: The results of a run.
    """
    summary = results.summary
    smallest = summary.groupby("perturbation", sort=False)["beta"].min()
    lacking = smallest[smallest > 0]
    if not (results.folder / "samples.parquet").is_file():
        return clean_points(results, None)
    masks: dict[int, Any] = {}
    for label, beta in lacking.items():
        cells = summary[(summary["perturbation"] == label) & (summary["beta"] == beta) & (summary["status"] == "done")]
        if not len(cells):
            continue
        keys = ["teacher", "architecture", "mode", "seed"]
        rows = {key: int(str(row)) for row, *key_of in cells[keys].itertuples(name=None) if (key := tuple(key_of))}
        samples = results.select(perturbation=str(label), beta=float(beta))
        for name, part in samples.sort_values("sample").groupby(keys, sort=False, observed=True):
            masks[rows[name]] = (part["clean_prediction"] == part["label"]).to_numpy()
    return clean_points(results, SampleFacts({}, masks))


def accuracies(results: Results, label: str, clean: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each mode without a perturbation and at every strength, with intervals.

    Args:
        results: The results of a run.
        label: Label of the perturbation.
        clean: What `clean_accuracies` returns.
    """
    points = results.curves[results.curves["perturbation"] == label]
    shown = pooled_or_all(points)
    zero = pooled_or_all(clean[clean["perturbation"] == label]) if len(clean) else clean
    betas = sorted(float(beta) for beta in shown["beta"].unique())
    titles = dict(zip(betas, numbers.strengths(betas), strict=True))
    without = {tuple(row[name] for name in _CURVE): _cell(row) for row in zero.to_dict("records")}
    rows = []
    for key, curve in shown.groupby(list(_CURVE), sort=False):
        cells = {float(row["beta"]): _cell(row) for row in curve.to_dict("records")}
        first = {"clean": without.get(key, "")} if len(zero) else {}
        rows.append({**dict(zip(_CURVE, key, strict=True)), **first, **{titles[b]: cells.get(b, "") for b in betas}})
    return _without_constants(results, pd.DataFrame(rows))


def marks(table: pd.DataFrame) -> str:
    """Return what the marks in a table of accuracies mean, after a space; empty if it has none.

    Args:
        table: What `accuracies` returns.
    """
    used = any(SUSPECT in str(value) for value in table.to_numpy().ravel())
    return f" {SUSPECT}: suspect, a check of the attack failed." if used else ""


def images(results: Results, label: str) -> int:
    """Return the number of test images of a perturbation.

    Args:
        results: The results of a run.
        label: Label of the perturbation.
    """
    return int(results.summary.loc[results.summary["perturbation"] == label, "n"].max())


def areas(results: Results) -> pd.DataFrame:
    """Return the areas of each mode, a column for each perturbation.

    Args:
        results: The results of a run.
    """
    shown = pooled_or_all(results.measures)
    titles = {str(label): results.display_name(str(label)) for label in shown["perturbation"].unique()}
    titles |= {WORST: SMALLEST_AREA} if WORST in titles else {}
    means = overview(results.summary, results.rule)
    known = dict(
        zip(means[list(_CURVE)].itertuples(index=False, name=None), means["clean accuracy"].astype(float), strict=True)
    )
    rows = []
    for key, part in shown.groupby(list(_CURVE), sort=False):
        cells = {str(row["perturbation"]): _area(row) for row in part.to_dict("records")}
        clean = numbers.accuracy(known.get(key, np.nan))
        areas_of = {title: cells.get(label, "") for label, title in titles.items()}
        rows.append({**dict(zip(_CURVE, key, strict=True)), "clean accuracy": clean, **areas_of})
    return _without_constants(results, pd.DataFrame(rows))


def comparisons(results: Results) -> pd.DataFrame:
    """Return the comparisons of modes.

    Args:
        results: The results of a run.
    """
    shown = pooled_or_all(results.comparisons)
    rows = [
        {
            **{name: row[name] for name in ("teacher", "architecture")},
            "perturbation": results.display_name(str(row["perturbation"])),
            **{name: row[name] for name in ("mode", "other")},
            "area": numbers.accuracy(row["area"]),
            "other area": numbers.accuracy(row["other_area"]),
            "difference": numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], signed=True),
            "p": numbers.p_value(row["p_holm"]),
            "detectable": numbers.accuracy(row["minimum_detectable_effect"]),
            "pairs": f"{row['n_pairs']:.0f}",
            "images": f"{row['n_images']:.0f}",
        }
        for row in ({str(name): value for name, value in each.items()} for each in shown.to_dict("records"))
    ]
    return _without_constants(results, pd.DataFrame(rows))


def accepted(results: Results) -> pd.DataFrame:
    """Return the mean clean accuracy of each architecture and mode, and whether the architecture is accepted.

    Args:
        results: The results of a run.
    """
    table = acceptance(results.summary, results.rule)
    modes = list(table.columns[2:-1])
    texts = {mode: [numbers.accuracy(value, missing="failed") for value in table[mode]] for mode in modes}
    table = table.assign(**texts, **{ACCEPTED: ["yes" if value else "no" for value in table[ACCEPTED]]})
    return _without_constants(results, table, ["teacher"])


def grades(results: Results) -> pd.DataFrame:
    """Return the grade of each curve with its reason.

    Args:
        results: The results of a run.
    """
    table = pooled_or_all(curve_grades(results)).drop(columns="grade")
    table = table.rename(columns={"text": "grade"})
    table = table.assign(perturbation=[results.display_name(str(name)) for name in table["perturbation"]])
    order = [name for name in HEADS if name in table]
    return _without_constants(results, table[[*order, "grade"]])


def _cell(row: Any) -> str:
    text = numbers.with_interval(row["accuracy"], row["ci_low"], row["ci_high"])
    return text + (SUSPECT if row["grade"] == "suspect" else "")


def _area(row: Any) -> str:
    return numbers.with_interval(row["area"], row["ci_low"], row["ci_high"])


def _without_constants(
    results: Results, table: pd.DataFrame, names: Iterable[str] = ("teacher", "architecture")
) -> pd.DataFrame:
    """Return a table without the columns `teacher` and `architecture` if they say nothing; missing values are empty."""
    constant = {
        "teacher": (results.summary["teacher"] == NO_TEACHER).all(),
        "architecture": results.summary["architecture"].nunique() == 1,
    }
    shown = table.drop(columns=[name for name in names if constant[name]], errors="ignore")
    return shown.astype(object).replace({np.nan: ""})
