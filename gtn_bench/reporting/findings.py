"""What a report says about checks: suspect cells with their reasons, and what is missing for the grade `reliable`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.checks import CHECKS, percent
from gtn_bench.analysis.grades import MODEL, REASONS, REQUIRED
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import IDENTITY
from gtn_bench.reporting.grading import split_flags

_GRADES = ("suspect", "reliable", "unknown", "n/a")


def grade_counts(summary: pd.DataFrame) -> str:
    """Return how many finished cells have which grade: ``3 suspect, 12 unknown``.

    Args:
        summary: The summary of a run.
    """
    counts = summary.loc[summary["status"] == "done", "grade"].value_counts()
    return ", ".join(f"{counts[grade]} {grade}" for grade in _GRADES if grade in counts)


def reason(name: str, shares: Iterable[float]) -> str:
    """Return the sentence about a failed check of some cells, with the largest share.

    Args:
        name: Name of the check, or of a check of the model.
        shares: Measured shares; nan where they are not known.
    """
    if name not in CHECKS:
        return MODEL
    known = sorted({percent(share) for share in shares if not np.isnan(share)}, key=_number)
    measured = known[-1] if known else (f"more than {percent(CHECKS[name].threshold)}")
    text = CHECKS[name].text.format(measured=f"up to {measured}" if len(known) > 1 else measured)
    return text[:1].upper() + text[1:]


def action(name: str) -> str:
    """Return what to do about a failed check.

    Args:
        name: Name of the check, or of a check of the model.
    """
    return CHECKS[name].action if name in CHECKS else "Repair the model, or how it is called, and run again."


def suspect_checks(results: Results) -> pd.DataFrame:
    """Return the failed checks of a run, one row per curve and check.

    Args:
        results: The results of a run.

    Returns:
        Columns teacher, architecture, mode, perturbation, check, cells, strengths, reason.
    """
    summary = results.summary
    flagged = summary[summary["flags"] != ""]
    names_of = pd.Series([split_flags(text) for text in flagged["flags"]], index=flagged.index, dtype=object)
    failed = flagged[IDENTITY].assign(check=names_of).explode("check")
    known = _rows(results.checks, [*IDENTITY, "check"])
    keys = zip(*(failed[column] for column in (*IDENTITY, "check")), strict=True)
    found = failed.assign(measured=[known.get(key, {"measured": np.nan})["measured"] for key in keys])
    names = ["teacher", "architecture", "perturbation", "mode", "check"]
    rows = [
        (*name, len(cells), _range(cells["beta"]), reason(str(name[-1]), cells["measured"]))
        for name, cells in found.groupby(names, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*names, "cells", "strengths", "reason"])


def missing_checks(results: Results) -> pd.DataFrame:
    """Return what withholds the grade `reliable` from unknown cells, grouped by what is missing.

    Args:
        results: The results of a run.

    Returns:
        Columns check, perturbations, cells, why.
    """
    summary = results.summary
    unknown = summary.loc[(summary["grade"] == "unknown") & (summary["status"] == "done"), IDENTITY]
    cells_of_grade = set(unknown.itertuples(index=False, name=None))
    groups: dict[tuple[str, str, str], dict[tuple[Any, ...], tuple[str, float]]] = {}
    for (*cell_of, _), row in _rows(results.checks, [*IDENTITY, "check"]).items():
        cell = tuple(cell_of)
        required = row["outcome"] == "withheld" or (row["outcome"] == "not run" and row["check"] in REQUIRED)
        if cell not in cells_of_grade or not required:
            continue
        fixed = row["outcome"] == "not run" or row["check"] in REASONS
        key = (row["outcome"], row["text"] if fixed else row["check"], row["check"] if fixed else "")
        groups.setdefault(key, {})[cell] = (row["text"], row["measured"])
    merged: dict[tuple[str, str, frozenset[Any]], list[str]] = {}
    for (outcome, what, check), cells in groups.items():
        why = what if check else _worst(cells.values())
        merged.setdefault((outcome, why, frozenset(cells)), []).append(check or what)
    place = IDENTITY.index("perturbation")
    order = {label: number for number, label in enumerate(summary["perturbation"].unique())}
    table = []
    for (_, why, cells_of), checks in merged.items():
        labels = sorted({cell[place] for cell in cells_of}, key=order.__getitem__)
        shown = ", ".join(results.display_name(str(label)) for label in labels)
        what = "" if checks[0] in REASONS else ", ".join(checks)
        table.append((what, shown, len(cells_of), why))
    return pd.DataFrame(table, columns=["check", "perturbations", "cells", "why"])


def has_no_reasons(results: Results) -> bool:
    """Return whether a run has unknown cells and recorded nothing about what withholds the grade `reliable`.

    Args:
        results: The results of a run.
    """
    unknown = (results.summary["grade"] == "unknown") & (results.summary["status"] == "done")
    return bool(unknown.any()) and not len(missing_checks(results))


def _rows(table: pd.DataFrame, columns: list[str]) -> dict[tuple[Any, ...], dict[Any, Any]]:
    """Return the rows of a table by their values of some columns."""
    return {tuple(row[column] for column in columns): row for row in table.to_dict("records")}


def _worst(found: Iterable[tuple[str, float]]) -> str:
    """Return the text of the largest share."""
    texts = list(found)
    text = max(texts, key=lambda pair: pair[1])[0]
    return text if len({text for text, _ in texts}) == 1 else f"In the worst case: {text}"


def _range(betas: pd.Series[Any]) -> str:
    """Return strengths as text: ``0.1``, ``0.1, 0.2``, ``0.1 to 0.5``."""
    known = [f"{beta:g}" for beta in sorted(betas.unique())]
    return ", ".join(known) if len(known) < 3 else f"{known[0]} to {known[-1]}"


def _number(text: str) -> float:
    return float(text.split()[0])
