"""The figures of a run, drawn from its tables."""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.analysis.curves import Bands
from gtn_bench.analysis.results import Results
from gtn_bench.reporting.names import CAPTIONS, EXAMPLES, file_names, page_ending
from gtn_bench.reporting.paper_style import PLAIN, FigureStyle

if TYPE_CHECKING:
    from gtn_bench.reporting.figures import Norm, Size
    from gtn_bench.reporting.layout import InlineFigure
    from gtn_bench.reporting.theme import LineStyle

Images = dict[str, dict[str, dict[float, Any]]]  # by perturbation, mode and beta

_NAMES = ("teacher", "architecture", "mode")


def figure_files(results: Results) -> dict[str, str]:
    """Return the name of the figure of each perturbation, without an ending.

    Args:
        results: The results of a run.
    """
    return file_names(str(label) for label in results.summary["perturbation"].unique())


class Pending(NamedTuple):
    """A figure that another process draws.

    Attributes:
        draw: Draws it here.
        future: The drawing in the other process.
    """

    draw: Callable[[], None]
    future: Future[None]

    def wait(self) -> None:
        """Wait until the figure is drawn; draw it here if the other process has ended."""
        try:
            self.future.result()
        except (BrokenExecutor, CancelledError):
            self.draw()


class CurveFigure(NamedTuple):
    """A figure of curves.

    Attributes:
        file: Its name without an ending.
        about: The label of its perturbation, or the norm of its distances.
        curves: The rows of curves.csv that it shows.
        size: Its size.
        part, parts: Which of how many figures with the same content, from 1.
    """

    file: str
    about: str
    curves: pd.DataFrame
    size: Size
    part: int
    parts: int


def curve_figures(results: Results) -> Iterator[CurveFigure]:
    """Yield the figures of curves, without drawing them.

    Args:
        results: The results of a run.
    """
    from gtn_bench.reporting import figures

    curves = results.curves
    contents = [
        (name, label, curves[curves["perturbation"] == label], "architecture")
        for label, name in figure_files(results).items()
        if (curves["perturbation"] == label).any()
    ]
    contents += [(f"over-{norm}", norm, curves, "perturbation") for norm in figures.NORMS]
    for name, about, rows, column in contents:
        for size in (figures.ON_PAGE, figures.ON_COLUMN):
            shown = figures.shown_curves(rows, size) if column == "architecture" else pooled_or_all(rows)
            found = figures.pages(shown, column, size)
            for part, mine in enumerate(found, start=1):
                yield CurveFigure(f"{name}{size.name}{page_ending(part)}", about, mine, size, part, len(found))


def draw_all(
    results: Results,
    folder: Path,
    bands: Bands,
    published: pd.DataFrame | None,
    style: FigureStyle = PLAIN,
    kept: Collection[str] = (),
    executor: Executor | None = None,
) -> list[Pending]:
    """Draw all figures of a run, and write their captions.

    Args:
        results: The results.
        folder: The folder of the figures.
        bands: The bands of the curves.
        published: Points of the reference study beside the curves, from `published_beside`.
        style: The style of the figures.
        kept: Perturbations whose figures of images exist. They stay if the images are gone.
        executor: Other processes that draw; None for this process.

    Returns:
        The figures that other processes draw.
    """
    from gtn_bench.reporting.captions import Captions
    from gtn_bench.reporting.theme import fonts_for

    files, strips = figure_files(results), _strips(results)
    captions = Captions(results, bands, style)
    names = [str(name) for column in (*_NAMES, "perturbation") for name in results.summary[column].unique()]
    settings = {**fonts_for([*names, *results.provenance.get("classes", ())]), **style.settings}
    folder = folder.absolute()  # other processes can have another working directory
    drawings: list[Callable[[], None]] = []
    for figure in curve_figures(results):
        drawings.append(functools.partial(_save_curves, results, figure, bands, published, settings, folder))
        captions.add(figure)
    for label, strip in strips.items():
        path = folder / f"{files[label]}{EXAMPLES}"
        drawings.append(functools.partial(_save_strip, {**strip, **_shared(results, label)}, settings, path))
    pending = []
    for drawing in drawings:
        if executor:
            with suppress(RuntimeError):  # its processes have ended, or it was shut down
                pending.append(Pending(drawing, executor.submit(drawing)))
                continue
        drawing()
    for label, name in files.items():
        if label in strips or (label in kept and not strips):
            captions.add_examples(f"{name}{EXAMPLES}", label)
    (folder / Path(CAPTIONS).name).write_bytes(captions.markdown().encode())
    return pending


def _save_curves(
    results: Results,
    figure: CurveFigure,
    bands: Bands,
    published: pd.DataFrame | None,
    settings: Mapping[str, Any],
    folder: Path,
) -> None:
    from gtn_bench.reporting import figures
    from gtn_bench.reporting.theme import theme

    with theme(settings), _frozen():
        if figure.about in figures.NORMS and figure.file.startswith("over-"):
            drawn = _over_distance(results, figure, "l2" if figure.about == "l2" else "linf")
        else:
            drawn = _over_strength(results, figure, bands, published)
        figures.save(drawn, folder / figure.file)


