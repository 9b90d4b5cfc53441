"""The lines of curves in a panel: grades as fillings of the markers, proven points, and bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gtn_bench.analysis.grades import worst
from gtn_bench.reporting.theme import LineStyle

Styles = Mapping[str, LineStyle]

_MARKERS = 12  # at most about so many on a line: the curve stays visible between them
_SIZE = 4.5  # points of a marker
_RING = 8.0  # points of the ring around the marker of a proven point
_LEGEND = "#777777"  # the color of markers that stand for no mode
_HATCH = "////"
_LIGHT = 0.3  # opacity of the filling of an unknown point, on white


def draw_line(panel: Axes, curve: pd.DataFrame, x: str, line: LineStyle, *, proofs: bool = True) -> None:
    """Draw the accuracy of a curve as a line with markers.

    The filling of a marker is the grade: none if the point is suspect, light if it is unknown, full if it is reliable
    or has no grade. If a marker stands for several points, its grade is the worst of theirs. A ring means that all of
    these points are proven.

    Args:
        panel: The panel.
        curve: Rows of curves.csv of one curve, ascending in x.
        x: The column on the horizontal axis.
        line: The line style of its mode.
        proofs: Whether proven points have rings.
    """
    places, values = curve[x].to_numpy(), curve["accuracy"].to_numpy()
    step = -(-len(curve) // _MARKERS)
    marked = range(0, len(curve), step)
    fillings = {place: _filling(curve, place, step, line.color) for place in marked}
    panel.plot(
        places,
        values,
        color=line.color,
        linestyle=line.dashes,
        marker=line.marker,
        markeredgecolor="white",
        markevery=[place for place in marked if not fillings[place]],
    )
    points: dict[str, Any] = {"marker": line.marker, "s": _SIZE**2, "edgecolors": line.color, "linewidths": 0.9}
    ring: dict[str, Any] = {
        "marker": "o",
        "s": _RING**2,
        "facecolors": "none",
        "edgecolors": line.color,
        "linewidths": 0.8,
    }
    for filling in sorted(set(fillings.values()) - {""}):
        same = [place for place, color in fillings.items() if color == filling]
        panel.scatter(places[same], values[same], facecolors=filling, zorder=3, **points)
    if proofs and "proven" in curve:
        proven = curve["proven"].eq(True).to_numpy()
        ringed = [place for place in marked if proven[place : place + step].all()]
        if ringed:
            panel.scatter(places[ringed], values[ringed], zorder=3, **ring)


def draw_proof(panel: Axes, curve: pd.DataFrame, line: LineStyle) -> None:
    """Hatch the band between a certified lower bound and the accuracy under attack. Nothing without certificates.

    Args:
        panel: The panel, over beta.
        curve: Rows of curves.csv of one curve, ascending in beta.
        line: The line style of its mode.
    """
    if not has_proofs(curve):
        return
    known = curve[curve["certified_accuracy"].notna()]
    beta, low, high = (known[column].to_numpy() for column in ("beta", "certified_accuracy", "accuracy"))
    band = panel.fill_between(beta, low, high, facecolor="none", edgecolor=line.color, hatch=_HATCH, linewidth=0)
    band.set_alpha(0.45)
    panel.plot(beta, low, color=line.color, linewidth=0.8, linestyle=(0, (2, 1.5)))


def has_proofs(curves: pd.DataFrame) -> bool:
    """Return True if some points have a certified accuracy.

    Args:
        curves: Rows of curves.csv.
    """
    return "certified_accuracy" in curves and bool(curves["certified_accuracy"].notna().any())


def legend_entries(shown: pd.DataFrame, styles: Styles, *, proofs: bool = True) -> dict[str, Artist]:
    """Return an artist for each mode of a table in the order of the styles, and for what else is drawn.

    Args:
        shown: Rows of curves.csv.
        styles: Line style of each mode.
        proofs: Whether proven points and the bands of certified lower bounds are drawn.
    """
    modes = set(shown["mode"])
    entries: dict[str, Artist] = {
        mode: Line2D([], [], color=line.color, linestyle=line.dashes, marker=line.marker, markeredgecolor="white")
        for mode, line in styles.items()
        if mode in modes
    }
    grades = set(shown["grade"]) if "grade" in shown else set()
    for grade in ("suspect", "unknown", "reliable"):
        if grade in grades:
            filling = _fill(grade, _LEGEND) or _LEGEND
            entries[f"grade: {grade}"] = Line2D(
                [], [], linestyle="none", marker="o", markerfacecolor=filling, markeredgecolor=_LEGEND
            )
    if proofs and "proven" in shown and shown["proven"].eq(True).any():
        entries["proven"] = Line2D(
            [], [], linestyle="none", marker="o", markersize=_RING, markerfacecolor="none", markeredgecolor=_LEGEND
        )
    if proofs and has_proofs(shown):
        entries["between attack and proof"] = Patch(facecolor="none", edgecolor=_LEGEND, hatch=_HATCH, linewidth=0)
    return entries


def _filling(curve: pd.DataFrame, place: int, step: int, color: str) -> str:
    """Return the color that fills the marker of some neighboring points; empty for the color of the line."""
    if "grade" not in curve:
        return ""
    return _fill(worst(curve["grade"].iloc[place : place + step]), color)


def _fill(grade: str, color: str) -> str:
    if grade == "suspect":
        return "white"
    if grade == "unknown":
        red, green, blue = (1 - _LIGHT * (1 - value) for value in to_rgb(color))
        return to_hex((red, green, blue))
    return ""
