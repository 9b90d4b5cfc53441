"""Figures: accuracy over strength, and what the perturbed images look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from gtn_bench.statistics import ACCEPTED, for_each_teacher

MARKERS = "osD^vPX*"
Array = np.ndarray[Any, Any]


def style(modes: Sequence[str]) -> dict[str, Any]:
    """One colour for each mode, the same in every figure of a report."""
    sns.set_theme(
        context="paper", style="ticks", font_scale=1.1, rc={"svg.fonttype": "none", "svg.hashsalt": "gtn-bench"}
    )
    return dict(zip(modes, sns.color_palette("colorblind", len(modes)), strict=True))


def curves_figure(curves: pd.DataFrame, axis: str, colours: Mapping[str, Any], *, pooled: bool) -> Figure:
    """Accuracy over beta, one line and 95 % band for each mode, of one perturbation.

    One panel for each teacher; unless `pooled` over the accepted architectures, one row for each
    architecture. `curves` holds the rows of one perturbation from curves.csv.
    """
    if pooled:
        shown = curves[curves["architecture"] == ACCEPTED]
    else:
        shown = for_each_teacher(curves[curves["architecture"] != ACCEPTED])
    teachers, architectures = list(shown["teacher"].unique()), list(shown["architecture"].unique())
    columns, rows = (architectures, teachers) if len(teachers) == 1 else (teachers, architectures)
    figure, panels = plt.subplots(
        len(rows),
        len(columns),
        figsize=(0.6 + 3.1 * len(columns) + (1.3 if len(columns) == 1 else 0), 0.5 + 2.4 * len(rows)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    column_name, row_name = ("architecture", "teacher") if len(teachers) == 1 else ("teacher", "architecture")
    for (row, column), panel in np.ndenumerate(panels):
        part = shown[(shown[column_name] == columns[column]) & (shown[row_name] == rows[row])]
        _draw(panel, part, colours, legend=(row, column) == (0, 0))
        if not pooled:
            panel.set_title(" / ".join([columns[column], *([rows[row]] if len(rows) > 1 else [])]), fontsize="medium")
        elif len(columns) > 1:
            panel.set_title(f"teacher: {columns[column]}", fontsize="medium")
        if row == len(rows) - 1:
            panel.set_xlabel(f"beta ({axis})")
        if column == 0:
            panel.set_ylabel("accuracy")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[0, 0].get_legend().remove()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, title="mode")
    sns.despine(figure)
    return figure


def _draw(panel: Any, part: pd.DataFrame, colours: Mapping[str, Any], legend: bool) -> None:
    beta = part["beta"].to_numpy()
    if len(beta) and beta.min() > 0 and beta.max() / beta.min() >= 50:
        panel.set_xscale("log")
    for mode, curve in part.sort_values("beta").groupby("mode", sort=False):
        panel.fill_between(
            curve["beta"], curve["ci_low"], curve["ci_high"], color=colours[str(mode)], alpha=0.15, linewidth=0
        )
    sns.lineplot(
        part,
        x="beta",
        y="accuracy",
        hue="mode",
        style="mode",
        hue_order=list(colours),
        style_order=list(colours),
        palette=dict(colours),
        markers=list((MARKERS * len(colours))[: len(colours)]),
        dashes=False,
        markersize=5,
        errorbar=None,
        estimator=None,
        ax=panel,
        legend=legend,
    )
    panel.set(ylim=(-0.02, 1.02), xlabel="", ylabel="")


def strip_figure(
    clean: Array, perturbed: Mapping[str, Mapping[float, Array]], predictions: pd.DataFrame, label: int, axis: str
) -> Figure:
    """One image, clean and at every strength, a row for each mode, with what the learner sees in it.

    clean: (C, H, W) in [0, 1]. perturbed: mode -> beta -> (C, H, W). predictions: columns mode,
    beta, clean_prediction, prediction.
    """
    betas = sorted({beta for images in perturbed.values() for beta in images})
    channels, height, width = clean.shape
    step = (round(1.45 * height), round(1.12 * width))  # room for what is written below
    canvas = np.ones((step[0] * len(perturbed), step[1] * (1 + len(betas)) - (step[1] - width), channels))
    figure, panel = plt.subplots(
        figsize=(0.85 * (1 + len(betas)) + 0.9, 1.1 * len(perturbed) + 0.6), layout="constrained"
    )
    for row, (mode, images) in enumerate(perturbed.items()):
        mine = predictions[predictions["mode"] == mode]
        seen = dict(zip(mine["beta"], mine["prediction"], strict=True))
        shown = [(clean, mine["clean_prediction"].iloc[0])]
        shown += [(images[beta], seen[beta]) for beta in betas if beta in images]
        for column, (image, prediction) in enumerate(shown):
            top, left = row * step[0], column * step[1]
            canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
            panel.text(
                left + width / 2 - 0.5,
                top + 1.03 * height - 0.5,
                f"{prediction}" if prediction == label else f"{prediction} ✗",
                color="black" if prediction == label else "firebrick",
                ha="center",
                va="top",
                fontsize="small",
            )
    panel.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    panel.set_xticks(
        [column * step[1] + width / 2 - 0.5 for column in range(1 + len(betas))],
        ["clean", *(f"{beta:.3g}" for beta in betas)],
    )
    panel.set_yticks([row * step[0] + height / 2 - 0.5 for row in range(len(perturbed))], list(perturbed))
    panel.tick_params(length=0, labeltop=True, labelbottom=False)
    panel.set_xlabel(f"beta ({axis}); below each image the class the learner sees")
    sns.despine(figure, left=True, bottom=True)
    return figure


def save(figure: Figure, path: Path) -> None:
    """`path`.png and `path`.svg, the same bytes for the same figure."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found; finding it again would cost as much as drawing
    figure.savefig(path.with_suffix(".png"), dpi=160, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