def _save_strip(shown: Mapping[str, Any], settings: Mapping[str, Any], path: Path) -> None:
    from gtn_bench.reporting import figures
    from gtn_bench.reporting.theme import theme

    with theme(settings), _frozen():
        figures.save(figures.strip_figure(**shown), path)


@contextmanager
def _frozen() -> Iterator[None]:
    """Exempt the present objects from garbage collection: embedding fonts starts many, which would look through all."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _over_distance(results: Results, figure: CurveFigure, norm: Norm) -> InlineFigure:
    from gtn_bench.reporting import figures

    note, styles = results.provenance.get("note", ""), _styles(results)
    shown = _shortened(results, figure.curves)
    return figures.achieved_figure(shown, norm, styles, note=note, names=_titles(results), size=figure.size)


def _over_strength(results: Results, figure: CurveFigure, bands: Bands, published: pd.DataFrame | None) -> InlineFigure:
    from gtn_bench.reporting import figures

    theirs = None
    if published is not None:
        here = published["perturbation"] == figure.about
        if figure.part > 1:  # the published curves are in the first panel of their teacher
            here &= published["teacher"].isin(_begins(results, figure))
        theirs = _shortened(results, published[here].assign(accuracy=lambda table: table["published"]))
    return figures.curves_figure(
        _shortened(results, figure.curves),
        styles=_styles(results),
        bands=bands,
        published=theirs,
        size=figure.size,
        **_shared(results, figure.about),
    )


def _begins(results: Results, figure: CurveFigure) -> list[str]:
    """Return the teachers whose first panel is in a figure."""
    from gtn_bench.reporting import figures

    rows = results.curves[results.curves["perturbation"] == figure.about]
    first = figures.shown_curves(rows, figure.size).groupby("teacher", sort=False)["architecture"].first()
    mine = set(zip(figure.curves["teacher"], figure.curves["architecture"], strict=True))
    return [str(teacher) for teacher, architecture in first.items() if (teacher, architecture) in mine]


def draw_curves(
    results: Results, perturbation: str, bands: Bands = "pointwise", published: pd.DataFrame | None = None
) -> InlineFigure:
    """Return the figure of the curves of a perturbation, with a panel for each architecture, however many.

    Args:
        results: The results.
        perturbation: Its label.
        bands: The bands of the curves.
        published: Points of the reference study beside the curves, from `published_beside`.
    """
    from gtn_bench.reporting import figures

    rows = results.curves[results.curves["perturbation"] == perturbation]
    shown = figures.shown_curves(rows, figures.ON_PAGE)
    return _over_strength(results, CurveFigure("", perturbation, shown, figures.ON_PAGE, 1, 1), bands, published)


def draw_overview(results: Results) -> InlineFigure:
    """Return a figure with a panel for each perturbation.

    Args:
        results: The results.
    """
    from gtn_bench.reporting import figures

    axes, note = results.provenance["perturbations"], results.provenance.get("note", "")
    curves, styles = _shortened(results, results.curves), _styles(results)
    return figures.overview_figure(curves, axes, styles, note=note, names=_titles(results))


def _short(results: Results, column: str) -> dict[str, str]:
    """Return the names of teachers, architectures or modes as figures have them."""
    from gtn_bench.reporting.text import LONGEST, short_names

    return short_names((str(name) for name in results.summary[column].unique()), LONGEST[column])


def _shortened(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of curves.csv with names as figures have them."""
    columns = [column for column in _NAMES if column in table]
    return table.assign(
        **{
            column: [short.get(str(name), name) for name in table[column]]
            for column in columns
            for short in [_short(results, column)]
        }
    )


def _styles(results: Results) -> Mapping[str, LineStyle]:
    from gtn_bench.reporting import figures

    return figures.style(list(_short(results, "mode").values()))


def _shared(results: Results, label: str) -> dict[str, Any]:
    """Return what all figures of a perturbation show."""
    axis, note = results.provenance["perturbations"][label], results.provenance.get("note", "")
    return {"axis": axis, "note": note, "name": results.display_name(label)}


def _titles(results: Results) -> dict[str, str]:
    """Return the titles of panels of perturbations."""
    from gtn_bench.reporting.text import LONGEST, short_names

    names = {label: results.display_name(label) for label in figure_files(results)}
    short = short_names(names.values(), LONGEST["perturbation"])
    return {label: short[name] for label, name in names.items()}


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
            "perturbed": {_short(results, "mode")[mode]: images for mode, images in perturbed.items()},
            "predictions": _shortened(results, seen[seen["perturbation"] == perturbation]),
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
