"""Architectures from plain functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from pydantic import create_model

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.functions import code_of, home_of, name_of, parameters_as_fields
from gtn_bench.config.keywords import names_keywords
from gtn_bench.data.base import Dataset
from gtn_bench.models.architectures import Architecture

if TYPE_CHECKING:
    from torch import nn

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN = ("in_channels", "num_classes", "input_shape")  # from the data set, if the function takes them


class FunctionArchitecture(Architecture):
    """An architecture that a function builds.

    Attributes:
        function: The function. Its keyword parameters are the fields.
    """

    normalizes_itself: ClassVar[bool] = False
    function: ClassVar[Callable[..., nn.Module]]

    def code_modules(self) -> set[str]:
        return super().code_modules() | home_of(type(self).function)

    def content(self) -> dict[str, Any]:
        return super().content() | code_of(type(self).function)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self).function, self.name, dict(self))

    def check(self, dataset: Dataset) -> None:
        import torch

        try:
            with torch.device("meta"):  # which computes no weights, and does not support all code
                self.bare(dataset, seed=0)
        except ConfigError:
            self.bare(dataset, seed=0)

    def bare(self, dataset: Dataset, seed: int) -> nn.Module:
        import torch
        from torch import nn

        values = {
            "in_channels": dataset.input_shape[0],
            "num_classes": dataset.num_classes,
            "input_shape": dataset.input_shape,
        }
        function = type(self).function
        accepted = inspect.signature(function).parameters
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                network = function(**{name: value for name, value in values.items() if name in accepted}, **dict(self))
            except Exception as error:  # the code of the user
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise ConfigError(
                    f"architecture '{self.name}' cannot be built for data set '{dataset.name}', "
                    f"{dataset.num_classes} classes of images {dataset.input_shape}: {reason}"
                ) from error
        if not isinstance(network, nn.Module):
            raise ConfigError(f"architecture '{self.name}': expects a torch.nn.Module, got {type(network).__name__}")
        return network

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        return self.bare(dataset, seed)


@overload
def architecture(function: F) -> F: ...
@overload
def architecture(*, name: str | None = None) -> Callable[[F], F]: ...
@names_keywords
def architecture(function: Any = None, *, name: str | None = None) -> Any:
    """Register a function or class that builds a network, so that suites can name it.

    The function takes `in_channels`, `num_classes` and `input_shape` of the data set if it has parameters of these
    names. Its other parameters become fields in YAML. The network maps images (N, C, H, W) in [0, 1] to logits (N, K).

    Args:
        function: A function that returns a `torch.nn.Module`, or a subclass of it.
        name: Name in suites; by default that of the function.

    Returns:
        The function, unchanged; without a function, a decorator.

    Raises:
        ConfigError: If a parameter cannot be a field.
    """
    if function is None:
        return lambda given: architecture_from(given, name)
    return architecture_from(function, name)


def architecture_from(function: F, name: str | None) -> F:
    """Register a function as an architecture. See `architecture`.

    Args:
        function: The function.
        name: Name in suites; None for that of the function.

    Returns:
        The function.
    """
    from gtn_bench.models import ARCHITECTURES

    title = name_of(function, name, "gtn_bench.architecture")
    known = ARCHITECTURES.get(title)
    if known is not None and not issubclass(known, FunctionArchitecture):
        raise ConfigError(f"there is an architecture '{title}' already; pass another name=")
    ARCHITECTURES[title] = _class_of(function, title)
    return function


def _class_of(function: Callable[..., Any], name: str) -> type[FunctionArchitecture]:
    fields = parameters_as_fields(function, _GIVEN, f"architecture '{name}'")
    cls = create_model(name, __base__=FunctionArchitecture, __module__=__name__, **fields)  # type: ignore[call-overload]
    cls.name, cls.function = name, staticmethod(function)
    cls.__doc__ = inspect.getdoc(function) or f"The network that `{name}` builds."
    return cls


def _rebuild(function: Callable[..., Any], name: str, fields: dict[str, Any]) -> FunctionArchitecture:
    return _class_of(function, name)(**fields)
