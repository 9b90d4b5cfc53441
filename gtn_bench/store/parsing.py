"""What the source text of a module says: the names that it imports, and a hash of its code.

Parsing all modules of this package takes a second, so the results are stored in a memo, by the hash of the text.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gtn_bench.store.hashing import digest
from gtn_bench.store.memo import recall, remember

_MOST = 2000  # texts in the memo; with more, those that this process did not read are dropped
_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)  # the nodes that can contain an import

Said = tuple[frozenset[str], str]  # the names that a text imports, the hash of its code

_said: dict[str, Said] = {}  # by the hash of package and text
_unsaved: set[str] = set()


def what_it_says(source: Path, module: str) -> Said:
    """Return the full names that a file imports, and a hash of its syntax tree without docstrings.

    Names are those of modules, and of what is imported from them, which may be modules too. Imports under
    ``if TYPE_CHECKING:`` are left out.

    Args:
        source: The file.
        module: Full name of its module, from which relative imports start.
    """
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    content = source.read_bytes()
    key = hashlib.sha256(package.encode() + b"\0" + content).hexdigest()
    if key not in _said:
        stored = _stored().get(key)
        if stored is None:
            text = source.read_text(encoding="utf-8")
            tree = ast.parse(text)
            checks_types = "TYPE_CHECKING" in text  # without the words, no condition has to be read
            stored = frozenset(_imported(tree, package, checks_types=checks_types)), digest(_code(tree))
            _unsaved.add(key)
        _said[key] = stored
    return _said[key]


def save_what_was_read() -> None:
    """Write the memo, if this process has parsed a text that it lacks."""
    if not _unsaved:
        return
    content = dict(_said)
    if len(_stored()) + len(_unsaved) <= _MOST:
        content = {**_stored(), **_said}
    remember("code", _stamp(), {key: [sorted(names), code] for key, (names, code) in content.items()})
    _unsaved.clear()


@functools.cache
def _stored() -> dict[str, Said]:
    """Return the content of the memo; empty if it is missing or damaged."""
    content = recall("code", _stamp())
    if not isinstance(content, dict):
        return {}
    return {key: (frozenset(names), code) for key, (names, code) in content.items()}


@functools.cache
def _stamp() -> dict[str, Any]:
    """Return what the memo depends on, in addition to the texts: Python, whose syntax trees differ, and this code."""
    return {"python": list(sys.version_info[:3]), "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}


def _imported(tree: ast.Module, package: str, *, checks_types: bool) -> Iterator[str]:
    """Yield the full names that a module imports."""
    for node in _statements(tree, checks_types=checks_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (home, *(f"{home}.{alias.name}" for alias in node.names))


def _statements(tree: ast.Module, *, checks_types: bool) -> Iterator[ast.AST]:
    """Visit all statements but the bodies of ``if TYPE_CHECKING:``."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if checks_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, _STATEMENTS)]


def _code(tree: ast.Module) -> str:
    """Return a syntax tree as text, without docstrings, which are removed from it."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            del body[0]
    return ast.dump(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
