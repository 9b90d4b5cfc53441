from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.messages import OWN
from helpers.suites import TINY

import gtn_bench
from gtn_bench import cli
from gtn_bench.config.shipped import suites
from gtn_bench.models import ARCHITECTURES


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of `gtn-bench ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["gtn-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


@pytest.mark.slow
def test_run_prints_an_overview_or_json_and_report_redraws(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    out = tmp_path / "out"
    assert call(monkeypatch, "run", str(tiny), "--out", str(out), "--workers", "1", "--device", "cpu") == 0
    printed = capsys.readouterr()
    assert "clean" in printed.out and "over fgsm, 2 steps" in printed.out and str(out / "report.md") in printed.out
    assert "cells" in printed.err  # progress goes to standard error

    assert call(monkeypatch, "run", str(tiny), "--out", str(out), "--json") == 0
    printed = capsys.readouterr()
    expected = {"folder": str(out), "report": str(out / "report.md"), "cells": 42, "failed": 0}
    assert json.loads(printed.out).items() >= expected.items() and not printed.err

    (out / "report.md").unlink()
    assert call(monkeypatch, "report", str(out)) == 0
    assert (out / "report.md").is_file()


@pytest.mark.slow
def test_run_with_failed_cells_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    suite = tmp_path / "broken.yaml"
    suite.write_text(TINY.replace("meta_steps: 2", "meta_steps: 2, inner_lr: 1.0e+30"))
    assert call(monkeypatch, "run", str(suite), "--out", str(tmp_path / "out"), "--workers", "1", "--limit", "5") == 1
    assert "28 of 42 cells failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "dmeo"], "error: unknown suite 'dmeo'; did you mean 'demo'?"),
        (["validate", "nothing/here.yaml"], "error: nothing/here.yaml: no such file"),
        (["report", "nothing"], "error: nothing: expects the output folder of a run, found no summary.csv in it"),
        (["teach", "base_lrger"], "error: unknown teacher 'base_lrger'; did you mean 'base_larger'?"),
        (["retrain", "nothing"], "error: teacher 'trained': no teaching set 'nothing'"),
        (["retrain", "a/b.safetensors"], "error: teacher 'trained': a/b.safetensors: no such file"),
        (["list", "attacks"], "error: KIND expects one of datasets, teachers, architectures,"),
        (["list", "learners"], "got 'learners'; did you mean 'teachers'? See gtn-bench list --help"),
        (["run", "demo", "--limit", "0"], "error: --limit expects a number of images or a share of them"),
        (["run", "demo", "--limit", "120%"], "such as 100 or 10%, got '120%'"),
        (
            ["run", "demo", "--architecture", "lineer"],
            "error: the suite has no architecture 'lineer'; did you mean 'linear'?",
        ),
        (["frobnicate"], "error: no command 'frobnicate'; known: board, cache, compare, demo, doctor,"),
    ],
)
def test_invalid_usage_exits_with_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_invalid_suite_is_refused_with_one_line_before_training(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gtn_bench.execution.runner.run", lambda *_, **__: pytest.fail("trained"))
    tiny.write_text(TINY.replace("name: blur", "name: blurr"))
    assert call(monkeypatch, "run", str(tiny)) == 2
    expected = (
        "error: tiny.yaml: perturbations[3].name: unknown perturbation 'blurr'; did you mean 'blur'?"
        + OWN["perturbation"]
        + "\n"
    )
    assert capsys.readouterr().err == expected


def test_validate_prints_counts(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "validate", str(tiny)) == 0
    assert capsys.readouterr().out == "tiny: 1 teacher, 6 learners, 42 cells\n"
    assert call(monkeypatch, "validate", str(tiny), "--json") == 0
    counts = {"name": "tiny", "teachers": 1, "learners": 6, "cells": 42}
    assert json.loads(capsys.readouterr().out) == {"suite": str(tiny), "valid": True, "mistakes": [], **counts}


TEACHER = """
name: small
dataset: digits
teacher: {name: cgtn, architecture: linear, inner_steps: 3, batch_size: 20, meta_batch_size: 10, latent_size: 4,
          meta_steps: 2}
"""


@pytest.mark.slow
def test_teach_retrain_and_report_of_a_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    (tmp_path / "small.yaml").write_text(TEACHER)
    out, export = tmp_path / "out", tmp_path / "small.safetensors"
    options = ("--out", str(out), "--check-every", "1", "--learners", "2", "--export", str(export))
    assert call(monkeypatch, "teach", str(tmp_path / "small.yaml"), *options) == 0
    printed = capsys.readouterr()
    assert "linear" in printed.out and str(out / "report.md") in printed.out
    assert "meta-step 2: meta-loss" in printed.err and "validation accuracy 0." in printed.err
    assert {path.name for path in out.iterdir()} >= {"teacher.safetensors", "accuracy.csv", "figures", "report.md"}
    assert export.exists()

    again = ("retrain", str(export), "--out", str(tmp_path / "again"), "--learners", "2", "--workers", "1", "--json")
    assert call(monkeypatch, *again) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["inner_steps"], row["statistics"], row["learners"]) for row in rows] == [
        (3, "real", 2),
        (3, "teaching", 2),
    ]
    assert (out / "accuracy.csv").read_bytes() == (tmp_path / "again" / "accuracy.csv").read_bytes()

    assert call(monkeypatch, "teach", str(tmp_path / "small.yaml"), "--out", str(out), "--export", str(out)) == 2
    assert "is a folder; --export expects a file" in capsys.readouterr().err

    (out / "report.md").unlink()
    assert call(monkeypatch, "report", str(out)) == 0 and (out / "report.md").is_file()


def test_a_diverging_teacher_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.yaml").write_text(TEACHER.replace("meta_steps: 2", "meta_steps: 2, inner_lr: 1.0e+30"))
    assert call(monkeypatch, "teach", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "failed: teacher 'cgtn': the meta-loss is nan at meta-step 0" in error and "Traceback" not in error


@pytest.mark.parametrize("kind", cli.Kind)
def test_list_prints_every_row_as_text_and_json(
    kind: cli.Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "list", kind) == 0
    table = capsys.readouterr().out
    assert call(monkeypatch, "list", kind, "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert rows and all(row["name"] in table for row in rows)
    if kind in (cli.Kind.suites, cli.Kind.specs):
        assert all(row["summary"] in table and Path(row["file"]).is_file() for row in rows)


def test_list_architectures_has_a_row_for_every_architecture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "list", "architectures", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"].removesuffix(".<name>") for row in rows] == list(ARCHITECTURES)
    assert {"base", "convnet", "torchvision.<name>", "timm.<name>"} < {row["name"] for row in rows}
    assert all(row["summary"] for row in rows)
    assert call(monkeypatch, "list", "architectures") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{row['name']}  {row['summary']}" for row in rows]


def test_schema_prints_the_json_schema_of_suites(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Suite"


def test_help_names_every_command() -> None:
    answer = subprocess.run([sys.executable, "-m", "gtn_bench", "--help"], capture_output=True, text=True)
    assert answer.returncode == 0
    assert all(command in answer.stdout for command in ("run", "demo", "report", "validate", "list", "schema"))


def test_help_does_not_import_torch() -> None:
    code = "import atexit, os, sys; from gtn_bench import cli; sys.argv = ['gtn-bench', '--help']; "
    code += "atexit.register(lambda: os._exit(3 if 'torch' in sys.modules else 0)); cli.main()"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_suites_of_the_readme_are_shipped() -> None:
    assert {"demo", "mnist-smoke"} <= set(suites())


@pytest.mark.parametrize(("option", "code"), [("--version", 0), ("--versoin", 2)])
def test_a_command_calls_what_is_registered_for_its_end_and_skips_the_finalization_of_modules(
    option: str, code: int
) -> None:
    script = f"""
import atexit, sys
from gtn_bench.cli import command_line

class Finalized:
    def __del__(self):
        print("finalized")

held = Finalized()
atexit.register(print, "registered")
sys.argv = ["gtn-bench", {option!r}]
command_line()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stdout.splitlines() == [*([gtn_bench.__version__] if code == 0 else []), "registered"]
    assert ended.stderr.count("\n") == (0 if code == 0 else 1)
