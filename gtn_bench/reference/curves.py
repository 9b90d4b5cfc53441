"""The curves that the reference study published, and how far curves are from them."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from gtn_bench.description import Mistake

if TYPE_CHECKING:
    import pandas as pd

TEACHERS = ("base_larger", "base_larger3")  # what a teacher has to be called to be drawn beside the study's
SOURCE = '"GTN Robustness Tests", K. Willis, TU Berlin 2021'
_KEYS = ["teacher", "mode", "perturbation"]


def published_curves() -> pd.DataFrame:
    """Columns teacher, perturbation, mode, beta (of normalised images), accuracy, std."""
    import pandas as pd

    path = files("gtn_bench.reference").joinpath("published_curves.csv")
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file).rename(columns={"gtn": "teacher", "attack": "perturbation"})


def check_overlay(dataset: str, units: str, teachers: list[str]) -> None:
    """Raise `Mistake` unless curves of such a suite can be put beside the published ones."""
    if dataset != "mnist" or units != "normalized":
        raise Mistake(f"the published curves are of mnist in normalized units, got {dataset} in {units} units")
    if not set(teachers) & set(TEACHERS):
        raise Mistake(f"the published curves are of teachers called {' and '.join(TEACHERS)}, got {teachers}")


def beside(curves: pd.DataFrame) -> pd.DataFrame:
    """The published points that lie in the sweeps of these curves, beside them.

    `curves`: columns teacher, mode, perturbation, beta, accuracy, of one architecture or the accepted ones.
    Between two strengths of theirs the curves are straight lines.
    Columns teacher, perturbation, mode, beta, published, std, accuracy, difference (accuracy - published).
    """
    import numpy as np
    import pandas as pd

    parts = []
    known = dict(list(curves.groupby(_KEYS, sort=False)))
    for name, points in published_curves().groupby(_KEYS, sort=False):
        if name in known:
            curve = known[name].sort_values("beta")
            beta = points["beta"].to_numpy()
            within = (beta >= curve["beta"].min() - 1e-6) & (beta <= curve["beta"].max() + 1e-6)
            points = points[within].rename(columns={"accuracy": "published"})
            accuracy = np.interp(beta[within], curve["beta"], curve["accuracy"])
            parts.append(points.assign(accuracy=accuracy, difference=accuracy - points["published"]))
    columns = ["teacher", "perturbation", "mode", "beta", "published", "std", "accuracy", "difference"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def distances(points: pd.DataFrame) -> pd.DataFrame:
    """One row for each published curve: mean and largest distance of ours, and the strength of the largest."""
    import pandas as pd

    rows = []
    for name, curve in points.groupby(["teacher", "perturbation", "mode"], sort=False):
        gap = curve["difference"].abs().to_numpy()
        rows.append((*name, gap.mean(), gap.max(), curve["beta"].to_numpy()[gap.argmax()]))
    return pd.DataFrame(rows, columns=["teacher", "perturbation", "mode", "mean distance", "largest", "at beta"])
