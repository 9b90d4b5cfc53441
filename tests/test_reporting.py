"""Reports: file names, Markdown, legible figures, and a state of matplotlib that stays as it is."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.graded import BALL, certificates_of, graded_records, graded_run, record, write_run
from markdown_it import MarkdownIt
from matplotlib import cycler
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

import gtn_bench
from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.analysis.comparisons import comparisons
from gtn_bench.analysis.curves import curves as curves_of
from gtn_bench.analysis.measures import measures
from gtn_bench.analysis.records import summarize
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import IDENTITY, MEASURED, SUMMARY_COLUMNS, to_csv
from gtn_bench.config.labels import ACCEPTED
from gtn_bench.execution.output import SampleWriter
from gtn_bench.reporting import figures, teacher_report
from gtn_bench.reporting.drawing import example_images
from gtn_bench.reporting.markdown import alt, code, escape, markdown_table
from gtn_bench.reporting.names import file_names
from gtn_bench.reporting.sentences import PUBLISHED
from gtn_bench.reporting.text import text_width, wrap
from gtn_bench.reporting.theme import theme
from gtn_bench.store.files import write_tensors

ROOT = Path(__file__).parent.parent
BETAS = [0.0, 0.1, 0.2]
ODD = [
    "a/b",
    "50% of $x$ and $y$",
    "a|b",
    "*bold* _it_",
    "<b>&amp;",
    "`x`",
    "[a](b)",
    "x\\|y",
    "~~a~~",
    "__init__",
    "x_",
]


# Names and Markdown


def test_labels_of_a_suite_name_their_files() -> None:
    labels = ["fgsm", "art.FastGradientMethod", "a_b-c+d.e", "L" * 100]
    assert file_names(labels) == {label: label for label in labels}


def test_file_names_are_portable_and_distinct() -> None:
    labels = [*ODD, "a~2fb", "A/B", "..", ".", "ü", "x" * 300, "x" * 301, "FGSM", "fgsm", "a b", "a\nb"]
    names = file_names(labels)
    assert list(names) == labels
    assert len({name.casefold() for name in names.values()}) == len(labels)
    for name in names.values():
        assert re.fullmatch(r"[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*", name) and len(name) < 200


def rendered(markdown: str) -> list[Any]:
    """Return the tokens of a Markdown text with tables."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)


def texts(tokens: Sequence[Any], kind: str) -> list[str]:
    """Return the plain texts of the elements of a kind, such as `th` or `heading`; markup is lost."""
    found = []
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == f"{kind}_open":
            parts = [part for child in inline.children for part in child.children or [child]]
            found.append("".join(part.content for part in parts))
    return found


@pytest.mark.parametrize("text", [*ODD, "a]", "[a", "][", "\\[", "\\](b)"])
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    assert texts(rendered(f"# {escape(text)}"), "heading") == [text]
    assert texts(rendered(f"x {escape(text)} x"), "paragraph") == [f"x {text} x"]
    assert texts(rendered(f"![{alt(text)}](b.png)"), "paragraph") == [text]
    tokens = rendered(markdown_table(pd.DataFrame({text: [text, "second"], "number": [0.5, np.nan]})))
    assert texts(tokens, "th") == [text, "number"]
    assert texts(tokens, "td") == [text, "0.500", "second", ""]


def test_underscores_inside_words_are_not_escaped() -> None:
    assert escape("10_gtn, base_larger3_global_pooling") == "10_gtn, base_larger3_global_pooling"


@pytest.mark.parametrize("text", [*ODD, "``", "a ``` b"])
def test_code_spans_show_any_text_as_it_is(text: str) -> None:
    (paragraph,) = (token for token in rendered(code(text)) if token.type == "inline")
    (span,) = paragraph.children
    assert (span.type, span.content) == ("code_inline", text)


def test_truth_values_and_numbers_in_tables() -> None:
    table = markdown_table(pd.DataFrame({"accepted": [True, False], "count": [3, 4], "area": [0.12345, np.nan]}))
    assert table.splitlines()[2:] == ["| yes | 3 | 0.123 |", "| no | 4 |  |"]


# Text and line styles


