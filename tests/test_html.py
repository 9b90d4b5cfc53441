"""The page report.html: its numbers, its safety, its size."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.graded import certificates_of, graded_records, record, write_run
from helpers.pages import CLASSES, MARKUP, SHAPE, N, Page, example_tensors, page_run, write_page
from PIL import Image
from scipy import stats

import gtn_bench
from gtn_bench.analysis.pooling import pooled
from gtn_bench.analysis.records import summarize
from gtn_bench.analysis.results import Results
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.suite import parse
from gtn_bench.reporting.html.clean import clean_points
from gtn_bench.reporting.html.colors import on_dark
from gtn_bench.reporting.html.curve_data import with_fooled
from gtn_bench.reporting.html.embedding import asset, json_for_script
from gtn_bench.reporting.html.header import plain, unbroken
from gtn_bench.reporting.html.page import _SCRIPTS
from gtn_bench.reporting.html.page_tables import costs
from gtn_bench.reporting.html.samples import read_samples
from gtn_bench.reporting.html.sprites import sprite
from gtn_bench.reporting.html.tables import Cell, cell, table
from gtn_bench.reporting.html.training_time import TrainingTime, training_times
from gtn_bench.reporting.markdown import code, escape
from gtn_bench.reporting.theme import style

ROOT = Path(__file__).parent.parent
BETAS = (0.02, 0.05, 0.1)


def page_of(folder: Path) -> Page:
    return Page(write_page(folder))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with samples and example images, and its page."""
    folder = page_run(tmp_path_factory.mktemp("run"))
    write_page(folder)
    return folder


# Numbers


def test_clean_points_are_those_of_the_samples(tmp_path: Path) -> None:
    folder = page_run(tmp_path, seeds=[0], modes=["m"])
    results = Results(folder)
    points = clean_points(results, read_samples(results))
    assert set(points["perturbation"]) == {"fgsm", "noise"} and (points["beta"] == 0).all()
    seen = results.samples
    right = seen[(seen["perturbation"] == "fgsm") & (seen["beta"] == BETAS[0])].eval("clean_prediction == label")
    exact = stats.binomtest(int(right.sum()), N).proportion_ci(0.95, "exact")
    assert 0 < right.mean() < 1
    np.testing.assert_allclose(
        points.iloc[0][["accuracy", "ci_low", "ci_high"]].astype(float), [right.mean(), *exact], rtol=1e-6
    )
    without = clean_points(results, None)
    assert without["accuracy"].tolist() == points["accuracy"].tolist() and without["ci_low"].isna().all()


def test_sweeps_with_strength_0_need_no_clean_points(tmp_path: Path) -> None:
    results = Results(page_run(tmp_path, betas=[0.0, 0.1]))
    assert not len(clean_points(results, read_samples(results)))


def test_tables_of_accuracies_have_the_clean_point(made: Path, tmp_path: Path) -> None:
    assert "clean" in Page(made / "report.html").texts["th"]
    assert "clean" not in page_of(page_run(tmp_path, betas=[0.0, 0.1])).texts["th"]


def test_distances_of_fooled_images_are_those_of_the_samples(made: Path) -> None:
    results = Results(made)
    curves = results.curves[results.curves["architecture"] == "linear"]
    points = with_fooled(curves, pooled(results.summary, results.rule), read_samples(results))
    seen = results.samples
    fooled = seen[(seen["clean_prediction"] == seen["label"]) & (seen["prediction"] != seen["label"])]
    keys = ["architecture", "mode", "perturbation", "beta"]
    means = fooled.groupby(keys, observed=True)[["l2", "linf"]].mean()
    for row in points.to_dict("records"):
        expected = means.to_dict("index").get(tuple(row[key] for key in keys), {"l2": np.nan, "linf": np.nan})
        found = {"l2": row["fooled_l2"], "linf": row["fooled_linf"]}
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert (points["fooled_linf"] > points["mean_linf"]).mean() > 0.5


