"""Figures: panels, curves and axis labels."""

from __future__ import annotations

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

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
    """Each teacher has six panels in rows of four; its first panel shows the published curves."""
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
    assert labelled == ["w", "x", "y", "z"]
    plt.close(figure)