@pytest.mark.parametrize(
    "text", ["W" * 100, "base_larger3_global_pooling " * 4, "a.b/c-d_" * 20, "", "x", "two\nlines"]
)
def test_wrapped_lines_fit_and_keep_the_text(text: str) -> None:
    lines = wrap(text, 1.2, 10.0).split("\n")
    assert all(text_width(line, 10.0) <= 1.2 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_words_are_broken_behind_separators() -> None:
    assert wrap("base_larger3_global_pooling", 1.3, 10.0).split("\n") == ["base_larger3_", "global_pooling"]


def test_every_mode_has_a_color_a_marker_and_dashes_of_its_own() -> None:
    modes = [f"mode {place}" for place in range(100)]
    styles = figures.style(modes)
    assert list(styles) == modes
    assert len({line.color for line in list(styles.values())[:32]}) == 32
    assert len({(line.marker, str(line.dashes)) for line in list(styles.values())[:25]}) == 25
    assert len({tuple(map(str, line)) for line in styles.values()}) == 100
    assert figures.style(modes[:3]) == {mode: styles[mode] for mode in modes[:3]}  # whatever else is in a suite


# Linear RGB as dichromats see it: G. Machado et al., IEEE TVCG 15 (2009), severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8607, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def lab(colors: list[str], vision: Any) -> np.ndarray[Any, Any]:
    """Return colors in CIELAB, white point D65."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(vision).T
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = linear.clip(0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)


@pytest.mark.parametrize("vision", VISION)
def test_color_blind_readers_distinguish_the_first_eight_modes(vision: str) -> None:
    colors = [line.color for line in figures.style([str(place) for place in range(8)]).values()]
    points = lab(colors, VISION[vision])
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(points, 2)) > 15
    assert points[:, 0].max() < 80  # visible on white


# Figures


def made_up(
    teachers: Sequence[str] = ("t",),
    architectures: Sequence[str] = ("a",),
    modes: Sequence[str] = ("gtn", "vanilla"),
    perturbations: Sequence[str] = ("p",),
    betas: Sequence[float] = BETAS,
) -> pd.DataFrame:
    """Return curves with a distinct height for each mode."""
    rows = []
    names = itertools.product(teachers, architectures, perturbations, enumerate(modes), betas)
    for teacher, architecture, perturbation, (height, mode), beta in names:
        accuracy = 0.9 - 0.8 * (height + 1) / len(modes) * beta / max(betas)
        interval = (accuracy - 0.02, accuracy + 0.02)
        moved = (5 * beta / max(betas), beta / max(betas))
        rows.append((teacher, architecture, perturbation, mode, beta, accuracy, *interval, *moved))
    columns = ["teacher", "architecture", "perturbation", "mode", "beta", "accuracy", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns, "mean_l2", "mean_linf"])


def numbered(name: str, count: int, length: int = 0) -> list[str]:
    """Return distinct labels, filled up to a length."""
    return [f"{name}_{place}".ljust(length, "W") for place in range(count)]


def boxes(figure: Figure) -> Iterator[tuple[str, Any]]:
    """Yield the extents of panels with their labels, of legends and of texts around the panels."""
    for panel in figure.axes:
        if panel.get_visible():
            yield f"panel {panel.get_title()!r}", panel.get_tightbbox()
    for legend in figure.legends:
        yield "legend", legend.get_window_extent()
    for text in figure.texts:
        yield repr(text.get_text()), text.get_window_extent()


def assert_legible(figure: Figure) -> None:
    """Check that nothing is cut or overlaps: panels, titles, tick labels, legends, captions."""
    with theme():
        figure.draw_without_rendering()
        found = list(boxes(figure))
        for name, box in found:
            assert box.x0 >= 0 and box.y0 >= 0, name
            assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, name
        for (name, box), (other, other_box) in itertools.combinations(found, 2):
            assert not box.overlaps(other_box), (name, other)
        for legend in figure.legends:
            extents = [text.get_window_extent() for text in legend.get_texts()]
            assert all(not one.overlaps(other) for one, other in itertools.combinations(extents, 2))
            assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in extents)
        for panel in (panel for panel in figure.axes if panel.get_visible()):
            for axis in (panel.xaxis, panel.yaxis):
                extents = [label.get_window_extent() for label in visible_labels(axis)]
                assert all(not one.overlaps(other) for one, other in itertools.combinations(extents, 2)), axis


def visible_labels(axis: Any) -> list[Any]:
    """Return the tick labels of an axis that are drawn."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible() and label.get_text()]


MANY = {
    "25 modes": {"modes": numbered("mode", 25), "architectures": [ACCEPTED, "a", "b"]},
    "25 modes in one panel": {"modes": numbered("mode", 25)},
    "100 modes": {"modes": numbered("mode", 100)},
    "12 architectures": {"architectures": [ACCEPTED, *numbered("architecture", 12)]},
    "two teachers": {"teachers": ["first", "second"], "architectures": [ACCEPTED, *numbered("a", 4)]},
    "40 strengths": {"betas": np.linspace(0, 0.02, 40).tolist()},
    "40 strengths over decades": {"betas": np.geomspace(0.01, 100, 40).tolist()},
    "one strength": {"betas": [0.3]},
    "large strengths": {"betas": [0.0, 100000.0, 200000.0]},
    "long labels": {
        "teachers": numbered("teacher", 2, 100),
        "architectures": [ACCEPTED, *numbered("architecture", 5, 100)],
        "modes": numbered("mode", 12, 100),
    },
    "few long labels": {"modes": numbered("mode", 2, 100)},
}


@pytest.mark.slow
@pytest.mark.parametrize("much", MANY)
def test_curves_stay_legible(much: str) -> None:
    curves = made_up(**MANY[much])
    modes = [str(mode) for mode in curves["mode"].unique()]
    for note, name, axis in [("", "", "strength"), ("a warning " * 30, "p" * 100, "step size, pixel value " * 5)]:
        figure = figures.curves_figure(curves, axis, figures.style(modes), note=note, name=name)
        assert_legible(figure)
        (legend,) = figure.legends
        assert [text.get_text().replace("\n", "") for text in legend.get_texts()] == modes


@pytest.mark.slow
@pytest.mark.parametrize("count, length", [(1, 0), (4, 0), (20, 0), (20, 100)])
def test_distances_stay_legible(count: int, length: int) -> None:
    perturbations = numbered("perturbation", count, length)
    curves = made_up(perturbations=perturbations, teachers=["first", "second"])
    figure = figures.achieved_figure(curves, "l2", figures.style(["gtn", "vanilla"]))
    assert_legible(figure)
    titles = {panel.get_title().replace("\n", "") for panel in figure.axes if panel.get_visible()}
    assert titles == {f"{name}teacher {teacher}" for name in perturbations for teacher in ("first", "second")}


@pytest.mark.parametrize(
    "much", ["25 modes", "two teachers", "40 strengths over decades", "one strength", "long labels"]
)
def test_the_overview_of_a_run_stays_legible(much: str) -> None:
    perturbations = ["fgsm", "noise", "p" * 100, "q", "r"]
    curves = made_up(**MANY[much], perturbations=perturbations)
    modes = [str(mode) for mode in curves["mode"].unique()]
    axes = {name: f"step size of {name}, pixel value" for name in perturbations}
    names = {name: f"{name}, 30 steps" for name in perturbations}
    figure = figures.overview_figure(curves, axes, figures.style(modes), note="a warning " * 30, names=names)
    assert_legible(figure)
    panels = [panel for panel in figure.axes if panel.get_visible()]
    assert {panel.get_xlabel().replace("\n", "").replace(" ", "") for panel in panels} == {
        axis.replace(" ", "") for axis in axes.values()
    }
    assert len(panels) == len(perturbations) * curves["teacher"].nunique()


def test_panels_of_the_overview_have_the_strengths_of_their_perturbation() -> None:
    curves = pd.concat([made_up(), made_up(perturbations=["q"], betas=[1.0, 10.0, 100.0])])
    names = {"p": "p", "q": "q"}
    figure = figures.overview_figure(curves, names, figures.style(["gtn", "vanilla"]), names=names)
    drawn = {panel.get_title(): [line.get_xdata() for line in panel.lines] for panel in figure.axes}
    assert [list(line) for line in drawn["p"]] == [BETAS] * 2 and list(drawn["q"][0]) == [1.0, 10.0, 100.0]
    assert [panel.get_xscale() for panel in figure.axes] == ["linear", "log"]
    assert all(visible_labels(panel.xaxis) for panel in figure.axes)


def test_lines_and_legend_have_the_same_styles() -> None:
    modes = numbered("mode", 25)
    figure = figures.curves_figure(made_up(modes=modes), "strength", figures.style(modes))
    (panel,) = figure.axes
    drawn = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in panel.lines}
    shown = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.legends[0].get_lines()}
    assert drawn == shown and len(drawn) == 25


