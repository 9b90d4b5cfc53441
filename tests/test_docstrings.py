"""Docstrings of the package: what is public says what it does, takes, returns and raises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gtn_bench

ROOT = Path(gtn_bench.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
UNDOCUMENTED = {"forward", "backward"}  # of torch's interfaces
OPENERS = re.compile(r"^(What|Of|Whether|Where|By|With|How|Which|Likewise|The same|As|It)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


COMMANDS = re.compile(r"\bCommand\(\s*\w+\.(\w+),")  # their options say what they take
APPLICATION = (ROOT / "cli" / "app.py").read_text(encoding="utf-8")


def definitions(body: list[ast.stmt], commands: set[str]) -> Iterator[Function | ast.ClassDef]:
    """Yield public classes, their public methods and public functions, but no validators and commands."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = " ".join(map(ast.unparse, node.decorator_list))
        if "validator" not in decorators and "app.command" not in decorators and node.name not in commands:
            yield node
        if isinstance(node, ast.ClassDef):
            yield from definitions(node.body, commands)


def public(path: Path) -> list[Function | ast.ClassDef]:
    """Return the public definitions of a file."""
    commands = {*COMMANDS.findall(APPLICATION)} if path.parent.name == "cli" else set()
    return list(definitions(ast.parse(path.read_text(encoding="utf-8")).body, commands))


PUBLIC = {path: public(path) for path in FILES}
DOCUMENTED = {node.name for nodes in PUBLIC.values() for node in nodes if ast.get_docstring(node)} | UNDOCUMENTED


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_definitions_have_docstrings_unless_they_override_documented_ones(path: Path) -> None:
    missing = [node.name for node in PUBLIC[path] if not ast.get_docstring(node) and node.name not in DOCUMENTED]
    assert missing == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_describe_arguments(path: Path) -> None:
    undescribed = []
    for node in PUBLIC[path]:
        text = ast.get_docstring(node)
        if isinstance(node, Function) and text and node.name not in UNDOCUMENTED:
            arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if {*arguments} - {"self", "cls"} and not re.search(r"^Args\b", text, re.MULTILINE):
                undescribed.append(node.name)
    assert undescribed == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_open_with_an_imperative_or_a_noun_phrase(path: Path) -> None:
    opening = [(node.name, (ast.get_docstring(node) or "").split("\n")[0]) for node in PUBLIC[path]]
    assert [(name, line) for name, line in opening if OPENERS.match(line)] == []
