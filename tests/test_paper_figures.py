"""Figures for papers: widths, fonts, formats, pages, captions, styles."""

from __future__ import annotations

import multiprocessing
import os
import re
import zlib
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_reporting import assert_legible, made_up, numbered, strip, write_results

import gtn_bench
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.reporting import figures
from gtn_bench.reporting.captions import Captions
from gtn_bench.reporting.drawing import all_files
from gtn_bench.reporting.names import file_names, page_files
from gtn_bench.reporting.paper_style import PLAIN, figure_style
from gtn_bench.reporting.run_figures import curve_figures, draw_all
from gtn_bench.reporting.text import short_names
from gtn_bench.reporting.theme import theme

SIZES = [figures.ON_PAGE, figures.ON_COLUMN]


@pytest.mark.parametrize("size", SIZES, ids=["page", "column"])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("modes", [2, 14])
def test_figures_have_the_width_of_a_paper(size: figures.Size, count: int, modes: int) -> None:
    curves = made_up(modes=numbered("mode", modes), architectures=numbered("a", count))
    figure = figures.curves_figure(
        curves, "strength, pixel value", figures.style(numbered("mode", modes)), name="p", size=size
    )
    assert figure.get_size_inches()[0] == pytest.approx(size.width, abs=0.02)
    assert_legible(figure)
    assert len(figure.legends) == 1 and all(panel.get_legend() is None for panel in figure.axes)
    with theme():
        sizes = {round(text.get_fontsize(), 3) for text in figure.findobj(matplotlib.text.Text) if text.get_text()}
    assert sizes <= {7.0, 8.0}
    plt.close(figure)


def test_strips_have_the_width_of_a_page() -> None:
    for figure in (strip(["gtn"], [0.5]), strip(numbered("mode", 3, 40), np.linspace(0, 1, 25).tolist())):
        assert figure.get_size_inches()[0] == pytest.approx(figures.ON_PAGE.width, abs=0.02)


@pytest.mark.parametrize("teachers, architectures", [(["t"], 60), (["s", "t"], 13), (["t"], 1)])
@pytest.mark.parametrize("size", SIZES, ids=["page", "column"])
def test_pages_have_few_panels_and_each_panel_once(teachers: list[str], architectures: int, size: figures.Size) -> None:
    names = [ACCEPTED, *numbered("a", architectures)]
    curves = made_up(teachers=teachers, architectures=names)
    parts = figures.pages(curves, "architecture", size)
    panels = [
        list(part[["teacher", "architecture"]].drop_duplicates().itertuples(index=False, name=None)) for part in parts
    ]
    assert [panel for part in panels for panel in part] == [(teacher, name) for teacher in teachers for name in names]
    assert max(map(len, panels)) <= size.rows * size.columns
    known = page_files(["p"], len(teachers), architectures)
    assert f"figures/p{size.name}{f'-page{len(parts)}' if len(parts) > 1 else ''}.pdf" in known


def test_labels_that_end_as_other_files_do_have_files_of_their_own() -> None:
    labels = ["a", "a-column", "a-page2", "a-column-page2", "over-l2-column"]
    names = file_names(labels)
    assert names["a"] == "a" and names["a-column"] == "a~2dcolumn" and names["a-page2"] == "a~2dpage2"
    figures_of = [
        {name for name in page_files([label], 3, 60) - page_files([], 3, 60) if name.startswith("figures/")}
        for label in labels
    ]
    assert len(set().union(*figures_of)) == sum(map(len, figures_of)) > 5 * 3


