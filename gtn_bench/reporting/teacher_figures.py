"""Figures of a teacher: its meta-training, its curriculum and its rates."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist

from gtn_bench.reporting.layout import PAGE, InlineFigure, finish, shared_grid
from gtn_bench.reporting.strips import Array, Tile, tiles_figure
from gtn_bench.reporting.theme import style, theme

_HEIGHT = 1.75  # inches of a panel


@theme()
def learning_figure(history: dict[str, Any]) -> InlineFigure:
    """Draw the meta-loss over meta-steps, and the validation accuracy of learners if it was measured.

    Args:
        history: The history of a teaching set, as plain data.
    """
    losses, checks = history["losses"], history["checks"]
    panels = shared_grid(PAGE, 1, 2 if checks else 1, _HEIGHT)
    entries: dict[str, Artist] = {}
    panel = panels.axes[0, 0]
    panel.plot(np.arange(1, len(losses) + 1), losses, marker="o" if len(losses) < 10 else "", markersize=4)
    panel.set(ylabel="meta-loss", yscale="log")
    if checks:
        panel = panels.axes[0, 1]
        steps = [check["meta_step"] for check in checks]
        for inner_steps, line in style(list(checks[0]["accuracy"])).items():
            values = [check["accuracy"][inner_steps] for check in checks]
            (entries[inner_steps],) = panel.plot(steps, values, color=line.color, marker=line.marker, markersize=4)
        panel.set(ylabel="validation accuracy", ylim=(None, 1.0))
    return finish(panels, xlabel="meta-step", legend=entries, legend_title="inner steps")


@theme()
def curriculum_figure(images: Array, labels: Array, steps: int = 8, classes: int = 10) -> InlineFigure:
    """Draw the first image of each class in some inner steps: one row per inner step, one column per class.

    Args:
        images: (T, B, C, H, W) in [0, 1].
        labels: (T, B, K), or (1, B, K) if all inner steps share them.
        steps: Largest number of inner steps to show.
        classes: Largest number of classes to show.
    """
    shown = np.unique(np.linspace(0, len(images) - 1, steps).round().astype(int))
    columns = min(classes, labels.shape[2])
    tiles = []
    for row, step in enumerate(shown):
        largest = labels[min(step, len(labels) - 1)].argmax(1)
        for column in range(columns):
            places = np.flatnonzero(largest == column)
            if len(places):
                tiles.append(Tile(row, column, images[step, places[0]]))
    return tiles_figure(
        tiles,
        [str(step + 1) for step in shown],
        [str(column) for column in range(columns)],
        xlabel="class",
        ylabel="inner step",
    )


@theme()
def rates_figure(lr: Array, momentum: Array) -> InlineFigure:
    """Draw the learned rates and momenta over inner steps.

    Args:
        lr: Learning rates (T,).
        momentum: Momenta (T,).
    """
    panels = shared_grid(PAGE, 1, 2, _HEIGHT)
    for panel, values, name in zip(panels.axes[0], (lr, momentum), ("learning rate", "momentum"), strict=True):
        panel.plot(np.arange(1, len(values) + 1), values, marker="o", markersize=3)
        panel.set(ylabel=name)
    return finish(panels, xlabel="inner step")
