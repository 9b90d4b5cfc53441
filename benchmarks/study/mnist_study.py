"""Compare published, reproduced and corrected curves of the MNIST study, for reports/mnist-study.

    python benchmarks/study/mnist_study.py EVALUATION PUBLISHED MORE OUT

EVALUATION and PUBLISHED are output folders of the suites `mnist-evaluation` and `mnist-published`, both restricted to
the two architectures that the study accepted. MORE is an output folder of `mnist-evaluation` without `base_fc`, which
has the layers of `base_larger`. The script writes a figure per teacher and `differences.md`: differences between the
modes and vanilla in area under the curve, and accuracies at equal L2 distance.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gtn_bench.analysis.acceptance import for_each_teacher
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.statistics import area
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reference.curves import published_curves
from gtn_bench.reporting.layout import finish, grid, save
from gtn_bench.reporting.markdown import markdown_table
from gtn_bench.reporting.text import wrap
from gtn_bench.reporting.theme import SMALL, LineStyle, style, theme

MODES = ["10_gtn", "gtn", "vanilla"]
ATTACKS = ["fgsm", "lbfgs-penalty"]
WIDTH = 2.4  # inches of a panel


def main() -> None:
    """Write the figures and the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("published", type=Path)
    parser.add_argument("more", type=Path, help="corrected curves of more architectures")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    corrected, reproduced = Results(arguments.evaluation), Results(arguments.published)
    arguments.out.mkdir(parents=True, exist_ok=True)
    published = published_curves()
    for teacher in published["teacher"].unique():
        columns = {
            "published": published[published["teacher"] == teacher],
            "reproduced, published protocol": _accepted(reproduced.curves, teacher),
            "corrected, all in evaluation mode": _accepted(corrected.curves, teacher),
        }
        captions = {
            label: f"{corrected.display_name(label)}: beta ({axis})"
            for label, axis in corrected.provenance["perturbations"].items()
        }
        save(finding_figure(columns, captions), arguments.out / f"finding-{teacher}")
    more = Results(arguments.more)
    ours = {
        "reproduced": reproduced.comparisons,
        "corrected": corrected.comparisons,
        "corrected, all accepted architectures": more.comparisons,
    }
    tables = [differences(published, ours), at_equal_distance(more.curves)]
    text = "\n\n".join(markdown_table(table) for table in tables)
    (arguments.out / "differences.md").write_text(f"{text}\n", encoding="utf-8")


def _accepted(table: pd.DataFrame, teacher: str) -> pd.DataFrame:
    return table[(table["teacher"] == teacher) & (table["architecture"] == ACCEPTED)]


@theme()
def finding_figure(columns: Mapping[str, pd.DataFrame], captions: Mapping[str, str]) -> Figure:
    """Draw a row of panels per perturbation and a column per source of curves.

    Args:
        columns: Curves by title. Bands are 95 % intervals; those of the published curves are standard deviations.
        captions: Meaning of beta, by perturbation.
    """
    panels = grid(len(captions), len(columns), WIDTH, 1.5, sharex="row", sharey=True)
    styles = style(MODES)
    for row, (perturbation, caption) in zip(panels.axes, captions.items(), strict=True):
        for panel, curves in zip(row, columns.values(), strict=True):
            _draw(panel, curves[curves["perturbation"] == perturbation], styles)
            panel.set(xscale="log" if perturbation == "lbfgs-penalty" else "linear")
        row[len(row) // 2].set_xlabel(wrap(caption, WIDTH, SMALL), fontsize=SMALL)
    for panel, title in zip(panels.axes[0], columns, strict=True):
        panel.set_title(title)
    legend = {
        mode: Line2D([], [], color=line.color, marker=line.marker, markeredgecolor="white")
        for mode, line in styles.items()
    }
    return finish(panels, ylabel="accuracy", legend=legend)


def _draw(panel: Axes, curves: pd.DataFrame, styles: Mapping[str, LineStyle]) -> None:
    for mode, line in styles.items():
        curve = curves[curves["mode"] == mode].sort_values("beta")
        low = curve["ci_low"] if "ci_low" in curve else curve["accuracy"] - curve["std"]
        high = curve["ci_high"] if "ci_high" in curve else curve["accuracy"] + curve["std"]
        panel.fill_between(curve["beta"], low, high, color=line.color, alpha=0.15, linewidth=0)
        panel.plot(curve["beta"], curve["accuracy"], color=line.color, marker=line.marker, markeredgecolor="white")
    panel.set(ylim=(-0.02, 1.02))


def differences(theirs: pd.DataFrame, ours: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the area under the curve of each mode minus that of vanilla.

    Args:
        theirs: The published curves.
        ours: Comparisons by title; their columns have 95 % intervals and Holm-corrected p values.
    """
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
    """Return the accuracy where an attack moves the images by a given mean L2 distance, for each architecture.

    Pooling would compare architectures whose images move less with others whose images move more. Values are
    interpolated between strengths; `-` where the distance is outside the sweep.

    Args:
        curves: Rows of curves.csv.
        distance: Mean L2 distance in pixel values.
    """
    shown = for_each_teacher(curves[(curves["architecture"] != ACCEPTED) & curves["perturbation"].isin(ATTACKS)])
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
    columns = [f"{attack}, {mode}" for attack in ATTACKS for mode in sorted(MODES)]
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