def fonts_in(pdf: bytes) -> set[str]:
    """Return the kinds of fonts in a PDF file."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    text = pdf
    for stream in streams:
        try:
            text += zlib.decompress(stream)
        except zlib.error:
            continue
    return {found.decode() for found in re.findall(rb"/Subtype\s*/(TrueType|Type0|Type1|Type3|CIDFontType2)", text)}


def test_files_are_reproducible_and_have_text(tmp_path: Path) -> None:
    curves, styles = made_up(), figures.style(["gtn", "vanilla"])
    for name in ("one", "two"):
        figures.save(figures.curves_figure(curves, "strength", styles, name="editable"), tmp_path / name)
    for kind in ("pdf", "png", "svg"):
        content = (tmp_path / f"one.{kind}").read_bytes()
        assert content == (tmp_path / f"two.{kind}").read_bytes()
        assert not re.search(rb"CreationDate|dc:date|Matplotlib v", content)
    assert "<text" in (tmp_path / "one.svg").read_text() and "editable" in (tmp_path / "one.svg").read_text()
    assert "Type3" not in fonts_in((tmp_path / "one.pdf").read_bytes())
    assert fonts_in((tmp_path / "one.pdf").read_bytes()) & {"TrueType", "CIDFontType2"}


@pytest.mark.parametrize("names", [["a" * 30, "a" * 31, "b"], ["ü" * 25 + "x", "short"], ["x" * 24]])
def test_short_names_are_short_and_distinct(names: list[str]) -> None:
    found = short_names(names, 24)
    assert list(found) == names and len(set(found.values())) == len(names)
    assert all(len(short) <= 24 for short in found.values())
    assert all(found[name] == name for name in names if len(name) <= 24)


def test_captions_have_images_seeds_bands_units_and_full_names(tmp_path: Path) -> None:
    long = "resnet50_very_long_architecture_name_v2"
    results = Results(write_results(tmp_path, modes=["gtn", "vanilla"], architectures=("a", long)))
    captions = Captions(results, "simultaneous", figure_style("ggplot"))
    for figure in curve_figures(results):
        captions.add(figure)
    captions.add_examples("fgsm-examples", "fgsm")
    text = captions.markdown()
    fgsm = text.split("## fgsm\n")[1].split("##")[0]
    for part in ("n = 20 test images", "3 seeds (0, 1, 2)", "step size, pixel value", "for all points of a curve"):
        assert part in fgsm
    assert f": {long}" in text and "Style: ggplot." in text and "axes.prop_cycle" in text
    assert "seed 0" in text.split("## fgsm-examples\n")[1]
    names = {figure.file for figure in curve_figures(results)}
    assert {f"figures/{name}.pdf" for name in names} <= all_files(results)


def test_many_curves_have_no_bands_and_the_caption_says_so(tmp_path: Path) -> None:
    modes = numbered("mode", 11)
    figure = figures.curves_figure(made_up(modes=modes), "strength", figures.style(modes))
    assert not any(len(band.get_paths()[0].vertices) > 4 for band in figure.axes[0].collections)
    results = Results(write_results(tmp_path, ["fgsm"], modes))
    captions = Captions(results, "pointwise", PLAIN)
    for each in curve_figures(results):
        captions.add(each)
    assert "No bands" in captions.markdown() and "95 %" not in captions.markdown()


# Styles


@pytest.mark.slow
def test_a_style_changes_the_appearance_and_not_the_modes(tmp_path: Path) -> None:
    path = tmp_path / "mine.mplstyle"
    path.write_text(
        'axes.spines.top: True  # a comment\nlines.linewidth: 3\naxes.facecolor: "#eeeeee"\nfont.family: DejaVu Serif\n'
        "axes.prop_cycle: cycler('color', ['red'])\nfont.size: 30\nsavefig.bbox: tight\n"
    )
    style = figure_style(path)
    assert style.settings["axes.spines.top"] is True and style.settings["lines.linewidth"] == 3.0
    assert style.settings["axes.facecolor"] == "#eeeeee"
    assert style.without_effect == ("axes.prop_cycle", "font.size", "savefig.bbox")
    folder = write_results(tmp_path / "run", ["fgsm"])
    gtn_bench.report(folder)
    plain = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    gtn_bench.report(folder, style=path)
    styled = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert plain.keys() == styled.keys() and b"DejaVu Serif" in styled["fgsm.svg"]
    width = re.search(rb'width="([\d.]+)pt"', plain["fgsm.svg"])
    assert width and width[0] in styled["fgsm.svg"]
    assert figures.style(["gtn"])["gtn"].color.encode() in styled["fgsm.svg"]
    gtn_bench.report(folder)
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == plain


def test_styles_of_matplotlib_have_no_effect_beyond_the_appearance() -> None:
    import matplotlib.style

    for name in matplotlib.style.available:
        style = figure_style(name)
        assert style.name == name
        assert not any(
            re.search(r"prop_cycle|usetex|latex|figsize|dpi|^backend|^animation", key) for key in style.settings
        )


def test_nothing_in_a_style_is_evaluated(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = tmp_path / "evil.mplstyle"
    code = f"__import__('pathlib').Path('{touched}').touch()"
    path.write_text(
        f"axes.prop_cycle: {code}\ntext.latex.preamble: \\\\write18{{touch {touched}}}\ntext.usetex: True\n"
        f"animation.ffmpeg_path: {touched}\nbackend: module://evil\n"
    )
    style = figure_style(path)
    assert style.settings == {} and len(style.without_effect) == 5 and not touched.exists()


@pytest.mark.parametrize(
    "content, expected",
    [
        ("axes.facecolour: red", "{path}: matplotlib has no setting 'axes.facecolour'; did you mean 'axes.facecolor'?"),
        ("just text", "{path}, line 1: expects 'key: value', got 'just text'"),
        (
            "\nlines.linewidth: thick",
            "{path}: lines.linewidth cannot be 'thick' (Key lines.linewidth: Could not",
        ),
        ("grid.alpha: 1\ngrid.alpha: 0", "{path}, line 2: sets grid.alpha a second time"),
        (b"\xff\xfe", "{path}: expects a text file in UTF-8"),
        (b"#" * 200_000, "{path}: expects a style file of at most 100 kB"),
    ],
)
def test_bad_styles_are_one_line(tmp_path: Path, content: Any, expected: str) -> None:
    path = tmp_path / "bad.mplstyle"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        figure_style(path)
    assert str(caught.value).startswith(expected.format(path=path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "style, expected",
    [
        ("gplot", "style 'gplot': expects a file whose name ends in .mplstyle, or a built-in style of matplotlib"),
        ("missing.mplstyle", "missing.mplstyle: cannot be read (No such file or directory)"),
    ],
)
def test_missing_styles_are_one_line(style: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        figure_style(style)


def test_figures_of_names_with_markup_are_drawn(tmp_path: Path) -> None:
    modes = ["m $x$ & y_1", r"<b>\alpha</b>", "Größe", "日本語", r"\input{x}%#~^"]
    results = Results(write_results(tmp_path / "run", ["<i>p</i>$\\frac{1}{0"], modes, examples=False))
    (tmp_path / "figures").mkdir()
    draw_all(results, tmp_path / "figures", "pointwise", None)
    for each in (tmp_path / "figures").glob("*.svg"):
        text = each.read_text()
        assert "m $x$ &amp; y_1" in text and "&lt;b&gt;\\alpha" in text and "Größe" in text and "日本語" in text


class Ended(Executor):
    """Processes of which all have ended, at once or later."""

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        if self.at_once:
            raise BrokenProcessPool("ended")
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("ended"))
        return future


@pytest.mark.slow
def test_other_processes_draw_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("here", "there", "ended", "ended before")]
    for folder in folders:
        write_results(folder)
    gtn_bench.report(folders[0])
    monkeypatch.chdir(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=os.chdir, initargs=(tmp_path.parent,)) as executor:
        gtn_bench.report(folders[1].name, executor=executor)
    gtn_bench.report(folders[2], executor=Ended(at_once=False))
    gtn_bench.report(folders[3], executor=Ended(at_once=True))
    files = [{path.name: path.read_bytes() for path in (folder / "figures").iterdir()} for folder in folders]
    assert files[0] and all(other == files[0] for other in files)


def test_a_report_that_fails_stops_the_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path)
    waiting: list[Future[Any]] = []

    class Waiting(Executor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            waiting.append(Future())
            return waiting[-1]

    def fail(*_: Any) -> None:
        raise RuntimeError("no tables")

    monkeypatch.setattr("gtn_bench.reporting.page.write_tables", fail)
    with pytest.raises(ConfigError, match="no tables"):
        gtn_bench.report(tmp_path, executor=Waiting())
    assert waiting and all(future.cancelled() for future in waiting)
