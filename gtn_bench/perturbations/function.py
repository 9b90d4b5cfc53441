"""Perturbations from plain functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args, overload

from pydantic import create_model

from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.functions import code_of, home_of, name_of, parameters_as_fields
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.perturbations.base import Batch, Perturbation
from gtn_bench.perturbations.libraries.rng import isolated

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN = ("model", "x", "y", "beta")


class FunctionPerturbation(Perturbation):
    """A perturbation that a function computes. Random numbers of torch and NumPy are seeded for each batch.

    Attributes:
        function: The function. Its keyword parameters are the fields.
        norm: The norm of the ball whose radius is beta; None if beta is no radius.
    """

    beta_meaning = "strength"
    function: ClassVar[Callable[..., Tensor]]
    norm: ClassVar[Norm | None] = None

    def code_modules(self) -> set[str]:
        return super().code_modules() | home_of(type(self).function)

    def content(self) -> dict[str, Any]:
        return super().content() | code_of(type(self).function)

    def rng_identity(self) -> dict[str, Any]:
        content = super().rng_identity()
        del content["function"]  # other code draws the same numbers
        return content

    def __reduce__(self) -> tuple[Any, ...]:
        cls = type(self)
        return _rebuild, (cls.function, self.name, self.norm, self.uses_gradient, dict(self))

    @property
    def batch(self) -> Batch:
        """Images per call: a fixed number, because random numbers are drawn for a whole batch."""
        return 128

    @property
    def threat_model(self) -> Threat | None:
        return Threat(self.norm, self.beta) if self.norm else None

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        with isolated(seeds):
            return type(self).function(classifier, x, y, **dict(self))


@overload
def perturbation(function: F) -> F: ...
@overload
def perturbation(
    *, name: str | None = None, norm: Norm | None = None, uses_gradient: bool = False
) -> Callable[[F], F]: ...
def perturbation(
    function: Any = None, *, name: str | None = None, norm: Norm | None = None, uses_gradient: bool = False
) -> Any:
    """Register a function that perturbs images, so that suites can name it.

    ``function(model, x, y, beta)`` takes the classifier, which maps images to logits, images (N, C, H, W) in [0, 1],
    true labels (N,) and the strength. It returns images (N, C, H, W). Its other parameters become fields in YAML.

    Args:
        function: The function.
        name: Name in suites; by default that of the function.
        norm: `l0`, `l1`, `l2` or `linf` if beta is the radius of a ball in this norm. The ball is then checked, and
            other attacks are compared with it.
        uses_gradient: Whether it follows the gradient of the model's loss.

    Returns:
        The function, unchanged; without a function, a decorator.

    Raises:
        ConfigError: If a parameter cannot be a field.
    """
    if function is None:
        return lambda given: perturbation_from(given, name, norm, uses_gradient)
    return perturbation_from(function, name, norm, uses_gradient)


def perturbation_from(function: F, name: str | None, norm: Norm | None, uses_gradient: bool) -> F:
    """Register a function as a perturbation. See `perturbation`.

    Args:
        function: The function.
        name: Name in suites; None for that of the function.
        norm: The norm of the ball whose radius is beta, if it is one.
        uses_gradient: Whether it follows the gradient of the model's loss.

    Returns:
        The function.
    """
    from gtn_bench.perturbations import PERTURBATIONS

    title = name_of(function, name, "gtn_bench.perturbation")
    if norm not in (None, *get_args(Norm)):
        raise ConfigError(
            f"perturbation '{title}': norm expects one of {', '.join(get_args(Norm))}, got {shown(norm)}"
            f"{did_you_mean(norm, get_args(Norm))}"
        )
    known = PERTURBATIONS.get(title)
    if known is not None and not issubclass(known, FunctionPerturbation):
        raise ConfigError(f"there is a perturbation '{title}' already; pass another name=")
    missing = [each for each in _GIVEN if each not in inspect.signature(function).parameters]
    if missing:
        raise ConfigError(
            f"perturbation '{title}': expects a function of (model, x, y, beta), got one without '{missing[0]}'"
        )
    PERTURBATIONS[title] = _class_of(function, title, norm, uses_gradient)
    return function


def _class_of(
    function: Callable[..., Any], name: str, norm: Norm | None, uses_gradient: bool
) -> type[FunctionPerturbation]:
    fields = parameters_as_fields(function, _GIVEN, f"perturbation '{name}'")
    cls = create_model(name, __base__=FunctionPerturbation, __module__=__name__, **fields)  # type: ignore[call-overload]
    cls.name, cls.function, cls.norm, cls.uses_gradient = name, staticmethod(function), norm, uses_gradient
    cls.norms = (norm,) if norm else ()
    cls.beta_meaning = "radius" if norm else "strength"
    cls.pixel_fields = ("beta",) if norm else ()
    cls.__doc__ = inspect.getdoc(function) or f"The function `{name}`."
    return cls


def _rebuild(
    function: Callable[..., Any], name: str, norm: Norm | None, uses_gradient: bool, fields: dict[str, Any]
) -> FunctionPerturbation:
    return _class_of(function, name, norm, uses_gradient)(**fields)