def test_accuracies_by_class_are_those_of_the_samples(made: Path) -> None:
    data = Page(made / "report.html").data["classes"]
    assert data["classes"] == [str(number) for number in range(CLASSES)] and data["total"] == CLASSES
    seen = Results(made).samples
    right = seen["prediction"] == seen["label"]
    means = right.groupby([seen[name] for name in ("mode", "perturbation", "beta", "label")], observed=True).mean()
    assert len(data["rows"]) == 2 * 2 * len(BETAS)
    for row in data["rows"]:
        expected = means.loc[row["mode"], row["perturbation"], row["beta"]]
        assert row["accuracy"] == pytest.approx(expected.tolist(), abs=5e-4)


def test_samples_in_other_groups_of_rows_are_the_same(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "copy")
    mixed = pq.read_table(folder / "samples.parquet")
    pq.write_table(mixed, folder / "samples.parquet", row_group_size=37)
    pq.write_table(mixed, folder / "samples.parquet")  # one group for all cells
    one, other = (read_samples(Results(each)) for each in (made, folder))
    assert one and other and one.cells.keys() == other.cells.keys() == set(range(24))
    for row in one.cells:
        for mine, theirs in zip(one.cells[row], other.cells[row], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_curves_of_a_page_are_those_of_the_tables(made: Path) -> None:
    data, results = Page(made / "report.html").data, Results(made)
    curves = {(curve["mode"], curve["perturbation"]): curve for curve in data["curves"]}
    for (mode, label), rows in results.curves.query("architecture == 'linear'").groupby(["mode", "perturbation"]):
        curve = curves[mode, label]
        assert curve["beta"] == [0.0, *BETAS]
        for key, column in {"accuracy": "accuracy", "low": "ci_low", "bandHigh": "band_high", "l2": "mean_l2"}.items():
            assert curve[key][1:] == pytest.approx(rows[column].tolist(), rel=1e-5)
        assert curve["grade"][1:] == rows["grade"].tolist() and curve["seeds"][1:] == rows["n_seeds"].tolist()
    learners = {(one["mode"], one["perturbation"], one["seed"]): one for one in data["learners"]}
    for (mode, label, seed), rows in results.summary.groupby(["mode", "perturbation", "seed"]):
        assert learners[mode, label, seed]["accuracy"] == pytest.approx(rows["accuracy"].tolist(), rel=1e-5)


def test_certificates_are_in_the_data(tmp_path: Path) -> None:
    records = graded_records({"plain": 0.0, "certified": 0.04})
    page = page_of(write_run(tmp_path, summarize(records), certificates_of(records)))
    curve = next(each for each in page.data["curves"] if (each["mode"], each["perturbation"]) == ("certified", "apgd"))
    assert any(curve["proven"]) and all(value is not None for value in curve["certified"][1:])
    assert "Settled images" in page.texts["caption"] and "UnsupportedLayerError: x" in page.text


# Images


def test_a_sprite_has_the_images_and_their_amplified_differences() -> None:
    tensors = example_tensors(["m"], ["p"], [0.1, 0.2])
    made = sprite(tensors["clean"], {"m": {0.1: tensors["p/m/0.1"], 0.2: tensors["p/m/0.2"]}})
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(made.png))))
    height, width = SHAPE[1:]
    assert (made.width, made.height, made.columns, made.reduced) == (width, height, 4, False)
    assert sheet.shape == (5 * height, 4 * width)

    def tile(row: int, column: int) -> Any:
        return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width].astype(float) / 255

    moved = max(np.abs(tensors[f"p/m/{beta}"] - tensors["clean"]).max() for beta in (0.1, 0.2))
    assert made.amplified * moved <= 0.5 < 2.6 * made.amplified * moved
    for column, beta in itertools.product(range(4), (0.1, 0.2)):
        np.testing.assert_allclose(tile(0, column), tensors["clean"][column, 0], atol=0.002)
        np.testing.assert_allclose(tile(made.places["m"][beta], column), tensors[f"p/m/{beta}"][column, 0], atol=0.002)
        difference = 0.5 + made.amplified * (tensors[f"p/m/{beta}"] - tensors["clean"])[column, 0]
        np.testing.assert_allclose(tile(made.places["m"][beta] + 1, column), difference, atol=0.003)


