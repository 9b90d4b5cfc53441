"""What the columns of tables hold. Tables of an output folder are checked against it when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd

from gtn_bench.analysis.grades import Grade
from gtn_bench.analysis.records import Status
from gtn_bench.analysis.tables import IDENTITY, LEARNER
from gtn_bench.config.errors import listed, shown

_NAMES = {"dataset", "teacher", "architecture", "mode", "other", "perturbation", "check", "certifier", "about", "norm"}
_TEXTS = {*_NAMES, "over", "grade", "status", "flags", "outcome", "text", "error"}
_COUNTS = {"n_seeds", "n_pairs", "other_n_seeds", "n_images", "seed"}
_SHARES = {
    "clean_accuracy",
    "accuracy",
    "accuracy_given_correct",
    "missed_adversarial",
    "certified_accuracy",
    "settled",
}
_KEYS = (  # of the rows: the first one that a table has
    [*IDENTITY, "check"],
    IDENTITY,
    [*LEARNER, "certifier", "about", "norm", "epsilon"],
    ["dataset", "teacher", "architecture", "perturbation", "mode", "other"],
    ["dataset", "teacher", "architecture", "mode", "perturbation", "beta"],
    ["dataset", "teacher", "architecture", "mode", "perturbation"],
)


def check_table(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that a table has its columns and that their values are possible.

    Args:
        table: The table, as it was read.
        columns: The columns that it must have, in any order.

    Raises:
        ValueError: If it has not. The message is one line.
    """
    missing = [column for column in columns if column not in table]
    unknown = [str(column) for column in table if column not in columns]
    if missing:
        raise ValueError(f"it has no column {listed(missing)}")
    if unknown:
        raise ValueError(f"it has the unknown column {listed(unknown)}")
    if len(table):
        for column in columns:
            _check_column(column, table[column])
        key = next(key for key in _KEYS if set(key) <= set(columns))
        repeated = table.duplicated(key)
        if repeated.any():
            raise ValueError(f"row {_first(repeated)} has the names of an earlier row")


def _check_column(column: str, values: pd.Series) -> None:
    """Raise `ValueError` if a value of a column is impossible."""
    if column in _TEXTS:
        _refuse(column, values, values.isna() if column in _NAMES else values.notna() & ~values.map(_is_text), "a text")
    elif column == "proven":
        _refuse(column, values, ~values.isin([True, False]), "True or False")
    else:
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            _refuse(column, values, pd.to_numeric(values, errors="coerce").isna() & values.notna(), "a number")
            raise ValueError(f"column '{column}' expects numbers, got {shown(str(values.iloc[0]))} in row 1")
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        if column in _SHARES:
            _refuse(column, values, (numbers < 0) | (numbers > 1), "a share of at most 1")
        if column in _COUNTS:
            _refuse(column, values, ~(numbers >= 0) | np.isinf(numbers) | (numbers != np.floor(numbers)), "a count")
        if column == "beta":
            _refuse(column, values, ~(numbers >= 0) | np.isinf(numbers), "a strength")
    if column in _CHOICES:
        _refuse(
            column, values, values.notna() & ~values.isin(_CHOICES[column]), f"one of {', '.join(_CHOICES[column])}"
        )


_CHOICES: dict[str, tuple[str, ...]] = {"status": get_args(Status), "grade": get_args(Grade)}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _refuse(column: str, values: pd.Series, wrong: pd.Series | np.ndarray, expected: str) -> None:
    """Raise `ValueError` with the first wrong value, if there is one."""
    if np.any(wrong):
        row = _first(wrong)
        value = values.iloc[row - 1]
        got = "nothing" if pd.isna(value) else shown(str(value))
        raise ValueError(f"column '{column}' expects {expected}, got {got} in row {row}")


def _first(wrong: pd.Series | np.ndarray) -> int:
    """Return the number of the first row, counted from 1, for which a mask is true."""
    return int(np.flatnonzero(np.asarray(wrong))[0]) + 1
