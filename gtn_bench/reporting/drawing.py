"""The figures of a run: which there are, and when they are drawn again."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.manifest import FIGURES
from gtn_bench.analysis.results import Results
from gtn_bench.reporting.names import file_names, page_files
from gtn_bench.store.hashing import digest, file_digest
from gtn_bench.store.keys import code_digest
from gtn_bench.store.records import Record

if TYPE_CHECKING:
    from gtn_bench.reporting.layout import InlineFigure
    from gtn_bench.reporting.theme import LineStyle

Images = dict[str, dict[str, dict[float, Any]]]  # by perturbation, mode and beta


def figure_files(results: Results) -> dict[str, str]:
    """Return the name of the figure of each perturbation, without an ending.

    Args:
        results: The results of a run.
    """
    return file_names(str(label) for label in results.summary["perturbation"].unique())


class Drawing(NamedTuple):
    """Outcome of drawing the figures of a report.

    Attributes:
        drawn_from: A hash of everything that determines the figures.
        keep: The figures in the folder that stay, beside the new ones.
    """

    drawn_from: str
    keep: frozenset[str]


def draw(results: Results, stage: Path, before: Record | None, bands: Bands, published: pd.DataFrame | None) -> Drawing:
    """Draw all figures, unless the same code has drawn them from the same tables already.

    Args:
        results: The results.
        stage: The folder for new figures, whose files are to be renamed into `figures`.
        before: The record of the last report; None if there is none.
        bands: The bands of the curves.
        published: Points of the reference study beside the curves, from `published_beside`.
    """
    wanted, drawn_from = _wanted(results), _content(results, bands, published)
    existing = {f"{FIGURES}/{path.name}" for path in (results.folder / FIGURES).glob("*.[ps][nv]g")}
    known = before.files if before else page_files(figure_files(results))  # an earlier version kept no record
    drawn = existing & set(known)
    same = before is not None and before.complete and before.content.get("drawn_from") == drawn_from
    if not (same and wanted <= existing and all(_is_recorded(results, before, name) for name in wanted)):
        stage.mkdir()
        _draw_all(results, stage, bands, published)
    # Figures of perturbations that the suite no longer has are removed. Without example images, theirs stay.
    return Drawing(drawn_from, frozenset(drawn & wanted if results.examples else drawn))


def _is_recorded(results: Results, before: Record | None, name: str) -> bool:
    """Return whether a figure is as the last report has drawn it."""
    return before is not None and before.accepts(name, file_digest(results.folder / name))


def strips_in(results: Results, figures: Collection[str]) -> set[str]:
    """Return the perturbations whose example images are drawn: now, or before the images were removed.

    Args:
        results: The results of a run.
        figures: Names of all figures that the folder has after the report.
    """
    return {label for label, name in figure_files(results).items() if f"{FIGURES}/{name}-examples.png" in figures}


def _wanted(results: Results) -> set[str]:
    """Return the names of all files, in the output folder."""
    files = figure_files(results)
    names = {files[str(label)] for label in results.curves["perturbation"].unique()} | {"over-l2", "over-linf"}
    names |= {f"{files[label]}-examples" for label in example_images(results)}
    return {f"{FIGURES}/{name}.{kind}" for name in names for kind in ("png", "svg")}


def _content(results: Results, bands: Bands, published: pd.DataFrame | None) -> str:
    """Return a hash of everything that determines the figures."""
    tables = [results.folder / name for name in ("curves.csv", "samples.parquet", "examples.safetensors")]
    tables = [path for path in tables if path.is_file()]  # results can be shared without their large files
    shown = {key: results.provenance.get(key) for key in ("perturbations", "details", "examples", "note", "classes")}
    code = code_digest("gtn_bench.reporting.drawing", "gtn_bench.reporting.figures")
    how = [bands, published.to_csv() if published is not None else ""]
    return digest([code, shown, how, *(file_digest(table) for table in tables)])


def _draw_all(results: Results, folder: Path, bands: Bands, published: pd.DataFrame | None) -> None:
    from gtn_bench.reporting import figures

    files, strips = figure_files(results), _strips(results)
    for label in map(str, results.curves["perturbation"].unique()):
        figures.save(draw_curves(results, label, bands, published), folder / files[label])
        if label in strips:
            figure = figures.strip_figure(**strips[label], **_shared(results, label))
            figures.save(figure, folder / f"{files[label]}-examples")
    for norm in figures.NORMS:
        note, names = results.provenance.get("note", ""), _names(results)
        figure = figures.achieved_figure(results.curves, norm, _styles(results), note=note, names=names)
        figures.save(figure, folder / f"over-{norm}")


def draw_curves(
    results: Results, perturbation: str, bands: Bands = "pointwise", published: pd.DataFrame | None = None
) -> InlineFigure:
    """Return the figure of the curves of a perturbation.

    Args:
        results: The results.
        perturbation: Its label.
        bands: The bands of the curves.
        published: Points of the reference study beside the curves, from `published_beside`.
    """
    from gtn_bench.reporting import figures

    part, theirs = results.curves[results.curves["perturbation"] == perturbation], None
    if published is not None:
        theirs = published[published["perturbation"] == perturbation].assign(accuracy=lambda table: table["published"])
    shared = _shared(results, perturbation)
    return figures.curves_figure(part, styles=_styles(results), bands=bands, published=theirs, **shared)


def draw_overview(results: Results) -> InlineFigure:
    """Return a figure with a panel for each perturbation.

    Args:
        results: The results.
    """
    from gtn_bench.reporting import figures

    axes, note = results.provenance["perturbations"], results.provenance.get("note", "")
    return figures.overview_figure(results.curves, axes, _styles(results), note=note, names=_names(results))


def _styles(results: Results) -> Mapping[str, LineStyle]:
    from gtn_bench.reporting import figures

    return figures.style([str(mode) for mode in results.summary["mode"].unique()])


def _shared(results: Results, label: str) -> dict[str, Any]:
    """Return what all figures of a perturbation show."""
    axis, note = results.provenance["perturbations"][label], results.provenance.get("note", "")
    return {"axis": axis, "note": note, "name": results.display_name(label)}


def _names(results: Results) -> dict[str, str]:
    return {label: results.display_name(label) for label in figure_files(results)}


def _strips(results: Results) -> dict[str, Mapping[str, Any]]:
    """Return the arguments of `strip_figure` for each perturbation: the first test image at every strength."""
    found = example_images(results)
    if not found:
        return {}
    chosen = results.provenance["examples"]
    seen = results.select(architecture=chosen["architecture"], seed=chosen["seed"], sample=0)
    seen = seen[seen["teacher"].isin(chosen["teachers"])]
    return {
        perturbation: {
            "clean": results.examples["clean"][0],
            "perturbed": perturbed,
            "predictions": seen[seen["perturbation"] == perturbation],
            "label": int(seen["label"].iloc[0]),
            "classes": results.provenance.get("classes", ()),
        }
        for perturbation, perturbed in found.items()
    }


def example_images(results: Results) -> Images:
    """Return the first example image (C, H, W) by perturbation, mode and beta.

    Names can contain the separator of the keys, so keys are looked up instead of split at every separator.

    Args:
        results: The results of a run.
    """
    labels = (results.summary[column].unique() for column in ("perturbation", "mode"))
    pairs = {
        f"{perturbation}/{mode}": (str(perturbation), str(mode)) for perturbation, mode in itertools.product(*labels)
    }
    images: Images = {}
    for key, value in results.examples.items():
        pair, _, beta = key.rpartition("/")
        if pair in pairs:
            perturbation, mode = pairs[pair]
            images.setdefault(perturbation, {}).setdefault(mode, {})[float(beta)] = value[0]
    return images
