"""Functions, classes and methods of PyTorch and NumPy that user code replaces in their modules."""

from __future__ import annotations

import functools
import operator
import os
import random
from types import ModuleType
from typing import Any

import numpy as np
import torch

_MODULES: tuple[ModuleType, ...] = (
    *(torch, torch.nn, torch.nn.functional, torch.nn.init, torch.autograd, torch.linalg, torch.special),
    *(np, np.random, np.linalg, random),
)
_OF_THE_COMPILER = tuple(os.path.join(os.path.dirname(torch.__file__), name) for name in ("_dynamo", "_compile.py"))
_ABSENT = object()

Snapshot = list[tuple[Any, dict[str, Any]]]  # modules and classes, and what they held


@functools.cache
def _owners() -> tuple[Any, ...]:
    """Return the modules and classes that are watched."""
    layers = [value for value in vars(torch.nn).values() if isinstance(value, type)]
    return *_MODULES, torch.Tensor, *layers


def snapshot() -> Snapshot:
    """Return what the modules and classes hold."""
    return [(owner, dict(vars(owner))) for owner in _owners()]


def restore(before: Snapshot) -> list[str]:
    """Put back functions, classes and methods that were replaced or removed, and remove methods that hide others.

    What was added otherwise stays: modules import parts of themselves when they are needed. So do variables of modules.

    Args:
        before: What the modules and classes held before.

    Returns:
        The names of what was changed.
    """
    changed = []
    for owner, held in before:
        now, place = vars(owner), _name_of(owner)
        if len(now) == len(held) and all(map(operator.is_, now.values(), held.values())):
            continue
        for name in [name for name, value in held.items() if now.get(name, _ABSENT) is not value]:
            if _is_code(held[name]) and not _is_change_of_torch(name, now.get(name)):
                setattr(owner, name, held[name])
                changed.append(f"{place}.{name}")
        if isinstance(owner, type):
            for name in [name for name in vars(owner) if name not in held and _hides_another(owner, name)]:
                delattr(owner, name)
                changed.append(f"{place}.{name}")
    return changed


def _is_code(value: object) -> bool:
    return callable(value) or isinstance(value, staticmethod | classmethod | property)


def _is_change_of_torch(name: str, new: object) -> bool:
    """Return whether PyTorch itself has replaced its code, as it does when its compiler is imported or used."""
    if name == "Storage":  # an alias that follows the default dtype
        return True
    file = getattr(getattr(new, "__code__", None), "co_filename", "")  # `functools.wraps` leaves it as it is
    return str(file).startswith(_OF_THE_COMPILER)


def _hides_another(owner: type, name: str) -> bool:
    return _is_code(vars(owner)[name]) and any(name in vars(base) for base in owner.__mro__[1:])


def _name_of(owner: Any) -> str:
    if not isinstance(owner, type):
        return str(owner.__name__)
    return "torch.Tensor" if owner is torch.Tensor else f"torch.nn.{owner.__name__}"
