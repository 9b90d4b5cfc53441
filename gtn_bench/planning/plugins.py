"""Plug-in files: Python files, named on the command line, whose descriptions suites can use."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from gtn_bench.config import own_names
from gtn_bench.config.description import Description
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.own_names import DECORATORS, UNREGISTERED
from gtn_bench.config.paths import user_path
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.from_function import architecture_from
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.planning.catalog import TABLES

_loaded: dict[str, ModuleType] = {}  # by absolute path


def load_plugin(path: str) -> ModuleType:
    """Import a Python file and enter the descriptions that it defines into their tables.

    The folder of the file is the first place where its imports are looked up. A file is imported once per process.

    Subclasses of `torch.nn.Module` become architectures, too, unless a parameter has neither a type nor a default.

    Args:
        path: The file.

    Returns:
        The module.

    Raises:
        ConfigError: If the file cannot be imported, or a description has a name that is taken.
    """
    file = user_path(path).absolute()
    if str(file) in _loaded:
        return _loaded[str(file)]
    who = f"plug-in {path}"
    if not file.is_file() or file.suffix != ".py":
        raise ConfigError(f"{who}: expects an existing Python file, FILE.py")
    name = file.stem
    if not name.isidentifier():
        raise ConfigError(f"{who}: expects a name of letters, digits and '_', such as my_models.py; rename the file")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    found = importlib.util.find_spec(name)
    if name in sys.stdlib_module_names or found is None or Path(str(found.origin)).resolve() != file.resolve():
        raise ConfigError(f"{who}: another module is called '{name}'; rename the file")
    try:
        module = importlib.import_module(name)
    except Exception as error:  # the code of the user
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{who}{f', line {line}' if line else ''}: {reason}") from None
    register(module)
    _register_networks(module)
    _note_undecorated(module, path)
    _loaded[str(file)] = module
    own_names.LOADED.append(str(file))
    return module


def loaded_plugins() -> tuple[str, ...]:
    """Return the paths of the plug-in files that are loaded."""
    return tuple(_loaded)


def register(module: ModuleType) -> None:
    """Enter the descriptions that a module defines into their tables.

    Args:
        module: The module.

    Raises:
        ConfigError: If a name is taken.
    """
    for cls in vars(module).values():
        if not (isinstance(cls, type) and issubclass(cls, Description) and cls.__module__ == module.__name__):
            continue
        if "name" not in vars(cls):
            continue  # a base class
        kind, table = next((kind, table) for kind, table in TABLES.values() if _root(cls) is _root_of(table))
        if table.get(cls.name, cls) is not cls:
            raise ConfigError(f"plug-in {module.__file__}: there is a {kind} '{cls.name}' already; rename it")
        table[cls.name] = cls  # type: ignore[index]


def _register_networks(module: ModuleType) -> None:
    """Enter the network classes of a module into the table of architectures, where they can be built by name."""
    torch = sys.modules.get("torch")
    for name, cls in vars(module).items():
        is_network = torch and isinstance(cls, type) and issubclass(cls, torch.nn.Module)
        if is_network and _is_local(cls, module) and name == cls.__name__ and not _registered_as(cls):
            try:
                architecture_from(cls, name)
            except ConfigError as error:  # the name is taken, or a parameter has neither a type nor a default
                UNREGISTERED["architecture", name] = str(error)


def _note_undecorated(module: ModuleType, path: str) -> None:
    """Note which functions and classes of a module no suite can name, because no decorator registers them."""
    for name, value in vars(module).items():
        is_code = inspect.isfunction(value) or isinstance(value, type)
        if not is_code or not _is_local(value, module) or _is_description(value):
            continue
        if title := _registered_as(value):
            UNREGISTERED.update(
                dict.fromkeys(((kind, name) for kind in DECORATORS), f"plug-in {path} calls it '{title}'")
            )
            continue
        what = "class" if isinstance(value, type) else "function"
        for kind, decorator in DECORATORS.items():
            reason = f"plug-in {path} defines a {what} of this name without a decorator; write {decorator} above it"
            if kind == "perturbation" and isinstance(value, type):
                reason = f"plug-in {path} defines a class of this name; {decorator} expects a function of "
                reason += "(model, x, y, beta)"
            UNREGISTERED.setdefault((kind, name), reason)


def _is_description(value: object) -> bool:
    """Check that a value is a class of descriptions that its table lists."""
    return isinstance(value, type) and issubclass(value, Description) and "name" in vars(value)


def _is_local(cls: Any, module: ModuleType) -> bool:
    """Check that a function or class is defined in a plug-in's file, or in a module beside it."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file is not None and Path(file).parent == Path(str(module.__file__)).parent


def _registered_as(value: object) -> str | None:
    """Return the name under which a decorator has registered a function or class; None if none has."""
    known = (*ARCHITECTURES.items(), *PERTURBATIONS.items())
    return next((title for title, cls in known if getattr(cls, "function", None) is value), None)


def _root(cls: type[Description]) -> type[Description]:
    """Return the class that a description derives from directly below `Description`, such as `Mode`."""
    return [base for base in cls.__mro__ if issubclass(base, Description)][-2]


def _root_of(table: Mapping[str, type[Description]]) -> type[Description]:
    return _root(next(iter(table.values())))
