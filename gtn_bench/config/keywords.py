"""Misspelt keyword arguments of public functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gtn_bench.config.errors import ConfigError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


class KeywordError(ConfigError, TypeError):
    """A keyword argument that a function does not have."""


def names_keywords(function: F) -> F:
    """Return a function that names the nearest keyword for one that it does not have.

    Its signature and its documentation stay. It adds a frame to the stack, which ``warnings.warn(stacklevel=)`` counts.

    Args:
        function: A function without ``**kwargs``.
    """
    known = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in known:
                raise KeywordError(f"{function.__name__} has no parameter '{name}'{did_you_mean(name, known)}")
        return function(*args, **kwargs)

    return cast(F, checked)
