"""The interface of library attacks: one attack class of ART, foolbox or torchattacks, by its name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Access, Batch, Size
from gtn_bench.perturbations.libraries.known import PIXEL_STEP_SIZES, Known, LossKind
from gtn_bench.perturbations.libraries.parameterized import ParameterizedAttack
from gtn_bench.perturbations.libraries.rng import isolated
from gtn_bench.perturbations.libraries.trial import Trial, describe, run_trial, sandbox, trial_classifier

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier


class LibraryAttack(ParameterizedAttack):
    """An attack class of another library, by its name: `foolbox.LinfPGD`.

    Random attacks draw random numbers for a whole batch, so their results depend on `batch_size`.

    Attributes:
        trial_budget: Largest values, in the trial run, of the attributes of attack objects that limit their work.
        batch_size: Images per call.
    """

    beta_meaning = "parameter of the attack"
    draws_depend_on_target = True
    trial_budget: ClassVar[Mapping[str, float]] = {}

    batch_size: PositiveInt = 128

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
