"""Targets of attacks: the class that an attack leads to, if it is not satisfied with any other class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import PlainValidator, WithJsonSchema

from gtn_bench.config import renamed
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.threat import Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.perturbations.draws import integers_like

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

TargetName = Literal["untargeted", "next", "least-likely", "random"]

_NAMES: tuple[str, ...] = get_args(TargetName)
_OTHER_DRAWS = 0x5BD1E995  # distinguishes the draws of targets from those of random starts, which have the same seeds


def check_target(value: object) -> TargetName | int:
    """Check that a value is a target.

    Args:
        value: One of the names, or the number of a class.

    Returns:
        The value.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value in _NAMES:
        return value  # type: ignore[return-value]
    if isinstance(value, str) and renamed.VALUES.get(value) in _NAMES:
        raise ValueError(f"does not know {value!r}; it is now called {renamed.VALUES[value]!r}")
    hint = did_you_mean(value, _NAMES) if isinstance(value, str) else ""
    hint = hint if hint.startswith("; did you mean") else ""  # all names are listed already
    raise ValueError(f"expects one of {', '.join(_NAMES)}, or the number of a class, got {shown(value)}{hint}")


Target = Annotated[
    TargetName | int,
    PlainValidator(check_target),
    WithJsonSchema({"anyOf": [{"enum": list(_NAMES)}, {"type": "integer", "minimum": 0}]}),
]


class Targeted(Perturbation):
    """An attack with a target.

    Success is the same for all targets: the prediction is not the label. A targeted attack is therefore weaker than an
    untargeted one, and has no search region.

    Attributes:
        draws_depend_on_target: Whether random draws differ between targets.
        target: `untargeted` to lead away from the label. `next` leads to the class after the label, `least-likely` to
            the least likely class of the clean image, `random` to a class that is drawn for each image; none of these
            is the label. A number leads to this class; the evaluation leaves images of this class as they are.
    """

    draws_depend_on_target: ClassVar[bool] = False

    target: Target = "untargeted"

    @property
    def targeted(self) -> bool:
        """True if the attack leads to a class."""
        return self.target != "untargeted"

    @property
    def search_region(self) -> Threat | None:
        return None if self.targeted else self.threat_model

    def is_attacked(self, y: Tensor) -> Tensor:
        return y != self.target if isinstance(self.target, int) else super().is_attacked(y)

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        if isinstance(self.target, int) and self.target >= dataset.num_classes:
            raise ConfigError(
                f"'{self.title}' expects a target from 0 to {dataset.num_classes - 1}, the classes of data set "
                f"'{dataset.name}', got {self.target}"
            )

    def rng_identity(self) -> dict[str, Any]:
        """Return what random draws depend on, as plain JSON. A random start is the same for all targets."""
        content = super().rng_identity()
        if not self.draws_depend_on_target:
            del content["target"]
        return content

    def labels(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Return the labels of the attack: the true ones, or the classes to lead to if it is targeted.

        Args:
            classifier: The classifier under attack. Only `least-likely` queries it, once per image.
            x: Clean images (N, C, H, W).
            y: True labels (N,).
            seeds: Seeds (N,), of which `random` targets depend.

        Returns:
            Labels (N,).
        """
        return attack_labels(classifier, x, y, seeds, self.target)


def attack_labels(classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor, target: TargetName | int) -> Tensor:
    """Return the labels of an attack.

    Args:
        classifier: The classifier under attack.
        x: Clean images (N, C, H, W).
        y: True labels (N,).
        seeds: Seeds (N,); a random target of row i depends on ``seeds[i]`` alone.
        target: "untargeted" for the true labels, which the attack leads away from. Else the classes that it leads to:
            "next" after the label; "least-likely" of the clean image among the others; "random" among the others, all
            with the same probability; a number for this class.

    Returns:
        Labels (N,).
    """
    import torch

    others = classifier.num_classes - 1
    if target == "untargeted":
        return y
    if target == "next":
        return (y + 1) % classifier.num_classes
    if target == "least-likely":
        with torch.no_grad():
            return classifier(x).scatter(1, y[:, None], math.inf).argmin(dim=1)
    if target == "random":
        return (y + 1 + integers_like(y, seeds ^ _OTHER_DRAWS, others)) % classifier.num_classes
    return torch.full_like(y, int(target))
