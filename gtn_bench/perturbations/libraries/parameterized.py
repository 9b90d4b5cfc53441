"""The parameters of a library attack: checked against its constructor, completed, and varied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from gtn_bench.config.errors import ConfigError, did_you_mean
from gtn_bench.config.threat import Norm
from gtn_bench.perturbations.libraries.known import RADIUS, RESTARTS, STEP_SIZES
from gtn_bench.perturbations.libraries.named import NamedAttack
from gtn_bench.perturbations.libraries.signatures import (
    Value,
    accepts_float,
    canonical_value,
    check_value,
    parse_norm,
    plain_value,
    requires_integer,
    takes_integers,
)

if TYPE_CHECKING:
    from gtn_bench.inference.losses import LossName


class ParameterizedAttack(NamedAttack):
    """An attack class with its parameters.

    Attributes:
        steps_parameter: The parameter that counts the steps of most attacks.
        loss_parameter: The parameter that names the loss, if an attack has several.
        beta_parameter: The parameter that beta sets. With `radius` beta sets none: the attack is a minimal-norm attack,
            and an image counts as adversarial if its distance is at most beta.
        norm: Norm of the ball, or of the minimal-norm search.
        params: The other parameters of the attack. Missing ones are filled in with the library's defaults, so that the
            resolved suite contains all of them.
    """

    steps_parameter: ClassVar[str] = "steps"
    loss_parameter: ClassVar[str] = "loss"

    beta_parameter: str = ""
    norm: Norm | None = None
    params: dict[str, Value] = {}

    @model_validator(mode="before")
    @classmethod
    def _filled_from_the_table(cls, fields: Any) -> Any:
        """Fill in omitted fields from the table of known attacks."""
        if not isinstance(fields, dict):
            return fields
        if norm := parse_norm(fields.get("norm")):
            fields = {**fields, "norm": norm}
        if fields.get("attack") not in cls.known:
            return fields
        known = cls.known[fields["attack"]]
        filled = {"beta_parameter": known.beta_parameter, "target": known.target, **fields}
        given = fields.get("params")
        stated = given.get(known.norm_parameter) if isinstance(given, dict) else None
        norm = parse_norm(stated) if stated is not None else known.norm
        return {"norm": norm, **filled} if norm else filled

    @model_validator(mode="after")
    def _known_and_complete(self) -> Self:
        """Check the parameters, put them in the spelling of the library, and fill in the defaults."""
        who = f"attack '{self.title}'"
        accepted = self.parameters()
        settable = [*accepted, RADIUS]
        known = self._facts
        for name in self.params:
            if name not in accepted:
                raise ConfigError(f"{who} has no parameter '{name}'{self._instead(name, accepted)}")
        if not self.beta_parameter:
            raise ConfigError(f"{who}: needs beta_parameter, the parameter that beta sets, or '{RADIUS}'")
        if self.beta_parameter not in settable:
            raise ConfigError(
                f"{who} has no parameter '{self.beta_parameter}'{did_you_mean(self.beta_parameter, settable)}"
            )
        if self.beta_parameter in self.params:
            raise ConfigError(f"{who}: '{self.beta_parameter}' is set by beta and cannot be set in params")
        for name, value in self.params.items():
            choices = known.choices.get(name, ())
            self.params[name] = canonical_value(value, accepted[name], choices)
            check_value(f"{who}: '{name}'", self.params[name], accepted[name], choices)
        if self.minimal_norm and self.norm is None:
            raise ConfigError(f"{who}: needs norm, the norm that it minimizes")
        if known.budget and not {*self.params, self.beta_parameter} & {*known.budget}:
            defaults = ", ".join(f"{name}: {accepted[name].default}" for name in known.budget)
            raise ConfigError(f"{who} is a black-box attack: set a query budget in params (by default {defaults})")
        for name, parameter in accepted.items():
            if name in self.params or name == self.beta_parameter:
                continue
            if parameter.default is parameter.empty:
                raise ConfigError(f"{who} needs the parameter '{name}'")
            with contextlib.suppress(ValueError):
                self.params[name] = plain_value(parameter.default)
        stated = parse_norm(self.params.get(known.norm_parameter))
        if known.norm and stated and self.norm not in (None, stated):
            raise ConfigError(
                f"{who}: norm '{self.norm}' contradicts its parameter '{known.norm_parameter}', which is "
                f"{self.params[known.norm_parameter]}; leave norm out and set '{known.norm_parameter}' in params"
            )
        return self

    def _instead(self, name: str, accepted: Iterable[str]) -> str:
        """Return the end of the message about an unknown parameter."""
        elsewhere = {"targeted": "; set target: next, beside params", "batch_size": "; set it beside params"}
        if name not in self.handled:
            return did_you_mean(name, accepted)
        return elsewhere.get(name, "; gtn-bench sets it")

    @property
    def minimal_norm(self) -> bool:
        """True if beta is the radius of a minimal-norm attack."""
        return self.beta_parameter == RADIUS

    @property
    def integer_beta(self) -> bool:
        driven = self.parameters().get(self.beta_parameter)
        return driven is not None and takes_integers(driven)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's parameters that the suite sets, beta among them.

        Returns:
            Values by the names of parameters. Lists become tuples.

        Raises:
            ConfigError: If beta sets an integer parameter and is not an integer.
        """
        params = {name: tuple(value) if isinstance(value, list) else value for name, value in self.params.items()}
        if self.beta_parameter not in self._signature():  # the radius, or a parameter of the call
            return params
        driven, whole = self.parameters()[self.beta_parameter], self.beta == int(self.beta)
        if requires_integer(driven) and not whole:
            raise ConfigError(f"attack '{self.title}': '{self.beta_parameter}' expects integers, got {self.beta:g}")
        return {**params, self.beta_parameter: int(self.beta) if whole and not accepts_float(driven) else self.beta}

    def with_steps(self, factor: int) -> Self | None:
        """Return the attack with more steps, iterations or queries, whatever its library counts.

        Args:
            factor: Factor on their number.

        Returns:
            The attack; None if it is unknown, has no such parameter, or beta sets it.
        """
        name = self.steps_parameter if self._facts.steps is None else self._facts.steps
        count = self.params.get(name) if self.attack in self.known else None
        if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
            return None
        return self._with(name, count * factor)

    def with_step_size(self, factor: float) -> Self | None:
        """Return the attack with another step size.

        Args:
            factor: Factor on the step size.

        Returns:
            The attack; None if it is unknown, has no such parameter, or beta sets it.
        """
        if self.attack not in self.known or not self._facts.has_step_size:
            return None
        set_here = {name: self.params.get(name) for name in STEP_SIZES}
        name, size = next(((name, size) for name, size in set_here.items() if isinstance(size, int | float)), ("", 0))
        return self._with(name, size * factor) if name and self.beta_parameter not in STEP_SIZES else None

    def with_loss(self, loss: LossName) -> Self | None:
        """Return the attack with another loss, where its library names one.

        Args:
            loss: Name of the loss.

        Returns:
            The attack; None if it does not know the loss.
        """
        value = self._facts.losses.get(loss)
        return None if value is None else self._with(self.loss_parameter, value)

    def with_restart(self) -> Self | None:
        """Return the attack with a random start, where its library has one.

        Returns:
            The attack, the same one if it is random already; None if it is deterministic.
        """
        if "random_start" in self.params:
            return self._with("random_start", True)
        if self.params.get("num_random_init") == 0:
            return self._with("num_random_init", 1)
        is_random = {*self.params} & {*RESTARTS} or (self._facts.access == "black" and self._facts.budget)
        return self if is_random else None

    def once(self) -> Self:
        counts = [name for name in RESTARTS if name in self.params and isinstance(self.params[name], int)]
        several = [name for name in counts if int(self.params[name]) > 1]
        return self.variant(params={**self.params, **dict.fromkeys(several, 1)}) or self if several else self

    def _with(self, name: str, value: Value) -> Self | None:
        """Return the attack with another value of a parameter."""
        return self.variant(params={**self.params, name: value})
