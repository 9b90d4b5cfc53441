"""Any text ends validation within 5 seconds and 100 MB, with one line per problem and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.hostile import BYTES, SMALL, TEXTS, VALID
from helpers.suites import TINY

from gtn_bench import console
from gtn_bench.config.errors import ConfigError
from gtn_bench.planning import adapting, planner

SECONDS, MEGABYTES = 5.0, 100.0
# Validates the files one after another, each in a child of a process that has validated the small suite.
VALIDATE = """
import json, os, resource, sys
import gtn_bench
from gtn_bench.planning.planner import load, plan
plan(load(sys.argv[1]))
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def spent():
    times = os.times()
    return times.user + times.system
for path in sys.argv[2:]:
    reader, writer = os.pipe()
    if not os.fork():
        before, started, lines = used(), spent(), []
        try:
            plan(load(path))
        except gtn_bench.ConfigError as error:
            lines = str(error).split("\\n")
        except BaseException as error:
            lines = [f"traceback: {type(error).__name__}: {error}"[:300]]
        os.write(writer, json.dumps([spent() - started, used() - before, lines]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        found = file.read()
    os.wait()
    print(json.dumps([path, *json.loads(found or '[0, 0, ["killed"]]')]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, float, list[str]]]:
    """Return processor seconds, megabytes and lines of each validation, by the name of the text."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "small.yaml").write_text(SMALL)
    contents = {name: text.encode() for name, text in TEXTS.items()} | BYTES
    paths = {name: folder / f"{number}.yaml" for number, name in enumerate(contents)}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    command = [sys.executable, "-c", VALIDATE, str(folder / "small.yaml"), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {path: tuple(rest) for path, *rest in map(json.loads, done.stdout.splitlines())}
    return {name: found[str(path)] for name, path in paths.items()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are measured by forks")
@pytest.mark.parametrize("name", [*TEXTS, *BYTES])
def test_hostile_texts_are_refused_in_bounded_time_and_memory(
    name: str, outcomes: dict[str, tuple[float, float, list[str]]]
) -> None:
    seconds, megabytes, lines = outcomes[name]
    assert bool(lines) is (name not in VALID), lines[:3]
    assert all(0 < len(line) <= 1_000 and line.isprintable() for line in lines), lines[:3]
    assert not any(line.startswith(("traceback", "killed")) for line in lines), lines
    assert len(lines) <= 201
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


EXACT = {
    "cells above the limit": "expects at most 100000 cells, got 100100; allow more with --max-cells 100100",
    "seeds times modes": "expects at most 100000 cells, got 14400000; allow more with --max-cells 14400000",
    "the same seed": "line 7: more than 20000 keys and values",
    "many sweeps": "perturbations: expects at most 50000 strengths, got 15000000",
    "integer of 100000 digits": "line 7: expects an integer of at most 1000 digits, got 100000 characters",
    "tags of other types": "line 8: expects true or false, got 'maybe'",
    "null of a text": "line 8: expects null, got 'x'",
    "lone surrogate in a key": "line 8: expects text of printable characters, got U+D800",
}


@pytest.mark.parametrize("name", EXACT)
def test_messages_name_the_limit(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEXTS[name])
    with pytest.raises(ConfigError) as caught:
        planner.plan(planner.load(tmp_path / "x.yaml"))
    assert str(caught.value) == f"x.yaml: {EXACT[name]}"


def suite_of(seeds: int, **more: Any) -> dict[str, Any]:
    base = {"name": "counted", "dataset": "digits", "architectures": ["linear"], "modes": ["vanilla"]}
    perturbations = [{"name": "noise", "beta": {"linspace": [0, 1, 10]}}]
    return {**base, "seeds": list(range(seeds)), "perturbations": perturbations, **more}


def test_the_limit_of_cells_can_be_raised_and_lowered() -> None:
    suite = planner.load(suite_of(7))
    assert len(planner.plan(suite, max_cells=70).cells) == 70
    with pytest.raises(
        ConfigError, match=r"^counted: expects at most 69 cells, got 70; allow more with --max-cells 70$"
    ):
        planner.plan(suite, max_cells=69)
    with pytest.raises(ConfigError, match=r"^counted: expects at most 5 cells, got at least 10; allow more"):
        planner.plan(suite, max_cells=5)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "70", None])
def test_limits_that_are_no_numbers_of_cells_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        planner.plan(planner.load(suite_of(1)), max_cells=wrong)
    assert str(caught.value) == f"max_cells expects at least one cell, got {wrong!r}"


def test_cells_are_counted_exactly_where_modes_have_no_teacher_or_few_seeds(tmp_path: Path) -> None:
    import torch

    from gtn_bench.data.digits import Digits
    from gtn_bench.models import ARCHITECTURES

    torch.save(ARCHITECTURES["linear"]()(Digits(), 0).state_dict(), tmp_path / "w.pt")
    teacher = {"name": "cgtn", "architecture": "linear", "inner_steps": 3, "batch_size": 20, "meta_batch_size": 10}
    teachers = [{**teacher, "meta_steps": 1, "label": label} for label in "ab"]
    modes = ["gtn", "vanilla", {"name": "checkpoint", "files": str(tmp_path / "w.pt")}]
    suite = planner.load(suite_of(5, teachers=teachers, modes=modes))
    exact = 10 * (2 * 5 + 5 + 1)  # strengths x (teachers x seeds, seeds, one file)
    assert len(planner.plan(suite, max_cells=exact).cells) == exact
    with pytest.raises(ConfigError, match=f"expects at most {exact - 1} cells, got {exact}; "):
        planner.plan(suite, max_cells=exact - 1)


@pytest.mark.parametrize("option", ["--data", "--architecture"])
@pytest.mark.parametrize(
    "text",
    [
        "{" * 5_000,
        "{name: " + "[" * 5_000,
        "{name: !!python/name:os.system }",
        '{name: "\\ud800"}',
        "{name: x" + "x" * 400_000,
    ],
)
def test_mappings_of_the_command_line_are_bounded_like_files(option: str, text: str, tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.touch()
    architecture, data = ("linear", text) if option == "--data" else (text, "digits")
    with pytest.raises(ConfigError) as caught:
        adapting.checkpoints_in("quick", [architecture], [str(weights)], data)
    lines = str(caught.value).splitlines()
    assert lines and all(line.startswith(option) and len(line) < 1_000 and line.isprintable() for line in lines)


EXAMPLES = int(os.environ.get("GTN_BENCH_EXAMPLES", "25"))


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x85", "\u2028", "\u202e", "\ud800", "\ud7fc"])
def test_messages_and_lines_on_the_terminal_show_no_control_characters(
    character: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = str(ConfigError(f"first {character}[31m\nsecond"))
    assert message.splitlines() == [f"first {ascii(character)[1:-1]}[31m", "second"]
    assert str(ConfigError(message)) == message
    console.say(f"say {character}")
    console.warn(f"warn {character}")
    console.complain(f"complain {character}", "error:")
    output, errors = capsys.readouterr()
    assert output.splitlines() == [f"{word} {ascii(character)[1:-1]}" for word in ("say", "warn")]
    assert errors.splitlines() == [f"error: complain {ascii(character)[1:-1]}"]


def test_characters_that_cannot_be_printed_are_escaped_in_every_line() -> None:
    character = "\ud7fc"  # not assigned
    with pytest.raises(ConfigError) as caught:
        planner.plan(planner.load({**yaml.safe_load(TINY), "architectures": [character, character]}))
    assert all(line.isprintable() for line in str(caught.value).split("\n"))
    assert "duplicate label '\\ud7fc'" in str(caught.value)


@pytest.mark.slow
def test_generated_suites_are_valid_or_refused(tmp_path: Path) -> None:
    """Suites drawn around a valid one, with values, keys and characters that do not belong there."""
    pytest.importorskip("hypothesis")
    from helpers.generated import suites
    from hypothesis import HealthCheck, given, settings

    path = tmp_path / "generated.yaml"

    @settings(max_examples=EXAMPLES, deadline=5_000, database=None, suppress_health_check=list(HealthCheck))
    @given(suites())
    def check(text: str) -> None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            plan = planner.plan(planner.load(path))
        except ConfigError as error:
            lines = str(error).split("\n")
            assert all(0 < len(line) <= 1_000 and line.isprintable() for line in lines), lines
        else:
            assert 0 < len(plan.cells) <= 100_000

    check()