def test_few_modes_have_a_legend_beside_the_panels_and_many_below() -> None:
    for count, beside in [(3, True), (25, False)]:
        modes = numbered("mode", count)
        figure = figures.curves_figure(made_up(modes=modes), "strength", figures.style(modes))
        legend, panel = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
        assert (legend.x0 > panel.x1) == beside
        assert (legend.y1 < panel.y0) == (not beside)


def test_a_mode_with_a_leading_underscore_is_in_the_legend() -> None:
    modes = ["_hidden", "gtn"]
    figure = figures.curves_figure(made_up(modes=modes), "strength", figures.style(modes))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == modes


def test_names_are_not_parsed_as_mathematics(tmp_path: Path) -> None:
    modes = ["m $x$ and $y$", r"m \$ $\frac{1}{0$", "m 5% _ # & ^"]
    curves = made_up(teachers=["t$a$", "u"], architectures=["a$b$"], modes=modes)
    figure = figures.curves_figure(curves, "axis $c$", figures.style(modes), name="name $d$", note="note $e$")
    figures.save(figure, tmp_path / "curves")
    image = np.full((1, 4, 4), 0.5)
    seen = pd.DataFrame({"mode": ["m $x$"], "beta": [0.1], "clean_prediction": [1], "prediction": [2]})
    strip = figures.strip_figure(image, {"m $x$": {0.1: image}}, seen, 1, "axis $c$", name="$d$ $d$", note="$e$ $e$")
    figures.save(strip, tmp_path / "strip")
    written = (tmp_path / "curves.svg").read_text()
    for text in (
        "m $x$ and $y$",
        r"m \$ $\frac{1}{0$",
        "m 5% _ # &amp; ^",
        "teacher t$a$",
        "a$b$",
        "name $d$: beta (axis $c$)",
    ):
        assert text in written
    assert "note $e$" in written
    assert all(text in (tmp_path / "strip.svg").read_text() for text in ("m $x$", "axis $c$", "$d$ $d$", "$e$ $e$"))


# Strips


def strip(modes: Sequence[str], betas: Sequence[float], shape: tuple[int, int, int] = (1, 8, 8), **more: Any) -> Figure:
    """Return the strip of an image whose perturbed copies are as bright as beta, all misclassified."""
    images = {mode: {beta: np.full(shape, beta) for beta in betas} for mode in modes}
    rows = [(mode, beta, 7, 123 if "classes" not in more else 1) for mode in modes for beta in betas]
    seen = pd.DataFrame(rows, columns=["mode", "beta", "clean_prediction", "prediction"])
    return figures.strip_figure(np.zeros(shape), images, seen, 7, "step size, pixel value", **more)


def images_of(figure: Figure) -> list[AxesImage]:
    """Return the images of a strip, row by row."""
    return list(figure.axes[0].images)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 64), (3, 100, 5), (1, 1, 300)])
@pytest.mark.parametrize("strengths", [1, 3, 12])
@pytest.mark.parametrize("modes", [numbered("mode", 2), numbered("mode", 3, 100)], ids=["short", "long"])
def test_strips_stay_legible(shape: tuple[int, int, int], strengths: int, modes: list[str]) -> None:
    betas = np.linspace(1.234e-5, 0.2, strengths).tolist()
    figure = strip(modes, betas, shape, name="fgsm, 30 steps", note="a warning of many words " * 4)
    assert_legible(figure)
    with theme():
        shown = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        assert all(not one.overlaps(other) for one, other in itertools.combinations(shown, 2))


@pytest.mark.parametrize("length", [3, 12, 40])
def test_strips_show_the_names_of_classes(length: int, tmp_path: Path) -> None:
    classes = [f"$class_{number} {'x' * (length - 8)}"[:length].strip() for number in range(8)]
    figure = strip(["gtn", "vanilla"], np.linspace(0, 1, 10).tolist(), classes=classes)
    assert_legible(figure)
    with theme():
        shown = [text.get_window_extent() for text in figure.axes[0].texts]
        assert all(not one.overlaps(other) for one, other in itertools.combinations(shown, 2))
    texts = ["".join(text.get_text().split()) for text in figure.axes[0].texts]
    right, wrong = ("".join(classes[number].split()) for number in (7, 1))
    strengths = len(figure.axes[0].get_xticklabels()) - 1  # as many as fit on a page
    assert strengths >= 5 and texts == [right, *[f"{wrong}✗"] * strengths] * 2
    caption = "".join(figure.texts[0].get_text().split())
    assert f"trueclass{right}" in caption
    figures.save(figure, tmp_path / "strip")  # no name is read as mathematics


