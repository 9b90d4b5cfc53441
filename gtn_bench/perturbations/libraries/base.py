"""The interface of library attacks: one attack class of ART, foolbox or torchattacks, by its name."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError, did_you_mean
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Access, Batch, Size
from gtn_bench.perturbations.libraries.constructors import (
    Parameters,
    constructor_parameters,
    library_stamp,
    stored_parameters,
)
from gtn_bench.perturbations.libraries.known import (
    PIXEL_STEP_SIZES,
    RADIUS,
    RESTARTS,
    STEP_SIZES,
    Known,
    LossKind,
)
from gtn_bench.perturbations.libraries.rng import isolated
from gtn_bench.perturbations.libraries.signatures import (
    Value,
    accepts_float,
    annotation_text,
    canonical_value,
    check_value,
    parse_norm,
    plain_value,
    requires_integer,
    takes_integers,
)
from gtn_bench.perturbations.libraries.trial import Trial, describe, run_trial, sandbox, trial_classifier
from gtn_bench.perturbations.targets import Targeted

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier
    from gtn_bench.inference.losses import LossName


class LibraryAttack(Targeted):
    """An attack class of another library, by its name: `foolbox.LinfPGD`.

    Random attacks draw random numbers for a whole batch, so their results depend on `batch_size`.

    Attributes:
        namespace: The module in which attack classes are looked up, and nowhere else.
        base_class: Base class of the attacks, as "module:class".
        handled: Constructor parameters that this package sets.
        known: Facts by name of the attack class.
        others: Classes that do not attack image classifiers, with the reason.
        steps_parameter: The parameter that counts the steps of most attacks.
        loss_parameter: The parameter that names the loss, if an attack has several.
        trial_budget: Largest values, in the trial run, of the attributes of attack objects that limit their work.
        attack: Name of the attack class.
        beta_parameter: The parameter that beta sets. With `radius` beta sets none: the attack is a minimal-norm attack,
            and an image counts as adversarial if its distance is at most beta.
        norm: Norm of the ball, or of the minimal-norm search.
        params: The other parameters of the attack. Missing ones are filled in with the library's defaults, so that the
            resolved suite contains all of them.
        batch_size: Images per call.
    """

    beta_meaning = "parameter of the attack"
    draws_depend_on_target = True
    namespace: ClassVar[str]
    base_class: ClassVar[str]
    handled: ClassVar[tuple[str, ...]]
    known: ClassVar[Mapping[str, Known]]
    others: ClassVar[Mapping[str, str]]
    steps_parameter: ClassVar[str] = "steps"
    loss_parameter: ClassVar[str] = "loss"
    trial_budget: ClassVar[Mapping[str, float]] = {}

    attack: str
    beta_parameter: str = ""
    norm: Norm | None = None
    params: dict[str, Value] = {}
    batch_size: PositiveInt = 128

    @classmethod
    def members(cls) -> Iterable[str]:
        return cls.known

    @property
    def title(self) -> str:
        return f"{self.name}.{self.attack}"

    @property
    def minimal_norm(self) -> bool:
        """True if beta is the radius of a minimal-norm attack."""
        return self.beta_parameter == RADIUS

    def axis_label(self, unit: str = "pixel value") -> str:
        if self.minimal_norm:
            return f"{self.norm} distance found by {self.title}"
        return f"{self.beta_parameter} of {self.title}"

    @property
    def changes_every_image(self) -> bool:  # type: ignore[override]
        """True unless the attack returns by design what it did not fool as it was."""
        return not self._facts.returns_input_on_failure

    @property
    def uses_gradient(self) -> bool:  # type: ignore[override]
        """True if the attack follows gradients, or is unknown."""
        return self.attack not in self.known or self.known[self.attack].access == "white"

    @property
    def access(self) -> Access:
        """Kind of access to the classifier; `white` if the attack is unknown."""
        return self._facts.access

    @property
    def needs_gradient(self) -> bool:
        """True if all that the attack does follows gradients. An ensemble may contain a black-box attack."""
        return self.attack in self.known and self._loss is not None

    @property
    def needs_ce_gradient(self) -> bool:
        """True if the attack follows the gradient of the cross-entropy of the label.

        That of another class does not vanish where the label is certain.
        """
        return self.needs_gradient and self._loss == "cross-entropy" and not self.targeted

    @property
    def _facts(self) -> Known:
        """Facts about the attack class; nothing but defaults if it is unknown."""
        return self.known.get(self.attack, Known(""))

    @property
    def _loss(self) -> LossKind | None:
        """Kind of the loss whose gradient the attack follows; None if it does not depend on gradients."""
        facts = self._facts
        if facts.access != "white":
            return None
        values = [value for value in self.params.values() if isinstance(value, str)]
        return next((facts.loss_if[value] for value in values if value in facts.loss_if), facts.loss)

    @property
    def batch(self) -> Batch:
        return self.batch_size

    @property
    def threat_model(self) -> Threat | None:
        """The ball whose radius a parameter sets, if its norm is known."""
        known = self.known.get(self.attack)
        if known is None or known.minimal_norm or self.norm is None:
            return None
        radius = self.beta if self.beta_parameter == known.beta_parameter else self.params.get(known.beta_parameter)
        return Threat(self.norm, float(radius)) if isinstance(radius, int | float) else None

    @property
    def search_region(self) -> Threat | None:
        """The threat model; None for noise, which makes no queries, and for targeted attacks."""
        return super().search_region if self._facts.access != "none" else None

    @property
    def passes(self) -> float | None:
        """None, because libraries do not state it; zero for noise."""
        return 0 if self.access == "none" else None

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

    def _with(self, name: str, value: Value) -> Self | None:
        """Return the attack with another value of a parameter."""
        return self.variant(params={**self.params, name: value})

    @property
    def pixel_sizes(self) -> Mapping[str, Size]:
        """The radius and the step size, wherever they are set, in the norm of the attack."""
        if self.attack not in self.known or self.norm is None:
            return {}
        radius = self._facts.beta_parameter
        meanings = {radius: f"{self.norm} radius"} | {name: "step size" for name in PIXEL_STEP_SIZES if name != radius}
        sizes = {f"params.{name}": (meanings.get(name), value) for name, value in self.params.items()}
        sizes["beta"] = (meanings.get(self.beta_parameter), self.beta)
        return {
            place: Size(meaning, value, self.norm)
            for place, (meaning, value) in sizes.items()
            if meaning and isinstance(value, int | float)
        }

    @property
    def integer_beta(self) -> bool:
        driven = self.parameters().get(self.beta_parameter)
        return driven is not None and takes_integers(driven)

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
    def _known_and_complete(self) -> LibraryAttack:
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

    def check(self, dataset: Dataset) -> None:
        """Check that the attack applies to a data set, as far as that is known without importing its library.

        Args:
            dataset: The data set.

        Raises:
            ConfigError: If the attack does not apply.
        """
        super().check(dataset)
        self._check_requirements(self._facts, dataset)
        self.settings()

    def try_out(self, dataset: Dataset) -> None:
        """Construct the attack and run it on two images, so that errors of the library appear before training.

        The classifier is untrained. Attacks that differ in their strength alone run once.

        Args:
            dataset: The data set, which determines the shape of images and the number of classes.

        Raises:
            ConfigError: If the attack refuses its parameters, or fails.
        """
        if self._is_identity:
            return
        classifier = trial_classifier(dataset.input_shape, dataset.num_classes)
        try:
            with sandbox():
                self.make(classifier, seed=0)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"attack '{self.title}' refuses its parameters: {describe(error)}") from None
        if self._facts.trial:
            content = {key: value for key, value in self.identity().items() if key != "beta"}
            run_trial(Trial(json.dumps(content, sort_keys=True), dataset.input_shape, dataset.num_classes, self))

    def _check_requirements(self, known: Known, dataset: Dataset) -> None:
        """Check what the attack requires of a data set.

        Args:
            known: Facts about the attack class.
            dataset: The data set.

        Raises:
            ConfigError: If the data set does not have it.
        """
        channels, height, width = dataset.input_shape
        who, whose = f"attack '{self.title}'", f"data set '{dataset.name}'"
        if known.access == "none" and self.targeted:
            raise ConfigError(f"{who} has no targeted mode; leave target out")
        if known.channels not in (None, channels):
            raise ConfigError(f"{who} requires images of {known.channels} channels, {whose} has {channels}")
        if height != width and (known.square is True or self.params.get(str(known.square))):
            setting = f" with {known.square}: true" if isinstance(known.square, str) else ""
            raise ConfigError(f"{who}{setting} requires square images, those of {whose} are {height} x {width}")
        if dataset.num_classes < known.min_classes:
            raise ConfigError(f"{who} requires at least {known.min_classes} classes, {whose} has {dataset.num_classes}")
        for name, value in {**self.params, "target": self.target}.items():
            least = known.min_classes_if.get(value, 2) if isinstance(value, str) else 2
            if dataset.num_classes < least:
                raise ConfigError(
                    f"{who} with {name}: {value} requires at least {least} classes, {whose} has {dataset.num_classes}"
                )

    def make(self, classifier: Classifier, seed: int) -> Any:
        """Construct the library's attack object, with its view of the classifier.

        Args:
            classifier: The classifier under attack.
            seed: Seed for attacks that take one.

        Returns:
            The attack object.

        Raises:
            ConfigError: If the attack does not support the target, or lacks a parameter.
        """
        raise NotImplementedError

    def inner_attacks(self, made: Any) -> Iterable[Any]:
        """Return the attack objects that an ensemble of attacks contains.

        Args:
            made: The object that `make` returned.
        """
        return ()

    def generate(self, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        """Run the attack.

        Args:
            made: The object that `make` returned.
            classifier: The classifier under attack.
            x: Images (N, C, H, W) in [0, 1].
            label: Classes (N,) int64: the true ones, or the classes to reach if the attack is targeted.

        Returns:
            Images (N, C, H, W).
        """
        raise NotImplementedError

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return self.run(classifier, x, self.labels(classifier, x, y, seeds), seeds)

    def run(self, classifier: Classifier, x: Tensor, label: Tensor, seeds: Tensor) -> Tensor:
        """Construct the attack and run it.

        Args:
            classifier: The classifier under attack.
            x: Images (N, C, H, W) in [0, 1].
            label: Classes (N,) int64: the true ones, or the classes to reach if the attack is targeted.
            seeds: Seeds (N,) int64. The first one seeds the global random generators.

        Returns:
            Images (N, C, H, W).
        """
        if self._is_identity:
            return x
        with isolated(seeds, x.device):
            made = self.make(classifier, int(seeds[0]))
            return self.generate(made, classifier, x, label)

    @property
    def _is_identity(self) -> bool:
        """True if the ball has radius zero, which some libraries refuse."""
        return self.threat_model is not None and self.threat_model.epsilon == 0

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

    def attack_class(self) -> Any:
        """Return the class from the library's attack namespace.

        Raises:
            ConfigError: If the namespace has no class of this name, or the class does not attack image classifiers.
        """
        self._check_applies()
        attacks = attack_classes(type(self))
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
            titles = [f"{self.name}.{name}" for name in attacks]
            raise ConfigError(f"unknown attack '{self.title}'{did_you_mean(f'{self.name}.{short}', titles)}")

    def parameters(self) -> Parameters:
        """Return the parameters that a suite may set, by name."""
        return {name: parameter for name, parameter in self._signature().items() if name not in self.handled}

    def _signature(self) -> Parameters:
        """Return the parameters of the constructor, by name."""
        self._check_applies()
        attacks = attack_parameters(type(self))
        self._check_installed(attacks)
        return attacks[self.attack]

    @classmethod
    def read_constructor(cls, attack_class: type) -> Parameters:
        """Return the parameters of the constructor of an attack class, by name.

        Args:
            attack_class: The class.
        """
        return constructor_parameters(attack_class)


@functools.cache
def attack_parameters(library: type[LibraryAttack]) -> Mapping[str, Parameters]:
    """Return the constructor parameters of all attack classes of a library, by name.

    The library is imported once, and again when its version, its files or an optional package change.

    Args:
        library: The class of the library.

    Raises:
        ConfigError: If the library is not installed.
    """
    code = {constructor_parameters.__module__, annotation_text.__module__}
    code |= {cls.__module__ for cls in library.__mro__ if issubclass(cls, LibraryAttack)}
    packages = {*library.packages, "torch", "numpy", *(known.package for known in library.known.values())} - {""}
    stamp = None
    if library.packages and all(module.startswith("gtn_bench.") for module in code):  # a plug-in can change any time
        stamp = library_stamp(library.namespace, packages, code)
    return stored_parameters(
        library.name,
        stamp,
        lambda: {name: library.read_constructor(cls) for name, cls in attack_classes(library).items()},
    )


@functools.cache
def attack_classes(library: type[LibraryAttack]) -> dict[str, Any]:
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
