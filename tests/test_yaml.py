"""YAML is read as YAML 1.2, without surprises and in bounded time."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import pytest
import yaml
from helpers.suites import TINY

from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.yaml import parse_mapping, to_yaml


def read(text: str) -> Any:
    """Return the value of the key `v`."""
    return parse_mapping(text, "a suite")["v"]


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_mapping(text, "a suite")
    return str(caught.value)


NUMBERS = {
    "010": 10,
    "08": 8,
    "-012": -12,
    "+7": 7,
    "0o10": 8,
    "0o17": 15,
    "0x10": 16,
    "0xfF": 255,
    "1e3": 1000.0,
    "1e-3": 0.001,
    "1.5E+2": 150.0,
    ".5": 0.5,
    "5.": 5.0,
    "-.inf": -math.inf,
    ".Inf": math.inf,
}


@pytest.mark.parametrize("text, number", NUMBERS.items())
def test_numbers_are_those_of_yaml_1_2(text: str, number: float) -> None:
    found = read(f"v: {text}")
    assert found == number and type(found) is type(number)


@pytest.mark.parametrize(
    "text",
    [
        "1_000",
        "12:30",
        "190:20:30",
        "0b11",
        "-0o7",
        "yes",
        "No",
        "on",
        "OFF",
        "y",
        "n",
        "2020-01-31",
        "2020-13-45",
        "=",
    ],
)
def test_text_of_yaml_1_2_stays_text(text: str) -> None:
    assert read(f"v: {text}") == text


@pytest.mark.parametrize("text, value", [("true", True), ("False", False), ("TRUE", True), ("~", None), ("Null", None)])
def test_constants_are_those_of_yaml_1_2(text: str, value: bool | None) -> None:
    assert read(f"v: {text}") is value
    assert read(f"v: '{text}'") == text


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("seeds: [0, 1]", "seeds: [1_000]", "seeds[0]: expects an integer, got '1_000'; did you mean 1000?"),
        ("seeds: [0, 1]", "seeds: [12:30]", "seeds[0]: expects an integer, got '12:30'"),
        ("seeds: [0, 1]", "seeds: [yes]", "seeds[0]: expects an integer, got 'yes'"),
        ("seeds: [0, 1]", "seeds: [010, 10]", "seeds: expects each seed once, got 10 again"),
    ],
)
def test_forms_of_yaml_1_1_are_refused_as_numbers(old: str, new: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite.parse(TINY.replace(old, new))
    assert str(caught.value) == f"tiny: {expected}"


def test_seeds_with_leading_zeros_are_decimal() -> None:
    assert suite.parse(TINY.replace("seeds: [0, 1]", "seeds: [010, 0o10, 0x10]")).seeds == (10, 8, 16)


def test_labels_may_be_words_that_yaml_1_1_reads_as_true_or_false() -> None:
    parsed = suite.parse(TINY.replace("name: tiny", "name: on").replace("label: 2_gtn", "label: yes"))
    assert parsed.name == "on" and parsed.modes[0].title == "yes"


MERGES = {
    "of one mapping": ("a: &a {k: 1, l: 2}\nv: {<<: *a, l: 3, m: 4}", {"k": 1, "l": 3, "m": 4}),
    "after the own keys": ("a: &a {k: 1, l: 2}\nv: {l: 3, <<: *a}", {"k": 1, "l": 3}),
    "of several, the first wins": (
        "a: &a {k: 1}\nb: &b {k: 2, l: 2}\nv: {<<: [*a, *b], m: 3}",
        {"k": 1, "l": 2, "m": 3},
    ),
    "of a mapping in place": ("v: {<<: {k: 1}, l: 2}", {"k": 1, "l": 2}),
    "of a mapping that merges": (
        "a: &a {k: 1, l: 1}\nb: &b {<<: *a, l: 2}\nv: {<<: *b, m: 3}",
        {"k": 1, "l": 2, "m": 3},
    ),
    "of a deeper mapping that merges": ("a: {b: [&b {<<: {k: 1, l: 1}, l: 2}]}\nv: {<<: *b, l: 3}", {"k": 1, "l": 3}),
    "of nothing": ("v: {<<: [], k: 1}", {"k": 1}),
}


@pytest.mark.parametrize("text, value", MERGES.values(), ids=MERGES)
def test_merge_keys(text: str, value: dict[str, int]) -> None:
    assert read(text) == value


def test_merge_keys_in_a_suite() -> None:
    text = TINY.replace(
        "- {name: vanilla, epochs: 2}", "- &v {name: vanilla, epochs: 2}\n  - {<<: *v, label: longer, epochs: 3}"
    )
    assert [mode.fields for mode in suite.parse(text).modes[2:]] == [{"epochs": 2}, {"epochs": 3}]


def test_aliases_repeat_values_and_anchors_can_be_defined_again() -> None:
    assert read("a: &x [1, 2]\nv: {p: *x, q: *x}") == {"p": [1, 2], "q": [1, 2]}
    assert read("a: &x 1\nb: &x 2\nv: *x") == 2


@pytest.mark.parametrize(
    "text, expected",
    [
        ("v: {<<: 3}", "line 1: expects a mapping or a list of mappings under '<<', got a scalar"),
        ("v:\n  <<: [[1]]", "line 2: expects a mapping or a list of mappings under '<<', got a list"),
        ("a: &a {k: 1}\nv: {<<: *a, <<: *a}", "line 2: key '<<' occurs twice"),
        ("v: *x", "line 1: found undefined alias 'x'"),
        ("v: &v [*v]", "line 1: alias '*v' stands inside of what it refers to"),
        ("v: &v {k: {l: *v}}", "line 1: alias '*v' stands inside of what it refers to"),
        ("v: &v {<<: *v}", "line 1: alias '*v' stands inside of what it refers to"),
        ("v: 1\n---\nw: 2", "line 2: expected a single document in the stream, but found another document"),
        (
            "v: !!timestamp 2020-01-01",
            "line 1: could not determine a constructor for the tag 'tag:yaml.org,2002:timestamp'",
        ),
        ("v: !!int 1_000", "line 1: expects an integer of at most 1000 digits, got 1_000"),
        (f"v: {'9' * 5000}", "line 1: expects an integer of at most 1000 digits, got 5000 characters"),
        (f"v: 0x{'f' * 5000}", "line 1: expects an integer of at most 1000 digits, got 5002 characters"),
    ],
)
def test_invalid_yaml_is_one_line(text: str, expected: str) -> None:
    assert message(text) == expected


def test_all_wrong_keys_are_reported_in_the_order_of_their_lines() -> None:
    text = "a: {b: 1,\n b: 2}\na: 3\n4: x\n? [p]\n: 5"
    assert message(text).splitlines() == [
        "line 2: key 'b' occurs twice",
        "line 3: key 'a' occurs twice",
        "line 4: expects keys to be text, got 4",
        "line 5: expects keys to be text, got a list",
    ]


def test_a_merged_key_is_no_duplicate_but_a_repeated_own_key_is() -> None:
    assert read("a: &a {k: 1}\nv: {<<: *a, k: 2}") == {"k": 2}
    assert message("a: &a {k: 1}\nv: {<<: *a, k: 2, k: 3}") == "line 2: key 'k' occurs twice"


BOMBS = {
    "lists of aliases": "a0: &a0 [x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "mappings of aliases": "a0: &a0 {k: x}\n"
    + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, r: *a{i - 1}}}\n" for i in range(1, 30)),
    "a long text repeated": f"a: &a '{'x' * 50_000}'\nv: [{'*a, ' * 5000}]",
    "merge keys": f"a: &a {{{', '.join(f'k{i}: 1' for i in range(2000))}}}\nv: {{<<: [{'*a, ' * 5000}]}}",
    "nested lists": "v: " + "[" * 100_000,
    "nested mappings": "v: " + "{k: " * 10_000,
    "nested blocks": "v:\n" + "".join(" " * depth + "-\n" for depth in range(300)),
    "a chain of aliases": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000)),
    "a long file": "v: [" + "x, " * 400_000 + "]",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_in_one_line_with_little_time_and_memory(text: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        line = message(text)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 30
    assert "\n" not in line and len(line) < 200
    assert any(word in line for word in ("deeper than 50 levels", "300000"))


def test_a_suite_of_many_problems_lists_the_first_ones() -> None:
    seeds = ", ".join(f"a{number}" for number in range(5000))
    with pytest.raises(ConfigError) as caught:
        suite.parse(f"name: x\ndataset: digits\nseeds: [{seeds}]")
    lines = str(caught.value).splitlines()
    assert len(lines) == 201 and lines[-1] == "x: more problems follow; correct these first"


def test_messages_about_long_values_are_short() -> None:
    with pytest.raises(ConfigError) as caught:
        suite.parse(TINY.replace("acceptance: 0.0", f"acceptance: '{'9' * 100_000}'"))
    assert len(str(caught.value)) < 400 and "(100002 characters)" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "0o10",
            "010",
            "08",
            "0x1F",
            "1e3",
            "1_000",
            "12:30",
            "0b1",
            ".5",
            "1.",
            "yes",
            "Off",
            "true",
            "null",
            "~",
            "",
        ),
        *("2020-01-31", "<<", "=", "a: b", "#x", "- x", "*a", "&a", "!x", "%x", ".inf", "é", "two\nlines"),
        *(0, -7, 10**30, 0.1, 1e-5, 1e16, 1e300, math.inf, True, False, None),
    ],
    ids=repr,
)
def test_written_values_are_read_alike_by_yaml_1_1_and_yaml_1_2(value: Any) -> None:
    data = {"v": value, "list": [value, {"k": value}]}
    assert parse_mapping(to_yaml(data), "a suite") == data
    assert yaml.safe_load(to_yaml(data)) == data