def test_strips_of_data_sets_without_class_names_show_numbers() -> None:
    figure = strip(["gtn"], [0.5])
    assert [text.get_text() for text in figure.axes[0].texts] == ["7", "123 ✗"]
    assert "true class 7" in figure.texts[0].get_text().replace("\n", " ")


def test_strip_of_25_modes_and_40_strengths_shows_those_that_fit() -> None:
    betas = np.linspace(0, 1, 40).tolist()
    figure = strip(numbered("mode", 25), betas)
    assert_legible(figure)
    assert len(images_of(figure)) == 25 * 8
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[:2] == ["clean", "0"] and labels[-1] == "1" and len(labels) == 8
    assert "7 of 40 strengths" in figure.texts[0].get_text().replace("\n", " ")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_strips_of_any_number_of_channels(channels: int) -> None:
    figure = strip(["gtn"], [0.25, 0.5], (channels, 6, 9))
    arrays = [np.asarray(image.get_array()) for image in images_of(figure)]
    assert {array.shape for array in arrays} == {(6, 9, 3) if channels == 3 else (6, 9)}
    assert [array.mean() for array in arrays] == pytest.approx([0, 0.25, 0.5])
    caption = figure.texts[0].get_text().replace("\n", " ")
    assert (f"mean of the {channels} channels" in caption) == (channels not in (1, 3))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 8, 64), (3, 100, 5)])
def test_images_keep_their_proportions(shape: tuple[int, int, int]) -> None:
    figure = strip(["gtn"], [0.5], shape)
    for image in images_of(figure):
        box = image.get_window_extent()
        assert box.width / box.height == pytest.approx(shape[2] / shape[1])


def test_a_missing_strength_leaves_its_place_empty() -> None:
    image = np.zeros((1, 4, 4))
    rows = [("gtn", 0.1, 1, 1), ("gtn", 0.2, 1, 1), ("vanilla", 0.2, 1, 3)]
    seen = pd.DataFrame(rows, columns=["mode", "beta", "clean_prediction", "prediction"])
    figure = figures.strip_figure(
        image, {"gtn": {0.1: image, 0.2: image}, "vanilla": {0.2: image}}, seen, 1, "strength"
    )
    places = [round(sum(shown.get_extent()[:2]) / 2, 6) for shown in images_of(figure)]
    assert len(places) == 5 and places[3:] == [places[0], places[2]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "1", "1", "1", "3 ✗"]


# Reports


