"""From cells to curves: means and intervals over seeds, areas, accepted architectures. On SciPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

ACCEPTED = "accepted"
NO_TEACHER = "none"


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean of accuracies (n,), within [0, 1]; (nan, nan) for one value.

    The seeds are a sample of all learners that could have been drawn; the test images are not resampled.
    """
    if len(values) < 2:
        return np.nan, np.nan
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    half = stdtrit(len(values) - 1, (1 + level) / 2) * error
    return float(np.clip(mean - half, 0, 1)), float(np.clip(mean + half, 0, 1))


def area(beta: np.ndarray, accuracy: np.ndarray) -> float:
    """Mean accuracy over the sweep: trapezoidal area under the curve divided by its width.

    `beta` (k,) ascending, `accuracy` (k,); a sweep of one strength has that point's accuracy.
    """
    if len(beta) == 1:
        return float(accuracy[0])
    return float(np.trapezoid(accuracy, beta) / (beta[-1] - beta[0]))


def clean_accuracies(summary: pd.DataFrame) -> pd.DataFrame:
    """Clean accuracy of each learner, on the largest set of images that a perturbation used."""
    done = summary[summary["status"] == "done"].sort_values("n", kind="stable")
    keys = ["dataset", "teacher", "architecture", "mode", "seed"]
    return done.groupby(keys, sort=False)["clean_accuracy"].last().reset_index()


def acceptance(summary: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Which architectures count: the minimum over modes of the mean clean accuracy exceeds the threshold.

    Modes without a teacher count for every teacher. Columns: teacher, architecture, one for each
    mode (mean clean accuracy over seeds), accepted. An architecture with a failed mode is not accepted.
    """
    clean = for_each_teacher(clean_accuracies(summary))
    means = clean.pivot_table(
        index=["teacher", "architecture"], columns="mode", values="clean_accuracy", aggfunc="mean", sort=False
    )
    means = means.reindex(columns=summary["mode"].unique())
    means[ACCEPTED] = (means > threshold).all(axis=1)
    return means.reset_index().rename_axis(columns=None)


def for_each_teacher(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of modes without a teacher repeated under the name of every teacher."""
    teachers = [teacher for teacher in table["teacher"].unique() if teacher != NO_TEACHER]
    if not teachers:
        return table
    parts = [table[table["teacher"].isin([teacher, NO_TEACHER])].assign(teacher=teacher) for teacher in teachers]
    return pd.concat(parts, ignore_index=True)


def curves(summary: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """One row for each curve point: mean accuracy over seeds, deviation, 95 % interval.

    Rows with architecture `accepted` pool the accepted architectures: each seed counts with its
    mean over them. Failed cells leave a point with fewer seeds, never with a better mean.
    """
    done = summary[summary["status"] == "done"]
    accepted = acceptance(summary, threshold)
    pairs = accepted.loc[accepted[ACCEPTED], ["teacher", "architecture"]]
    # Pool only the seeds that have every accepted architecture.
    pooled = for_each_teacher(done).merge(pairs, on=["teacher", "architecture"])
    keys = ["dataset", "teacher", "mode", "seed", "perturbation", "beta"]
    groups = pooled.groupby(keys, sort=False)["accuracy"].agg(["mean", "count"]).reset_index()
    complete = groups["count"] == groups["teacher"].map(pairs.groupby("teacher").size())
    pooled = groups[complete].rename(columns={"mean": "accuracy"}).assign(architecture=ACCEPTED)
    points = pd.concat([done, pooled], ignore_index=True)

    rows = []
    names = ["dataset", "teacher", "architecture", "mode", "perturbation", "beta"]
    for name, point in points.groupby(names, sort=False):
        accuracy = point["accuracy"].to_numpy()
        low, high = interval(accuracy)
        std = float(accuracy.std(ddof=1)) if len(accuracy) > 1 else np.nan
        rows.append((*name, float(accuracy.mean()), std, low, high, len(accuracy)))
    columns = [*names, "accuracy", "std", "ci_low", "ci_high", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)


def overview(summary: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """One row for each teacher and mode: clean accuracy, and the area under each perturbation's curve.

    Pooled over the accepted architectures; over each architecture by itself where none is accepted.
    """
    points = curves(summary, threshold)
    clean = for_each_teacher(clean_accuracies(summary))
    pooled = points[points["architecture"] == ACCEPTED]
    if len(pooled):
        points = pooled
        pairs = acceptance(summary, threshold).query(ACCEPTED)[["teacher", "architecture"]]
        clean = clean.merge(pairs, on=["teacher", "architecture"]).assign(architecture=ACCEPTED)
    else:
        points = for_each_teacher(points)
    names = ["teacher", "architecture", "mode"]
    means = clean.groupby(names)["clean_accuracy"].mean().to_dict()
    rows = []
    for name, group in points.groupby(names, sort=False):
        row = {**dict(zip(names, name, strict=True)), "clean accuracy": means[name]}
        for perturbation, curve in group.groupby("perturbation", sort=False):
            row[str(perturbation)] = area(curve["beta"].to_numpy(), curve["accuracy"].to_numpy())
        rows.append(row)
    return pd.DataFrame(rows, columns=[*names, "clean accuracy", *points["perturbation"].unique()])
