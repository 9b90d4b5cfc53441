"""Boards: ranks, groups of equal evaluations, forms; and the command line of compare and board."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.runs import run

import gtn_bench
from gtn_bench import cli
from gtn_bench.analysis.measures import overview
from gtn_bench.config.errors import ConfigError
from gtn_bench.reporting.board import boards
from gtn_bench.reporting.board_table import shown_table
from gtn_bench.reporting.tables import overview_table

SUITE = """
name: boarded
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: STEPS}]
seeds: [0, 1, 2, 3, 4, 5, 6]
acceptance: 0.0
checks: none
perturbations:
  - {name: fgsm, steps: 3, samples: 40, beta: [0, 0.02, 0.05]}
  - {name: noise, samples: 40, beta: [0.2]}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gtn_bench.Results]:
    """Return runs with better and worse learners, and one with a weaker attack."""
    folder = tmp_path_factory.mktemp("runs")
    texts = {
        "good": SUITE.replace("STEPS", "30"),
        "bad": SUITE.replace("STEPS", "2"),
        "weak": SUITE.replace("STEPS", "2").replace("steps: 3,", "steps: 1,"),
    }
    return {name: run(text, folder / name, folder / "cache") for name, text in texts.items()}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of `gtn-bench ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["gtn-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


class Page(HTMLParser):
    """The texts, tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tables = self.rows = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tables += tag == "table"
        self.rows += tag == "tr"
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_rows_are_ranked_by_the_mean_area_and_the_worst_case(runs: dict[str, gtn_bench.Results]) -> None:
    (board,) = boards([runs["bad"], runs["good"]])
    assert board.runs == (runs["bad"].folder, runs["good"].folder) and board.differences == ()
    assert board.table["rank"].tolist() == [1, 2]
    assert board.table["run"].tolist() == [str(runs["good"].folder), str(runs["bad"].folder)]
    for _, row in board.table.iterrows():
        results = gtn_bench.open(row["run"])
        areas = {
            name: np.trapezoid(cells.groupby("beta")["accuracy"].mean(), sorted(set(cells["beta"]))) / 0.05
            if name == "fgsm"
            else cells["accuracy"].mean()
            for name, cells in results.summary.groupby("perturbation")
        }
        assert row["area_fgsm"] == pytest.approx(areas["fgsm"]) and row["area_noise"] == pytest.approx(areas["noise"])
        assert row["area"] == pytest.approx((areas["fgsm"] + areas["noise"]) / 2)
        assert row["worst_case_low"] < row["worst_case"] <= min(areas.values()) and row["pooled"] == "linear"
        assert (row["n_seeds"], row["n_images"], row["grade"]) == (7, 40, "unknown")


def test_clean_accuracy_is_that_of_the_report(tmp_path: Path) -> None:
    """Of the largest set of images, wherever the perturbation with it is in the suite."""
    results = run(
        SUITE.replace("STEPS", "30").replace("noise, samples: 40", "noise, samples: 90"), tmp_path / "r", tmp_path
    )
    (board,) = boards([results])
    (expected,) = overview(results.summary, results.rule)["clean accuracy"]
    assert board.table["clean_accuracy"].tolist() == [expected] and board.table["n_images"].tolist() == [90]
    assert expected != results.summary.query("perturbation == 'fgsm'")["clean_accuracy"].mean()
    (shown,) = shown_table(board)["clean accuracy"]
    assert shown == f"{overview_table(results)['clean accuracy'][0]:.3f}"


def test_unlike_runs_have_boards_of_their_own(runs: dict[str, gtn_bench.Results]) -> None:
    first, second = boards([runs["weak"], runs["good"], runs["bad"]], "grade")
    assert len(first.runs) == 2 and second.runs == (runs["weak"].folder,)
    assert [tuple(each) for each in second.differences] == [("perturbations[fgsm].steps", 3, 1)]
    assert second.table["rank"].tolist() == [1]
    with pytest.raises(ConfigError, match=r"^board expects each run once, got .*/good again$"):
        boards([runs["good"], runs["good"]])


def test_board_writes_a_page_and_a_table(
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [str(runs[name].folder) for name in ("good", "bad", "weak")]
    assert call(monkeypatch, "board", *folders, "--out", str(tmp_path / "board.html")) == 0
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    found = Page(page)
    assert found.tables == 2 and found.rows == 2 + 3 and len(page) < 200_000
    assert not [link for link in found.links if not link.startswith(("#", "data:"))]
    assert "differs from board 1: perturbations[fgsm].steps: 3 on board 1, 1 here" in page
    rows = list(csv.DictReader((tmp_path / "board.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["board"], row["rank"], row["run"]) for row in rows] == [
        ("1", "1", folders[0]),
        ("1", "2", folders[1]),
        ("2", "1", folders[2]),
    ]
    capsys.readouterr()
    assert call(monkeypatch, "board", *folders, "--by", "worst-case", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [len(board["rows"]) for board in answer] == [2, 1]
    assert answer[0]["rows"][0]["run"] == folders[0]
    assert call(monkeypatch, "board", *folders) == 0
    assert "Board 2: 1 run, ranked by area" in capsys.readouterr().out
    assert call(monkeypatch, "board", *folders, "--format", "markdown", "--by", "worst-case") == 0
    printed = capsys.readouterr().out
    assert "| rank | run |" in printed and "ranked by smallest area over perturbations" in printed
    assert call(monkeypatch, "board", *folders, "--out", str(tmp_path / "board.csv")) == 2
    page_named = capsys.readouterr().err
    assert page_named.startswith("error: --out names the page, the table is written beside it, got ")
    assert page_named.endswith(f"use --out {tmp_path / 'board.html'}\n")


@pytest.mark.parametrize(
    "baseline, folder, condition, code",
    [
        ("good", "good", "worse", 0),
        ("good", "bad", "worse", 3),
        ("good", "bad", "worse:0.02", 3),
        ("good", "bad", "worse:0.9", 0),
        ("bad", "good", "worse", 0),
        ("bad", "weak", "worse", 0),
        ("weak", "bad", "worse", 3),
    ],
)
def test_compare_fails_if_a_curve_is_worse(
    baseline: str,
    folder: str,
    condition: str,
    code: int,
    runs: dict[str, gtn_bench.Results],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = str(runs[baseline].folder), str(runs[folder].folder)
    assert call(monkeypatch, "compare", *folders, "--fail-if", condition) == code
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{folders[1]} compared with {folders[0]}: ")
    assert (f"--fail-if {condition}: " in printed.err) == (code == 3)
    assert ("perturbations[fgsm].steps: " in printed.out) == ("weak" in (baseline, folder))


def test_compare_has_four_forms(
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = str(runs["good"].folder), str(runs["bad"].folder)
    assert call(monkeypatch, "compare", *folders, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [curve["verdict"] for curve in answer["curves"]] == ["worse", "worse"]
    assert answer["differences"]["suite"] == [{"field": "modes[vanilla].steps", "first": 30, "second": 2}]
    assert call(monkeypatch, "compare", *folders, "--out", str(tmp_path / "page.md")) == 0
    assert (tmp_path / "page.md").read_text().startswith("# Comparison of two runs\n")
    assert call(monkeypatch, "compare", *folders, "--out", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = Page(page)
    assert not [link for link in found.links if not link.startswith(("#", "data:"))]
    assert found.tables == 2 and "Worse on 2 of 2 curves" in page and len(page) < 200_000
    without = re.sub(r"<script.*?</script>", "", page, flags=re.S)  # readable without scripts
    assert "is less robust than in the baseline under fgsm" in without and without.count("<svg") == 2
    assert re.search("p\u00a0[=<]\u00a0\\d", without) and not re.search(r"p [=<] \d", without)  # no line ends there


def test_markup_in_a_path_is_text(
    runs: dict[str, gtn_bench.Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = shutil.copytree(runs["bad"].folder, tmp_path / "<script>alert(1)")
    for command in ("compare", "board"):
        page = tmp_path / f"{command}.html"
        assert call(monkeypatch, command, str(runs["good"].folder), str(strange), "--out", str(page)) == 0
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("command", ["compare", "board"])
def test_names_that_the_output_cannot_encode_are_escaped(
    command: str, runs: dict[str, gtn_bench.Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = shutil.copytree(runs["bad"].folder, tmp_path / "\u00fc")
    content = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(content, encoding="ascii", write_through=True))
    assert call(monkeypatch, command, str(runs["good"].folder), str(strange)) == 0
    assert b"/\\xfc" in content.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compare", "board"])
@pytest.mark.parametrize("name", ["page.html", "page.md", "page.json", "page"])
def test_files_of_somebody_else_are_kept(
    command: str,
    name: str,
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = (command, str(runs["good"].folder), str(runs["bad"].folder), "--out", str(tmp_path / name))
    for file in (tmp_path / name, tmp_path / "page.csv") if command == "board" else (tmp_path / name,):
        file.write_text("a,b\n1,2\n")
        assert call(monkeypatch, *arguments) == 2
        printed = capsys.readouterr()
        expected = f"a new file, or one that gtn-bench {command} has written, got '{file}' of somebody else"
        assert printed.err.startswith(f"error: --out expects {expected}")
        assert printed.err.endswith("; choose another name, or replace it with --accept-changes\n")
        assert printed.err.count("\n") == 1 and not printed.out and file.read_text() == "a,b\n1,2\n"
        assert call(monkeypatch, *arguments, "--accept-changes") == 0 and file.read_text() != "a,b\n1,2\n"
        capsys.readouterr()
    assert call(monkeypatch, *arguments) == 0  # what the command has written, it replaces
    other = {"compare": "board", "board": "compare"}[command]
    assert call(monkeypatch, other, *arguments[1:]) == 2


@pytest.mark.parametrize("command", ["compare", "board"])
def test_files_of_runs_and_folders_are_no_targets(
    command: str,
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(runs["bad"].folder, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    arguments = (command, str(runs["good"].folder), str(folder), "--accept-changes", "--out")
    for out in ("report.html", "curves.html", "new.md", "figures/new.html"):
        assert call(monkeypatch, *arguments, str(folder / out)) == 2
        assert capsys.readouterr().err == (
            f"error: --out expects a file outside of the output folder of a run, got '{folder / out}' in {folder}; use "
            f"--out {tmp_path / command}{Path(out).suffix}\n"
        )
    for out, use in (
        (str(tmp_path), f"{tmp_path}/{command}.html"),
        (str(folder), f"{command}.html"),
        ("a/", f"a/{command}.html"),
    ):
        assert call(monkeypatch, *arguments, out) == 2
        expected = f"error: --out expects the name of a file, got the folder '{out}'; use --out {use}\n"
        assert capsys.readouterr().err == expected
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_quiet_prints_neither_text_nor_where_it_is(
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = str(runs["good"].folder), str(runs["bad"].folder)
    for command in ("compare", "board"):
        for options in ((), ("--out", str(tmp_path / f"{command}.html"))):
            assert call(monkeypatch, command, *folders, *options, "--quiet") == 0
            printed = capsys.readouterr()
            assert printed.out == printed.err == ""
        assert (tmp_path / f"{command}.html").is_file()
        assert call(monkeypatch, command, *folders, "--json", "--quiet") == 0
        assert json.loads(capsys.readouterr().out)
    assert call(monkeypatch, "compare", *folders, "--fail-if", "worse", "--quiet") == 3
    printed = capsys.readouterr()
    assert not printed.out and printed.err.startswith("--fail-if worse: 2 curves significantly worse: ")


def test_suspect_curves_are_named(
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(runs["bad"].folder, tmp_path / "run")
    summary = pd.read_csv(folder / "summary.csv", keep_default_na=False)
    strongest = (summary["perturbation"] == "fgsm") & (summary["beta"] == 0.05) & (summary["seed"] == 3)
    summary.loc[strongest, "grade"] = "suspect"
    summary.to_csv(folder / "summary.csv", index=False)
    arguments = ("compare", str(runs["good"].folder), str(folder), "--accept-changes")
    assert call(monkeypatch, *arguments, "--fail-if", "worse") == 3
    printed = capsys.readouterr()
    note = "1 curve suspect, so its difference is not to be relied on: vanilla under fgsm (in the run)"
    assert f"\n  {note}\n" in printed.out
    assert "vanilla under fgsm (suspect in the run)" in printed.err and "under noise (" not in printed.err
    assert call(monkeypatch, *arguments, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    grades = {row["perturbation"]: (row["grade"], row["baseline_grade"]) for row in answer["curves"]}
    assert grades == {"fgsm": ("suspect", "unknown"), "noise": ("n/a", "n/a")} and note in answer["notes"]
    assert call(monkeypatch, *arguments, "--format", "markdown") == 0
    text = capsys.readouterr().out
    assert "| suspect (baseline unknown) |" in text and "| n/a |" in text and note in text
    assert call(monkeypatch, *arguments, "--format", "html") == 0
    page = capsys.readouterr().out
    assert page.count("<td>suspect (baseline unknown)</td>") == 2 and note in page


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--fail-if", "better"],
            "--fail-if expects worse or worse:MARGIN, a difference of areas from 0 to 1 such as ",
        ),
        (
            ["--fail-if", "worse:x"],
            "--fail-if expects worse or worse:MARGIN, a difference of areas from 0 to 1 such as ",
        ),
        (["--fail-if", "worse:-1"], "--fail-if expects worse or worse:MARGIN, a difference of areas from 0 to 1 such "),
        (["--fail-if", "worse:nan"], "--fail-if expects worse or worse:MARGIN, a difference of areas from 0 to 1 such"),
        (["--json", "--format", "html"], "--json and --format html exclude each other; leave one out"),
        (
            ["--out", "page.pdf"],
            "--out expects a name that ends in .html, .md, .json or .txt, got 'page.pdf'; for another name, choose a ",
        ),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str],
    message: str,
    runs: dict[str, gtn_bench.Results],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = str(runs["good"].folder), str(runs["bad"].folder)
    assert call(monkeypatch, "compare", *folders, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}") and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize("command", ["compare", "board"])
def test_bad_folders_are_one_line(
    command: str,
    runs: dict[str, gtn_bench.Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere: Any = tmp_path / "nowhere"
    assert call(monkeypatch, command, str(runs["good"].folder), str(nowhere)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {nowhere}: expects the output folder of a run, found no such folder")
    assert printed.err.count("\n") == 1 and not printed.out