def write_results(
    folder: Path,
    perturbations: Sequence[str] = ("fgsm", "noise"),
    modes: Sequence[str] = ("gtn", "vanilla"),
    *,
    architectures: Sequence[str] = ("linear",),
    flags: str = "",
    status: str = "done",
    examples: bool = True,
    seeds: Sequence[int] = (0, 1, 2),
    copies: Sequence[int] = (),
    acceptance: float = 0.5,
    axis: str = "step size, pixel value",
    **provenance: Any,
) -> Path:
    """Write the output folder of a run that never took place; the accuracy falls with beta."""
    folder.mkdir(parents=True, exist_ok=True)
    rule = AcceptanceRule(acceptance)
    rows, correct = [], {}
    cells = itertools.product(architectures, enumerate(modes), seeds, perturbations, BETAS)
    with SampleWriter(folder / "samples.parquet") as writer:
        for number, (architecture, (place, mode), seed, perturbation, beta) in enumerate(cells):
            predictions = (np.arange(20) / 20 < beta * (2 + place)).astype(int)  # class 0 is right
            identity = ("digits", "none", architecture, mode, seed, perturbation, beta)
            if seed in copies:
                empty = dict.fromkeys(SUMMARY_COLUMNS[len(IDENTITY) :], np.nan)
                known = {"n": 20, "clean_accuracy": 1.0, "status": "duplicate", "flags": "", "duplicate_of": seeds[0]}
                known |= {"proven": False}
                rows.append((*identity, *{**empty, **known}.values()))
                continue
            correct[number] = predictions == 0
            zeros = dict.fromkeys(MEASURED, np.zeros(20))
            writer.write(dict(zip(IDENTITY, identity, strict=True)), {**zeros, "prediction": predictions})
            accuracy = float(correct[number].mean())
            measured = (20, 1.0, accuracy, beta, 3 * beta, 2.0, 2.0, 0.1)
            graded = ("suspect" if flags else "unknown", status, flags, accuracy, 0.0, pd.NA, np.nan, False, np.nan)
            rows.append((*identity, *measured, *graded))
    summary = pd.DataFrame(rows, columns=SUMMARY_COLUMNS).astype({"duplicate_of": "Int64"})
    curves = curves_of(summary, rule, correct)
    tables = {"summary": summary, "curves": curves, "measures": measures(summary, rule, correct, curves)}
    tables["comparisons"] = comparisons(summary, rule, correct)
    for name, table in tables.items():
        (folder / f"{name}.csv").write_bytes(to_csv(table))
    if examples:
        keys = itertools.product(perturbations, modes, BETAS)
        images = {f"{name}/{mode}/{beta!r}": np.full((4, 2, 5, 8), beta) for name, mode, beta in keys}
        write_tensors(folder / "examples.safetensors", {"clean": np.zeros((4, 2, 5, 8)), **images})
    suite = {
        "name": "made-up",
        "dataset": "digits",
        "architectures": list(architectures),
        "modes": list(modes),
        "seeds": list(seeds),
        "perturbations": [{"name": name, "samples": 20, "beta": BETAS} for name in perturbations],
        "acceptance": acceptance,
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    known = {
        "cells": len(summary),
        "suite": "made-up",
        "acceptance": acceptance,
        "controls": [],
        "note": "",
        "perturbations": dict.fromkeys(perturbations, axis),
        "details": {"fgsm": "30 steps"},
        "examples": {"architecture": architectures[0], "seed": 0, "teachers": ["none"]},
        "errors": [],
        "versions": {"gtn-bench": "0.1.0", "torch": "2", "python": "3.11"},
        "machine": {"cores": 2, "device": "cpu"},
        "seconds": 9.0,
    }
    (folder / "provenance.json").write_text(json.dumps({**known, **provenance}))
    return folder


def linked_images(page: Path) -> list[Path]:
    """Return the files of all images of a page."""
    inlines = [token for token in rendered(page.read_text()) if token.type == "inline"]
    images = [child for token in inlines for child in token.children if child.type == "image"]
    return [page.parent / image.attrs["src"] for image in images]


def test_reports_of_the_published_protocol_say_so_where_they_compare(tmp_path: Path) -> None:
    folder = write_results(tmp_path, ["noise"], protocol="published")
    (folder / "suite.yaml").write_text((folder / "suite.yaml").read_text() + "protocol: published\n")
    page = gtn_bench.report(folder).read_text()
    findings = page.split("## Findings")[1].split("## ")[0]
    assert " robust" not in findings and "- gtn under noise: accuracy " in findings
    differences = page.split("### Differences between modes")[1].split("### ")[0]
    assert f"; {PUBLISHED};" in differences and "say nothing about the modes alone" in differences
    html = (folder / "report.html").read_text()
    assert f"; {PUBLISHED};" in html and "say nothing about the modes alone" in html


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perturbations", "modes", "both"])
def test_a_report_with_any_names(tmp_path: Path, kind: str) -> None:
    names = ODD if kind != "both" else ["a/b", "a/b/c", "c"]
    perturbations = names if kind != "modes" else ["p"]
    modes = names if kind != "perturbations" else ["m"]
    folder = write_results(tmp_path / "run", perturbations, modes, axis="share of $pixels$, 5 % | _x_")
    page = gtn_bench.report(folder)
    files = linked_images(page)
    assert len(files) == 2 * len(perturbations) + 2 == len(set(files))
    assert all(file.is_file() for file in files) and {file.parent for file in files} == {folder / "figures"}
    tokens = rendered(page.read_text())
    assert {*perturbations} <= {*texts(tokens, "heading")}
    assert {*modes} <= {*texts(tokens, "td")}
    assert {f"{name}" for name in perturbations} <= {*texts(tokens, "th")} | {*texts(tokens, "td")}
    bullets = {text for text in texts(tokens, "paragraph") if " vs. " in text}
    assert len(bullets) == len(perturbations) * len(modes) * (len(modes) - 1) / 2
    assert any("share of $pixels$, 5 % | _x_" in text for text in texts(tokens, "paragraph"))


def test_examples_of_names_with_slashes_are_found(tmp_path: Path) -> None:
    folder = write_results(tmp_path, ["a", "a/b"], ["c", "b/d"])
    images = example_images(Results(folder))
    assert {name: set(modes) for name, modes in images.items()} == {"a": {"c", "b/d"}, "a/b": {"c", "b/d"}}
    assert all(list(shown) == BETAS for modes in images.values() for shown in modes.values())


@pytest.mark.slow
def test_reports_name_perturbations_with_their_details(tmp_path: Path) -> None:
    folder = write_results(tmp_path)
    page = gtn_bench.report(folder).read_text()
    tokens, name = rendered(page), "fgsm, 30 steps"
    assert name in texts(tokens, "heading") and name in texts(tokens, "th") and name in texts(tokens, "td")
    assert f"than vanilla under {name}: " in page
    assert f"![Accuracy over beta, {name}](figures/fgsm.png)" in page
    assert f"![A test image at each strength, {name}](figures/fgsm-examples.png)" in page
    for figure in ("fgsm", "fgsm-examples", "over-l2", "over-linf"):
        assert name in (folder / "figures" / f"{figure}.svg").read_text()
    assert "30 steps" not in (folder / "figures" / "noise.svg").read_text()
    assert set(Results(folder).curves["perturbation"]) == {"fgsm", "noise"}


@pytest.mark.slow
def test_figures_and_page_have_the_note_of_the_protocol(tmp_path: Path) -> None:
    folder = write_results(tmp_path, note="published protocol: a note")
    gtn_bench.report(folder)
    assert all("published protocol: a note" in file.read_text() for file in (folder / "figures").glob("*.svg"))


@pytest.mark.slow
def test_a_report_lists_failed_and_suspect_cells(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "suspect", flags="zero_gradient; unchanged")
    suspect = rendered(gtn_bench.report(folder).read_text())
    assert {"Checks", "Suspect cells"} <= {*texts(suspect, "heading")}
    for name in ("zero_gradient", "unchanged"):  # a row for each perturbation and mode
        assert texts(suspect, "td").count(name) == 4
    assert texts(suspect, "td").count("9") == 8  # cells of each row
    assert "suspect at all 3 strengths: zero_gradient, unchanged" in texts(suspect, "td")
    error = failed_cell("Traceback\nValueError: no `x` | y")
    failed = rendered(gtn_bench.report(write_results(tmp_path / "failed", status="error", errors=[error])).read_text())
    assert "Failed cells" in texts(failed, "heading") and "ValueError: no `x` | y" in texts(failed, "paragraph")
    assert "No cell was evaluated." in texts(failed, "paragraph")


def failed_cell(traceback: str) -> dict[str, Any]:
    """Return a record of provenance.json about a cell."""
    where = {"dataset": "mnist", "teacher": "t", "architecture": "linear", "mode": "gtn", "seed": 0}
    return {**where, "perturbation": "fgsm", "beta": 0.1, "traceback": traceback}


def paragraphs(folder: Path) -> list[str]:
    return texts(rendered(gtn_bench.report(folder).read_text()), "paragraph")


def test_a_report_about_one_model_has_no_empty_parts(tmp_path: Path) -> None:
    folder = write_results(tmp_path, ["fgsm"], ["mine"], seeds=[0], acceptance=0.0)
    page = gtn_bench.report(folder).read_text()
    tokens = rendered(page)
    assert texts(tokens, "heading") == [
        *("made-up", "Findings", "Robustness", "Measures", "Leaderboard metrics", "Checks", "Cross-checks", "Curves"),
        *("fgsm, 30 steps", "Accuracy over distance", "Provenance"),
    ]
    assert any(text.startswith("Data set digits, one learner.") for text in texts(tokens, "paragraph"))
    assert not re.search(r"accepted|\bnone\b|pooled|mean over seeds|\[\]|\bnan\b|architecture", page, re.IGNORECASE)
    assert texts(tokens, "th")[:3] == ["mode", "clean accuracy", "fgsm, 30 steps"]
    assert "Bands: 95 % confidence intervals over test images only. They do not cover other learners." in page
    assert re.search(r"\| mine \| 0\.\d+ \[0\.\d+, 0\.\d+\] \|", page)


def test_a_report_compares_two_models_over_images(tmp_path: Path) -> None:
    folder = write_results(tmp_path, ["fgsm"], ["ours", "theirs"], seeds=[0], acceptance=0.0)
    found = paragraphs(folder)
    (line,) = {text for text in found if " vs. " in text}
    assert line.endswith("; this concerns these two models, not how they were trained; grade: unknown.")
    assert ", 20 images)" in line
    assert any("McNemar" in text for text in found) and not any("pairs of learners" in text for text in found)
    assert Results(folder).comparisons["over"].tolist() == ["images"] * 2


def test_a_report_counts_copies_once(tmp_path: Path) -> None:
    folder = write_results(tmp_path, ["fgsm"], ["ours", "theirs"], seeds=range(8), copies=range(1, 8))
    results = Results(folder)
    assert len(results.samples) == 2 * 3 * 20 and results.summary["duplicate_of"].dropna().unique().tolist() == [0]
    assert (results.curves["n_seeds"] == 1).all() and (results.comparisons["n_seeds"] == 1).all()
    (header,) = (text for text in paragraphs(folder) if text.startswith("Data set"))
    for mode in ("ours", "theirs"):
        assert f"Seeds 1 to 7 of mode {mode} have the weights of seed 0, and all of them count once." in header
    assert "one learner per mode" in header


@pytest.mark.slow
def test_a_report_lists_what_the_checks_of_models_found(tmp_path: Path) -> None:
    finding = {"architecture": "linear", "mode": "gtn", "seed": 0, "findings": ["It returns | probabilities."]}
    for status in ("done", "error"):
        failed = [failed_cell("ValueError: x")] if status == "error" else []
        folder = write_results(tmp_path / status, models=[finding], status=status, errors=failed)
        tokens = rendered(gtn_bench.report(folder).read_text())
        assert "Models" in texts(tokens, "heading")
        assert "gtn, seed 0: It returns | probabilities." in texts(tokens, "paragraph")
    page = gtn_bench.report(write_results(tmp_path / "none", models=[])).read_text()
    assert "Models" not in texts(rendered(page), "heading")


def test_a_report_names_single_learners_beside_several(tmp_path: Path) -> None:
    folder = write_results(tmp_path, ["fgsm"], ["mine", "theirs"])
    results = Results(folder)
    missing = (results.summary["mode"] == "mine") & (results.summary["seed"] > 0)
    summary = results.summary.assign(status=["error" if row else "done" for row in missing])
    single = results.curves["mode"] == "mine"
    curves = results.curves.assign(n_seeds=[1 if row else 3 for row in single])
    curves["std"] = curves["std"].mask(single)
    for name, table in (("summary", summary), ("curves", curves)):
        (folder / f"{name}.csv").write_bytes(to_csv(table))
    (folder / "measures.csv").unlink()  # they follow from three seeds
    (folder / "comparisons.csv").unlink()
    found = " ".join(paragraphs(folder))
    assert "For a single learner (mine), the band covers test images only." in found
    assert "over seeds and test images" in found


@pytest.mark.slow
def test_results_without_large_files_keep_their_example_figures(tmp_path: Path) -> None:
    folder = write_results(tmp_path)
    page = gtn_bench.report(folder)
    before = page.read_text()
    (folder / "samples.parquet").unlink()
    (folder / "examples.safetensors").unlink()
    assert gtn_bench.report(folder).read_text() == before
    assert all(file.is_file() for file in linked_images(page))


# Grades

MODES = {"plain": 0.0, "certified": 0.09}  # radius at which no image is fooled


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table behind a heading, line by line."""
    lines = page.split(f"# {heading}\n", 1)[1].splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("|"))
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.slow
def test_a_report_shows_grades_reasons_and_proofs(tmp_path: Path) -> None:
    folder = graded_run(tmp_path, MODES)
    page = gtn_bench.report(folder).read_text()
    results = Results(folder)
    overview = rows_of(page, "Robustness by mode")
    assert overview[0][-1] == "grade" and overview[2][-1] == "suspect: fgsm; unknown: apgd, square"
    grades = {(row[0], row[1]): row[-1] for row in rows_of(page, "Measures")[2:]}
    assert grades["apgd", "plain"] == "reliable at 3 of 6 strengths, else unknown"
    assert grades["apgd", "certified"].endswith("; proven at 4 of 6 strengths")
    assert grades["fgsm", "plain"] == "suspect at 5 of 6 strengths: missed_adversarial"
    assert grades["noise", "plain"] == "n/a" and grades["worst", "plain"] == ""
    counts = results.summary["grade"].value_counts()
    for name, count in counts.items():
        assert f"{count} {name}" in page
    assert f"{counts['suspect']} of {len(results.summary)} cells are suspect" in page
    suspects = rows_of(page, "Suspect cells")
    missed = results.summary.groupby(["perturbation", "mode"])["missed_adversarial"].max()["fgsm", "plain"]
    assert suspects[2][:5] == ["fgsm", "plain", "missed_adversarial", "10", "0.04 to 0.12"]
    assert suspects[2][5].startswith(f"For up to {100 * missed:.3g} % of the cross-checked images")
    missing = {(row[0], row[1]): row[2:] for row in rows_of(page, "Missing for reliable")[2:]}
    assert missing["more_steps, binarization", "apgd"] == ["11", "Not run."]
    assert ("", "square") in missing and int(missing["", "square"][0]) == 24
    proofs = rows_of(page, "Certified lower bounds")
    assert proofs[3][:2] == ["certified", "apgd, fgsm, square"] and proofs[3][-1] == "0.02, 0.04, 0.06, 0.08"
    assert "majority vote over noisy copies" in page and "UnsupportedLayerError: x" in page
    table = rows_of(page, "apgd")
    assert table[0] == ["mode", "clean", "0.02", "0.04", "0.06", "0.08", "0.1", "0.12"]
    assert re.fullmatch(r"1\.000 \[0\.972, 1\.000\]✓■", table[3][2])
    assert all(file.is_file() for file in linked_images(tmp_path / "report.md"))
    shown = gtn_bench.Results(folder)._repr_html_()
    assert "<th>grade</th>" in shown and "suspect: fgsm; unknown: apgd, square" in shown


@pytest.mark.slow
def test_a_report_without_certificates_or_evidence_has_no_empty_parts(tmp_path: Path) -> None:
    page = gtn_bench.report(graded_run(tmp_path, MODES, certified=False, evidence=False)).read_text()
    assert "Certified" not in page and "proven" not in page and "Hatched" not in page
    assert not re.search(r"\bnan\b|None|\[\]|\n\n\n", page)
    missing = {(row[0], row[1]): row[2:] for row in rows_of(page, "Missing for reliable")[2:]}
    assert missing["more_steps, binarization", "apgd"] == ["23", "Not run."]
    assert "† suspect." in page and "✓" not in page


@pytest.mark.slow
def test_a_violated_certificate_is_at_the_top_of_the_report(tmp_path: Path) -> None:
    certified = np.arange(128) >= 60
    good, bad = (
        gtn_bench.report(write_run(tmp_path / name, summarize([record(count, certified=certified)]))).read_text()
        for name, count in (("good", 60), ("bad", 70))
    )
    assert "> **A certificate is violated**" in bad and bad.index("violated") < bad.index("## Checks")
    assert "7.81 % of the images are certified robust although" in bad
    assert "violated" not in good


@pytest.mark.slow
def test_one_architecture_has_each_row_once(tmp_path: Path) -> None:
    page = gtn_bench.report(graded_run(tmp_path, MODES)).read_text()
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) > 10
    for table in tables:
        lines = table.splitlines()
        assert len(set(lines)) == len(lines)
    assert "accepted" not in page and len(rows_of(page, "apgd")) == 2 + len(MODES)


@pytest.mark.slow
def test_accuracies_of_many_strengths_show_twelve(tmp_path: Path) -> None:
    cells = [record(place, beta=beta, region=BALL) for place, beta in enumerate(np.linspace(0, 1, 40).tolist())]
    header = rows_of(gtn_bench.report(write_run(tmp_path, summarize(cells))).read_text(), "pgd")[0]
    assert len(header) == 13 and header[1] == "0" and header[-1] == "1"


@pytest.mark.slow
def test_flags_of_models_are_reasons(tmp_path: Path) -> None:
    cells = [record(3, model_flags=("near_chance",)), record(3, mode="other")]
    page = gtn_bench.report(write_run(tmp_path, summarize(cells))).read_text()
    (row,) = rows_of(page, "Suspect cells")[2:]
    assert row[:4] == ["pgd", "m", "near_chance", "1"] and "check of the model" in row[5]
    assert "- `near_chance`: Repair the model" in page


def test_certificates_are_read_back(tmp_path: Path) -> None:
    records = graded_records(MODES)
    results = Results(write_run(tmp_path, summarize(records), certificates_of(records)))
    assert set(results.certificates["certifier"]) == {"crown", "smoothing", "interval"}
    pd.testing.assert_frame_equal(results.checks, summarize(records).checks, check_dtype=False)


# The state of matplotlib


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["agg", "svg", "module://matplotlib_inline.backend_inline"])
def test_a_report_does_not_change_the_state_of_matplotlib(tmp_path: Path, backend: str) -> None:
    if backend.startswith("module"):
        pytest.importorskip("matplotlib_inline.backend_inline", exc_type=ImportError)
    folder = write_results(tmp_path)
    before = matplotlib.get_backend()
    try:
        plt.switch_backend(backend)
        with matplotlib.rc_context({"font.size": 31.0, "axes.grid": True, "axes.prop_cycle": cycler(color="rgb")}):
            own = plt.figure()
            expected = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams}
            gtn_bench.report(folder)
            assert {key: matplotlib.rcParams[key] for key in matplotlib.rcParams} == expected
            assert matplotlib.get_backend() == backend
            assert plt.get_fignums() == [own.number] and plt.gcf() is own
    finally:
        plt.close("all")
        plt.switch_backend(before)


def test_settings_of_the_caller_do_not_change_a_figure(tmp_path: Path) -> None:
    curves = made_up()
    figures.save(figures.curves_figure(curves, "x", figures.style(["gtn", "vanilla"])), tmp_path / "plain")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "savefig.dpi": 20, "svg.fonttype": "path"}):
        figures.save(figures.curves_figure(curves, "x", figures.style(["gtn", "vanilla"])), tmp_path / "other")
    for kind in ("png", "svg"):
        assert (tmp_path / f"plain.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()


@pytest.mark.slow
def test_a_report_does_not_choose_a_backend(tmp_path: Path) -> None:
    """A notebook can still choose its backend, and no figure opens."""
    program = (
        "import sys; from gtn_bench.reporting import report; report(sys.argv[1]); "
        "import matplotlib; assert matplotlib.rcParams._get_backend_or_none() is None; "
        "import matplotlib.pyplot; assert matplotlib.pyplot.get_fignums() == []"
    )
    folder = write_results(tmp_path)
    subprocess.run(
        [sys.executable, "-c", program, str(folder)], check=True, env={"PYTHONPATH": str(ROOT), "HOME": "/tmp"}
    )
    assert (folder / "figures" / "fgsm.png").is_file()


@pytest.mark.slow
def test_reports_in_threads_have_the_same_bytes(tmp_path: Path) -> None:
    folders = [write_results(tmp_path / str(number)) for number in range(4)]
    gtn_bench.report(folders[0])
    before = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(gtn_bench.report, folders[1:]))
    assert {key: matplotlib.rcParams[key] for key in matplotlib.rcParams} == before
    drawn = [{path.name: path.read_bytes() for path in (folder / "figures").iterdir()} for folder in folders]
    assert all(other == drawn[0] for other in drawn[1:])


# Teachers, the committed reports and the study


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 4, 12), (3, 6, 6)])
def test_report_of_a_teacher(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(0)
    labels = np.eye(12, dtype=np.float32)[None, np.arange(24) % 12]
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "images": generator.integers(0, 256, (9, 24, *shape), dtype=np.uint8),
        "range": np.array([-0.5, 1.5], np.float32),
        "labels": labels,
        "lr": np.linspace(0.1, 0.01, 9, dtype=np.float32),
        "momentum": np.full(9, 0.5, np.float32),
    }
    teacher = {"name": "cgtn", "architecture": [{"name": "linear"}], "inner_steps": 9, "batch_size": 24, "growth": 0}
    teacher["statistics"] = "real"
    made_by = [{"gtn-bench": "0.1.0", "torch": "2"}]
    checks = [{"meta_step": step, "accuracy": {"5": 0.5, "9": 0.75}} for step in (1, 2)]
    history = {"losses": [1.0, 0.5], "checks": checks, "made_by": made_by}
    metadata = {"dataset": {"name": "digits"}, "teacher": teacher, "history": history}
    write_tensors(tmp_path / "teacher.safetensors", tensors, metadata)
    provenance = {"teacher": "t", "seconds": 60, "machine": {"cores": 2, "device": "cpu"}, "made_by": made_by}
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    page = teacher_report(tmp_path)
    assert linked_images(page) == [tmp_path / "figures" / f"{name}.png" for name in ("learning", "curriculum", "rates")]
    assert all(file.is_file() and file.with_suffix(".svg").is_file() for file in linked_images(page))
    assert "2 meta-steps with 9 inner steps" in page.read_text()
    assert plt.get_fignums() == []


RUNS = sorted(path.parent for path in ROOT.glob("reports/**/summary.csv"))


@pytest.mark.skipif(not RUNS, reason="the reports are not installed")
@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_committed_results_can_be_read(folder: Path) -> None:
    results = Results(folder)
    results.check()
    known = set(results.provenance["perturbations"])
    for table in (results.summary, results.curves, results.comparisons):
        assert len(table) and set(table["perturbation"]) == known
    assert set(results.measures["perturbation"]) <= known | {"worst"}
    suite = gtn_bench.load(folder / "suite.yaml")
    assert {entry.title for entry in suite.perturbations} == known
    assert all(file.is_file() for file in linked_images(folder / "report.md"))


@pytest.mark.skipif(not RUNS, reason="the reports are not installed")
def test_figures_and_differences_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specification = importlib.util.spec_from_file_location("study", ROOT / "benchmarks" / "study" / "mnist_study.py")
    assert specification and specification.loader
    study = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(study)
    runs = ROOT / "reports" / "mnist-study"
    folders = [runs / "evaluation", runs / "published", runs / "distinct", tmp_path]
    monkeypatch.setattr(sys, "argv", ["mnist_study.py", *map(str, folders)])
    study.main()
    found, committed = ((folder / "differences.md").read_text() for folder in (tmp_path, runs))
    assert found.split("\n\n")[1] == committed.split("\n\n")[1]
    of_all = [[row.split(" | ")[-1] for row in text.split("\n\n")[0].splitlines()] for text in (found, committed)]
    assert of_all[0] == of_all[1] and len(of_all[0]) == 18
    assert {path.name for path in tmp_path.glob("finding-*.svg")} == {path.name for path in runs.glob("finding-*.svg")}
