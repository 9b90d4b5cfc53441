"""Results as notebooks show them: a table and the curves inline."""

from __future__ import annotations

import base64
import difflib
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from gtn_bench.analysis import results
from gtn_bench.analysis.manifest import PROVENANCE
from gtn_bench.analysis.reading import RERUN
from gtn_bench.config.errors import ConfigError, did_you_mean, listed, shown
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.paths import user_path
from gtn_bench.reporting import numbers, tables
from gtn_bench.reporting.drawing import draw_curves, draw_overview
from gtn_bench.reporting.mode_comparison import ModeComparison, compare_modes
from gtn_bench.reporting.pivot import accuracy_pivot

if TYPE_CHECKING:
    import pandas as pd

    from gtn_bench.reporting.layout import InlineFigure


class Results(results.Results):
    """The results of a run, read from its output folder when they are accessed.

    A notebook shows a table and the curves of them.

    Args:
        folder: The output folder.
        accept_changes: Whether files are read that have changed after the run.

    Attributes:
        folder: The output folder.

    Raises:
        ConfigError: If the folder holds no results.
    """

    def plot(self, perturbation: str | None = None) -> InlineFigure:
        """Return a figure of accuracy over strength. It is not registered with pyplot; notebooks show it inline.

        Args:
            perturbation: The label of a perturbation or its name in reports, for one panel per architecture; None for
                one panel per perturbation.

        Raises:
            ConfigError: If there is no such perturbation, or no cell of it was evaluated.
        """
        known = self._perturbations()
        if perturbation is None and len(known) > 1:
            return draw_overview(self)
        return draw_curves(self, self._known(perturbation, known) if perturbation is not None else known[0])

    def table(self, perturbation: str | None = None) -> pd.DataFrame:
        """Return the accuracy of each mode at each strength, with 95 % confidence intervals, as texts.

        The rows are those of the accepted architectures together, or of each architecture if none is accepted.

        Args:
            perturbation: The label of a perturbation or its name in reports, for one column per strength; None for one
                per perturbation and strength.

        Raises:
            ConfigError: If there is no such perturbation, or no cell of it was evaluated.
        """
        known = self._perturbations()
        return accuracy_pivot(self, known if perturbation is None else [self._known(perturbation, known)])

    def compare(self, mode: str, other: str) -> ModeComparison:
        """Return the differences between two modes under each perturbation, with a sentence for each.

        Two runs are compared by `gtn_bench.compare`.

        Args:
            mode: Label of a mode.
            other: Label of the other mode.

        Raises:
            ConfigError: If there is no such mode, or the run does not compare the two.
        """
        return compare_modes(self, mode, other)

    def _perturbations(self) -> list[str]:
        """Return the labels of the perturbations that were evaluated."""
        known = [str(label) for label in self.curves["perturbation"].unique()]
        if not known:
            raise ConfigError(f"{self.folder}: no cell was evaluated; see results.errors")
        return known

    def _known(self, perturbation: str, known: list[str]) -> str:
        """Return the label of a perturbation that is given by its label, or by its name in reports."""
        names = {self.display_name(label): label for label in known}
        if perturbation not in known and perturbation in names:
            return names[perturbation]
        if perturbation not in known:
            name = shown(perturbation)
            raise ConfigError(f"{self.folder}: no perturbation is called {name}{did_you_mean(perturbation, known)}")
        return perturbation

    def _repr_html_(self) -> str:
        try:
            return "".join(self._parts())
        except ConfigError as error:
            return f"<p>{escape(str(error))}</p>"

    def _parts(self) -> list[str]:
        """Return the parts of the HTML representation."""
        status, flags = self.summary["status"], self.summary["flags"]
        parts = [f"<p><b>{escape(self.provenance['suite'])}</b>, {escape(str(self.folder))}: {len(status)} cells</p>"]
        if failed := int((status == "error").sum()):
            parts.append(f"<p><b>{failed} of {len(status)} cells failed</b>; see <code>results.errors</code></p>")
        if suspect := int((flags != "").sum()):
            parts.append(
                f"<p><b>{suspect} of {len(status)} cells fail a sanity check</b>; see <code>results.checks</code></p>"
            )
        if not (status == "done").any():
            return [*parts, "<p>No cell was evaluated.</p>"]
        table = tables.overview_table(self)
        parts.append(table.to_html(index=False, border=0, na_rep="", float_format=numbers.accuracy))
        image, size = self.plot()._repr_png_()
        source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        style = f"width: {size['width']}px; max-width: 100%"
        return [*parts, f'<img alt="Accuracy over beta" style="{style}" src="{source}"/>']


@names_keywords
def open(folder: str | os.PathLike[str], *, accept_changes: bool = False) -> Results:
    """Open the results of a run.

    Args:
        folder: The output folder.
        accept_changes: Whether files are read that have changed after the run.

    Returns:
        The results.

    Raises:
        ConfigError: If the folder holds no results, or its run has not finished.
    """
    path = user_path(folder)
    expected = f"{path}: expects the output folder of a run"
    if path.is_file():
        inside = f"; did you mean {path.parent}?" if (path.parent / "summary.csv").is_file() else ""
        raise ConfigError(f"{expected}, got a file{inside}")
    if (path / "teacher.yaml").is_file():
        raise ConfigError(f"{expected}, got that of a teacher")
    if (path / PROVENANCE).is_file() and not (path / "summary.csv").is_file():
        Results(path)  # raises, and says if the run was interrupted
    if not (path / "summary.csv").is_file():
        found = "no summary.csv in it" if path.is_dir() else "no such folder"
        raise ConfigError(f"{expected}, found {found}{_nearest(path)}")
    if not (path / PROVENANCE).is_file():
        raise ConfigError(f"{path}: its run has not finished; {RERUN}")
    opened = Results(path, accept_changes=accept_changes)
    opened.check()
    return opened


def _nearest(path: Path) -> str:
    """Return the end of the message about a folder without results: results near it, or how to get them."""
    runs = sorted(found.parent for found in path.glob("*/summary.csv"))
    if runs:
        return f"; did you mean {runs[0]}?" if len(runs) == 1 else f"; it holds those of {listed(runs, str)}"
    beside = {found.parent.name: found.parent for found in path.parent.glob("*/summary.csv")}
    if near := difflib.get_close_matches(path.name, beside, n=1):
        return f"; did you mean {beside[near[0]]}?"
    return f"; if its run was interrupted, {RERUN}"
