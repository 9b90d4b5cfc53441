"""Captions of figures: what they show, of how many images and seeds, and the full names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import listed
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.config.suite import load
from gtn_bench.reporting.figures import MOST_BANDS
from gtn_bench.reporting.learners import data_set
from gtn_bench.reporting.markdown import escape
from gtn_bench.reporting.numbers import strength
from gtn_bench.reporting.paper_style import FigureStyle
from gtn_bench.reporting.text import LONGEST, short_names

if TYPE_CHECKING:
    from gtn_bench.reporting.run_figures import CurveFigure

_NORMS = {"l2": "L2", "linf": "L-infinity"}
_NAMES = ("teacher", "architecture", "mode")


class Captions:
    """The captions of the figures of a run.

    Args:
        results: The results of a run.
        bands: The bands of the curves.
        style: The style of the figures.
    """

    def __init__(self, results: Results, bands: Bands, style: FigureStyle) -> None:
        self._results = results
        self._bands = bands
        self._style = style
        suite = load(results.folder / "suite.yaml")
        self._data = data_set(suite)
        self._samples = {entry.title: entry.samples for entry in suite.perturbations}
        self._captions: dict[str, str] = {}

    def add(self, figure: CurveFigure) -> None:
        """Add the caption of a figure of curves.

        Args:
            figure: The figure.
        """
        curves = figure.curves
        if figure.about in self._samples:
            axis = self._results.provenance["perturbations"][figure.about]
            what = f"Accuracy under {self._name(figure.about)} over its strength beta ({escape(axis)})"
            panels = "architecture"
        else:
            norm = _NORMS[figure.about]
            what = f"Accuracy over the mean {norm} distance between perturbed and clean images (pixel values)"
            panels = "perturbation"
        parts = [what + (f", part {figure.part} of {figure.parts}" if figure.parts > 1 else "")]
        if curves[panels].nunique() > 1:
            parts.append(f"One panel per {panels}")
        if (curves["architecture"] == ACCEPTED).any():
            parts.append("Accepted architectures are pooled")
        parts += [self._images(curves), self._lines(curves, bands=panels == "architecture"), *self._marks(curves)]
        self._captions[figure.file] = f"{'. '.join(part for part in parts if part)}."

    def add_examples(self, file: str, label: str) -> None:
        """Add the caption of a figure of images.

        Args:
            file: Its name without an ending.
            label: Label of the perturbation.
        """
        chosen = self._results.provenance["examples"]
        axis = self._results.provenance["perturbations"][label]
        learner = f"{escape(chosen['architecture'])}, seed {chosen['seed']}"
        what = f"The first test image, clean and under {self._name(label)} at strengths beta ({escape(axis)})"
        self._captions[file] = f"{what}, with the predicted class. One row per mode. Learners: {learner}. {self._data}."

    def markdown(self) -> str:
        """Return the captions of all figures as Markdown."""
        lines = ["# Captions", ""]
        if note := self._results.provenance.get("note", ""):
            lines += [f"All figures: {escape(note)}", ""]
        if self._style.name:
            lines += [f"Style: {escape(self._style.name)}.", ""]
        if self._style.without_effect:
            lines += [f"Settings of the style without an effect: {', '.join(self._style.without_effect)}.", ""]
        for file, caption in self._captions.items():
            lines += [f"## {escape(file)}", "", caption, ""]
        if short := self._shortened():
            lines += ["## Short names", "", *(f"- {escape(new)}: {escape(name)}" for name, new in short.items()), ""]
        return "\n".join(lines)

    def _name(self, label: str) -> str:
        return escape(self._results.display_name(label))

    def _images(self, curves: pd.DataFrame) -> str:
        """Return the data set with the number of test images of the perturbations that a figure shows."""
        labels = [str(label) for label in curves["perturbation"].unique()]
        summary = self._results.summary
        counts = {label: int(summary.loc[summary["perturbation"] == label, "n"].max()) for label in labels}
        if len(set(counts.values())) == 1:
            return f"{self._data}, n = {next(iter(counts.values()))} test images"
        each = "; ".join(f"{count} for {self._name(label)}" for label, count in counts.items())
        return f"{self._data}, n test images: {each}"

    def _lines(self, curves: pd.DataFrame, *, bands: bool) -> str:
        """Return what lines and bands are, with the seeds behind them."""
        fewest, most = int(curves["n_seeds"].min()), int(curves["n_seeds"].max())
        if most == 1:
            over, lines = "test images", "Lines: one model"
        else:
            over = "seeds and test images"
            number = f"{most}" if fewest == most else f"{fewest} to {most}"
            known = sorted(int(seed) for seed in self._results.summary["seed"].unique())
            lines = f"Lines: mean over {number} seeds" + (f" ({listed(known, str)})" if len(known) == most else "")
        if not bands or curves["ci_low"].isna().all():
            return lines
        if curves.groupby(["teacher", "architecture"])["mode"].nunique().max() > MOST_BANDS:
            return f"{lines}. No bands, because of the many lines; the tables have the intervals"
        kind = "for all points of a curve at once" if self._bands == "simultaneous" else "for each point"
        return f"{lines}. Bands: 95 % confidence intervals over {over}, {kind}"

    def _marks(self, curves: pd.DataFrame) -> list[str]:
        """Return what markers and hatched bands mean, as far as a figure has them."""
        parts = []
        if curves["grade"].isin(["suspect", "unknown", "reliable"]).any():
            parts.append("Hollow markers: suspect; light ones: unknown; full ones: reliable, or nothing to grade")
        if curves["proven"].eq(True).any():
            parts.append("Rings: proven")
        if curves["certified_accuracy"].notna().any():
            parts.append("Dotted: certified accuracy; hatched: neither attack nor proof")
        betas = curves.loc[curves["beta"] > 0, "beta"]
        if curves["perturbation"].nunique() == 1 and len(betas) and curves["beta"].min() > 0:
            parts.append(
                f"The smallest strength is {strength(float(betas.min()))}; the clean accuracy is in the tables"
            )
        return parts

    def _shortened(self) -> dict[str, str]:
        """Return the names that figures shorten, with what they show."""
        summary, found = self._results.summary, dict[str, str]()
        for column in _NAMES:
            names = [str(name) for name in summary[column].unique() if name != NO_TEACHER]
            found |= short_names(names, LONGEST[column])
        shown = [self._results.display_name(str(label)) for label in summary["perturbation"].unique()]
        found |= short_names(shown, LONGEST["perturbation"])
        return {name: short for name, short in found.items() if name != short}