def test_large_images_are_reduced() -> None:
    clean = np.random.default_rng(0).random((4, 3, 224, 160))
    made = sprite(clean, {"m": {beta / 10: clean for beta in range(30)}})
    assert made.reduced and (made.width, made.height) == (69, 96) and len(made.places["m"]) == 12
    assert made.amplified == 1.0


def test_the_viewer_knows_predictions(made: Path) -> None:
    (entry, _) = Page(made / "report.html").data["viewer"]
    results = Results(made)
    label = entry["perturbation"]
    assert [mode["mode"] for mode in entry["modes"]] == ["gtn", "vanilla"] and entry["labels"] == ["0", "1", "2", "3"]
    for name, strength in ((mode["mode"], one) for mode in entry["modes"] for one in mode["strengths"]):
        rows = results.select(perturbation=label, mode=name, beta=strength["beta"], seed=0).iloc[:4]
        assert strength["after"] == [str(each) for each in rows["prediction"]]
        assert strength["before"] == [str(each) for each in rows["clean_prediction"]]
        assert strength["confidence"] == [f"{each:.3f}" for each in rows["confidence"]]


def test_samples_without_confidences_have_predictions(made: Path, tmp_path: Path) -> None:
    """Earlier versions did not write the column."""
    folder = shutil.copytree(made, tmp_path / "copy")
    table = pq.read_table(folder / "samples.parquet")
    pq.write_table(table.drop_columns("confidence"), folder / "samples.parquet", row_group_size=N)
    (entry, _) = page_of(folder).data["viewer"]
    strengths = [one for mode in entry["modes"] for one in mode["strengths"]]
    assert strengths and all("after" in one and "confidence" not in one for one in strengths)


def test_results_without_large_files_say_so(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "copy")
    for name in ("samples.parquet", "examples.safetensors"):
        (folder / name).unlink()
    page = page_of(folder)
    assert "no examples.safetensors, so there is no viewer" in page.text
    assert "no samples.parquet, so the accuracy by class and the distances of fooled images are not known" in page.text
    assert page.data["viewer"] == [] and page.data["classes"] is None
    assert not any("fooled images" in text for text in page.texts["th"])


# Colors


def luminance(color: str) -> float:
    rgb = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_lines_are_visible_on_a_dark_background() -> None:
    ground = re.search(r"prefers-color-scheme: dark\).*?--ground: (#\w+)", asset(["page.css"]), re.DOTALL)
    assert ground
    colors = [on_dark(line.color) for line in style([str(place) for place in range(32)]).values()]
    contrasts = [(luminance(color) + 0.05) / (luminance(ground[1]) + 0.05) for color in colors]
    assert min(contrasts) > 4.5  # of graphics, WCAG 2.2 asks for 3
    assert len(set(colors)) == 32


# Linear RGB as dichromats see it: G. Machado et al., IEEE TVCG 15 (2009), severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8607, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


