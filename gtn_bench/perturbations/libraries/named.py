"""The attack classes of a library: looked up by name in one namespace, with the parameters of their constructors."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

from gtn_bench.config.errors import ConfigError, did_you_mean
from gtn_bench.perturbations.libraries.constructors import (
    Parameters,
    constructor_parameters,
    library_stamp,
    stored_parameters,
)
from gtn_bench.perturbations.libraries.known import Known
from gtn_bench.perturbations.libraries.namespaces import is_absent
from gtn_bench.perturbations.libraries.signatures import annotation_text
from gtn_bench.perturbations.targets import Targeted
from gtn_bench.store.keys import installed


class NamedAttack(Targeted):
    """An attack class of a library, by its name.

    Attributes:
        namespace: The module in which attack classes are looked up, and nowhere else.
        base_class: Base class of the attacks, as "module:class".
        handled: Constructor parameters that this package sets.
        known: Facts by name of the attack class.
        others: Classes that do not attack image classifiers, with the reason.
        attack: Name of the attack class.
    """

    namespace: ClassVar[str]
    base_class: ClassVar[str]
    handled: ClassVar[tuple[str, ...]]
    known: ClassVar[Mapping[str, Known]]
    others: ClassVar[Mapping[str, str]]

    attack: str

    @classmethod
    def members(cls) -> Iterable[str]:
        return cls.known

    @property
    def title(self) -> str:
        return f"{self.name}.{self.attack}"

    @property
    def _facts(self) -> Known:
        """Facts about the attack class; nothing but defaults if it is unknown."""
        return self.known.get(self.attack, Known(""))

    def attack_class(self) -> Any:
        """Return the class from the library's attack namespace.

        Raises:
            ConfigError: If the namespace has no class of this name, or the class does not attack image classifiers.
        """
        self._check_applies()
        attacks = attack_classes(type(self))
        self._check_installed(attacks)
        return attacks[self.attack]

    def parameters(self) -> Parameters:
        """Return the parameters that a suite may set, by name."""
        return {name: parameter for name, parameter in self._signature().items() if name not in self.handled}

    def _signature(self) -> Parameters:
        """Return the parameters of the constructor, by name."""
        self._check_applies()
        if self.attack not in self.known and is_absent(self.attack, self.namespace):
            tabled = sorted({*self.known, *self.others})
            self._check_installed([name for name in tabled if not is_absent(name, self.namespace)])
        attacks = attack_parameters(type(self))
        self._check_installed(attacks)
        return attacks[self.attack]

    def _check_applies(self) -> None:
        """Raise `ConfigError` if the class is known not to attack image classifiers."""
        if self.attack in self.others:
            raise ConfigError(f"attack '{self.title}' does not apply: {self.others[self.attack]}")

    def _check_installed(self, attacks: Collection[str]) -> None:
        """Raise `ConfigError` if the attack is not among those of the installed library."""
        package = self.known[self.attack].package if self.attack in self.known else ""
        if self.attack not in attacks and package:
            raise ConfigError(
                f"attack '{self.title}' needs the package '{package}'; install it with: pip install {package}"
            )
        if self.attack not in attacks:
            short = next((name for name in attacks if "".join(filter(str.isupper, name)) == self.attack), self.attack)
            near = did_you_mean(short, attacks).replace("'", f"'{self.name}.", 1)
            raise ConfigError(f"unknown attack '{self.title}'{near}")

    @classmethod
    def read_constructor(cls, attack_class: type) -> Parameters:
        """Return the parameters of the constructor of an attack class, by name.

        Args:
            attack_class: The class.
        """
        return constructor_parameters(attack_class)


@functools.cache
def attack_parameters(library: type[NamedAttack]) -> Mapping[str, Parameters]:
    """Return the constructor parameters of all attack classes of a library, by name.

    A library whose parameters this package does not contain is imported once, and again when its version, its files or
    an optional package change.

    Args:
        library: The class of the library.

    Raises:
        ConfigError: If the library is not installed.
    """
    code = {constructor_parameters.__module__, annotation_text.__module__}
    code |= {cls.__module__ for cls in library.__mro__ if issubclass(cls, NamedAttack)}
    packages = {*library.packages, "torch", "numpy", *(known.package for known in library.known.values())} - {""}
    stamp = None
    if library.packages and all(module.startswith("gtn_bench.") for module in code):  # a plug-in can change any time
        stamp = library_stamp(library.namespace, packages, code)
    return stored_parameters(
        *(library.name, library.namespace, stamp, lambda: read_parameters(library)),
        absent=[
            name for name, known in library.known.items() if known.package and installed(known.package) == "absent"
        ],
    )


def read_parameters(library: type[NamedAttack]) -> dict[str, Parameters]:
    """Import a library and return the constructor parameters of all of its attack classes, by name.

    Args:
        library: The class of the library.

    Raises:
        ConfigError: If the library is not installed.
    """
    return {name: library.read_constructor(cls) for name, cls in attack_classes(library).items()}


@functools.cache
def attack_classes(library: type[NamedAttack]) -> dict[str, Any]:
    """Return all attack classes in the namespace of a library, by name.

    Args:
        library: The class of the library.

    Raises:
        ConfigError: If the library is not installed.
    """
    module, _, parent = library.base_class.partition(":")
    try:
        found = vars(importlib.import_module(library.namespace))
        base = getattr(importlib.import_module(module), parent)
    except ImportError as error:
        raise ConfigError(
            f"attacks '{library.name}.<Class>' need an installed {library.packages[0]}: {error}"
        ) from None
    classes = {name: cls for name, cls in found.items() if inspect.isclass(cls) and issubclass(cls, base)}
    return {name: cls for name, cls in sorted(classes.items()) if not inspect.isabstract(cls)}
