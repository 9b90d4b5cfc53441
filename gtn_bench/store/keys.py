"""Content keys: hashes of everything that determines the numbers of a teacher, a learner or a cell.

A key covers the descriptions, the keys of inputs, the code, the versions of libraries and the type of device. The
code is the syntax tree, without comments and docstrings, of the given modules and of all modules that they import,
directly or through others. Followed are modules of their own top-level package, of this one, and of the folder of a
plug-in's file. Two kinds of import are left out because they cannot change a number: those under ``if
TYPE_CHECKING:``, and those of the modules in `INFRASTRUCTURE`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import operator
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from gtn_bench.store.hashing import digest
from gtn_bench.store.parsing import save_what_was_read, what_it_says

# Validation of input and storage of results. `gtn_bench.config.threat` is not among them: it measures images.
INFRASTRUCTURE = (
    "gtn_bench.config.description",
    "gtn_bench.config.errors",
    "gtn_bench.config.filepath",
    "gtn_bench.config.functions",
    "gtn_bench.config.locks",
    "gtn_bench.config.numbers",
    "gtn_bench.config.paths",
    "gtn_bench.models.trial",
    "gtn_bench.store.cache",
    "gtn_bench.store.downloads",
    "gtn_bench.store.files",
    "gtn_bench.store.format",
    "gtn_bench.store.intact",
    "gtn_bench.store.keys",
    "gtn_bench.store.memo",
    "gtn_bench.store.origin",
    "gtn_bench.store.parsing",
)


def key_for(content: Mapping[str, Any], *, code: Iterable[str], packages: Iterable[str] = (), device: str) -> str:
    """Return the key of a result.

    Args:
        content: What is computed, as plain data.
        code: Names of the modules that compute it.
        packages: Names of installed packages, in addition to torch, whose version can change the numbers.
        device: Type of the device.
    """
    # The text that `digest` hashes; nearly all of it is the same for all cells, so it is put together from parts.
    installed_packages = {package: installed(package) for package in ("torch", *packages)}
    text = (
        f'{{"code":{_code_text(frozenset(code))},"content":{_canonical(content)},"device":{_canonical(device)},'
        f'"packages":{_canonical(installed_packages)}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class _CodeText(NamedTuple):
    """The fingerprints of modules as text, and the specifications of these modules when it was made."""

    modules: tuple[str, ...]
    specs: tuple[object, ...]
    text: str


_code_texts: dict[frozenset[str], _CodeText] = {}


def _code_text(code: frozenset[str]) -> str:
    """Return the fingerprints of modules and of all modules that they import, as JSON text.

    The text is rebuilt after a reload of one of them, and each time if the code of one can change at any time.
    """
    known = _code_texts.get(code)
    if known is None or not all(map(operator.is_, known.specs, map(_spec, known.modules))):
        modules = tuple(imports_of(code))
        text = _canonical({module: fingerprint(module) for module in modules})
        known = _CodeText(modules, tuple(map(_spec, modules)), text)
        if all(map(_read, modules)):
            _code_texts[code] = known
    return known.text


def _spec(module: str) -> object:
    return getattr(sys.modules.get(module), "__spec__", None)


def code_digest(*modules: str) -> str:
    """Return a hash of the code of some modules and of all modules that they import."""
    found = digest({module: fingerprint(module) for module in imports_of(frozenset(modules))})
    save_what_was_read()
    return found


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
        known = _read(module)
        waiting |= known.followed - found if known else set()
    return frozenset(found)


def fingerprint(module: str) -> str:
    """Return a hash of the syntax tree of a module, without docstrings.

    The code of a module without a file, such as a notebook's, can change at any time. Its fingerprint is random, so
    that what depends on it is computed each time.

    Args:
        module: Full name of the module.
    """
    known = _read(module)
    return known.fingerprint if known else uuid.uuid4().hex


class _Read(NamedTuple):
    """Knowledge about a module: its specification when it was read, the modules that it imports, its hash."""

    spec: object
    followed: frozenset[str]
    fingerprint: str


_reads: dict[str, _Read] = {}  # what is loaded counts, not a file that was edited since


def _read(module: str) -> _Read | None:
    """Return what is known about a module; None if it has no source file. It is read again after a reload."""
    spec = _spec(module)
    known = _reads.get(module)
    if known is None or known.spec is not spec:
        source = _source(module)
        if source is None:
            return None
        names, code = what_it_says(source, module)
        followed = frozenset(name for name in names if _followed(module, name))
        known = _reads[module] = _Read(spec, followed, code)
    return known


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
