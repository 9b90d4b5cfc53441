"""Acceptance: which architectures count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from gtn_bench.config.labels import ACCEPTED, NO_TEACHER


class AcceptanceRule(NamedTuple):
    """An architecture is accepted if its mean clean accuracy exceeds the threshold in every mode but the controls.

    Attributes:
        threshold: Clean accuracy to exceed.
        controls: Modes that do not decide.
    """

    threshold: float
    controls: tuple[str, ...] = ()


def clean_accuracies(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the clean accuracy of each learner, on the largest set of images that a perturbation used.

    Duplicates have no row.

    Args:
        summary: The summary of a run.
    """
    seen = summary[~summary["status"].isin(("error", "duplicate"))].sort_values("n", kind="stable")
    keys = ["dataset", "teacher", "architecture", "mode", "seed"]
    return seen.groupby(keys, sort=False)["clean_accuracy"].last().reset_index()


def acceptance(summary: pd.DataFrame, rule: AcceptanceRule) -> pd.DataFrame:
    """Return which architectures are accepted.

    Args:
        summary: The summary of a run.
        rule: When an architecture is accepted.

    Returns:
        The columns that `accept` returns.
    """
    table = accept(clean_accuracies(summary), list(summary["mode"].unique()), rule)
    planned = for_each_teacher(summary)[["teacher", "architecture"]].drop_duplicates()
    table = planned.merge(table, how="left", on=["teacher", "architecture"])
    return table.assign(**{ACCEPTED: table[ACCEPTED].eq(True)})  # missing where all learners have failed


def accept(clean: pd.DataFrame, modes: Sequence[str], rule: AcceptanceRule) -> pd.DataFrame:
    """Return which architectures are accepted.

    Args:
        clean: Clean accuracy of each learner, columns as from `clean_accuracies`.
        modes: All modes. Those without a teacher count for every teacher.
        rule: When an architecture is accepted. An architecture with a failed mode is not.

    Returns:
        Columns teacher, architecture, one per mode (mean clean accuracy over seeds), accepted.
    """
    means = for_each_teacher(clean).pivot_table(
        index=["teacher", "architecture"], columns="mode", values="clean_accuracy", aggfunc="mean", sort=False
    )
    means = means.reindex(columns=list(modes))
    decisive = [mode for mode in modes if mode not in rule.controls]
    means[ACCEPTED] = (means[decisive] > rule.threshold).all(axis=1)
    return means.reset_index().rename_axis(columns=None)


def for_each_teacher(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the rows of modes without a teacher repeated under the label of every teacher.

    Args:
        table: A table with the columns `teacher` and `mode`.
    """
    teachers = [teacher for teacher in table["teacher"].unique() if teacher != NO_TEACHER]
    if not teachers:
        return table
    parts = [table[table["teacher"].isin([teacher, NO_TEACHER])].assign(teacher=teacher) for teacher in teachers]
    return pd.concat(parts, ignore_index=True)


def pooled_or_all(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for every teacher, the rows of its pooled accepted architectures, or all rows if there are none.

    Args:
        table: A table with the columns `teacher` and `architecture`.
    """
    table = for_each_teacher(table)
    pooled = table["architecture"] == ACCEPTED
    return table[pooled | ~table["teacher"].isin(table.loc[pooled, "teacher"])]
