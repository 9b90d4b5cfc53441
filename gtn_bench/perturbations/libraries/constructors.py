"""Constructor parameters of the attack classes of a library, without importing it where they are known already.

Importing ART takes seconds. The file `constructors.json` therefore contains the parameters of one version of each
library, with a hash of its source. Those of other versions are stored in a memo, by versions and files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtn_bench.perturbations.libraries.signatures import annotation_text
from gtn_bench.store.keys import installed
from gtn_bench.store.memo import recall, remember

Parameters = dict[str, inspect.Parameter]  # of one constructor, by name
Content = dict[str, list[list[Any]]]  # parameters of each class as plain data, by its name

_OTHER_TEXTS = (3, 14)  # the version of Python from which on annotations have other texts
SHIPPED = Path(__file__).with_name("constructors.json")  # written by benchmarks/checks/constructors.py
_NAMED = {kind.name: kind for kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)}


@dataclass(frozen=True)
class UnnamedDefault:
    """Stands for a default that is an object, which no suite can contain."""

    def __repr__(self) -> str:
        return "<object>"


def constructor_parameters(attack_class: type) -> Parameters:
    """Return the named parameters of the constructor of a class. Annotations are texts.

    Args:
        attack_class: The class.
    """
    parameters = inspect.signature(attack_class.__init__).parameters  # type: ignore[misc]
    return {
        name: parameter.replace(annotation=annotation_text(parameter))
        for name, parameter in parameters.items()
        if name != "self" and parameter.kind.name in _NAMED
    }


def stored_parameters(
    library: str,
    namespace: str,
    stamp: Mapping[str, Any] | None,
    read: Callable[[], Mapping[str, Parameters]],
    absent: Collection[str] = (),
) -> dict[str, Parameters]:
    """Return the constructor parameters of all attack classes of a library, without importing it if they are stored.

    Args:
        library: Name of the library.
        namespace: The module that holds the attack classes.
        stamp: All that they depend on, from `library_stamp`; None to import the library in any case.
        read: Imports the library and returns the parameters of each class, by its name.
        absent: Classes that do not exist without an optional package that is not installed.
    """
    kind = f"signatures-{library}"
    content = None if stamp is None else recall(kind, stamp)
    if content is None:
        shipped = None if stamp is None else shipped_parameters(library, namespace)
        content = (
            encoded(read()) if shipped is None else {name: shipped[name] for name in shipped if name not in absent}
        )
        if stamp is not None:
            remember(kind, stamp, content)
    return {name: {each[0]: _decoded(*each) for each in parameters} for name, parameters in content.items()}


def shipped_parameters(library: str, namespace: str) -> Content | None:
    """Return the parameters that this package contains; None if the source of the installed library is another one.

    Args:
        library: Name of the library.
        namespace: The module that holds the attack classes.
    """
    if sys.version_info >= _OTHER_TEXTS:
        return None
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8")).get(library)
    try:
        return shipped["classes"] if shipped and shipped["source"] == source_hash(namespace) else None
    except OSError:  # a file of the library cannot be read
        return None


def source_hash(namespace: str) -> str:
    """Return a hash of the names and contents of all source files of a library.

    Args:
        namespace: A module of the library.
    """
    hashed = hashlib.sha256()
    for place in _places(namespace):
        for file in sorted(place.rglob("*.py"), key=lambda file: file.relative_to(place).as_posix()):
            hashed.update(f"{file.relative_to(place).as_posix()}\0{file.stat().st_size}\0".encode())
            hashed.update(file.read_bytes())
    return hashed.hexdigest()


def library_stamp(namespace: str, packages: Iterable[str], code: Iterable[str]) -> dict[str, Any] | None:
    """Return all that the constructor parameters of a library depend on, without importing the library.

    Args:
        namespace: The module that holds the attack classes.
        packages: Names of the installed packages whose presence or version counts.
        code: Names of the modules that read the parameters.

    Returns:
        Plain data; None if a part has no files, or the library is not installed: then nothing can be stored.
    """
    try:
        files = sorted(file for place in _places(namespace) for file in place.rglob("*.py"))
        found = [(str(file), status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()]]
        texts = [Path(str(sys.modules[module].__file__)).read_bytes() for module in sorted(set(code))]
    except (ImportError, ValueError, KeyError, OSError):
        return None
    return (
        {
            "python": list(sys.version_info[:3]),
            "packages": {package: installed(package) for package in sorted(set(packages))},
            "files": hashlib.sha256(repr(found).encode()).hexdigest(),
            "code": hashlib.sha256(b"\0".join(texts)).hexdigest(),
        }
        if found
        else None
    )


def encoded(parameters: Mapping[str, Parameters]) -> Content:
    """Return parameters of classes as plain data.

    Args:
        parameters: The parameters of each class, by its name.
    """
    return {name: [_encoded(each) for each in own.values()] for name, own in parameters.items()}


def _places(namespace: str) -> list[Path]:
    """Return the folders of the package of a module."""
    spec = importlib.util.find_spec(namespace.partition(".")[0])
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def _encoded(parameter: inspect.Parameter) -> list[Any]:
    """Return name, kind, annotation and default of a parameter as plain data."""
    default = parameter.default
    plain: dict[str, Any] = {"object": True}
    if default is parameter.empty:
        plain = {}
    elif _is_scalar(default):
        plain = {"value": default}
    elif isinstance(default, tuple | list) and all(map(_is_scalar, default)):
        plain = {type(default).__name__: list(default)}
    return [parameter.name, parameter.kind.name, parameter.annotation, plain]


def _decoded(name: str, kind: str, annotation: str, plain: Mapping[str, Any]) -> inspect.Parameter:
    """Return the parameter that `_encoded` describes."""
    default: Any = inspect.Parameter.empty
    if "object" in plain:
        default = UnnamedDefault()
    elif "value" in plain:
        default = plain["value"]
    elif plain:
        default = tuple(plain["tuple"]) if "tuple" in plain else plain["list"]
    return inspect.Parameter(name, _NAMED[kind], default=default, annotation=annotation)


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str | None)
