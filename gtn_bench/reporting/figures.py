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

from gtn_bench.analysis import ACCEPTED, for_each_teacher

MARKERS = "osD^vPX*"
Array = np.ndarray[Any, Any]


def style(modes: Sequence[str]) -> dict[str, Any]:
    """One colour for each mode, the same in every figure of a report."""
    sns.set_theme(
        context="paper", style="ticks", font_scale=1.1, rc={"svg.fonttype": "none", "svg.hashsalt": "gtn-bench"}
    )
    return dict(zip(modes, sns.color_palette("colorblind", len(modes)), strict=True))


def curves_figure(curves: pd.DataFrame, axis: str, colours: Mapping[str, Any]) -> Figure:
    """Accuracy over beta, one line and 95 % band for each mode, of one perturbation.

    A panel for the accepted architectures together, where there are several, and one for each
    architecture; every teacher begins a row. `curves` holds the rows of one perturbation from curves.csv.
    """
    alone = for_each_teacher(curves[curves["architecture"] != ACCEPTED])
    pooled = curves[curves["architecture"] == ACCEPTED]
    shown = pd.concat([pooled, alone]) if alone["architecture"].nunique() > 1 else alone
    panels = {
        str(teacher): part.groupby("architecture", sort=False) for teacher, part in shown.groupby("teacher", sort=False)
    }
    columns = min(4, max(len(parts) for parts in panels.values()))
    heights = [-(-len(parts) // columns) for parts in panels.values()]
    figure, axes = plt.subplots(
        sum(heights),
        columns,
        figsize=(1.9 + 2.5 * columns, 0.6 + 2.1 * sum(heights)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    first = 0
    for (teacher, parts), height in zip(panels.items(), heights, strict=True):
        mine = axes[first : first + height].flat
        for panel, (architecture, part) in zip(mine, parts, strict=False):
            _draw(panel, part, colours, legend=panel is axes[0, 0])
            name = "accepted architectures" if architecture == ACCEPTED else str(architecture)
            panel.set_title(name if len(panels) == 1 else f"{name}\nteacher {teacher}", fontsize="medium")
        for panel in mine[len(parts) :]:
            panel.set_visible(False)
        first += height
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, title="mode")
    figure.supxlabel(f"beta ({axis})", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    sns.despine(figure)
    return figure


def _draw(panel: Any, part: pd.DataFrame, colours: Mapping[str, Any], legend: bool) -> None:
    beta = part["beta"].to_numpy()
    if len(beta) and beta.min() > 0 and beta.max() / beta.min() >= 50:
        panel.set_xscale("log")
    else:
        panel.locator_params(axis="x", nbins=4)
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
