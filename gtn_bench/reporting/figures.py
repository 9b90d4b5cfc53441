"""Figures of a run: accuracy over strength and over distance, and what perturbed images look like.

Each has the width of a page or of a column of text. A figure with many panels is drawn as several, see `pages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from gtn_bench.analysis.acceptance import for_each_teacher, pooled_or_all
from gtn_bench.analysis.curves import BANDS, Bands
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reporting import names as file_names
from gtn_bench.reporting.layout import COLUMN, PAGE, InlineFigure, Panels, finish, panel_width, save, shared_grid
from gtn_bench.reporting.lines import Styles, draw_line, draw_proof, legend_entries
from gtn_bench.reporting.numbers import strength
from gtn_bench.reporting.strips import strip_figure
from gtn_bench.reporting.text import wrap
from gtn_bench.reporting.theme import SIZE, SMALL, style, theme

__all__ = [
    "MOST_BANDS",
    "NORMS",
    "ON_COLUMN",
    "ON_PAGE",
    "Size",
    "achieved_figure",
    "curves_figure",
    "overview_figure",
    "pages",
    "save",
    "shown_curves",
    "strip_figure",
    "style",
]

Norm = Literal["l2", "linf"]
NORMS: dict[Norm, str] = {"l2": "L2", "linf": "L-infinity"}

MOST_BANDS = 10  # more bands on top of each other would hide the curves
_OPACITY = 0.13  # of a band
_HEIGHTS = (2.3, 1.75, 1.45, 1.25)  # inches of a panel, by the panels in a row


@dataclass(frozen=True)
class Size:
    """The size of a figure.

    Attributes:
        width: Inches.
        columns: Largest number of panels in a row.
        rows: Largest number of rows of panels.
        name: What the names of its files end in.
    """

    width: float
    columns: int
    rows: int
    name: str = ""


ON_PAGE = Size(PAGE, 4, 5)
ON_COLUMN = Size(COLUMN, 2, 5, file_names.COLUMN)


def pages(curves: pd.DataFrame, column: str, size: Size) -> list[pd.DataFrame]:
    """Return the rows of each of the figures that are needed, so that none has too many rows of panels.

    Args:
        curves: Rows of curves.csv, as they are shown.
        column: The column that panels differ in, beside the teacher.
        size: The size of a figure.
    """
    lines: list[pd.DataFrame] = []
    groups = [part for _, part in curves.groupby("teacher", sort=False)]
    columns = _columns([part[column].nunique() for part in groups], size)
    for part in groups:
        names = list(part[column].unique())
        lines += [part[part[column].isin(names[start : start + columns])] for start in range(0, len(names), columns)]
    return [pd.concat(lines[start : start + size.rows]) for start in range(0, len(lines), size.rows)]


def shown_curves(curves: pd.DataFrame, size: Size) -> pd.DataFrame:
    """Return what the figure of a perturbation shows: accepted architectures together, and on a page each of all.

    Args:
        curves: Rows of curves.csv with the perturbation.
        size: The size of the figure.
    """
    if size.columns < ON_PAGE.columns:
        return pooled_or_all(curves)
    alone = for_each_teacher(curves[curves["architecture"] != ACCEPTED])
    pooled = curves[curves["architecture"] == ACCEPTED]
    return pd.concat([pooled, alone]) if alone["architecture"].nunique() > 1 else alone


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
    size: Size = ON_PAGE,
) -> InlineFigure:
    """Draw accuracy over beta for one perturbation: a line with its 95 % band per mode.

    The figure has one panel per architecture, and one for the accepted architectures together. Each teacher starts a
    new row. Markers show the grades of points, and hatched bands what neither an attack nor a certificate settles.

    Args:
        curves: Rows of curves.csv with the perturbation, from `shown_curves`.
        axis: Meaning of beta.
        styles: Line style of each mode, from `style`.
        bands: Whether the bands cover each point or all points of a curve at once.
        published: Curves of the reference study, columns teacher, mode, beta, accuracy. They are dashed, in the first
            panel of their teacher.
        note: Warning above the panels.
        name: Name of the perturbation in the caption.
        size: The size of the figure.
    """
    panels, parts = _grid(curves, "architecture", size)
    for part in parts:
        _draw_curves(part.panel, part.rows, styles, bands)
        if published is not None and part.first:
            _draw_published(part.panel, published[published["teacher"] == part.teacher], styles)
        title = "accepted architectures" if part.name == ACCEPTED else part.name
        _set_title(part, title, panels.width)
    entries = legend_entries(curves, styles)
    if published is not None and len(published):
        entries["published"] = Line2D([], [], color="gray", linestyle="--")
    caption = f"{name}: beta ({axis})" if name else f"beta ({axis})"
    return finish(panels, xlabel=caption, ylabel="accuracy", note=note, legend=entries)


@theme()
def achieved_figure(
    curves: pd.DataFrame,
    norm: Norm,
    styles: Styles,
    *,
    note: str = "",
    names: Mapping[str, str] | None = None,
    size: Size = ON_PAGE,
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
        size: The size of the figure.
    """
    shown = pooled_or_all(curves)
    panels, parts = _grid(shown, "perturbation", size)
    for part in parts:
        for (mode, _), curve in part.rows.sort_values("beta").groupby(["mode", "architecture"], sort=False):
            draw_line(part.panel, curve, f"mean_{norm}", styles[str(mode)], proofs=False)
        _set_title(part, (names or {}).get(part.name, part.name), panels.width)
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
    panels, parts = _grid(shown, "perturbation", ON_PAGE, sharex=False)
    for part in parts:
        _draw_curves(part.panel, part.rows, styles, "pointwise")
        _set_title(part, names[part.name], panels.width)
        part.panel.set_xlabel(wrap(axes[part.name], panels.width, SMALL), fontsize=SMALL, parse_math=False)
    return finish(panels, xlabel="beta", ylabel="accuracy", note=note, legend=legend_entries(shown, styles))


