"""Inputs and outputs of probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from gtn_bench.config.threat import Threat
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Perturbation

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

SUBSAMPLE = 128  # largest number of test images that probes see, the first ones


class Outcome(NamedTuple):
    """The finding of a probe.

    Attributes:
        count: Number of images that count against the attack: newly fooled ones, for most probes.
        n: Number of images that the share is of; 0 if the probe does not apply.
        forwards: Forward passes that the probe took, in images.
        backwards: Backward passes that the probe took, in images.
        note: Why it does not apply, or what else it measured; empty if there is nothing to say.
    """

    count: int  # type: ignore[assignment]  # of images, not the method of tuples
    n: int
    forwards: int
    backwards: int
    note: str = ""


@dataclass(frozen=True, eq=False)
class Situation:
    """An attack of a run and its result on n images.

    Attributes:
        classifier: The classifier that decides about success, in full precision.
        perturbation: The attack.
        region: The ball in which images are judged.
        x: Images (n, C, H, W) in [0, 1].
        y: Labels (n,).
        seeds: Seeds (n,) int64 of the attack.
        prediction: Classes (n,) that the classifier predicts for the images that the attack returned.
        eight_bit: Whether images are rounded to multiples of 1/255 before they are judged.
        others: Other classifiers, whose adversarial examples are transferred.
    """

    classifier: Classifier
    perturbation: Perturbation
    region: Threat
    x: Tensor
    y: Tensor
    seeds: Tensor
    prediction: Tensor
    eight_bit: bool = False
    others: Sequence[Classifier] = ()

    @property
    def survivors(self) -> Tensor:
        """Mask (n,) of the images that the attack left correctly classified."""
        return self.prediction == self.y

    @property
    def ball(self) -> Threat:
        """The ball in which attacks search. Rounding to 8 bits makes `region` larger."""
        return self.perturbation.search_region or self.region


class Probe(NamedTuple):
    """An extra attack, or several of them, that tests an attack of a run.

    Attributes:
        name: Name of the probe.
        checks: Names of the checks that it measures.
        applies: Whether it applies to an attack on a data set.
        passes: Upper estimate of the forward and backward passes per image, for classifiers that are not random.
        run: Measures the checks.
        images: Which images it needs: those that the attack left correctly classified, or all of the part.
    """

    name: str
    checks: tuple[str, ...]
    applies: Callable[[Perturbation, Dataset], bool]
    passes: Callable[[Perturbation], float]
    run: Callable[[Situation], dict[str, Outcome]]
    images: Literal["survivors", "all"] = "survivors"
