"""What the attacks of ART, foolbox and torchattacks have in common when a suite names one."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import PlainValidator, WithJsonSchema, model_validator

from gtn_bench.description import Mistake, PositiveInt, did_you_mean
from gtn_bench.perturbations.base import Perturbation

if TYPE_CHECKING:
    from torch import Tensor


def _scalar(value: object) -> object:
    """Infinity is a value here: ART's name of the maximum norm."""
    if not isinstance(value, bool | int | float | str | None) or value != value:
        raise ValueError(f"expects a number, a text, true, false or null, got {value!r}")
    return value


Scalar = Annotated[
    bool | int | float | str | None,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["boolean", "number", "string", "null"]}),
]


class LibraryAttack(Perturbation):
    """An attack class of another library, called by its name: `foolbox.LinfPGD`.

    `drives` names the parameter that beta sets. `params` are the others; what is left out is
    filled with the library's own default, so that the resolved suite says all of it.
    Random attacks draw for a whole batch, so `batch_size` is part of what determines the numbers.
    """

    uses_gradient = True
    meaning = "the attack's own parameter"
    namespace: ClassVar[str]  # the module in which attacks are looked up, and nowhere else
    base_class: ClassVar[str]  # what they derive from, as "module:class"
    handled: ClassVar[tuple[str, ...]]  # constructor parameters that are set here

    attack: str
    drives: str
    params: dict[str, Scalar] = {}
    batch_size: PositiveInt = 128

    @property
    def axis(self) -> str:
        return f"{self.drives} of {self.name}.{self.attack}"

    @property
    def chunk(self) -> int | None:
        return self.batch_size

    @model_validator(mode="after")
    def _known_and_complete(self) -> LibraryAttack:
        accepted = self._parameters()
        who = f"attack '{self.name}.{self.attack}'"
        for parameter in (*self.params, self.drives):
            if parameter not in accepted:
                raise Mistake(f"{who} has no parameter '{parameter}'{did_you_mean(parameter, accepted)}")
        if self.drives in self.params:
            raise Mistake(f"{who}: '{self.drives}' is driven by beta and cannot be set in params")
        for name, default in accepted.items():
            if name not in self.params and name != self.drives and isinstance(default, bool | int | float | str | None):
                self.params[name] = default
        return self

    def attack_class(self) -> Any:
        """The class, from the library's attack namespace. Raises `Mistake` for any other name."""
        try:
            found = vars(importlib.import_module(self.namespace))
            module, _, parent = self.base_class.partition(":")
            base = getattr(importlib.import_module(module), parent)
        except ImportError as error:
            raise Mistake(
                f"attack '{self.name}.{self.attack}' needs an installed {self.packages[0]}: {error}"
            ) from None
        attacks = {key: value for key, value in found.items() if inspect.isclass(value) and issubclass(value, base)}
        if self.attack not in attacks:
            raise Mistake(f"unknown attack '{self.name}.{self.attack}'{did_you_mean(self.attack, attacks)}")
        return attacks[self.attack]

    def _parameters(self) -> dict[str, Any]:
        """Parameters that a suite may set, with their defaults."""
        signature = inspect.signature(self.attack_class().__init__)
        return {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if name not in ("self", *self.handled)
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }


@contextlib.contextmanager
def seeded(seeds: Tensor) -> Iterator[None]:
    """Global generators of torch, NumPy and Python set from the first seed, and put back after."""
    import numpy as np
    import torch

    seed = int(seeds[0])
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