class _Part(NamedTuple):
    """The content of a panel: the rows of a table with one teacher and one value of another column."""

    teacher: str
    name: str
    rows: pd.DataFrame
    panel: Axes
    first: bool  # the first panel of its teacher
    several: bool  # there is more than one teacher


def _columns(counts: list[int], size: Size) -> int:
    """Return the number of panels in a row: the fewest that need no further row."""
    most = min(size.columns, max(counts))
    rows = sum(-(-count // most) for count in counts)
    return next(columns for columns in range(1, most + 1) if sum(-(-count // columns) for count in counts) == rows)


def _grid(shown: pd.DataFrame, column: str, size: Size, *, sharex: bool = True) -> tuple[Panels, list[_Part]]:
    """Return a grid with a panel for each teacher and value of a column. Each teacher starts a new row."""
    groups = {
        str(teacher): list(rows.groupby(column, sort=False)) for teacher, rows in shown.groupby("teacher", sort=False)
    }
    counts = [len(parts) for parts in groups.values()]
    columns = _columns(counts, size)
    rows = sum(-(-count // columns) for count in counts)
    height = min(_HEIGHTS[columns - 1], 0.85 * panel_width(size.width, columns))
    panels = shared_grid(size.width, rows, columns, height, sharex=sharex, sharey=True)
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


def _set_title(part: _Part, title: str, width: float) -> None:
    lines = wrap(title, width, SIZE)
    if part.several:
        lines += "\n" + wrap(f"teacher {part.teacher}", width, SIZE)
    part.panel.set_title(lines, parse_math=False)


def _draw_curves(panel: Axes, rows: pd.DataFrame, styles: Styles, bands: Bands) -> None:
    beta = rows["beta"].to_numpy()
    if len(beta) and beta.min() > 0 and beta.max() / beta.min() >= 50:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(lambda beta, _: strength(beta))
        panel.xaxis.set_minor_formatter(NullFormatter())
    low, high = BANDS[bands]
    groups = rows.sort_values("beta").groupby(["mode", "architecture"], sort=False)
    curves = [(styles[str(mode)], curve) for (mode, _), curve in groups]
    for line, curve in curves if len(curves) <= MOST_BANDS else []:
        panel.fill_between(curve["beta"], curve[low], curve[high], color=line.color, alpha=_OPACITY, linewidth=0)
    for line, curve in curves:
        draw_proof(panel, curve, line)
    for line, curve in curves:
        draw_line(panel, curve, "beta", line)


def _draw_published(panel: Axes, published: pd.DataFrame, styles: Styles) -> None:
    for mode, curve in published.groupby("mode", sort=False):
        if mode in styles:
            panel.plot(curve["beta"], curve["accuracy"], color=styles[str(mode)].color, linestyle="--", linewidth=0.8)
