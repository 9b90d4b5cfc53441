"""Figures: accuracy over strength, and what the perturbed images look like."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gtn_bench.analysis import BANDS, Bands, for_each_teacher, pooled_or_all
from gtn_bench.suite import ACCEPTED

MARKERS = "osD^vPX*"
Norm = Literal["l2", "linf"]
NORMS: dict[Norm, str] = {"l2": "L2", "linf": "L-infinity"}
Array = np.ndarray[Any, Any]


def style(modes: Sequence[str]) -> dict[str, Any]:
    """One colour for each mode, the same in every figure of a report."""
    sns.set_theme(
        context="paper", style="ticks", font_scale=1.1, rc={"svg.fonttype": "none", "svg.hashsalt": "gtn-bench"}
    )
    return dict(zip(modes, sns.color_palette("colorblind", len(modes)), strict=True))


def curves_figure(
    curves: pd.DataFrame,
    axis: str,
    colours: Mapping[str, Any],
    *,
    bands: Bands = "pointwise",
    published: pd.DataFrame | None = None,
    note: str = "",
) -> Figure:
    """Accuracy over beta, one line and 95 % band for each mode, of one perturbation.

    A panel for the accepted architectures together, where there are several, and one for each
    architecture; every teacher begins a row. `curves` holds the rows of one perturbation from curves.csv.
    Bands cover each point, or all points of a curve at once (`simultaneous`). Curves of the reference study
    (`published`: columns teacher, mode, beta, accuracy) are dashed, in the first panel of their teacher.
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
        mine = list(axes[first : first + height].flat)
        for panel, (architecture, part) in zip(mine, parts, strict=False):
            _draw(panel, part, colours, bands, legend=panel is axes[0, 0])
            if published is not None and panel is mine[0]:
                _dashed(panel, published[published["teacher"] == teacher], colours)
            name = "accepted architectures" if architecture == ACCEPTED else str(architecture)
            panel.set_title(name if len(panels) == 1 else f"{name}\nteacher {teacher}", fontsize="medium")
        for position in range(len(parts), len(mine)):
            mine[position].set_visible(False)
            mine[position - columns].tick_params(labelbottom=True)  # nothing below it says its strengths
        first += height
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    if published is not None and len(published):
        handles, labels = [*handles, Line2D([], [], color="grey", linestyle="--")], [*labels, "published"]
    figure.legend(handles, labels, loc="outside right upper", frameon=False, title="mode")
    _warn(figure, note)
    figure.supxlabel(f"beta ({axis})", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    sns.despine(figure)
    return figure


def achieved_figure(curves: pd.DataFrame, norm: Norm, colours: Mapping[str, Any], note: str = "") -> Figure:
    """Accuracy over the mean distance that images really moved, `l2` or `linf`: one axis for all perturbations.

    A panel for each perturbation, all with the same axis, a row for each teacher; accepted architectures together,
    or each line by itself where none is accepted. `curves` holds rows of curves.csv.
    """
    shown = pooled_or_all(curves)
    teachers, perturbations = shown["teacher"].unique(), shown["perturbation"].unique()
    figure, panels = plt.subplots(
        len(teachers),
        len(perturbations),
        figsize=(1.9 + 2.2 * len(perturbations), 0.6 + 2.1 * len(teachers)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, teacher in enumerate(teachers):
        for column, perturbation in enumerate(perturbations):
            panel = panels[row, column]
            part = shown[(shown["teacher"] == teacher) & (shown["perturbation"] == perturbation)]
            for (mode, _), curve in part.groupby(["mode", "architecture"], sort=False):
                curve = curve.sort_values("beta")
                marker = MARKERS[list(colours).index(str(mode)) % len(MARKERS)]
                panel.plot(
                    curve[f"mean_{norm}"],
                    curve["accuracy"],
                    color=colours[str(mode)],
                    marker=marker,
                    markersize=4,
                    label=str(mode),
                )
            panel.set_title(
                f"{perturbation}\nteacher {teacher}" if len(teachers) > 1 else perturbation, fontsize="medium"
            )
            panel.set(ylim=(-0.02, 1.02))
    unique: dict[str, Any] = {}
    for panel in panels.flat:
        handles, labels = panel.get_legend_handles_labels()
        unique |= dict(zip(labels, handles, strict=True))  # a mode can be missing from a panel
    figure.legend(unique.values(), unique.keys(), loc="outside right upper", frameon=False, title="mode")
    figure.supxlabel(f"mean {NORMS[norm]} distance of the images, pixel values", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    _warn(figure, note)
    sns.despine(figure)
    return figure


def _dashed(panel: Any, published: pd.DataFrame, colours: Mapping[str, Any]) -> None:
    """The reference study's curves."""
    for mode, curve in published.groupby("mode", sort=False):
        if mode in colours:
            panel.plot(curve["beta"], curve["accuracy"], color=colours[str(mode)], linestyle="--", linewidth=1.2)


def _draw(panel: Any, part: pd.DataFrame, colours: Mapping[str, Any], bands: Bands, legend: bool) -> None:
    beta = part["beta"].to_numpy()
    if len(beta) and beta.min() > 0 and beta.max() / beta.min() >= 50:
        panel.set_xscale("log")
    else:
        panel.locator_params(axis="x", nbins=4)
    low, high = BANDS[bands]
    for mode, curve in part.sort_values("beta").groupby("mode", sort=False):
        panel.fill_between(curve["beta"], curve[low], curve[high], color=colours[str(mode)], alpha=0.15, linewidth=0)
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
    clean: Array,
    perturbed: Mapping[str, Mapping[float, Array]],
    predictions: pd.DataFrame,
    label: int,
    axis: str,
    note: str = "",
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
    _warn(figure, note)
    sns.despine(figure, left=True, bottom=True)
    return figure


def _warn(figure: Figure, note: str) -> None:
    """A note above all panels, in as many lines as the figure's width needs."""
    if note:
        figure.suptitle(
            "\n".join(textwrap.wrap(note, int(11 * figure.get_figwidth()))), fontsize="small", color="firebrick"
        )


def save(figure: Figure, path: Path) -> None:
    """`path`.png and `path`.svg, the same bytes for the same figure."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found; finding it again would cost as much as drawing
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=160, metadata={"Software": None})
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    plt.close(figure)
