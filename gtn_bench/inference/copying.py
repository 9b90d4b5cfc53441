"""Copies of networks that share nothing with the originals, and modules that functions call."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from gtn_bench.config.errors import ConfigError
from gtn_bench.models.function import FunctionModule

_HELD = ("_modules", "_parameters", "_buffers")  # by a module; their entries are copied one by one


def independent_copy(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network.

    Tensors that are computed from parameters, such as the weights of `torch.nn.utils.weight_norm`, are detached.
    Attributes that cannot be copied, such as locks and files, are shared.

    Args:
        network: The network. It does not change.

    Raises:
        ConfigError: If the network cannot be copied.
    """
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed_tensors(network)}
    try:
        return copy.deepcopy(network, dict(memo))
    except Exception:  # any object can be an attribute
        for module in reversed(list(network.modules())):  # inner modules first
            for value in [value for name, value in vars(module).items() if name not in _HELD]:
                if not _can_be_copied(value, memo):
                    memo[id(value)] = value
    try:
        return copy.deepcopy(network, memo)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"network {type(network).__name__} cannot be copied ({reason})") from None


def called_modules(network: nn.Module) -> list[nn.Module]:
    """Return the modules that functions inside a network call: the owner of a method, closed-over and global names.

    Args:
        network: The network. Modules that are registered in it are not returned.
    """
    functions = [module.function for module in network.modules() if isinstance(module, FunctionModule)]
    return [value for function in functions for value in _referenced(function) if isinstance(value, nn.Module)]


def _computed_tensors(network: nn.Module) -> Iterator[Tensor]:
    """Return the tensors of a network that are part of an autograd graph, which `copy.deepcopy` refuses."""
    for module in network.modules():
        for value in (*vars(module).values(), *module.buffers(recurse=False)):
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value


def _can_be_copied(value: Any, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # any object can be an attribute
        return False
    return True


def _referenced(function: Any) -> list[Any]:
    """Return the objects that a function, method, `functools.partial` or callable object refers to."""
    if isinstance(function, functools.partial):
        return [*_referenced(function.func), *function.args, *function.keywords.values()]
    if inspect.ismethod(function):
        return [function.__self__, *_referenced(function.__func__)]
    if inspect.isfunction(function):
        names = inspect.getclosurevars(function)
        return [*names.nonlocals.values(), *names.globals.values()]
    return list(vars(function).values()) if hasattr(function, "__dict__") else []
