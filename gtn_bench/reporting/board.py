"""Boards: the curves of many runs, ranked. Runs that were evaluated differently are ranked apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import acceptance, pooled_or_all
from gtn_bench.analysis.grades import worst_graded
from gtn_bench.analysis.measures import overview
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.run_differences import suite_of
from gtn_bench.analysis.suite_differences import FieldDifference, comparable_content, suite_differences
from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.config.labels import ACCEPTED, WORST
from gtn_bench.reporting.grading import curve_grades
from gtn_bench.reporting.names import SMALLEST_AREA

By = Literal["area", "worst-case", "grade"]
BY_NAMES: Mapping[By, str] = {"area": "area", "worst-case": SMALLEST_AREA, "grade": "grade"}

# What must be equal for areas to be compared: the data set with its test images, and how learners are evaluated.
EVALUATION = ("dataset", "perturbations", "units", "precision", "protocol", "eight_bit")
NAMES = ["run", "teacher", "architecture", "mode"]
COLUMNS = ["rank", *NAMES, "pooled", "clean_accuracy", "area", "worst_case", "worst_case_low", "worst_case_high"]
COUNTS = ["grade", "n_seeds", "n_images"]
_GRADES = ("reliable", "n/a", "unknown", "suspect")  # from best to worst


class Board(NamedTuple):
    """The runs of one evaluation.

    Attributes:
        runs: Their output folders.
        perturbations: Labels of the perturbations.
        table: One row per run, teacher, architecture and mode, the best first: `COLUMNS`; `area_<perturbation>`,
            `low_<perturbation>` and `high_<perturbation>` for each perturbation; `COUNTS`.
        differences: The fields in which the evaluation differs from that of the first board.
    """

    runs: tuple[Path, ...]
    perturbations: tuple[str, ...]
    table: pd.DataFrame
    differences: tuple[FieldDifference, ...]


def boards(runs: Sequence[Results], by: By = "area") -> list[Board]:
    """Return the boards of some runs: one for each evaluation, those of the most runs first.

    Args:
        runs: The results of the runs.
        by: What the rows are ranked by: the mean over perturbations of the areas under the curves; the mean over
            images of the smallest area of an image under any perturbation; or the grade. Rows that are equal in it are
            ranked by the others.

    Raises:
        ConfigError: If a folder is named twice.
    """
    folders = [run.folder.resolve() for run in runs]
    if twice := [str(run.folder) for run, path in zip(runs, folders, strict=True) if folders.count(path) > 1]:
        raise ConfigError(f"board expects each run once, got {listed(sorted(set(twice)), str)} again")
    groups: dict[str, list[tuple[Results, Mapping[str, Any]]]] = {}
    for run in runs:
        evaluation = {key: value for key, value in suite_of(run).items() if key in EVALUATION}
        groups.setdefault(_key(evaluation), []).append((run, evaluation))
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [_board(group, ordered[0][0][1] if group is not ordered[0] else group[0][1], by) for group in ordered]


def _key(evaluation: Mapping[str, Any]) -> str:
    return json.dumps(comparable_content(evaluation), sort_keys=True, default=str)


def _board(group: Sequence[tuple[Results, Mapping[str, Any]]], reference: Mapping[str, Any], by: By) -> Board:
    table = pd.concat([_rows(run) for run, _ in group], ignore_index=True)
    labels = list(dict.fromkeys(str(name) for run, _ in group for name in run.summary["perturbation"].unique()))
    of_perturbations = [f"{what}_{label}" for label in labels for what in ("area", "low", "high")]
    table = _ranked(table, by).reindex(columns=[*COLUMNS, *of_perturbations, *COUNTS])
    found = tuple(suite_differences(reference, group[0][1]))
    return Board(tuple(run.folder for run, _ in group), tuple(labels), table, found)


def _ranked(table: pd.DataFrame, by: By) -> pd.DataFrame:
    """Return a table with its rows in their order, and their ranks. Equal rows share a rank."""
    keys = {"area": -table["area"], "worst-case": -table["worst_case"], "grade": table["grade"].map(_GRADES.index)}
    names = [by, *(name for name in keys if name != by)]
    ordered = pd.DataFrame(keys, index=table.index)[names].fillna(np.inf)
    table = table.loc[ordered.sort_values(names, kind="stable").index]
    values = ordered.loc[table.index].itertuples(index=False, name=None)
    ranks: list[int] = []
    before: tuple[Any, ...] | None = None
    for place, row in enumerate(values, start=1):
        ranks.append(ranks[-1] if row == before else place)
        before = row
    return table.assign(rank=ranks).reset_index(drop=True)


def _rows(run: Results) -> pd.DataFrame:
    """Return the rows of a run, without ranks."""
    shown = pooled_or_all(run.measures)
    graded = curve_grades(run)
    accepted = acceptance(run.summary, run.rule)
    perturbations = [str(name) for name in run.summary["perturbation"].unique()]
    names = ["teacher", "architecture", "mode"]
    clean = overview(run.summary, run.rule).set_index(names)["clean accuracy"].to_dict()
    rows = []
    for name, part in shown.groupby(names, sort=False):
        of = {str(row["perturbation"]): row for row in part.to_dict("records")}
        identity = dict(zip(names, map(str, name), strict=True))
        pooled = accepted.loc[accepted[ACCEPTED] & (accepted["teacher"] == name[0]), "architecture"].tolist()
        known = [of[label] for label in perturbations if label in of]
        complete = len(known) == len(perturbations) and not any(np.isnan(row["area"]) for row in known)
        lowest = of.get(WORST, known[0] if len(perturbations) == 1 and known else None) if complete else None
        mine = graded[(graded[names] == list(name)).all(axis=1)]
        images = run.summary.loc[run.summary["perturbation"].isin(of), "n"]
        rows.append(
            {
                "run": str(run.folder),
                **identity,
                "pooled": " ".join(pooled) if name[1] == ACCEPTED else name[1],
                "clean_accuracy": clean.get(name, np.nan),
                "area": float(np.mean([row["area"] for row in known])) if complete else np.nan,
                **{
                    column: lowest[key] if lowest is not None else np.nan
                    for column, key in (
                        ("worst_case", "area"),
                        ("worst_case_low", "ci_low"),
                        ("worst_case_high", "ci_high"),
                    )
                },
                **{
                    f"{what}_{label}": of[label][key] if label in of else np.nan
                    for label in perturbations
                    for what, key in (("area", "area"), ("low", "ci_low"), ("high", "ci_high"))
                },
                "grade": worst_graded(mine["grade"]),
                "n_seeds": int(part["n_seeds"].max()),
                "n_images": int(images.max()) if len(images) else 0,
            }
        )
    return pd.DataFrame(rows, columns=None if rows else [*COLUMNS, *COUNTS])
