"""Tables for papers: LaTeX that compiles, the right numbers, and the clean point of every sweep."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_reporting import write_results

import gtn_bench
from gtn_bench.analysis.results import Results
from gtn_bench.config.suite import load
from gtn_bench.reporting import paper_settings, paper_tables, tables
from gtn_bench.reporting.latex import escape, latex_table
from gtn_bench.reporting.paper import paper_tables_of

ODD = ["50% of $x$", "a&b", "a_b", "#1", "{x}", "x\\y", "~^", "<b>", "a|b", '"q"', "[0.1]", "Größe", "a--b", "\\end{x}"]


def check(tex: str) -> list[list[str]]:
    r"""Check a tabular as LaTeX would, and return its cells: braces, commands, columns, ends of lines."""
    lines = [line for line in tex.splitlines() if not line.startswith("%")]
    begin = re.fullmatch(r"\\begin\{tabular\}\{((?:[lc]|p\{[^{}]*\})*)\}", lines[0])
    assert begin and lines[-1] == r"\end{tabular}" and lines[1] == r"\toprule" and lines[-2] == r"\bottomrule"
    columns = len(re.findall(r"[lc]|p\{[^{}]*\}", begin[1]))
    rows = []
    for line in lines[2:-2]:
        if line == r"\midrule":
            continue
        assert line.endswith(r" \\")
        body = line.removesuffix(r" \\")
        cells = re.split(r"(?<!\\)&", body)
        assert len(cells) == columns
        bare = re.sub(r"\\[A-Za-z]+|\\[#$%&_{}()]", "", body)
        assert not re.search(r"[#$%_^~\\<>|]", bare), bare
        depth = 0
        for brace in re.sub(r"\\[{}]", "", body):
            depth += (brace == "{") - (brace == "}")
            assert depth >= 0
        assert depth == 0
        assert not body.lstrip().startswith("[")  # an argument of the line break before it
        rows.append([cell.strip() for cell in cells])
    return rows


@pytest.mark.parametrize("text", ODD)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    rows = check(latex_table("caption", [pd.DataFrame({text: [text], "b": ["0.5"]})], 1))
    assert rows[0][0] == rows[1][0]
    known = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<"}
    known |= {r"\textgreater{}": ">", r"\textbar{}": "|", r"\symbol{34}": '"', r"-{}-": "--"}
    shown = re.sub(r"\\(?:text\w+|symbol)\{\d*\}|-\{\}-", lambda found: known[found[0]], rows[1][0])
    assert re.sub(r"\\([#$%&_{}])", r"\1", shown).removeprefix("{}") == text


def test_negative_numbers_have_minus_signs_and_names_hyphens() -> None:
    assert escape("-0.1 [-0.2, +0.1]") == r"\(-\)0.1 [\(-\)0.2, +0.1]"
    assert escape("lbfgs-penalty, pgd-2") == "lbfgs-penalty, pgd-2"


def test_captions_cannot_leave_their_comment() -> None:
    tex = latex_table("a\r\\input{x}\nb", [pd.DataFrame({"a": ["1"]})], 1)
    assert tex.splitlines()[:2] == ["% a \\input{x}", "% b"]


@pytest.mark.slow
@pytest.mark.parametrize("odd", [False, True])
def test_every_table_is_latex_and_markdown_with_the_same_numbers(tmp_path: Path, odd: bool) -> None:
    modes = ["m $x$ & y_1", r"\input{x}%#~^"] if odd else ["gtn", "vanilla"]
    folder = write_results(tmp_path, ["fgsm", "$p_1$"] if odd else ["fgsm", "noise"], modes, architectures=("a_1", "b"))
    gtn_bench.report(folder)
    found = {path.name for path in (folder / "tables").iterdir()}
    assert {"areas.tex", "areas.md", "comparisons.tex", "acceptance.tex", "grades.tex", "settings.tex"} <= found
    assert {"accuracy-fgsm.tex", "accuracy-fgsm.md"} <= found and "targeted.tex" not in found
    for path in (folder / "tables").glob("*.tex"):
        rows = check(path.read_text())
        lines = [line for line in path.with_suffix(".md").read_text().splitlines() if line.startswith("|")]
        assert len(lines) - 2 == len(rows) - 1
        numbers = [number for row in rows[1:] for number in re.findall(r"\d\.\d{3}", " ".join(row))]
        assert numbers == [number for line in lines[2:] for number in re.findall(r"\d\.\d{3}", line)]


def test_accuracies_are_those_of_the_curves(tmp_path: Path) -> None:
    results = Results(write_results(tmp_path))
    table = paper_tables.accuracies(results, "fgsm", paper_tables.clean_accuracies(results))
    assert list(table) == ["mode", "0", "0.1", "0.2"]  # the sweep has the clean point
    curves = results.curves[(results.curves["perturbation"] == "fgsm") & (results.curves["architecture"] == "accepted")]
    for row in curves.to_dict("records"):
        cell = table.set_index("mode").loc[row["mode"], f"{row['beta']:g}"]
        assert cell == f"{row['accuracy']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def without_zero(folder: Path) -> Results:
    """Return results whose sweep lacks strength 0."""
    for name in ("summary", "curves"):
        table = pd.read_csv(folder / f"{name}.csv")
        table[table["beta"] > 0].to_csv(folder / f"{name}.csv", index=False)
    return Results(folder)


@pytest.mark.parametrize("samples", [True, False])
def test_the_clean_accuracy_is_the_first_column_also_when_the_sweep_lacks_0(tmp_path: Path, samples: bool) -> None:
    results = without_zero(write_results(tmp_path, ["fgsm"]))
    if not samples:
        (tmp_path / "samples.parquet").unlink()
    table = paper_tables.accuracies(results, "fgsm", paper_tables.clean_accuracies(results))
    assert list(table) == ["mode", "clean", "0.1", "0.2"]
    for cell in table["clean"]:
        # Every image is right: the exact binomial interval of 20 images, which all three equal seeds share.
        assert re.fullmatch(r"1\.000 \[0\.\d{3}, 1\.000\]" if samples else r"1\.000", cell)


def test_report_and_caption_have_the_clean_accuracy_of_a_sweep_without_0(tmp_path: Path) -> None:
    results = without_zero(write_results(tmp_path, ["fgsm"]))
    clean = paper_tables.clean_accuracies(results)
    table = tables.accuracies_table(results, "fgsm", clean)
    assert list(table) == ["mode", "clean", "0.1", "0.2"]
    assert table["clean"].tolist() == paper_tables.accuracies(results, "fgsm", clean)["clean"].tolist()
    for name in ("measures", "comparisons"):
        (tmp_path / f"{name}.csv").unlink()
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    (tmp_path / "provenance.json").write_text(json.dumps(provenance | {"cells": len(results.summary)}))
    assert "| mode | clean | 0.1 | 0.2 |" in gtn_bench.report(tmp_path, accept_changes=True).read_text()
    captions = (tmp_path / "figures" / "captions.md").read_text()
    assert "The smallest strength is 0.1; the clean accuracy is in the tables." in captions


def test_clean_accuracies_of_areas_are_those_of_the_overview(tmp_path: Path) -> None:
    results = Results(write_results(tmp_path))
    assert set(paper_tables.areas(results)["clean accuracy"]) == {"1.000"}
    table = paper_tables.areas(results).set_index("mode")
    for row in results.measures[results.measures["architecture"] == "accepted"].to_dict("records"):
        title = {"fgsm": "fgsm, 30 steps", "worst": "smallest area over perturbations"}.get(
            row["perturbation"], row["perturbation"]
        )
        assert table.loc[row["mode"], title].startswith(f"{row['area']:.3f} [")


def test_settings_have_every_field(tmp_path: Path) -> None:
    results = Results(write_results(tmp_path, ["fgsm"]))
    text = (tmp_path / "suite.yaml").read_text().replace("- beta:", "- steps: 7\n  loss: margin\n  beta:")
    (tmp_path / "suite.yaml").write_text(text)
    table = paper_settings.settings(results, load(tmp_path / "suite.yaml"))
    assert table.loc[0, "settings"] == "steps 7; loss margin" and table.loc[0, "beta"] == "0, 0.1, 0.2"
    assert table.loc[0, "images"] == "20" and table.loc[0, "meaning of beta"] == "step size, pixel value"


@pytest.mark.parametrize("target, reached", [(1, [0.0, 0.2, 0.4]), ("next", [0.0, 0.2, 0.4])])
def test_targeted_attacks_have_success_rates(tmp_path: Path, target: object, reached: list[float]) -> None:
    """Images have class 0; the attack leads the first 2 * beta of them to class 1."""
    results = Results(write_results(tmp_path, ["fgsm"], ["gtn"]))
    text = (tmp_path / "suite.yaml").read_text().replace("- beta:", f"- target: {target}\n  beta:")
    (tmp_path / "suite.yaml").write_text(text)
    table = paper_settings.targeted(results, load(tmp_path / "suite.yaml"))
    assert [float(cell.split()[0]) for cell in table["gtn"]] == pytest.approx(reached)
    assert table["beta"].tolist() == ["0", "0.1", "0.2"] and set(table["target"]) == {str(target)}
    expected = np.mean(results.select(beta=0.2)["prediction"] == 1)
    assert float(table["gtn"].iloc[-1].split()[0]) == pytest.approx(expected)


@pytest.mark.parametrize("target", ["untargeted", "random", "least-likely", 0])
def test_targets_that_are_not_recorded_or_true_classes_have_no_rates(tmp_path: Path, target: object) -> None:
    results = Results(write_results(tmp_path, ["fgsm"], ["gtn"]))
    text = (tmp_path / "suite.yaml").read_text().replace("- beta:", f"- target: {target}\n  beta:")
    (tmp_path / "suite.yaml").write_text(text)
    assert not len(paper_settings.targeted(results, load(tmp_path / "suite.yaml")))


def test_many_strengths_are_in_blocks(tmp_path: Path) -> None:
    results = Results(write_results(tmp_path))
    suite = load(tmp_path / "suite.yaml")
    assert paper_tables_of(results, suite)["accuracy-fgsm"].heads == 1
    wide = pd.DataFrame({"mode": ["a"], **{f"{place}": ["0.5"] for place in range(20)}})
    blocks = [wide[["mode", *map(str, part)]] for part in (range(6), range(6, 12), range(12, 18), (18, 19))]
    rows = check(latex_table("c", blocks, 1))
    assert len(rows) == 8 and rows[6] == ["mode", "18", "19", "", "", "", ""]
