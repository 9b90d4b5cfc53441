"""The curves that the reference study published, and the distance of other curves from them."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from gtn_bench.config.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

TEACHERS = ("base_larger", "base_larger3")  # labels of the teachers in the study
SOURCE = '"GTN Robustness Tests", K. Willis, TU Berlin 2021'
_KEYS = ["teacher", "mode", "perturbation"]


def published_curves() -> pd.DataFrame:
    """Return the published curves.

    Returns:
        Columns teacher, perturbation, mode, beta (in units of normalized images), accuracy, std.
    """
    import pandas as pd

    path = files("gtn_bench.reference").joinpath("published_curves.csv")
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file).rename(columns={"gtn": "teacher", "attack": "perturbation"})
    return table.replace({"perturbation": {"lbfgs": "lbfgs-penalty"}})  # the study's name for its penalized ascent


def check_overlay(dataset: str, units: str, teachers: list[str]) -> None:
    """Check that the published curves can be drawn beside those of a suite.

    Args:
        dataset: Name of the data set.
        units: Units of the strengths.
        teachers: Labels of the teachers.

    Raises:
        ConfigError: If the data set, the units or the labels of all teachers differ from the study's.
    """
    if dataset != "mnist" or units != "normalized":
        raise ConfigError(f"the published curves are of mnist in normalized units, got {dataset} in {units} units")
    if not set(teachers) & set(TEACHERS):
        raise ConfigError(f"the published curves are of teachers called {' and '.join(TEACHERS)}, got {teachers}")


def beside(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the published points within the sweeps of some curves, beside the accuracy of these curves.

    Args:
        curves: Columns teacher, mode, perturbation, beta, accuracy, of one architecture or of the accepted ones. They
            are interpolated linearly.

    Returns:
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
    """Return mean and largest distance from each published curve, and the strength of the largest.

    Args:
        points: The table that `beside` returns.
    """
    import pandas as pd

    rows = []
    for name, curve in points.groupby(["teacher", "perturbation", "mode"], sort=False):
        gap = curve["difference"].abs().to_numpy()
        rows.append((*name, gap.mean(), gap.max(), curve["beta"].to_numpy()[gap.argmax()]))
    return pd.DataFrame(rows, columns=["teacher", "perturbation", "mode", "mean distance", "largest", "at beta"])
