"""Perturbations from plain functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar, get_args, overload

from pydantic import create_model

from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.functions import code_of, home_of, name_of, parameters_as_fields
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.perturbations.base import Access, Batch, Perturbation
from gtn_bench.perturbations.libraries.rng import isolated

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier
    from gtn_bench.inference.losses import LossName

F = TypeVar("F", bound=Callable[..., Any])

_STEP_SIZES = ("step_size", "alpha")  # parameters with this meaning
_GIVEN = ("model", "x", "y", "beta")


class Facts(NamedTuple):
    """Facts about a function that its author states.

    Attributes:
        norm: The norm of the ball whose radius is beta; None if beta is no radius.
        uses_gradient: Whether it follows the gradient of the model's loss.
        queries_model: Whether it uses the model at all; False for noise.
        returns_input_on_failure: Whether it returns by design what it did not fool as it was.
    """

    norm: Norm | None = None
    uses_gradient: bool = False
    queries_model: bool = True
    returns_input_on_failure: bool = False


class FunctionPerturbation(Perturbation):
    """A perturbation that a function computes. Random numbers of torch and NumPy are seeded for each batch.

    Attributes:
        function: The function. Its keyword parameters are the fields.
        facts: What is said of it.
    """

    beta_meaning = "strength"
    function: ClassVar[Callable[..., Tensor]]
    facts: ClassVar[Facts]

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
        return _rebuild, (cls.function, self.name, cls.facts, dict(self))

    @property
    def access(self) -> Access:
        return super().access if self.facts.queries_model else "none"

    @property
    def batch(self) -> Batch:
        """Images per call: a fixed number, because random numbers are drawn for a whole batch."""
        return 128

    @property
    def threat_model(self) -> Threat | None:
        return Threat(self.facts.norm, self.beta) if self.facts.norm else None

    @property
    def search_region(self) -> Threat | None:
        return self.threat_model if self.facts.queries_model else None

    def with_steps(self, factor: int) -> Self | None:
        """Return the perturbation with another value of its parameter `steps`.

        Args:
            factor: Factor on the number of steps.

        Returns:
            The perturbation; None if there is no such parameter, or it is not a positive integer.
        """
        steps = getattr(self, "steps", None)
        if not isinstance(steps, int) or isinstance(steps, bool) or steps <= 0:
            return None
        return self.variant(steps=steps * factor)

    def with_step_size(self, factor: float) -> Self | None:
        """Return the perturbation with another value of its parameter `step_size` or `alpha`.

        Args:
            factor: Factor on the step size.

        Returns:
            The perturbation; None if there is no such parameter, or it is not a number.
        """
        for field in _STEP_SIZES:
            size = getattr(self, field, None)
            if isinstance(size, int | float) and not isinstance(size, bool):
                return self.variant(**{field: size * factor})
        return None

    def with_loss(self, loss: LossName) -> Self | None:
        """Return the perturbation with another value of its parameter `loss`, if its type is a choice of names.

        Args:
            loss: Name of the loss.

        Returns:
            The perturbation; None if there is no such parameter, or it does not know the loss.
        """
        field = type(self).model_fields.get("loss")
        choices = get_args(field.annotation) if field else ()
        return self.variant(loss=loss) if loss in choices else None

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        with isolated(seeds, x.device, quiet=False):
            return type(self).function(classifier, x, y, **dict(self))


@overload
def perturbation(function: F) -> F: ...
@overload
def perturbation(
    *,
    name: str | None = None,
    norm: Norm | None = None,
    uses_gradient: bool = False,
    queries_model: bool = True,
    returns_input_on_failure: bool = False,
) -> Callable[[F], F]: ...
@names_keywords
def perturbation(
    function: Any = None,
    *,
    name: str | None = None,
    norm: Norm | None = None,
    uses_gradient: bool = False,
    queries_model: bool = True,
    returns_input_on_failure: bool = False,
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
        queries_model: Whether it uses the model at all. False for noise, which is no attack and is not graded.
        returns_input_on_failure: Whether it returns by design what it did not fool as it was. If it does not, and more
            than half of these images are unchanged, the attack is suspect.

    Returns:
        The function, unchanged; without a function, a decorator.

    Raises:
        ConfigError: If a parameter cannot be a field.
    """
    facts = Facts(norm, uses_gradient, queries_model, returns_input_on_failure)
    if function is None:
        return lambda given: perturbation_from(given, name, facts)
    return perturbation_from(function, name, facts)


def perturbation_from(function: F, name: str | None, facts: Facts) -> F:
    """Register a function as a perturbation. See `perturbation`.

    Args:
        function: The function.
        name: Name in suites; None for that of the function.
        facts: What is said of it.

    Returns:
        The function.
    """
    from gtn_bench.perturbations import PERTURBATIONS

    title, norm = name_of(function, name, "gtn_bench.perturbation"), facts.norm
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
    if facts.uses_gradient and not facts.queries_model:
        raise ConfigError(f"perturbation '{title}': uses_gradient=True needs queries_model=True")
    PERTURBATIONS[title] = _class_of(function, title, facts)
    return function


def _class_of(function: Callable[..., Any], name: str, facts: Facts) -> type[FunctionPerturbation]:
    fields = parameters_as_fields(function, _GIVEN, f"perturbation '{name}'")
    cls = create_model(name, __base__=FunctionPerturbation, __module__=__name__, **fields)  # type: ignore[call-overload]
    cls.name, cls.function, cls.facts = name, staticmethod(function), facts
    cls.uses_gradient = facts.uses_gradient
    is_attack = facts.norm is not None and facts.queries_model
    cls.changes_every_image = is_attack and not facts.returns_input_on_failure
    cls.norms = (facts.norm,) if facts.norm else ()
    cls.beta_meaning = "radius" if facts.norm else "strength"
    cls.pixel_fields = ("beta",) if facts.norm else ()
    cls.__doc__ = inspect.getdoc(function) or f"The function `{name}`."
    return cls


def _rebuild(function: Callable[..., Any], name: str, facts: Facts, fields: dict[str, Any]) -> FunctionPerturbation:
    return _class_of(function, name, facts)(**fields)
