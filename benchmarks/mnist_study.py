"""The finding of reports/mnist-study: published, reproduced and corrected curves beside each other.

    python benchmarks/mnist_study.py EVALUATION PUBLISHED MORE OUT

EVALUATION and PUBLISHED are output folders of the suites `mnist-evaluation` and `mnist-published`, both with the two
architectures that the study accepted, MORE one of `mnist-evaluation` with all but the twin of one of them, `base_fc`.
Writes into OUT a figure for each teacher and `differences.md`: by how much the modes differ from vanilla, in area under
the curve, and their accuracies where attacks have moved the images equally far.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from gtn_bench.analysis import for_each_teacher
from gtn_bench.reference.curves import published_curves
from gtn_bench.reporting.figures import MARKERS, save, style
from gtn_bench.reporting.tables import markdown_table
from gtn_bench.results import Results
from gtn_bench.statistics import area
from gtn_bench.suite import ACCEPTED

MODES = ["10_gtn", "gtn", "vanilla"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("published", type=Path)
    parser.add_argument("more", type=Path, help="corrected curves of more architectures")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    corrected, reproduced = Results(arguments.evaluation), Results(arguments.published)
    arguments.out.mkdir(parents=True, exist_ok=True)
    colours = style(MODES)
    theirs = published_curves()
    for teacher in theirs["teacher"].unique():
        columns = {
            "published": theirs[theirs["teacher"] == teacher],
            "reproduced, published protocol": _accepted(reproduced.curves, teacher),
            "corrected, all in evaluation mode": _accepted(corrected.curves, teacher),
        }
        save(_figure(columns, corrected.provenance["perturbations"], colours), arguments.out / f"finding-{teacher}")
    more = Results(arguments.more)
    ours = {
        "reproduced": reproduced.comparisons,
        "corrected": corrected.comparisons,
        "corrected, all accepted architectures": more.comparisons,
    }
    tables = [differences(theirs, ours), at_equal_distance(more.curves)]
    text = "\n\n".join(markdown_table(table) for table in tables)
    (arguments.out / "differences.md").write_text(f"{text}\n", encoding="utf-8")


def _accepted(table: pd.DataFrame, teacher: str) -> pd.DataFrame:
    return table[(table["teacher"] == teacher) & (table["architecture"] == ACCEPTED)]


def _figure(columns: Mapping[str, pd.DataFrame], axes: Mapping[str, str], colours: Mapping[str, Any]) -> plt.Figure:
    """A row for each perturbation, a column for each source of curves; bands are 95 % intervals, theirs deviations."""
    figure, panels = plt.subplots(
        len(axes), len(columns), figsize=(8.4, 8.4), sharex="row", sharey=True, squeeze=False, layout="constrained"
    )
    for row, (perturbation, axis) in enumerate(axes.items()):
        for column, (title, curves) in enumerate(columns.items()):
            panel = panels[row, column]
            for mode in MODES:
                curve = curves[(curves["perturbation"] == perturbation) & (curves["mode"] == mode)].sort_values("beta")
                low = curve["ci_low"] if "ci_low" in curve else curve["accuracy"] - curve["std"]
                high = curve["ci_high"] if "ci_high" in curve else curve["accuracy"] + curve["std"]
                panel.fill_between(curve["beta"], low, high, color=colours[mode], alpha=0.15, linewidth=0)
                marker = MARKERS[MODES.index(mode)]
                panel.plot(curve["beta"], curve["accuracy"], color=colours[mode], marker=marker, ms=4, label=mode)
            panel.set(ylim=(-0.02, 1.02), xscale="log" if perturbation == "lbfgs" else "linear")
            if row == 0:
                panel.set_title(title, fontsize="medium")
            if column == 1:
                panel.set_xlabel(f"{perturbation}: {axis}", fontsize="small")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=len(MODES))
    figure.supylabel("accuracy", fontsize="medium")
    sns.despine(figure)
    return figure


def differences(theirs: pd.DataFrame, ours: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Area under the curve of a mode minus that of vanilla: as published, and in our comparisons (95 % interval, p)."""
    areas = {
        name: area(curve["beta"].to_numpy(), curve["accuracy"].to_numpy())
        for name, curve in theirs.groupby(["teacher", "perturbation", "mode"], sort=False)
    }
    rows = []
    for teacher, perturbation in theirs[["teacher", "perturbation"]].drop_duplicates().itertuples(index=False):
        for mode in ("gtn", "10_gtn"):
            published = areas[teacher, perturbation, mode] - areas[teacher, perturbation, "vanilla"]
            found = [_difference(table, teacher, perturbation, mode) for table in ours.values()]
            rows.append((teacher, perturbation, f"{mode} - vanilla", f"{published:+.3f}", *found))
    return pd.DataFrame(rows, columns=["teacher", "perturbation", "areas", "published", *ours])


def at_equal_distance(curves: pd.DataFrame, distance: float = 1.25) -> pd.DataFrame:
    """Accuracy where an attack has moved the images by this L2 distance (of pixel values) on average, all alike.

    By architecture: pooled over several, those that are moved less far would be compared with those moved further. Read
    off between two strengths; `-` where no strength moves the images as little or as far.
    """
    attacks = ["fgsm", "lbfgs"]
    shown = for_each_teacher(curves[(curves["architecture"] != ACCEPTED) & curves["perturbation"].isin(attacks)])
    rows = []
    for name, part in shown.groupby(["teacher", "architecture"], sort=False):
        if set(part["mode"]) != set(MODES):
            continue  # not accepted with this teacher
        read = []
        for _, curve in sorted(part.groupby(["perturbation", "mode"]), key=lambda group: group[0]):
            moved, accuracy = curve.sort_values("mean_l2")[["mean_l2", "accuracy"]].to_numpy().T
            there = float(np.interp(distance, moved, accuracy, left=np.nan, right=np.nan))
            read.append("-" if np.isnan(there) else f"{there:.3f}")
        rows.append((*name, *read))
    columns = [f"{attack}, {mode}" for attack in attacks for mode in sorted(MODES)]
    return pd.DataFrame(rows, columns=["taught by", "architecture", *columns])


def _difference(comparisons: pd.DataFrame, teacher: str, perturbation: str, mode: str) -> str:
    found = _accepted(comparisons, teacher)
    found = found[(found["perturbation"] == perturbation) & (found["mode"] == mode) & (found["other"] == "vanilla")]
    if found.empty:
        return "-"
    row = found.iloc[0]
    return f"{row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}], p = {row['p_holm']:.2g}"


if __name__ == "__main__":
    main()
