"""Parameters of plain functions as fields of descriptions."""

from __future__ import annotations

import hashlib
import inspect
import sys
import uuid
from collections.abc import Callable, Collection, Iterable
from typing import Any, get_type_hints

from gtn_bench.config.errors import ConfigError


def parameters_as_fields(function: Callable[..., Any], given: Collection[str], who: str) -> dict[str, tuple[Any, Any]]:
    """Return the keyword parameters of a function as fields of a pydantic model.

    Args:
        function: The function.
        given: Names of the parameters that the caller passes; the others become fields.
        who: Start of error messages.

    Returns:
        Type and default by name, as `pydantic.create_model` takes them.

    Raises:
        ConfigError: If a parameter is positional-only or variadic, or has neither a type nor a default.
    """
    try:
        hints = get_type_hints(vars(function)["__init__"] if isinstance(function, type) else function)
    except Exception:  # names that exist for type checkers only
        hints = {}
    fields: dict[str, tuple[Any, Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in given:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{who}: expects named parameters, got '{parameter}'")
        required = parameter.default is parameter.empty
        if required and name not in hints:
            known = ", ".join(given)
            raise ConfigError(f"{who}: parameter '{name}' needs a type or a default; gtn-bench passes {known}")
        fields[name] = (
            hints.get(name, type(parameter.default)),
            ... if required else parameter.default,
        )
    return fields


def name_of(function: Callable[..., Any], name: str | None, who: str) -> str:
    """Return the name under which a function is registered.

    Args:
        function: The function.
        name: Another name than its own.
        who: The kind of function, for messages.

    Raises:
        ConfigError: If it is no function, or has no name.
    """
    if not callable(function):
        raise ConfigError(f"{who} expects a function, got {function!r}")
    found = name or str(getattr(function, "__name__", "<lambda>"))
    if found == "<lambda>":
        raise ConfigError(f"{who} expects a function with a name; pass name=")
    return found


def home_of(function: Callable[..., Any]) -> set[str]:
    """Return the name of the module whose file defines a function; nothing for one of an interactive session.

    Args:
        function: The function.
    """
    module = str(getattr(function, "__module__", "__main__"))
    return {module} if getattr(sys.modules.get(module), "__file__", None) else set()


def code_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return a hash of a function as it is in memory, with the values that it refers to, for a description's content.

    Args:
        function: The function.
    """
    import cloudpickle

    try:
        content = by_value(lambda: bytes(cloudpickle.dumps(function)), home_of(function))
        return {"function": hashlib.sha256(content).hexdigest()}
    except Exception:  # it refers to an object that cannot be copied: its results are computed each time
        return {"function": uuid.uuid4().hex}


def by_value(dump: Callable[[], bytes], modules: Iterable[str]) -> bytes:
    """Return what a function pickles, with the functions and classes of some modules instead of their names.

    Args:
        dump: Function that pickles an object with cloudpickle.
        modules: Names of loaded modules.
    """
    import cloudpickle

    known = {"__main__", *cloudpickle.list_registry_pickle_by_value()}
    added = [sys.modules[name] for name in modules if name in sys.modules and name not in known]
    added = [module for module in added if not module.__name__.startswith("gtn_bench.")]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        return dump()
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)
