"""Errors in the usage of the command line are one line each, with exit code 2."""

from __future__ import annotations

import sys

import pytest

from gtn_bench import cli

ERRORS = {
    "evalaute --data x": "no command 'evalaute'; did you mean 'evaluate'? See gtn-bench --help",
    "Run demo": "no command 'Run'; did you mean 'run'? See gtn-bench --help",
    "evaluate --architectur x": (
        "no option '--architectur'; did you mean '--architecture'? See gtn-bench evaluate --help"
    ),
    "evaluate --Weights=x": "no option '--Weights'; did you mean '--weights'? See gtn-bench evaluate --help",
    "evaluate -architecture x": (
        "no option '-architecture'; did you mean '--architecture'? See gtn-bench evaluate --help"
    ),
    "run demo --num-classes 3": "no option '--num-classes'. See gtn-bench run --help",
    "run demo --xyz": "no option '--xyz'. See gtn-bench run --help",
    "cache path --folder": "no option '--folder'. See gtn-bench cache path --help",
    "run demo --worker 2": "no option '--worker'; did you mean '--workers'? See gtn-bench run --help",
    "run demo --Cell_Timeout=2": "no option '--Cell_Timeout'; did you mean '--cell-timeout'? See gtn-bench run --help",
    "run demo ---quiet": "no option '---quiet'; did you mean '--quiet'? See gtn-bench run --help",
    "--versoin": "no option '--versoin'; did you mean '--version'? See gtn-bench --help",
    "evaluate": "gtn-bench evaluate needs --architecture, --weights and --data. See gtn-bench evaluate --help",
    "doctor --architecture=a --data b": "gtn-bench doctor needs --weights. See gtn-bench doctor --help",
    "run": "gtn-bench run needs SUITE. See gtn-bench run --help",
    "run demo other": "gtn-bench run does not take the argument 'other'. See gtn-bench run --help",
    "run demo --workers two": "--workers expects an integer, got 'two'. See gtn-bench run --help",
    "run demo --workers=0": "--workers expects an integer of at least 1, got '0'. See gtn-bench run --help",
    "run demo --device cdua": (
        "--device expects one of auto, cpu, cuda, got 'cdua'; did you mean 'cuda'? See gtn-bench run --help"
    ),
    "report x --bands point": (
        "--bands expects one of pointwise, simultaneous, got 'point'; did you mean 'pointwise'? "
        "See gtn-bench report --help"
    ),
    "run demo --limit": "--limit expects a value, got none. See gtn-bench run --help",
    "run demo --json=3": "--json takes no value. See gtn-bench run --help",
}


@pytest.mark.parametrize("arguments, message", ERRORS.items(), ids=ERRORS)
def test_each_error_is_one_line(
    arguments: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gtn-bench", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.err, printed.out) == (2, f"error: {message}\n", "")


@pytest.mark.parametrize("arguments, code", [([], 2), (["--help"], 0), (["run", "--help"], 0), (["--version"], 0)])
def test_help_is_no_error(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gtn-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    assert (stopped.value.code or 0) == code and "error" not in printed.err
    assert printed.out.strip()
