"""Whether tables belong together. Numbers that follow from others are computed again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import for_each_teacher
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.pooling import pooled
from gtn_bench.analysis.reading import RERUN
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import IDENTITY, LEARNER
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.labels import WORST

_CURVE = ["dataset", "teacher", "architecture", "perturbation", "mode"]
_FOLLOWING = "accuracy", "n_seeds", "std", "accuracy_given_correct", "mean_linf", "mean_l2", "certified_accuracy"
_TOLERANCE = 1e-9


def check_consistency(results: Results) -> None:
    """Check that curves, measures and comparisons follow from the summary.

    This is for results whose files are not compared with digests: those of earlier versions, and those that somebody
    has changed. Intervals and p-values depend on single images and are not checked.

    Args:
        results: The results.

    Raises:
        ConfigError: If they do not; it names the table.
    """
    images = results.summary.loc[results.summary["status"] == "done", "n"]
    if not (np.isfinite(images) & (images > 0)).all():
        raise ConfigError(f"{results.folder / 'summary.csv'}: column 'n' expects numbers of images; {RERUN}")
    found = results.curves
    _check_curves(results, found)
    areas = _areas(for_each_teacher(found))  # with a copy of what needs no teacher
    if len(results.measures):
        _check_measures(results, areas)
    if len(results.comparisons):
        _check_comparisons(results, areas)
    for name, table, key in (
        ("checks.csv", results.checks, IDENTITY),
        ("certificates.csv", results.certificates, LEARNER),
    ):
        known = pd.MultiIndex.from_frame(results.summary[key])
        if len(table) and not pd.MultiIndex.from_frame(table[key]).isin(known).all():
            raise _mismatch(results, name, "rows")


def _check_curves(results: Results, found: pd.DataFrame) -> None:
    expected = curves(results.summary, results.rule)
    names = [*_CURVE, "beta"]
    same_rows = len(found) == len(expected) and found[names].to_numpy().tolist() == expected[names].to_numpy().tolist()
    if not same_rows:
        raise _mismatch(results, "curves.csv", "rows")
    for column in (
        "accuracy",
        "n_seeds",
        "std",
        "accuracy_given_correct",
        "mean_linf",
        "mean_l2",
        "certified_accuracy",
    ):
        if not _agree(found[column], expected[column], everywhere=True):
            raise _mismatch(results, "curves.csv", f"column '{column}'")
    for column in ("grade", "proven"):
        if found[column].astype(str).tolist() != expected[column].astype(str).tolist():
            raise _mismatch(results, "curves.csv", f"column '{column}'")


def _areas(found: pd.DataFrame) -> pd.DataFrame:
    """Return the area under each curve, and the number of its seeds; nan if that differs between points."""
    rows = {}
    for name, curve in found.groupby(_CURVE, sort=False):
        ordered = curve.sort_values("beta")
        beta, accuracy = ordered["beta"].to_numpy(), ordered["accuracy"].to_numpy()
        area = np.trapezoid(accuracy, beta) / (beta[-1] - beta[0]) if len(beta) > 1 else accuracy[0]
        same = ordered["n_seeds"].nunique() == 1
        rows[name] = (area, ordered["n_seeds"].iloc[0] if same else np.nan)
    index = pd.MultiIndex.from_tuples(rows, names=_CURVE)
    return pd.DataFrame(list(rows.values()), index=index, columns=["area", "n_seeds"])


def _check_measures(results: Results, areas: pd.DataFrame) -> None:
    measured = results.measures[results.measures["perturbation"] != WORST].set_index(_CURVE)
    if not areas.index.isin(measured.index).all():
        raise _mismatch(results, "measures.csv", "rows")
    known = areas.reindex(measured.index)
    clean = for_each_teacher(pooled(results.summary, results.rule)).groupby(_CURVE)["clean_accuracy"].mean()
    if not _agree(measured["clean_accuracy"], clean.reindex(measured.index)):
        raise _mismatch(results, "measures.csv", "column 'clean_accuracy'")
    if not _agree(measured["area"].where(known["n_seeds"] == measured["n_seeds"]), known["area"]):
        raise _mismatch(results, "measures.csv", "column 'area'")


def _check_comparisons(results: Results, areas: pd.DataFrame) -> None:
    table = results.comparisons
    if not _agree(table["area"] - table["other_area"], table["difference"]):
        raise ConfigError(f"{results.folder / 'comparisons.csv'}: 'difference' is not 'area' minus 'other_area'")
    for mode, area, seeds in (("mode", "area", "n_seeds"), ("other", "other_area", "other_n_seeds")):
        index = pd.MultiIndex.from_frame(table[[*_CURVE[:-1], mode]])
        if not index.isin(areas.index).all():
            raise _mismatch(results, "comparisons.csv", "rows")
        known = areas.reindex(index)
        same = known["n_seeds"].to_numpy() == table[seeds].to_numpy()
        if not _agree(table[area].where(same), known["area"]):
            raise _mismatch(results, "comparisons.csv", f"column '{area}'")


def _agree(found: pd.Series, expected: pd.Series, *, everywhere: bool = False) -> bool:
    """Return whether numbers are equal, up to rounding: everywhere, or where both are known."""
    ours, theirs = (values.to_numpy(dtype=float, na_value=np.nan) for values in (found, expected))
    known = np.full(len(ours), everywhere) | ~(np.isnan(ours) | np.isnan(theirs))
    return bool(np.allclose(ours[known], theirs[known], rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))


def _mismatch(results: Results, table: str, what: str) -> ConfigError:
    return ConfigError(
        f"{results.folder / table}: does not follow from summary.csv ({what}); run the suite again, or undo the change"
    )
