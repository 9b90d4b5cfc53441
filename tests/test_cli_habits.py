"""Habits of command lines: filters, seeds, JSON, exit codes, silence, completion, a first suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.suites import TINY

import gtn_bench
from gtn_bench import cli, console
from gtn_bench.cli import stored
from gtn_bench.cli.app import COMMANDS, EXIT_CODES
from gtn_bench.cli.values import parse_seeds
from gtn_bench.config.errors import ConfigError
from gtn_bench.planning.catalog import TABLES, catalog, parameters

SMALL = """
name: small
dataset: digits
architectures: [linear]
modes: [{name: vanilla, epochs: 1}, {name: vanilla, label: longer, epochs: 2}]
seeds: [0, 1]
acceptance: 0
checks: none
perturbations:
  - {name: fgsm, steps: 1, samples: 10, beta: [0, 0.1]}
  - {name: noise, samples: 10, beta: [0.1, 0.2]}
"""


CACHE = {
    "cache": [lines[0] for lines in stored.EXAMPLES.values()],
    **{f"cache {name}": [*lines] for name, lines in stored.EXAMPLES.items()},
}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of `gtn-bench ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["gtn-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of four learners, with a cache of its own."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.slow
def test_more_seeds_extend_an_earlier_run_in_its_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(seeds: str) -> dict[str, int]:
        assert call(monkeypatch, "run", str(small), "--seeds", seeds, "--dry-run", "--json", "--device", "cpu") == 0
        answer: dict[str, int] = json.loads(capsys.readouterr().out)["missing"]
        return answer

    options = ("--workers", "1", "--device", "cpu")
    assert call(monkeypatch, "run", str(small), *options, "--quiet") == 0
    capsys.readouterr()
    assert missing("0-1")["cells"] == 0 and missing("0-3")["cells"] == 16 and missing("0-3")["learners"] == 4
    assert call(monkeypatch, "run", str(small), *options, "--seeds", "0-3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == "results/small" and answer["cells"] == 32
    assert gtn_bench.open("results/small").summary["seed"].unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "text, seeds", [("0-9", range(10)), ("0,3,5", (0, 3, 5)), (" 4 - 5, 0", (4, 5, 0)), ("7", (7,)), ("3-3", (3,))]
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: Any) -> None:
    assert parse_seeds(text) == tuple(seeds)


@pytest.mark.parametrize(
    "text, message",
    [
        *(
            (text, "expects seeds or ranges, such as 0-9 or 0,3,5, got ")
            for text in ("", "a", "5-3", "0,", "-1", "1.5")
        ),
        ("0,1-3,2", "names the seed 2 twice, got '0,1-3,2'; name it once"),
        ("0-99999999999", "expects at most 10000 seeds, got '0-99999999999'"),
        (str(2**63), f"expects integers below 2^63, got '{2**63}'"),
    ],
)
def test_wrong_seeds_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_seeds(text)
    assert str(refused.value).startswith(f"--seeds {message}")


@pytest.mark.parametrize(
    "options, cells",
    [
        (["--perturbation", "fgsm"], 8),
        (["--mode", "longer", "--perturbation", "noise"], 4),
        (["--mode", "longer", "--mode", "vanilla"], 16),
        (["--beta", "1/10"], 8),
        (["--architecture", "linear", "--seeds", "5"], 8),
    ],
)
def test_options_choose_a_part(
    options: list[str], cells: int, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", str(small), *options, "--dry-run", "--json", "--device", "cpu") == 0
    assert json.loads(capsys.readouterr().out)["parts"]["cells"] == cells


@pytest.mark.parametrize(
    "options, message",
    [
        (["--perturbation", "fgsn"], "error: the suite has no perturbation 'fgsn'; did you mean 'fgsm'?\n"),
        (["--mode", "long"], "error: the suite has no mode 'long'; did you mean 'longer'?\n"),
        (["--teacher", "t"], "error: the suite has no teacher 't'; known: none\n"),
        (
            ["--perturbation", "fgsm", "--beta", "0.2"],
            "error: no cell of the suite has perturbation fgsm and beta 0.2\n",
        ),
        (
            ["--fail-on", "suspct"],
            "error: --fail-on expects one of suspect, got 'suspct'; did you mean 'suspect'? See ",
        ),
    ],
)
def test_wrong_parts_are_refused(
    options: list[str], message: str, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", str(small), *options) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.slow
def test_json_has_the_numbers_of_each_curve(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", str(small), "--json", "--workers", "1", "--device", "cpu") == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    curves = {(curve["mode"], curve["perturbation"]): curve for curve in answer["curves"]}
    fgsm = curves["longer", "fgsm"]
    assert fgsm["ci_low"] <= fgsm["area"] <= fgsm["ci_high"] and fgsm["grade"] in ("unknown", "suspect")
    assert [point["beta"] for point in fgsm["points"]] == [0, 0.1]
    assert curves["vanilla", "noise"]["grade"] == "n/a" and len(answer["comparisons"]) == 2
    assert answer["sentences"] and answer["failed"] == 0


@pytest.mark.slow
def test_fail_on_suspect_exits_with_3(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gtn_bench.reporting.answer.suspect_curves", lambda _: ["vanilla under fgsm (step_size)"])
    options = ("run", str(small), "--workers", "1", "--device", "cpu", "--quiet")
    assert call(monkeypatch, *options) == 0
    capsys.readouterr()
    assert call(monkeypatch, *options, "--fail-on", "suspect") == 3
    printed = capsys.readouterr()
    expected = "1 curve suspect: vanilla under fgsm (step_size); the report says under Checks what to do\n"
    assert (printed.err, printed.out) == (f"--fail-on suspect: {expected}", "")


def test_quiet_doctor_prints_problems_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def findings(*severities: str) -> list[dict[str, Any]]:
        found = [{"severity": severity, "sentence": f"a {severity}"} for severity in severities]
        return [{"mode": "a", "architecture": "linear", "seed": 0, "findings": found}]

    monkeypatch.setattr("gtn_bench.planning.adapting.checkpoints_in", lambda *_, **options: None)
    monkeypatch.setattr("gtn_bench.planning.planner.plan", lambda _: None)
    options = ("doctor", "--architecture", "linear", "--weights", "0.pt", "--data", "digits")
    for found, code, line in (
        (findings(), 0, ""),
        (findings("note"), 0, ""),
        (findings("note", "warning"), 0, "a, seed 0: warning: a warning\n"),
        (findings("error"), 2, "a, seed 0: error: a error\n"),
    ):
        monkeypatch.setattr("gtn_bench.execution.examine.examine", lambda *_, found=found, **options: found)
        assert call(monkeypatch, *options, "--quiet") == code
        assert capsys.readouterr().out == line
        assert call(monkeypatch, *options) == code and capsys.readouterr().out


def test_validate_prints_mistakes_as_json(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small.write_text(SMALL.replace("name: noise", "name: nose").replace("seeds: [0, 1]", "seeds: [0, 0]"))
    assert call(monkeypatch, "validate", str(small), "--json") == 2
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert not answer["valid"] and not printed.err and len(answer["mistakes"]) == 2
    assert answer["mistakes"][0].startswith("small.yaml: seeds:") and "'nose'" in answer["mistakes"][1]


def test_init_writes_a_suite_that_validates_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "init") == 0
    assert capsys.readouterr().out.startswith("written: suite.yaml; check it with: gtn-bench validate suite.yaml")
    planned = gtn_bench.plan(gtn_bench.load("suite.yaml"))
    assert planned.suite.name == "suite" and len(planned.cells) == 96
    text = Path("suite.yaml").read_text()
    assert max(map(len, text.splitlines())) <= 120 and text.count("#") > 10
    assert call(monkeypatch, "init", "suite.yaml") == 2
    assert Path("suite.yaml").read_text() == text
    (tmp_path / "link.yaml").symlink_to("nowhere")
    for name, message in {
        "suite.yaml": "suite.yaml exists already; choose another file: gtn-bench init other.yaml",
        "link.yaml": "link.yaml exists already; choose another file: gtn-bench init other.yaml",
        "suite.txt": "suite.txt: expects a name that ends in .yaml",
    }.items():
        capsys.readouterr()
        assert call(monkeypatch, "init", name) == 2
        assert capsys.readouterr().err == f"error: {message}\n"
    assert call(monkeypatch, "init", "of mine/my suite.yml", "--quiet") == 0 and not capsys.readouterr().out
    assert call(monkeypatch, "init", "my suite.yaml") == 0
    assert capsys.readouterr().out.endswith(
        "gtn-bench validate 'my suite.yaml'; run it with: gtn-bench run 'my suite.yaml'\n"
    )
    assert gtn_bench.load("of mine/my suite.yml").name == "suite"


@pytest.mark.parametrize("table", TABLES)
def test_every_parameter_has_a_meaning(table: str) -> None:
    names = [row["name"] for row in catalog(table) if row["summary"]]
    unknown = {(name, each.name) for name in names for each in parameters(table, name) if not each.meaning}
    assert not unknown


def test_list_explains_parameters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "list", "perturbations") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "    relative_step_size: 0.1  Norm of each step as a multiple of beta." in lines
    assert call(monkeypatch, "list", "perturbations", "pgd") == 0
    one = capsys.readouterr().out.splitlines()
    assert one[0].startswith("pgd  ") and len([line for line in one if not line.startswith(" ")]) == 1
    assert call(monkeypatch, "list", "perturbations", "torchattacks.PGD", "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["torchattacks.<Class>", "torchattacks.PGD"]
    assert call(monkeypatch, "list", "modes", "vanila") == 2
    expected = "error: unknown mode 'vanila'; did you mean 'vanilla'? (gtn-bench list modes lists all)\n"
    assert capsys.readouterr().err == expected
    assert call(monkeypatch, "list", "perturbations", "torchattacks.PG") == 2
    assert capsys.readouterr().err == "error: unknown attack 'torchattacks.PG'; did you mean 'torchattacks.PGD'?\n"


@pytest.mark.parametrize("command", ["", *COMMANDS, "cache", *(f"cache {name}" for name in stored.EXAMPLES)])
def test_short_help_has_examples_and_panels(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *command.split(), "-h") == 0
    printed = " ".join(capsys.readouterr().out.split())
    if command in COMMANDS:
        assert all(" ".join(line.split()) in printed for line in COMMANDS[command].examples)
    elif command in CACHE:
        assert all(example in printed for example in CACHE[command])
    elif not command:
        assert EXIT_CODES in printed and all(known.panel in printed for known in COMMANDS.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_command_lines_of_their_command(command: str) -> None:
    for example in COMMANDS[command].examples:
        assert example.startswith(f"gtn-bench {command}")
    summary = (COMMANDS[command].function.__doc__ or "").splitlines()
    assert len(summary) == 1 and summary[0].endswith(".")


@pytest.mark.parametrize(
    "words, expected",
    [("gtn-bench ru", "run"), ("gtn-bench run mnist-sm", "mnist-smoke"), ("gtn-bench run x --per", "--perturbation")],
)
def test_the_shell_completes_commands_suites_and_options(words: str, expected: str, tmp_path: Path) -> None:
    variables = {"_GTN_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {**os.environ, **variables, "HOME": str(tmp_path), "GTN_BENCH_CACHE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "gtn_bench"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert answer.stdout.split() == [expected]
    assert not list(tmp_path.iterdir())


def test_help_touches_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "GTN_BENCH_CACHE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "gtn_bench", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "--install-completion" in answer.stdout and not list(tmp_path.iterdir())


class _Terminal:
    """A stream that claims to be a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "variables, colored, bars",
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_terminals_decide_about_colors_and_bars(
    variables: dict[str, str], colored: bool, bars: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = _Terminal()
    monkeypatch.setattr(console, "_errors", Console(file=stream, markup=False, emoji=False, highlight=False))  # type: ignore[arg-type]
    console.complain("wrong", "error:")
    assert ("\x1b[" in stream.text) == colored
    assert console.has_bars() == bars
    with console.progress() as report:
        report("cells", 1, 1)
    assert ("cells: 1 of 1 after" in stream.text) == (not bars)


def test_nothing_is_colored_when_piped(small: Path) -> None:
    small.write_text(TINY.replace("name: blur", "name: blurr"))
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    for command in (["validate", str(small)], ["list", "modes"], ["run", "--help"]):
        answer = subprocess.run([sys.executable, "-m", "gtn_bench", *command], capture_output=True, env=environment)
        assert b"\x1b" not in answer.stdout + answer.stderr and answer.stdout + answer.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize(
    "command, unbuffered",
    [(["validate", "standard"], ""), (["schema"], "1"), (["list", "modes"], "1"), (["--version"], "")],
)
def test_output_that_cannot_be_written_is_one_line(command: list[str], unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "gtn_bench", *command]
        answer = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert answer.stderr == "failed: standard output cannot be written (No space left on device)\n"
    assert answer.returncode == 1
