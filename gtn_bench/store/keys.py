"""Content keys: hashes of everything that determines the numbers of a teacher, a learner or a cell.

A key covers the descriptions, the keys of inputs, the code, the versions of libraries and the type of device. The
code is the syntax tree, without comments and docstrings, of the given modules and of all modules that they import,
directly or through others. Followed are modules of their own top-level package, of this one, and of the folder of a
plug-in's file. Two kinds of import are left out because they cannot change a number: those under ``if
TYPE_CHECKING:``, and those of the modules in `INFRASTRUCTURE`.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from gtn_bench.store.hashing import digest

# Validation of input and storage of results. `gtn_bench.config.threat` is not among them: it measures images.
INFRASTRUCTURE = (
    "gtn_bench.config.description",
    "gtn_bench.config.errors",
    "gtn_bench.config.filepath",
    "gtn_bench.config.functions",
    "gtn_bench.config.numbers",
    "gtn_bench.config.paths",
    "gtn_bench.models.trial",
    "gtn_bench.store.cache",
    "gtn_bench.store.downloads",
    "gtn_bench.store.files",
    "gtn_bench.store.keys",
)


def key_for(content: Mapping[str, Any], *, code: Iterable[str], packages: Iterable[str] = (), device: str) -> str:
    """Return the key of a result.

    Args:
        content: What is computed, as plain data.
        code: Names of the modules that compute it.
        packages: Names of installed packages, in addition to torch, whose version can change the numbers.
        device: Type of the device.
    """
    return digest(
        {
            "content": content,
            "code": {module: fingerprint(module) for module in imports_of(frozenset(code))},
            "packages": {package: installed(package) for package in ("torch", *packages)},
            "device": device,
        }
    )


def code_digest(*modules: str) -> str:
    """Return a hash of the code of some modules and of all modules that they import."""
    return digest({module: fingerprint(module) for module in imports_of(frozenset(modules))})


@functools.cache
def imports_of(modules: frozenset[str]) -> frozenset[str]:
    """Return the modules and all modules that they import and that can change numbers, directly or through others.

    Args:
        modules: Full names of modules.
    """
    found: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        source = _source(module)
        if source:
            waiting |= {name for name in _imported(source, module) if _followed(module, name)} - found
    return frozenset(found)


def fingerprint(module: str) -> str:
    """Return a hash of the syntax tree of a module, without docstrings.

    The code of a module without a file, such as a notebook's, can change at any time. Its fingerprint is random, so
    that what depends on it is computed each time.

    Args:
        module: Full name of the module.
    """
    source = _source(module)
    if source is None:
        return uuid.uuid4().hex
    spec = getattr(sys.modules.get(module), "__spec__", None)  # another one after a reload
    known = _fingerprints.get(source)
    if known is None or known[0] is not spec:
        known = _fingerprints[source] = (spec, digest(_code(source)))
    return known[1]


_fingerprints: dict[Path, tuple[object, str]] = {}  # what is loaded counts, not a file that was edited since


@functools.cache
def installed(package: str) -> str:
    """Return the version of an installed package, or "absent".

    Args:
        package: Name of the package.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _followed(module: str, name: str) -> bool:
    """Check that an imported name is a module whose code can change numbers.

    It is one of the same package, of this package, or of the folder of a file outside of installed packages.
    """
    own, top = module.partition(".")[0], name.partition(".")[0]
    if not (top in (own, "gtn_bench") or _is_neighbor(own, top)) or not _is_module(name):
        return False
    return not any(name == other or name.startswith(f"{other}.") for other in INFRASTRUCTURE)


@functools.cache
def _is_neighbor(own: str, top: str) -> bool:
    """Check that two top-level modules lie in the same folder, which is not one of installed packages."""
    if top in sys.stdlib_module_names or own == "gtn_bench":
        return False
    folder, other = _folder(own), _folder(top)
    return folder is not None and folder == other and not is_installed(folder)


def is_installed(path: Path) -> bool:
    """Check that a path lies among the standard library or the installed packages.

    Args:
        path: The path.
    """
    if {"site-packages", "dist-packages"} & set(path.parts):  # of this environment, the user or another one
        return True
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(path.is_relative_to(folder) for folder in folders)


def _folder(top: str) -> Path | None:
    """Return the folder that holds a top-level module or package, or None."""
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None and top != "__main__":
        with suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(top)
            file = spec and spec.origin
    if not file or file in ("built-in", "frozen"):
        return None
    path = Path(file).resolve()
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _is_module(name: str) -> bool:
    """Check that a full name is that of a module or package, without importing it."""
    package, *parts = name.split(".")
    if not parts:
        return _source(package) is not None
    folders = getattr(sys.modules.get(package), "__path__", None)
    if folders is None:
        spec = importlib.util.find_spec(package)
        folders = (spec and spec.submodule_search_locations) or []
    places = [Path(folder, *parts) for folder in folders]
    return any(place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() for place in places)


def _source(module: str) -> Path | None:
    """Return the source file of a module, or None if it has none."""
    loaded = sys.modules.get(module)
    spec = None if loaded else importlib.util.find_spec(module)
    file = getattr(loaded, "__file__", None) or (spec and spec.origin)
    return Path(file) if file and file.endswith(".py") else None


def _imported(source: Path, module: str) -> set[str]:
    """Return the full names that a file imports: modules, and names in them, which may be modules too."""
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in _walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {home, *(f"{home}.{alias.name}" for alias in node.names)}
    return found


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Visit all nodes but the bodies of ``if TYPE_CHECKING:``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        waiting += node.orelse if checking else ast.iter_child_nodes(node)  # type: ignore[attr-defined]


def _code(file: Path) -> str:
    """Return the syntax tree of a file as text, without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            del body[0]
    return ast.dump(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