@pytest.mark.parametrize("vision", VISION)
def test_color_blind_readers_distinguish_eight_modes_on_a_dark_background(vision: str) -> None:
    colors = [on_dark(line.color) for line in style([str(place) for place in range(8)]).values()]
    rgb = np.array([[int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in colors]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(VISION[vision]).T
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    root = np.cbrt(linear.clip(0, 1) @ to_xyz.T / [0.9505, 1.0, 1.089])
    points = np.stack([116 * root[:, 1], 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(points, 2)) > 20


def test_other_colors_keep_their_hue() -> None:
    assert on_dark("#bbcc77") == "#bbcc77"  # light enough
    assert luminance(on_dark("#220033")) > luminance(on_dark("#555555")) > 0.2


# Safety


@pytest.mark.parametrize("kind", ["modes", "perturbations", "architectures"])
def test_names_with_markup_are_texts(tmp_path: Path, kind: str) -> None:
    folder = page_run(tmp_path, **{kind: MARKUP}, seeds=[0], classes=list(MARKUP))
    page = page_of(folder)
    assert len(page.scripts) == 2 and page.tags.count("script") == 2
    assert "onerror" not in {name for attributes in page.attributes for name in attributes}
    data = page.data
    listed = {"modes": [mode["name"] for mode in data["modes"]], "architectures": data["architectures"]}
    listed["perturbations"] = [each["label"] for each in data["perturbations"]]
    assert set(MARKUP) <= set(listed[kind])
    shown = {" ".join(text.split()) for tag in ("th", "td", "h3") for text in page.texts[tag]}
    assert {" ".join(name.split()) for name in MARKUP} <= shown
    assert page.texts["h1"] == ["Is <b>one</b> mode less robust?"]
    assert not set(page.tags) & {"b", "i", "iframe", "object", "base"}


def test_json_ends_no_script_and_keeps_every_text() -> None:
    value = {name: [name, 1.5, None, True] for name in MARKUP}
    text = json_for_script(value)
    assert not re.search("[<>&\u2028\u2029]", text) and json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([float("nan")])


def test_a_page_loads_nothing_and_runs_only_its_own_script(made: Path) -> None:
    page = Page(made / "report.html")
    (policy,) = (each["content"] for each in page.attributes if each.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'; img-src data:; ")
    assert "script-src 'sha256-" in policy and "unsafe-eval" not in policy
    for each in page.attributes:
        for name in ("src", "href"):
            assert (each.get(name) or "data:").startswith(("data:", "#")), each
        assert not any(name.startswith("on") for name in each)
    script = asset(["start.js", *_SCRIPTS, "page.js"])
    assert not re.search(r"fetch|XMLHttp|import\b|eval\(|innerHTML|document\.write|</script", script)
    style_sheet = (made / "report.html").read_text().split("<style>")[1].split("</style>")[0]
    assert not re.search(r"@import|url\(", style_sheet)


@pytest.mark.slow
def test_a_foreign_page_is_not_replaced(tmp_path: Path) -> None:
    folder = page_run(tmp_path, perturbations=["fgsm"], seeds=[0])
    gtn_bench.report(folder)
    assert Page(folder / "report.html").tags.count("img") == 4  # the figures for readers without JavaScript
    (folder / "report.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds files that changed after a report: report\.html; rename or remove"):
        gtn_bench.report(folder)
    assert (folder / "report.html").read_text() == "mine"
    gtn_bench.report(folder, accept_changes=True)
    assert (folder / "report.html").read_text() != "mine"
    record = json.loads((folder / ".gtn-bench" / "report.json").read_text())
    assert "report.html" in record["manifest"]


# All kinds of runs

WRONG = re.compile(r"\bnan\b|\bNone\b|Undefined|(?<!L-)\binf\b|\[\]")
FEW = [f"m{place}" for place in range(14)]
MANY = [f"architecture_{place}" for place in range(60)]
KINDS: dict[str, dict[str, Any]] = {
    "partial": {"missing": [("gtn", 0.05)]},
    "errors": {"failing": ["fgsm"]},
    "nothing": {"failing": ["fgsm", "noise"], "examples": False},
    "one mode": {"modes": ["mine"]},
    "one image": {"n": 1, "examples": False},
    "one beta": {"betas": [0.1]},
    "zero only": {"betas": [0.0]},
    "one seed": {"seeds": [3]},
    "none accepted": {"wrong": ["gtn"], "architectures": ["linear", "wide"]},
    "fourteen modes": {"modes": FEW, "seeds": [0], "n": 8, "betas": [0.1]},
    "sixty architectures": {"architectures": MANY, "seeds": [0], "betas": [0.1], "n": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pages_of_all_kinds_of_runs(tmp_path: Path, kind: str) -> None:
    page = page_of(page_run(tmp_path, **KINDS[kind]))
    assert not WRONG.search(page.text.split("The resolved suite")[0])
    assert page.texts["h2"][-2:] == ["Suite", "How to cite"]
    if kind == "nothing":
        assert "No cell was evaluated." in page.text and "ValueError: <i>no</i>" in page.text
    if kind in ("errors", "nothing", "partial"):
        assert "cells failed" in page.text and "failed cells" in page.text
    if kind == "one mode":
        assert "No two modes are compared in this run." in page.text
    if kind == "none accepted":
        assert "No architecture is accepted." in page.text
        assert page.data["shownArchitectures"] == ["linear", "wide"] == page.data["architectures"]
    if kind == "fourteen modes":
        assert len({(mode["color"], mode["marker"]) for mode in page.data["modes"]}) == 14
        assert set(FEW) <= {*page.texts["th"]}
    if kind == "sixty architectures":
        assert page.data["shownArchitectures"] == ["accepted"] and len(page.data["architectures"]) == 61
        assert (tmp_path / "report.html").stat().st_size < 3_000_000


SIZES = {"demo": 1_500_000, "mnist-study/evaluation": 8_000_000}


@pytest.mark.parametrize("name", SIZES)
def test_pages_of_committed_results_are_small(tmp_path: Path, name: str) -> None:
    source = ROOT / "reports" / name
    if not source.is_dir():
        pytest.skip("the reports are not installed")
    folder = shutil.copytree(source, tmp_path / "copy")
    page = page_of(folder)
    assert (folder / "report.html").stat().st_size < SIZES[name]
    assert not WRONG.search(page.text.split("The resolved suite")[0])
    assert sum(tag == "img" for tag in page.tags) >= 6  # the figures for readers without JavaScript


# Parts


@pytest.mark.parametrize(
    "value, expected",
    [
        (0.25, Cell("0.250", sort=0.25, numeric=True)),
        (float("nan"), Cell("", numeric=True)),
        (True, Cell("yes")),
        (7, Cell("7", sort=7.0, numeric=True)),
        ("0.530 [0.464, 0.595]†", Cell("0.530", "[0.464, 0.595]", "†", 0.53, numeric=True)),
        ("-0.5 [-0.6, -0.4]", Cell("-0.5", "[-0.6, -0.4]", "", -0.5, numeric=True)),
        ("0.060✓■", Cell("0.060", "", "✓■", 0.06, numeric=True)),
        ("not reached", Cell("not reached", sort=float("inf"), numeric=True)),
        ("not reached [0.1, not reached]", Cell("not reached", "[0.1, not reached]", "", float("inf"), numeric=True)),
        ("fgsm [x] y", Cell("fgsm [x] y")),
        ("10_gtn", Cell("10_gtn")),
    ],
)
def test_cells_of_tables(value: Any, expected: Cell) -> None:
    assert cell(value) == expected


def test_columns_of_one_value_can_be_left_out() -> None:
    frame = pd.DataFrame({"teacher": ["t", "t"], "mode": ["a", "b"], "x": [0.5, 0.25]})
    made = table(frame, "caption", heads=("teacher", "mode")).without_constants(("teacher",))
    assert made.columns == ["mode", "x"] and made.heads == 1 and made.kinds == ["short", "n"]


@pytest.mark.parametrize("text", ["a/b", "*bold* _it_", "<b>&amp;", "[a](b)", "x\\|y", "~~a~~", "x_", "50% of $x$"])
def test_markdown_becomes_plain_text(text: str) -> None:
    assert plain(f"{escape(text)} and {code(text)}.") == f"{text} and {text}."


def test_training_times_come_from_the_log(tmp_path: Path) -> None:
    event = {
        "stage": "learners",
        "what": "mode 'gtn' of 'linear', seed 0",
        "status": "done",
        "seconds": 2.0,
        "keys": ["k"],
    }
    others = [{**event, "seconds": 4.0}, {**event, "what": "'t', mode 'gtn' of 'linear', seed 0", "seconds": 9.0}]
    others += [{**event, "status": "error"}, {**event, "stage": "cells"}, {**event, "what": "mode 'other' of 'x'"}, []]
    lines = [json.dumps(each) for each in (event, *others)]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, '{"stage": "lear']))
    assert training_times(tmp_path, ["gtn"]) == {"gtn": TrainingTime(4.0)}
    assert training_times(tmp_path / "none", ["gtn"]) == {}


JOINT = {"stage": "learners", "keys": ["k", "l"], "status": "done", "seconds": 0.0561}


@pytest.mark.parametrize("ending", [", together with 'gtn'", ""])
def test_modes_that_are_trained_in_one_pass_share_its_time(tmp_path: Path, ending: str) -> None:
    """A log of an earlier version names one of the modes; the number of its keys tells the other."""
    modes = ["10_gtn", "gtn", "vanilla"]
    (tmp_path / "events.jsonl").write_text(json.dumps({**JOINT, "what": f"mode '10_gtn' of 'a', seed 0{ending}"}))
    found = {mode: str(time) for mode, time in training_times(tmp_path, modes, modes[:2]).items()}
    assert found == {"10_gtn": "0.0561 together with gtn", "gtn": "0.0561 together with 10_gtn"}


def test_a_mode_that_an_earlier_log_does_not_name_is_counted(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(json.dumps({**JOINT, "what": "mode '10_gtn' of 'a', seed 0"}))
    modes = ["10_gtn", "gtn", "2_gtn"]
    found = {mode: str(time) for mode, time in training_times(tmp_path, modes, modes).items()}
    assert found == {"10_gtn": "0.0561 together with 1 other mode"}


def test_the_cost_table_has_the_steps_that_count_and_words_for_missing_times(tmp_path: Path) -> None:
    folder = page_run(tmp_path, modes=["10_gtn", "gtn", "v", "mine"])
    (folder / "events.jsonl").write_text(json.dumps({**JOINT, "what": "mode '10_gtn' of 'linear', seed 0"}))
    modes = "[10_gtn, gtn, {name: vanilla, label: v, lr: 0.005, epochs: 1, steps: 10, batch_size: 128}, "
    modes += "{name: checkpoint, label: mine}]"
    suite = parse(re.sub(r"^modes:\n(- .*\n)+", f"modes: {modes}\n", (folder / "suite.yaml").read_text(), flags=re.M))
    found = costs(Results(folder), suite)
    column = found.columns.index("training")
    rows = {row[0].text: [each.text for each in row[column : column + 2]] for row in found.rows}
    shared = "batch size: the teacher's; loss: cross-entropy; augmentation: none"
    assert rows == {
        "10_gtn": [f"optimizer: the teacher's; steps: all that the teacher has; {shared}", "0.0561 together with gtn"],
        "gtn": [f"optimizer: the teacher's; steps: all that the teacher has; {shared}", "0.0561 together with 10_gtn"],
        "v": [
            "optimizer: Adam at 0.005; steps: 10; batch size: 128; loss: cross-entropy; augmentation: none",
            "not in the log",
        ],
        "mine": ["trained outside of this run", "not in the log"],
    }


def test_the_clean_accuracy_is_that_of_most_images(tmp_path: Path) -> None:
    few, many = (record(0, n=n, perturbation=name, region=None, samples=_clean(n)) for name, n in (("a", 8), ("b", 40)))
    page = page_of(write_run(tmp_path, summarize([few, many])))
    areas = page.text.split("Area under the accuracy curve", 1)[1]
    assert re.search(r"\nm0\.9001\.000 \[", areas.split("smallest area over perturbations", 1)[1])


def _clean(n: int) -> dict[str, Any]:
    return {"clean_prediction": (np.arange(n) < n // 10).astype(int), "prediction": np.zeros(n, int)}


def test_lines_do_not_end_inside_numbers() -> None:
    shown = unbroken("difference -0.7 [-0.764, +0.665], p = 0.38 and p < 0.001 [a, b]")
    assert shown.replace("\u00a0", "~") == "difference -0.7 [-0.764,~+0.665], p~=~0.38 and p~<~0.001 [a, b]"


def test_comparisons_are_places_on_an_axis(made: Path) -> None:
    page = Page(made / "report.html")
    circles = [each for tag, each in zip(page.tags, page.attributes, strict=True) if tag == "circle"]
    places = [float(str(each["cx"]).rstrip("%")) for each in circles]
    differences = Results(made).comparisons.query("architecture == 'accepted'")["difference"].tolist()
    assert len(places) == len(differences) == 2
    scales = [(place - 50) / difference for place, difference in zip(places, differences, strict=True)]
    assert scales == pytest.approx([scales[0]] * 2, rel=2e-3) and 50 <= scales[0] <= 2500


def test_flags_have_reasons_and_what_to_do(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, summarize([record(3, model_flags=("near_chance",)), record(3, mode="other")])))
    assert "Repair the model, or how it is called, and run again." in page.texts["td"]
    assert any("check of the model" in text for text in page.texts["td"])
