"""The comparison of two modes of a run, as Python and notebooks show it."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.reporting.numbers import accuracy, p_value, with_interval
from gtn_bench.reporting.sentences import comparison_sentences

_NAMES = ("dataset", "teacher", "architecture", "perturbation")
_SWAPPED = {"mode": "other", "area": "other_area", "n_seeds": "other_n_seeds"}


class ModeComparison(NamedTuple):
    """Two modes under each perturbation. Printed it is a text, in a notebook a table.

    Attributes:
        table: Rows of `comparisons.csv` with the first mode as `mode`: of the accepted architectures together, or of
            each architecture if none is accepted.
        sentences: One sentence for each row.
    """

    table: pd.DataFrame
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(text)}</li>" for text in self.sentences)
        return f"{_shown(self.table).to_html(index=False, border=0)}<ul>{items}</ul>"


def compare_modes(results: Results, mode: str, other: str) -> ModeComparison:
    """Return the comparison of two modes of a run.

    Args:
        results: The results of the run.
        mode: Label of a mode.
        other: Label of the other mode.

    Raises:
        ConfigError: If there is no such mode, or the run does not compare the two.
    """
    known = [str(label) for label in results.summary["mode"].unique()]
    for label in (mode, other):
        if label not in known:
            raise ConfigError(f"{results.folder}: no mode is called {shown(label)}{did_you_mean(label, known)}")
    if mode == other:
        raise ConfigError(f"{results.folder}: compare expects two different modes, got {shown(mode)} twice")
    found = results.comparisons
    direct = (found["mode"] == mode) & (found["other"] == other)
    swapped = (found["mode"] == other) & (found["other"] == mode)
    table = pooled_or_all(pd.concat([found[direct], _turned(found[swapped])], ignore_index=True))
    if not len(table):
        raise ConfigError(
            f"{results.folder}: the run does not compare {mode} and {other}: both are controls, or no learners of them "
            "that could be compared have finished"
        )
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return ModeComparison(table.reset_index(drop=True), tuple(comparison_sentences(results, rows)))


def _turned(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the two modes in the opposite order."""
    names = {**_SWAPPED, **{new: old for old, new in _SWAPPED.items()}}
    turned = table.rename(columns=names)[list(table.columns)]
    low, high = -turned["ci_high"], -turned["ci_low"]
    return turned.assign(difference=-turned["difference"], ci_low=low, ci_high=high)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in _NAMES if name == "perturbation" or table[name].nunique() > 1]
    columns: dict[str, Any] = {name: table[name] for name in names}
    columns[str(table["mode"].iloc[0])] = [accuracy(value) for value in table["area"]]
    columns[str(table["other"].iloc[0])] = [accuracy(value) for value in table["other_area"]]
    ends = zip(table["difference"], table["ci_low"], table["ci_high"], strict=True)
    columns["difference"] = [with_interval(*each, signed=True) for each in ends]
    columns["p (Holm)"] = [p_value(value) for value in table["p_holm"]]
    columns["minimum detectable effect"] = [accuracy(value) for value in table["minimum_detectable_effect"]]
    return pd.DataFrame(columns)
