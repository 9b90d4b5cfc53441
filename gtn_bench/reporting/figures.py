"""Figures of a run: accuracy over strength and over distance, and what perturbed images look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gtn_bench.analysis.acceptance import for_each_teacher, pooled_or_all
from gtn_bench.analysis.curves import BANDS, Bands
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reporting.layout import InlineFigure, Panels, finish, grid, save
from gtn_bench.reporting.lines import Styles, draw_line, draw_proof, legend_entries
from gtn_bench.reporting.strips import strip_figure
from gtn_bench.reporting.text import wrap
from gtn_bench.reporting.theme import SIZE, SMALL, style, theme

__all__ = ["NORMS", "achieved_figure", "curves_figure", "overview_figure", "save", "strip_figure", "style"]

Norm = Literal["l2", "linf"]
NORMS: dict[Norm, str] = {"l2": "L2", "linf": "L-infinity"}

_WIDTH, _HEIGHT = 2.1, 1.6  # inches of a panel
_ALONE = 1.5  # times as large, if it is the only one
_COLUMNS = 4


@theme()
def curves_figure(
    curves: pd.DataFrame,
    axis: str,
    styles: Styles,
    *,
    bands: Bands = "pointwise",
    published: pd.DataFrame | None = None,
    note: str = "",
    name: str = "",
) -> InlineFigure:
    """Draw accuracy over beta for one perturbation: a line with its 95 % band per mode.

    The figure has one panel per architecture, and one for the accepted architectures together if there are several.
    Each teacher starts a new row. Markers show the grades of points, and hatched bands what neither an attack nor a
    certificate settles.

    Args:
        curves: Rows of curves.csv with the perturbation.
        axis: Meaning of beta.
        styles: Line style of each mode, from `style`.
        bands: Whether the bands cover each point or all points of a curve at once.
        published: Curves of the reference study, columns teacher, mode, beta, accuracy. They are dashed, in the first
            panel of their teacher.
        note: Warning above the panels.
        name: Name of the perturbation in the caption.
    """
    alone = for_each_teacher(curves[curves["architecture"] != ACCEPTED])
    pooled = curves[curves["architecture"] == ACCEPTED]
    shown = pd.concat([pooled, alone]) if alone["architecture"].nunique() > 1 else alone
    panels, parts = _grid(shown, "architecture")
    for part in parts:
        _draw_curves(part.panel, part.rows, styles, bands)
        if published is not None and part.first:
            _draw_published(part.panel, published[published["teacher"] == part.teacher], styles)
        title = "accepted architectures" if part.name == ACCEPTED else part.name
        _set_title(part, title)
    entries = legend_entries(shown, styles)
    if published is not None and len(published):
        entries["published"] = Line2D([], [], color="gray", linestyle="--")
    caption = f"{name}: beta ({axis})" if name else f"beta ({axis})"
    return finish(panels, xlabel=caption, ylabel="accuracy", note=note, legend=entries)


@theme()
def achieved_figure(
    curves: pd.DataFrame, norm: Norm, styles: Styles, *, note: str = "", names: Mapping[str, str] | None = None
) -> InlineFigure:
    """Draw accuracy over the mean distance between perturbed and clean images, one panel per perturbation.

    All panels have the same axis. Each teacher starts a new row. Accepted architectures are pooled; if a teacher has
    none, each architecture has its own line.

    Args:
        curves: Rows of curves.csv.
        norm: Norm of the distance.
        styles: Line style of each mode, from `style`.
        note: Warning above the panels.
        names: Name of each perturbation in the titles; by default its label.
    """
    shown = pooled_or_all(curves)
    panels, parts = _grid(shown, "perturbation")
    for part in parts:
        for (mode, _), curve in part.rows.sort_values("beta").groupby(["mode", "architecture"], sort=False):
            draw_line(part.panel, curve, f"mean_{norm}", styles[str(mode)], proofs=False)
        _set_title(part, (names or {}).get(part.name, part.name))
    caption = f"mean {NORMS[norm]} distance between perturbed and clean images (pixel values)"
    entries = legend_entries(shown, styles, proofs=False)
    return finish(panels, xlabel=caption, ylabel="accuracy", note=note, legend=entries)


@theme()
def overview_figure(
    curves: pd.DataFrame, axes: Mapping[str, str], styles: Styles, *, note: str = "", names: Mapping[str, str]
) -> InlineFigure:
    """Draw accuracy over beta with 95 % bands, one panel per perturbation.

    Each teacher starts a new row. Accepted architectures are pooled; if a teacher has none, each architecture has its
    own line.

    Args:
        curves: Rows of curves.csv.
        axes: Meaning of beta, by perturbation.
        styles: Line style of each mode, from `style`.
        note: Warning above the panels.
        names: Name of each perturbation in the titles.
    """
    shown = pooled_or_all(curves)
    panels, parts = _grid(shown, "perturbation", sharex=False)
    for part in parts:
        _draw_curves(part.panel, part.rows, styles, "pointwise")
        _set_title(part, names[part.name])
        part.panel.set_xlabel(wrap(axes[part.name], _WIDTH, SMALL), fontsize=SMALL, parse_math=False)
    return finish(panels, xlabel="beta", ylabel="accuracy", note=note, legend=legend_entries(shown, styles))


class _Part(NamedTuple):
    """The content of a panel: the rows of a table with one teacher and one value of another column."""

    teacher: str
    name: str
    rows: pd.DataFrame
    panel: Axes
    first: bool  # the first panel of its teacher
    several: bool  # there is more than one teacher


def _grid(shown: pd.DataFrame, column: str, *, sharex: bool = True) -> tuple[Panels, list[_Part]]:
    """Return a grid with a panel for each teacher and value of a column. Each teacher starts a new row."""
    groups = {
        str(teacher): list(rows.groupby(column, sort=False)) for teacher, rows in shown.groupby("teacher", sort=False)
    }
    columns = min(_COLUMNS, max(len(parts) for parts in groups.values()))
    rows = sum(-(-len(parts) // columns) for parts in groups.values())
    scale = _ALONE if rows == columns == 1 else 1.0
    panels = grid(rows, columns, scale * _WIDTH, scale * _HEIGHT, sharex=sharex, sharey=True)
    found: list[_Part] = []
    used = np.zeros((rows, columns), bool)
    row = 0
    for teacher, parts in groups.items():
        for place, (name, part) in enumerate(parts):
            where = (row + place // columns, place % columns)
            used[where] = True
            found.append(_Part(teacher, str(name), part, panels.axes[where], place == 0, len(groups) > 1))
            panels.axes[where].set(ylim=(-0.04, 1.04))
            panels.axes[where].locator_params(axis="x", nbins=4, min_n_ticks=3)
        row += -(-len(parts) // columns)
    below = np.vstack([used[1:], np.zeros((1, columns), bool)])  # whether the panel below is used
    for panel, visible, labeled in zip(panels.axes.flat, used.flat, (used & ~below).flat, strict=True):
        panel.set_visible(visible)
        panel.tick_params(labelbottom=labeled or not sharex)
    return panels, found


def _set_title(part: _Part, title: str) -> None:
    lines = wrap(title, _WIDTH, SIZE)
    if part.several:
        lines += "\n" + wrap(f"teacher {part.teacher}", _WIDTH, SIZE)
    part.panel.set_title(lines, parse_math=False)


def _draw_curves(panel: Axes, rows: pd.DataFrame, styles: Styles, bands: Bands) -> None:
    beta = rows["beta"].to_numpy()
    if len(beta) and beta.min() > 0 and beta.max() / beta.min() >= 50:
        panel.set_xscale("log")
    low, high = BANDS[bands]
    groups = rows.sort_values("beta").groupby(["mode", "architecture"], sort=False)
    curves = [(styles[str(mode)], curve) for (mode, _), curve in groups]
    opacity = 1.2 / max(8, len(curves))  # many bands on top of each other would hide the curves
    for line, curve in curves:
        panel.fill_between(curve["beta"], curve[low], curve[high], color=line.color, alpha=opacity, linewidth=0)
    for line, curve in curves:
        draw_proof(panel, curve, line)
    for line, curve in curves:
        draw_line(panel, curve, "beta", line)


def _draw_published(panel: Axes, published: pd.DataFrame, styles: Styles) -> None:
    for mode, curve in published.groupby("mode", sort=False):
        if mode in styles:
            panel.plot(curve["beta"], curve["accuracy"], color=styles[str(mode)].color, linestyle="--")
