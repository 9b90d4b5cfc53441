"""Figures: panels, curves and axis labels."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb

from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reporting import figures

MODES = ["gtn", "vanilla"]
BETAS = [0.0, 0.1, 0.2]


def made_up(teachers: list[str], architectures: list[str]) -> pd.DataFrame:
    """Return curves with a distinct height for each teacher, architecture and mode."""
    rows = []
    for height, (teacher, architecture, mode) in enumerate(product(teachers, architectures, MODES)):
        for beta in BETAS:
            accuracy = 0.9 - 0.01 * height - beta
            rows.append((teacher, architecture, mode, beta, accuracy, accuracy - 0.01, accuracy + 0.01))
    columns = ["teacher", "architecture", "mode", "beta", "accuracy", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def test_every_teacher_and_architecture_has_a_panel_with_its_curves() -> None:
    """Each teacher has six panels in rows of three; its first panel shows the published curves."""
    teachers, architectures = ["a", "b"], [ACCEPTED, "v", "w", "x", "y", "z"]
    curves = made_up(teachers, architectures)
    published = curves[(curves["architecture"] == ACCEPTED)].assign(accuracy=0.05)
    figure = figures.curves_figure(curves, "strength", figures.style(MODES), published=published)
    panels = {panel.get_title(): panel for panel in figure.axes if panel.get_visible()}
    names = {name: "accepted architectures" if name == ACCEPTED else name for name in architectures}
    assert set(panels) == {f"{names[name]}\nteacher {teacher}" for teacher, name in product(teachers, architectures)}
    for (teacher, name), part in curves.groupby(["teacher", "architecture"]):
        lines = [line.get_ydata() for line in panels[f"{names[str(name)]}\nteacher {teacher}"].lines]
        drawn = [tuple(line) for line in lines if len(line)]  # seaborn's legend leaves empty ones
        ours = {tuple(curve["accuracy"]) for _, curve in part.groupby("mode")}
        theirs = [line for line in drawn if np.allclose(line, 0.05)]
        assert {line for line in drawn if line not in theirs} == ours
        assert len(theirs) == (len(MODES) if name == ACCEPTED else 0)
    plt.close(figure)


def test_the_lowest_panel_of_each_column_has_tick_labels() -> None:
    figure = figures.curves_figure(made_up(["a"], ["v", "w", "x", "y", "z"]), "strength", figures.style(MODES))
    figure.draw_without_rendering()
    shown = [panel for panel in figure.axes if panel.get_visible()]
    labelled = [panel.get_title() for panel in shown if any(label.get_visible() for label in panel.get_xticklabels())]
    assert labelled == ["x", "y", "z"]  # rows of three: no panel is alone
    plt.close(figure)


def drawn_points(panel: Any) -> dict[float, str]:
    """Return the color that fills the marker of each point of the only curve of a panel, by beta."""
    (line,) = (line for line in panel.lines if len(line.get_xdata()) and line.get_marker() not in ("", "None"))
    full = {float(line.get_xdata()[place]): to_hex(line.get_color()) for place in line.get_markevery()}
    fillings = {
        float(place[0]): to_hex(points.get_facecolors()[0])
        for points in panel.collections
        if isinstance(points, PathCollection) and len(points.get_facecolors())
        for place in points.get_offsets()
    }
    assert not full.keys() & fillings.keys()
    return full | fillings


def rings(panel: Any) -> list[float]:
    """Return the strengths of the points of a panel that have a ring."""
    hollow = [
        points for points in panel.collections if hasattr(points, "get_sizes") and not len(points.get_facecolors())
    ]
    return [float(place[0]) for points in hollow for place in points.get_offsets()]


def graded(grades: list[str], proven: list[bool], certified: list[float]) -> pd.DataFrame:
    """Return the curve of a mode with the given grades, certified accuracies and proven points."""
    curve = made_up(["t"], ["a"])
    curve = curve[curve["mode"] == "gtn"]
    return curve.assign(grade=grades, proven=proven, certified_accuracy=certified)


def test_markers_show_grades_and_rings_proven_points() -> None:
    curve = graded(["suspect", "unknown", "reliable"], [False, True, False], [np.nan] * 3)
    figure = figures.curves_figure(curve, "strength", figures.style(MODES))
    (panel,) = figure.axes
    color = figures.style(MODES)["gtn"].color
    fillings = drawn_points(panel)
    assert fillings[0.0] == "#ffffff" and fillings[0.2] == color
    light, full = (np.array(to_rgb(shade)) for shade in (fillings[0.1], color))
    assert (light > full).any() and (light < 1).any() and rings(panel) == [0.1]
    (legend,) = figure.legends
    names = ["gtn", "grade: suspect", "grade: unknown", "grade: reliable", "proven"]
    assert [text.get_text() for text in legend.get_texts()] == names
    plt.close(figure)


@pytest.mark.parametrize("grade", ["n/a", "reliable"])
def test_points_without_a_grade_are_full(grade: str) -> None:
    figure = figures.curves_figure(graded([grade] * 3, [False] * 3, [np.nan] * 3), "x", figures.style(MODES))
    color = figures.style(MODES)["gtn"].color
    assert drawn_points(figure.axes[0]) == dict.fromkeys(BETAS, color) and rings(figure.axes[0]) == []
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == (["gtn"] if grade == "n/a" else ["gtn", "grade: reliable"])
    plt.close(figure)


def test_a_marker_of_several_points_has_the_worst_grade_of_them() -> None:
    betas = np.linspace(0, 1, 24)
    curve = pd.DataFrame({"teacher": "t", "architecture": "a", "mode": "gtn", "beta": betas, "accuracy": 1 - betas})
    grades = ["suspect" if place == 5 else "reliable" for place in range(24)]  # between two markers
    curve = curve.assign(ci_low=0.0, ci_high=1.0, grade=grades, proven=[place != 7 for place in range(24)])
    figure = figures.curves_figure(curve, "x", figures.style(MODES))
    fillings = drawn_points(figure.axes[0])
    assert len(fillings) == 12 and [beta for beta, fill in fillings.items() if fill == "#ffffff"] == [betas[4]]
    assert rings(figure.axes[0]) == [betas[place] for place in range(0, 24, 2) if place != 6]
    plt.close(figure)


def test_the_band_between_attack_and_certificate_is_hatched() -> None:
    curve = graded(["unknown"] * 3, [False] * 3, [0.8, 0.5, np.nan])
    figure = figures.curves_figure(curve, "x", figures.style(MODES))
    (panel,) = figure.axes
    (band,) = (band for band in panel.collections if band.get_hatch())
    corners = band.get_paths()[0].vertices
    accuracy = curve["accuracy"].to_numpy()
    assert {(0.0, 0.8), (0.1, 0.5), (0.0, accuracy[0]), (0.1, accuracy[1])} == {tuple(corner) for corner in corners}
    assert [list(line.get_ydata()) for line in panel.lines if list(line.get_ydata())[:1] == [0.8]] == [[0.8, 0.5]]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "between attack and proof"
    without = figures.curves_figure(curve.assign(certified_accuracy=np.nan), "x", figures.style(MODES))
    assert not any(band.get_hatch() for band in without.axes[0].collections)
    plt.close(figure)
