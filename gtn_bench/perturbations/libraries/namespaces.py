"""Names that the module of a library binds, read from its source: importing the library takes seconds."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def names_in(namespace: str) -> frozenset[str] | None:
    """Return the names that a module can bind, without importing it.

    Args:
        namespace: Full name of the module.

    Returns:
        All names that its source binds at any level; None if they cannot be known: the module is not installed, is no
        Python file, or also binds names that its source does not contain.
    """
    package, *rest = namespace.split(".")
    try:
        spec = importlib.util.find_spec(package)
        places = (spec and spec.submodule_search_locations) or ()
        found = [file for place in places if (file := Path(place, *rest, "__init__.py")).is_file()]
        tree = ast.parse(found[0].read_bytes()) if found else None
    except (ImportError, ValueError, SyntaxError, OSError):
        return None
    names = frozenset(_bound_in(tree)) if tree else frozenset({"*"})
    return None if names & {"*", "globals", "__getattr__"} else names


def is_absent(name: str, namespace: str) -> bool:
    """Return whether a module, as it is installed, certainly does not have a name.

    Args:
        name: The name.
        namespace: Full name of the module. If it is imported already, other code can have added names.
    """
    names = None if namespace in sys.modules else names_in(namespace)
    return names is not None and name not in names


def _bound_in(tree: ast.AST) -> Iterator[str]:
    """Yield all names that are bound or used in a source, ``*`` for those of a star import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
