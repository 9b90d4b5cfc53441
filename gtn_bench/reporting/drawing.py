"""The files of the figures of a run: which there are, and when they are drawn again."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Executor, wait
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.manifest import FIGURES
from gtn_bench.analysis.results import Results
from gtn_bench.reporting.names import CAPTIONS, EXAMPLES, FORMATS, page_files
from gtn_bench.reporting.paper_style import PLAIN, FigureStyle
from gtn_bench.reporting.run_figures import (
    Pending,
    curve_figures,
    draw_all,
    draw_curves,
    draw_overview,
    example_images,
    figure_files,
)
from gtn_bench.store.hashing import digest, file_digest
from gtn_bench.store.keys import code_digest
from gtn_bench.store.records import Record

_ENDINGS = {".md", *(f".{kind}" for kind in FORMATS)}

__all__ = [
    "Drawing",
    "all_files",
    "draw",
    "draw_curves",
    "draw_overview",
    "example_images",
    "figure_files",
    "strips_in",
]


class Drawing(NamedTuple):
    """Outcome of drawing the figures of a report.

    Attributes:
        drawn_from: A hash of everything that determines the figures.
        keep: The figures in the folder that stay, beside the new ones.
        pending: The figures that other processes draw.
    """

    drawn_from: str
    keep: frozenset[str]
    pending: tuple[Pending, ...] = ()

    def wait(self) -> None:
        """Wait until all figures are drawn."""
        for figure in self.pending:
            figure.wait()

    def stop(self) -> None:
        """End the drawing in other processes, which write into a folder that may be removed next."""
        wait([figure.future for figure in self.pending if not figure.future.cancel()])


def draw(
    results: Results,
    stage: Path,
    before: Record | None,
    bands: Bands,
    published: pd.DataFrame | None,
    style: FigureStyle = PLAIN,
    executor: Executor | None = None,
) -> Drawing:
    """Draw all figures, unless the same code has drawn them from the same tables already.

    Args:
        results: The results.
        stage: The folder for new figures, whose files are to be renamed into `figures`.
        before: The record of the last report; None if there is none.
        bands: The bands of the curves.
        published: Points of the reference study beside the curves, from `published_beside`.
        style: The style of the figures.
        executor: Other processes that draw; None for this process.
    """
    wanted, drawn_from = _wanted(results), _content(results, bands, published, style)
    known = before.files if before else all_files(results)  # an earlier version kept no record
    existing = {f"{FIGURES}/{path.name}" for path in (results.folder / FIGURES).glob("*") if path.suffix in _ENDINGS}
    drawn = existing & set(known)
    pending: list[Pending] = []
    same = before is not None and before.complete and before.content.get("drawn_from") == drawn_from
    if not (same and wanted <= existing and all(_is_recorded(results, before, name) for name in wanted)):
        stage.mkdir()
        pending = draw_all(results, stage, bands, published, style, strips_in(results, drawn), executor)
    # Figures of perturbations that the suite no longer has are removed. Without example images, theirs stay.
    return Drawing(drawn_from, frozenset(drawn & wanted if results.examples else drawn), tuple(pending))


def all_files(results: Results) -> set[str]:
    """Return the names of all files that the report of a run can write.

    Args:
        results: The results of a run.
    """
    teachers, architectures = (int(results.summary[name].nunique()) for name in ("teacher", "architecture"))
    return page_files(figure_files(results), teachers, architectures)


def _is_recorded(results: Results, before: Record | None, name: str) -> bool:
    """Return whether a figure is as the last report has drawn it."""
    return before is not None and before.accepts(name, file_digest(results.folder / name))


def strips_in(results: Results, figures: Collection[str]) -> set[str]:
    """Return the perturbations whose example images are drawn: now, or before the images were removed.

    Args:
        results: The results of a run.
        figures: Names of all figures that the folder has after the report.
    """
    return {label for label, name in figure_files(results).items() if f"{FIGURES}/{name}{EXAMPLES}.png" in figures}


def _wanted(results: Results) -> set[str]:
    """Return the names of all files, in the output folder."""
    files = figure_files(results)
    names = {figure.file for figure in curve_figures(results)}
    names |= {f"{files[label]}{EXAMPLES}" for label in example_images(results)}
    return {CAPTIONS, *(f"{FIGURES}/{name}.{kind}" for name in names for kind in FORMATS)}


def _content(results: Results, bands: Bands, published: pd.DataFrame | None, style: FigureStyle) -> str:
    """Return a hash of everything that determines the figures."""
    tables = [results.folder / name for name in ("curves.csv", "samples.parquet", "examples.safetensors", "suite.yaml")]
    tables = [path for path in tables if path.is_file()]  # results can be shared without their large files
    shown = {key: results.provenance.get(key) for key in ("perturbations", "details", "examples", "note", "classes")}
    code = code_digest("gtn_bench.reporting.drawing", "gtn_bench.reporting.figures")
    how = [bands, published.to_csv() if published is not None else "", repr(style)]
    return digest([code, shown, how, *(file_digest(table) for table in tables)])
