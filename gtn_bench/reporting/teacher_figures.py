"""Figures of a teacher: its meta-training, its lessons, its rates."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from gtn_bench.reporting.figures import Array


def learning_figure(history: dict[str, Any]) -> Figure:
    """Meta-loss over meta-steps; beside it, where learners were checked, their validation accuracy."""
    losses, checks = history["losses"], history["checks"]
    figure, panels = plt.subplots(
        1, 2 if checks else 1, figsize=(7.2 if checks else 3.6, 2.6), squeeze=False, layout="constrained"
    )
    steps = np.arange(1, len(losses) + 1)
    panels[0, 0].plot(steps, losses, linewidth=1)
    panels[0, 0].set(xlabel="meta-step", ylabel="meta-loss", yscale="log")
    if checks:
        panel = panels[0, 1]
        for length, marker in zip(checks[0]["accuracy"], "os", strict=False):
            values = [check["accuracy"][length] for check in checks]
            panel.plot([check["meta_step"] for check in checks], values, marker=marker, markersize=4, label=length)
        panel.set(xlabel="meta-step", ylabel="validation accuracy", ylim=(None, 1.0))
        panel.legend(title="inner steps", frameon=False)
    sns.despine(figure)
    return figure


def lessons_figure(images: Array, labels: Array, steps: int = 8, classes: int = 10) -> Figure:
    """Images of some inner steps (a row each) and classes (a column each).

    images: (T, B, C, H, W) in pixel space. labels: (T, B, K), or (1, B, K) where all steps share them.
    """
    shown = np.unique(np.linspace(0, len(images) - 1, steps).round().astype(int))
    columns = min(classes, labels.shape[2])
    channels, height, width = images.shape[2:]
    canvas = np.ones((len(shown) * (height + 2), columns * (width + 2), channels))
    for row, step in enumerate(shown):
        most = labels[min(step, len(labels) - 1)].argmax(1)
        for column in range(columns):
            mine = np.flatnonzero(most == column)
            if len(mine):
                top, left = row * (height + 2), column * (width + 2)
                image = images[step, mine[0]].transpose(1, 2, 0)
                canvas[top : top + height, left : left + width] = image.clip(0, 1)
    figure, panel = plt.subplots(figsize=(0.6 * columns + 0.9, 0.6 * len(shown) + 0.6), layout="constrained")
    panel.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    panel.set_xticks(
        [column * (width + 2) + width / 2 for column in range(columns)], [str(column) for column in range(columns)]
    )
    panel.set_yticks([row * (height + 2) + height / 2 for row in range(len(shown))], [str(step + 1) for step in shown])
    panel.set(xlabel="label", ylabel="inner step")
    panel.tick_params(length=0)
    sns.despine(figure, left=True, bottom=True)
    return figure


def rates_figure(lr: Array, momentum: Array) -> Figure:
    """Learned rates and momenta over inner steps."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 2.4), layout="constrained")
    for panel, values, name in zip(panels, (lr, momentum), ("learning rate", "momentum"), strict=True):
        panel.plot(np.arange(1, len(values) + 1), values, marker="o", markersize=3, linewidth=1)
        panel.set(xlabel="inner step", ylabel=name)
    sns.despine(figure)
    return figure
