"""The Python interface in a notebook: names, wrong calls, failed cells, paths of any form."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.runs import run
from helpers.suites import TINY
from matplotlib.figure import Figure

import gtn_bench
from gtn_bench import cli
from gtn_bench.analysis.tables import to_csv
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path
from gtn_bench.config.suite import parse
from gtn_bench.data.torchvision import data_folder
from gtn_bench.execution.output import check_output
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.store.cache import cache_folder
from gtn_bench.store.files import check_file, check_folder, make_folder, write_atomically

SMALL = """
name: small
dataset: digits
seeds: [0, 1]
architectures: [linear]
modes: [{name: vanilla, steps: 2}, {name: random-labels, steps: 2}]
acceptance: 0
perturbations: [{name: noise, samples: 5, beta: [0.1, 0.3]}, {name: blur, samples: 5, beta: [1]}]
"""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that all runs share."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, store: Path) -> gtn_bench.Results:
    return run(SMALL, tmp_path_factory.mktemp("small"), store)


def message(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_public_names_complete_without_torch() -> None:
    code = (
        "import gtn_bench, sys; assert set(gtn_bench.__all__) <= set(dir(gtn_bench)); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert all(hasattr(gtn_bench, name) for name in gtn_bench.__all__)


def test_results_take_a_text_or_a_path(results: gtn_bench.Results) -> None:
    for folder in (str(results.folder), f"{results.folder}/", results.folder):
        again = gtn_bench.Results(folder)
        assert again.folder == results.folder and repr(again) == f"Results('{results.folder}')"
        pd.testing.assert_frame_equal(again.summary, results.summary)
        assert len(again.samples) == 2 * 2 * 3 * 5


def test_selected_samples_have_the_given_values(results: gtn_bench.Results) -> None:
    assert len(results.select()) == 60
    assert len(results.select(perturbation="noise", mode="vanilla", seed=1, beta=0.3)) == 5
    assert len(results.select(seed=np.int64(0), beta=np.float32(1.0))) == 10
    assert set(results.select(zero_gradient=False)["zero_gradient"]) <= {False}


@pytest.mark.parametrize("where", [{"seed": 7}, {"beta": 0.2}, {"perturbation": "blur", "beta": 0.1}, {"seed": 0.5}])
def test_absent_combinations_select_nothing(where: dict[str, Any], results: gtn_bench.Results) -> None:
    assert results.select(**where).empty


@pytest.mark.parametrize(
    "where, expected",
    [
        ({"perturbatoin": "noise"}, "samples have no column 'perturbatoin'; did you mean 'perturbation'?"),
        ({"accuracy": 1.0}, "samples have no column 'accuracy'"),
        ({"perturbation": "niose"}, "no perturbation is called 'niose'; did you mean 'noise'?"),
        ({"mode": "vanila"}, "no mode is called 'vanila'; did you mean 'vanilla'?"),
        ({"architecture": "base"}, "no architecture is called 'base'; known: linear"),
        ({"dataset": "mnist"}, "no dataset is called 'mnist'; known: digits"),
        ({"teacher": ""}, "no teacher is called ''; known: none"),
        ({"mode": 3}, "column 'mode' of the samples expects a text, got 3"),
        ({"mode": ["vanilla"]}, "column 'mode' of the samples expects a text, got ['vanilla']"),
        ({"seed": "0"}, "column 'seed' of the samples expects a number, got '0'"),
        ({"seed": [0, 1]}, "column 'seed' of the samples expects a number, got [0, 1]"),
        ({"seed": True}, "column 'seed' of the samples expects a number, got True"),
        ({"seed": 2**70}, f"column 'seed' of the samples expects an integer of at most 64 bits, got {2**70}"),
        ({"zero_gradient": 1}, "column 'zero_gradient' of the samples expects True or False, got 1"),
    ],
)
def test_wrong_selections_are_refused_with_the_nearest_right_one(
    where: dict[str, Any], expected: str, results: gtn_bench.Results
) -> None:
    assert message(results.select, **where).startswith(f"{results.folder}: {expected}")


def test_a_mapping_is_a_suite() -> None:
    content = yaml.safe_load(TINY)
    before = yaml.safe_dump(content)
    loaded = gtn_bench.load(content)
    assert loaded == parse(TINY) and yaml.safe_dump(content) == before
    assert len(gtn_bench.plan(loaded).cells) == 42
    content["perturbations"] = [{"name": "noise", "beta": np.linspace(0, 1, 3)}]
    content["modes"] = ("gtn", {"name": "vanilla", "epochs": 2})
    assert [cell.beta for cell in gtn_bench.plan(gtn_bench.load(content)).cells[:3]] == [0.0, 0.5, 1.0]
    content["dataset"] = "digit"
    assert message(lambda: gtn_bench.plan(gtn_bench.load(content))).startswith(
        "tiny: dataset.name: unknown dataset 'digit'"
    )


# Display


ATTRIBUTES = {
    *(
        "folder",
        "files",
        "summary",
        "curves",
        "measures",
        "comparisons",
        "samples",
        "select",
        "errors",
        "provenance",
        "examples",
    ),
    *("rule", "display_name", "check", "plot", "compare", "table"),
}


def test_public_attributes_of_results_complete(results: gtn_bench.Results) -> None:
    found = {name for name in dir(results) if not name.startswith("_")}
    assert found >= ATTRIBUTES
    assert all(getattr(type(results), name).__doc__ for name in found - {"folder"})


def test_a_notebook_shows_a_table_and_the_curves(results: gtn_bench.Results) -> None:
    shown = results._repr_html_()
    for text in ("<table", "<th>clean accuracy</th>", "<td>vanilla</td>", "<td>random-labels</td>", "12 cells"):
        assert text in shown
    (image,) = re.findall('src="data:image/png;base64,([^"]+)"', shown)
    assert base64.b64decode(image).startswith(b"\x89PNG")
    assert "failed" not in shown


def test_results_are_shown_without_torch(results: gtn_bench.Results) -> None:
    code = (
        "import sys, gtn_bench; results = gtn_bench.open(sys.argv[1]); shown = results._repr_html_(); "
        "assert 'data:image/png' in shown; assert 'torch' not in sys.modules; import matplotlib; "
        "assert matplotlib.rcParams._get_backend_or_none() is None"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    assert subprocess.run([sys.executable, "-c", code, str(results.folder)], env=environment).returncode == 0


def test_figures_are_not_registered_and_leave_the_state_of_matplotlib(results: gtn_bench.Results) -> None:
    with matplotlib.rc_context({"font.size": 31.0, "axes.grid": True}):
        before, backend = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams}, matplotlib.get_backend()
        everything, alone = results.plot(), results.plot("blur")
        png, size = everything._repr_png_()
        results._repr_html_()
        assert {key: matplotlib.rcParams[key] for key in matplotlib.rcParams} == before
        assert matplotlib.get_backend() == backend and plt.get_fignums() == []
    assert isinstance(everything, Figure) and png.startswith(b"\x89PNG") and size["width"] > 300
    assert [panel.get_title() for panel in everything.axes if panel.get_visible()] == ["noise", "blur"]
    assert [panel.get_title() for panel in alone.axes] == ["linear"]
    drawn = {tuple(line.get_ydata()) for line in everything.axes[0].lines}
    part = results.curves[(results.curves["perturbation"] == "noise") & (results.curves["architecture"] == "linear")]
    assert drawn == {tuple(curve["accuracy"]) for _, curve in part.groupby("mode")}


def test_a_figure_of_an_unknown_perturbation_is_refused(results: gtn_bench.Results) -> None:
    expected = f"{results.folder}: no perturbation is called 'niose'; did you mean 'noise'?"
    assert message(results.plot, "niose") == expected
    assert message(results.plot, 3) == f"{results.folder}: no perturbation is called 3; known: blur, noise"


def test_results_without_a_finished_cell_are_shown(results: gtn_bench.Results, tmp_path: Path) -> None:
    folder = shutil.copytree(results.folder, tmp_path / "broken")
    (folder / "summary.csv").write_bytes(to_csv(results.summary.assign(status="error")))
    (folder / "curves.csv").write_bytes(to_csv(results.curves[:0]))
    assert "not as the run has written it: summary.csv" in gtn_bench.Results(folder)._repr_html_()
    broken = gtn_bench.Results(folder, accept_changes=True)
    shown = broken._repr_html_()
    assert "12 of 12 cells failed" in shown and "No cell was evaluated." in shown and "<img" not in shown
    assert message(broken.plot) == f"{folder}: no cell was evaluated; see results.errors"
    (folder / "curves.csv").unlink()
    (folder / "summary.csv").write_bytes(to_csv(results.summary.assign(flags="unchanged")))
    shown = gtn_bench.Results(folder, accept_changes=True)._repr_html_()
    assert shown.startswith("<p>") and "curves.csv: cannot be read" in shown
    (folder / "curves.csv").write_bytes(to_csv(results.curves))
    assert "12 of 12 cells fail a sanity check" in gtn_bench.Results(folder, accept_changes=True)._repr_html_()


def test_opening_a_run_returns_its_results(results: gtn_bench.Results) -> None:
    for folder in (results.folder, str(results.folder)):
        opened = gtn_bench.open(folder)
        assert isinstance(opened, gtn_bench.Results) and opened.folder == results.folder
        pd.testing.assert_frame_equal(opened.summary, results.summary)
    assert isinstance(results, gtn_bench.Results)  # of the run


EXPECTED = "expects the output folder of a run"
RERUN = "run the suite again; cached parts are not computed again"
OPENED = {
    "nothing": ("nothing", f"{EXPECTED}, found no such folder; if its run was interrupted, {RERUN}"),
    "misspelt": ("small1", f"{EXPECTED}, found no such folder; did you mean {{here}}/small?"),
    "empty": ("empty", f"{EXPECTED}, found no summary.csv in it; if its run was interrupted, {RERUN}"),
    "interrupted": ("part", f"{EXPECTED}, found no summary.csv in it; if its run was interrupted, {RERUN}"),
    "interrupted while it was written": ("unfinished", f"its run has not finished; {RERUN}"),
    "incomplete": (
        "short",
        "expects certificates.csv, checks.csv, comparisons.csv, curves.csv, measures.csv and 1 more, found none; "
        f"{RERUN}",
    ),
    "folder of a run": ("above", f"{EXPECTED}, found no summary.csv in it; did you mean {{here}}/above/run?"),
    "folder of runs": (
        "",
        f"{EXPECTED}, found no summary.csv in it; "
        "it holds those of {here}/short, {here}/small, {here}/unfinished",
    ),
    "report": ("small/report.md", f"{EXPECTED}, got a file; did you mean {{here}}/small?"),
    "file": ("file", f"{EXPECTED}, got a file"),
    "teacher": ("teacher", f"{EXPECTED}, got that of a teacher"),
}


@pytest.mark.parametrize("name, expected", OPENED.values(), ids=OPENED)
def test_opening_anything_else_names_the_next_step(
    name: str, expected: str, tmp_path: Path, results: gtn_bench.Results
) -> None:
    for run_folder in ("small", "unfinished", "short", "above/run"):
        (tmp_path / run_folder).mkdir(parents=True)
        for file in ("summary.csv", "provenance.json"):
            shutil.copy(results.folder / file, tmp_path / run_folder)
    (tmp_path / "unfinished" / "provenance.json").unlink()
    (tmp_path / "short" / "summary.csv").write_bytes(to_csv(results.summary[:-1]))
    (tmp_path / "empty").mkdir()
    for other in ("part/samples.part", "teacher/teacher.yaml", "small/report.md", "file"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).touch()
    assert message(gtn_bench.open, tmp_path / name) == f"{tmp_path / name}: {expected.format(here=tmp_path)}"


@pytest.mark.parametrize("folder", [3, None, ""])
def test_what_is_no_path_is_not_opened(folder: Any) -> None:
    assert message(gtn_bench.open, folder) == f"expects a path, got {folder!r}"


SUITE = parse(SMALL)
CALLS = {
    "load of a number": (lambda: gtn_bench.load(123), "expects a file, the name of a suite or a mapping, got 123"),
    "load of nothing": (lambda: gtn_bench.load(None), "expects a file, the name of a suite or a mapping, got None"),
    "load of a suite": (
        lambda: gtn_bench.load(SUITE),
        "expects a file, the name of a suite or a mapping, got a loaded suite; call gtn_bench.plan",
    ),
    "load of YAML text": (
        lambda: gtn_bench.load(SMALL),
        "expects a file or the name of a suite, got 8 lines of text; write them to a file",
    ),
    "load of an empty text": (lambda: gtn_bench.load(""), "expects a path, got ''"),
    "load_teacher of a number": (lambda: gtn_bench.load_teacher(3), "expects a file or the name of a teacher, got 3"),
    "plan of a name": (
        lambda: gtn_bench.plan("demo"),
        "plan expects a suite, got 'demo'; call gtn_bench.plan(gtn_bench.load('demo'))",
    ),
    "plan of a mapping": (
        lambda: gtn_bench.plan({"name": "x"}),
        "plan expects a suite, got {'name': 'x'}; call gtn_bench.plan(gtn_bench.load({'name': 'x'}))",
    ),
    "plan of a plan": (
        lambda: gtn_bench.plan(gtn_bench.plan(SUITE)),
        "plan expects a suite, got a plan; pass it to gtn_bench.run",
    ),
    "plan of nothing": (lambda: gtn_bench.plan(None), "plan expects a suite, got None; gtn_bench.load returns one"),
    "limit of the command line": (
        lambda: gtn_bench.plan(SUITE, limit="10%"),
        "limit expects a number of images or a share of them in (0, 1], got '10%'",
    ),
    "limit that is no number": (
        lambda: gtn_bench.plan(SUITE, limit=True),
        "limit expects a number of images or a share of them in (0, 1], got True",
    ),
    "run of a name": (
        lambda: gtn_bench.run("demo", "out"),
        "run expects a plan, got 'demo'; call gtn_bench.run(gtn_bench.plan(gtn_bench.load('demo')), ...)",
    ),
    "run of a suite": (
        lambda: gtn_bench.run(SUITE, "out"),
        "run expects a plan, got a suite; call gtn_bench.run(gtn_bench.plan(suite), ...)",
    ),
    "run with no workers": (
        lambda: gtn_bench.run(gtn_bench.plan(SUITE), "out", workers=0),
        "workers expects at least one process, got 0",
    ),
    "run into a number": (lambda: gtn_bench.run(gtn_bench.plan(SUITE), 3), "expects a path, got 3"),
    "teach of a name": (
        lambda: gtn_bench.teach("digits", "out"),
        "teach expects the specification of a teacher, got 'digits'; "
        "call gtn_bench.teach(gtn_bench.load_teacher('digits'), ...)",
    ),
    "results of a number": (lambda: gtn_bench.Results(3), "expects a path, got 3"),
    "report of a number": (lambda: gtn_bench.report(3), "expects a path, got 3"),
}


@pytest.mark.parametrize("call, expected", CALLS.values(), ids=CALLS)
def test_wrong_calls_name_the_right_one(
    call: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message(call) == expected
    assert not list(tmp_path.iterdir())


def test_limits_of_any_number_type() -> None:
    for limit in (3, np.int64(3), 0.6, np.float64(0.6), np.float32(0.6)):
        assert {cell.samples for cell in gtn_bench.plan(SUITE, limit=limit).cells} == {3}
    assert {cell.samples for cell in gtn_bench.plan(SUITE, limit=1).cells} == {1}


class Failing(PERTURBATIONS["noise"]):  # type: ignore[misc]
    """Noise that raises an error at every strength above 0.2."""

    name = "failing"

    def __call__(self, classifier: Any, x: Any, y: Any, seeds: Any) -> Any:
        if self.beta > 0.2:
            raise RuntimeError(f"no strength {self.beta}\nof this size")
        return super().__call__(classifier, x, y, seeds)


def test_failed_cells_are_a_warning_and_are_listed(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, results: gtn_bench.Results
) -> None:
    assert results.errors == []
    monkeypatch.setitem(PERTURBATIONS, "failing", Failing)
    with pytest.warns(RuntimeWarning) as caught:
        broken = run(SMALL.replace("name: noise", "name: failing"), tmp_path, store)
    (warning,) = caught
    first = "of this size (test_notebook.py, line 353)"
    assert str(warning.message) == f"4 of 12 cells failed; first: {first}; see results.errors"
    assert len(broken.errors) == 4
    assert broken.errors[0] == {
        **{"dataset": "digits", "teacher": "none", "architecture": "linear", "mode": "vanilla", "seed": 0},
        **{"perturbation": "failing", "beta": 0.3, "error": first},
        "traceback": broken.provenance["errors"][0]["traceback"],
    }
    assert len(pd.DataFrame(broken.errors)) == 4


@pytest.mark.slow
def test_the_command_line_reports_failed_cells_once(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PERTURBATIONS, "failing", Failing)
    monkeypatch.setenv("GTN_BENCH_CACHE", str(store))
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL.replace("name: noise", "name: failing"))
    assert call_cli(monkeypatch, "run", "small.yaml", "--workers", "1", "--device", "cpu") == 1
    assert capsys.readouterr().err.count("4 of 12 cells failed") == 1


def call_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of ``gtn-bench ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["gtn-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


# What is given as output folder, in a working folder and a home folder, and the folder that is meant.
PLACES = {
    "colon": ("run:1", "run:1"),
    "drive": ("C:/run", "C:/run"),
    "file URL": ("file:///x/y", "file:/x/y"),
    "web URL": ("http://host/x?y=1#z", "http:/host/x?y=1#z"),
    "cloud URL": ("s3://bucket/x", "s3:/bucket/x"),
    "characters of URLs": ("a#b?c%20&d=e+f", "a#b?c%20&d=e+f"),
    "spaces and accents": (" two words é ☃ ", " two words é ☃ "),
    "brackets and an emoji code": ("[red]x[/] :snake:", "[red]x[/] :snake:"),
    "glob": ("*[ab]?", "*[ab]?"),
    "dash": ("-", "-"),
    "trailing slash": ("a/b/", "a/b"),
    "parent": ("a/../b", "a/../b"),
    "environment variable": ("$HOME/x", "$HOME/x"),
    "home": ("~/x", "home/x"),
    "tilde inside": ("a/~/b", "a/~/b"),
    "folder called ~": ("./~/x", "~/x"),
    "absolute": ("{here}/x", "x"),
    "through a link": ("link/x", "linked/x"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder. It holds a home folder and a link to a folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "link").symlink_to("linked")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without_seconds(results: gtn_bench.Results) -> pd.DataFrame:
    return results.summary.drop(columns="seconds")


@pytest.mark.slow
@pytest.mark.parametrize("given, meant", PLACES.values(), ids=PLACES)
def test_results_are_written_to_and_read_from_a_path_of_any_form(
    given: str, meant: str, here: Path, store: Path, results: gtn_bench.Results
) -> None:
    given = given.format(here=here)
    written = gtn_bench.run(gtn_bench.plan(SUITE), given, cache=store, workers=1, device="cpu")
    pd.testing.assert_frame_equal(written.samples, results.samples)
    pd.testing.assert_frame_equal(without_seconds(gtn_bench.Results(given)), without_seconds(results))
    assert (here / meant / "samples.parquet").is_file()
    if not given.startswith("./~"):  # as a Path, "./~" is "~"
        assert run(SMALL, Path(given), store).folder.resolve() == (here / meant).resolve()
    assert len(list(here.rglob("summary.csv"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "given, meant", [PLACES["web URL"], PLACES["home"], PLACES["folder called ~"], PLACES["brackets and an emoji code"]]
)
def test_commands_take_paths_of_any_form(
    given: str,
    meant: str,
    here: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(store))
    Path("small.yaml").write_text(SMALL)
    assert call_cli(monkeypatch, "run", "small.yaml", f"--out={given}", "--workers", "1", "--device", "cpu") == 0
    page = here / meant / "report.md"
    assert f"report: {user_path(given) / 'report.md'}\n" in capsys.readouterr().out
    page.unlink()
    assert call_cli(monkeypatch, "report", given) == 0 and page.is_file()
    assert len(list(here.rglob("report.md"))) == 1


def test_a_home_folder_is_expanded_everywhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "home" / "small.yaml").write_text(SMALL)
    assert gtn_bench.load("~/small.yaml").name == gtn_bench.load(Path("~/small.yaml")).name == "small"
    monkeypatch.setenv("GTN_BENCH_CACHE", "~/cache")
    monkeypatch.setenv("GTN_BENCH_DATA", "~/data")
    assert cache_folder() == here / "home" / "cache" and data_folder() == here / "home" / "data"
    assert user_path(user_path("./~/x")) == here / "~" / "x" and user_path(user_path("~/~")) == here / "home" / "~"


@pytest.mark.parametrize("path", ["", "a\0b", b"x", 3, None, ["x"]], ids=repr)
def test_what_is_no_path_is_refused(path: Any) -> None:
    assert message(user_path, path) == f"expects a path, got {path!r}"


def test_the_home_of_an_unknown_user_is_refused() -> None:
    expected = "~nobody-here/x: there is no user 'nobody-here'; a folder of that name is ./~nobody-here"
    assert message(user_path, "~nobody-here/x") == expected


REFUSED = {
    "file": ("file", "expects a folder that can be written to, got a file"),
    "folder in a file": ("file/x", "expects a folder that can be written to (Not a directory)"),
    "long name": ("x" * 300, "expects a folder that can be written to (File name too long)"),
    "no such place": ("/proc/x", "/proc/x: expects a folder that can be written to ("),
    "broken link": ("broken", "expects a folder that can be written to, got a file"),
    "folder of a teacher": ("teacher", "teacher holds a teacher; choose another folder"),
    "foreign report": ("foreign", "foreign holds files that no run has written: report.md; choose another folder"),
    "folder in the place of a file": (
        "odd",
        "odd/summary.csv: expects a file, got a folder; remove it, or choose another folder",
    ),
    "file in the place of figures": (
        "figs",
        "figs/figures: expects a folder, got a file; remove it, or choose another folder",
    ),
}


@pytest.mark.parametrize("out, expected", REFUSED.values(), ids=REFUSED)
def test_an_output_folder_is_refused_before_anything_is_computed(
    out: str, expected: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    Path("broken").symlink_to("nowhere")
    for file in ("teacher/teacher.yaml", "foreign/report.md", "odd/summary.csv/x", "figs/figures"):
        Path(file).parent.mkdir(parents=True)
        Path(file).touch()
    monkeypatch.setattr("gtn_bench.execution.runner.Scheduler", lambda *_: pytest.fail("computed"))
    before = sorted(here.rglob("*"))
    assert expected in message(run, SMALL, out, here / "store")
    (here / "store").rmdir()
    assert sorted(here.rglob("*")) == before


def test_a_run_that_fails_before_its_first_result_leaves_no_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_DATA", str(here / "file"))
    Path("file").touch()
    assert "GTN_BENCH_DATA expects a folder" in message(
        run, SMALL.replace("digits", "mnist"), here / "a" / "b", here / "store"
    )
    assert not (here / "a").exists()


def test_an_export_is_refused_before_the_meta_training(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gtn_bench.execution.teach.teach", lambda *_, **__: pytest.fail("trained"))
    Path("file").touch()
    for option, value in [
        ("--export", "home"),
        ("--export", "file/x"),
        ("--export", "y" * 300),
        ("--export", "~nobody-here/x"),
        ("--out", "file"),
        ("--out", "/proc/x"),
        ("--out", ""),
    ]:
        assert call_cli(monkeypatch, "teach", "digits", option, value) == 2, (option, value)
        assert capsys.readouterr().err.count("error:") == 1
    assert sorted(path.name for path in here.iterdir()) == ["file", "home", "link", "linked"]


def test_bands_apply_to_runs_only(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("teacher.yaml").touch()
    assert call_cli(monkeypatch, "report", ".", "--bands", "simultaneous") == 2
    assert "--bands applies to the curves of a run, . holds a teacher" in capsys.readouterr().err


def test_checks_of_folders_and_files_leave_nothing(here: Path) -> None:
    check_folder(here / "a" / "b")
    check_file(here / "a" / "file")
    check_output(here / "a", SUITE)
    assert not (here / "a").exists()
    make_folder(here / "a" / "b")
    check_folder(here / "a" / "b")
    assert (here / "a" / "b").is_dir()


def test_files_with_names_of_the_greatest_length_are_written(here: Path) -> None:
    path = here / ("x" * 255)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content" and [file.name for file in here.iterdir() if file.is_file()] == [path.name]


def test_a_perturbation_can_have_its_name_in_reports(results: gtn_bench.Results) -> None:
    details = {"details": {"noise": "10 steps"}}
    named = gtn_bench.Results(results.folder)
    named.__dict__["provenance"] = results.provenance | details
    assert named.display_name("noise") == "noise, 10 steps"
    assert named.table("noise, 10 steps").equals(named.table("noise"))
    assert [panel.get_title() for panel in named.plot("noise, 10 steps").axes] == ["linear"]
    assert message(named.plot, "noise, 11 steps").endswith("; did you mean 'noise'?")
