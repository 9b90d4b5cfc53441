"""What is known about the attack classes of the libraries, in machine-readable form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from gtn_bench.config.threat import Norm
from gtn_bench.inference.losses import LossName
from gtn_bench.perturbations.base import Access
from gtn_bench.perturbations.libraries.signatures import Value
from gtn_bench.perturbations.targets import TargetName

RADIUS = "radius"  # beta of a minimal-norm attack
PIXEL_STEP_SIZES = ("alpha", "eps_step", "abs_stepsize")  # parameters of the libraries, in pixel values
STEP_SIZES = (*PIXEL_STEP_SIZES, "rel_stepsize")  # the first that is set counts
RESTARTS = ("n_restarts", "nb_random_init", "num_random_init")  # parameters of attacks with a random start

LossKind = Literal["cross-entropy", "logits"]


class Known(NamedTuple):
    """Facts about an attack class that its library does not state in a machine-readable way.

    Attributes:
        beta_parameter: The parameter that beta sets by default; `radius` for a minimal-norm attack.
        norm: The norm of the ball or of the search, unless `norm_parameter` sets it; None if there is neither.
        access: `white` if it follows gradients, `black` if it queries outputs, `none` if it ignores the classifier.
        loss: Kind of the loss whose gradient a white-box attack follows. `cross-entropy` stands for all losses on
            probabilities, which have no gradient where the softmax is saturated; `logits` for all others. None for an
            ensemble with a black-box attack, which does not depend on gradients.
        loss_if: Kind of the loss for a value of a parameter, by that value.
        returns_input_on_failure: Whether it returns by design what it did not fool as it was.
        budget: Parameters that limit the queries of a black-box attack. A suite must set one of them.
        target: The default goal; some attacks know no other.
        norm_parameter: The parameter that sets the norm, if the attack has it.
        choices: All allowed values of a parameter, by its name.
        channels: Required number of image channels; None for any number.
        square: Whether it requires square images; the name of a Boolean parameter if it does where that is true.
        min_classes: Smallest number of classes.
        min_classes_if: Smallest number of classes for a value of a parameter or of `target`, by that value.
        probabilities: Whether it requires a classifier that returns probabilities.
        steps: The parameter that counts steps, iterations or queries; None for that of the library, if the attack has
            it; an empty string if none does.
        has_step_size: Whether the library's parameter of the step size, if the attack has it, is a step size.
        losses: Values of the library's parameter of the loss, by the name of the loss.
        package: An optional package without which the attack does not exist; an empty string if there is none.
        trial: Whether `check` runs it. False if two images take seconds, or if compilation takes minutes.
    """

    beta_parameter: str
    norm: Norm | None = None
    access: Access = "white"
    budget: tuple[str, ...] = ()
    loss: LossKind | None = "cross-entropy"
    loss_if: Mapping[str, LossKind] = {}
    returns_input_on_failure: bool = False
    target: TargetName = "untargeted"
    norm_parameter: str = "norm"
    choices: Mapping[str, tuple[Value, ...]] = {}
    channels: int | None = None
    square: bool | str = False
    min_classes: int = 2
    min_classes_if: Mapping[str, int] = {}
    probabilities: bool = False
    steps: str | None = None
    has_step_size: bool = True
    losses: Mapping[LossName, Value] = {}
    package: str = ""
    trial: bool = True

    @property
    def minimal_norm(self) -> bool:
        """True for a minimal-norm attack."""
        return self.beta_parameter == RADIUS
