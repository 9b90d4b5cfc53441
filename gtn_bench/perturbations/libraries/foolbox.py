"""Attacks of foolbox 3, as `foolbox.<Class>`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args

from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Norm
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.libraries.base import LibraryAttack
from gtn_bench.perturbations.libraries.constructors import Parameters
from gtn_bench.perturbations.libraries.known import RADIUS, Known
from gtn_bench.perturbations.libraries.signatures import Value

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_LINF, _L2, _L1 = (Known("epsilon", norm) for norm in ("linf", "l2", "l1"))
_NOISE = Known("epsilon", "l2", "none")
_REPEATED_NOISE = Known("epsilon", "l2", "black", ("repeats",), returns_input_on_failure=True, steps="repeats")
_DISTANCES: dict[str, tuple[Value, ...]] = {"distance": get_args(Norm)}
_NO_LOGS: dict[str, tuple[Value, ...]] = {"tensorboard": (False,)}
_SEARCH = Known(RADIUS, "l2", "black", norm_parameter="distance", choices=_DISTANCES)
_BB_L0, _BB_L1, _BB_L2, _BB_LINF = (
    Known(RADIUS, norm, loss="logits", choices=_NO_LOGS, trial=False) for norm in ("l0", "l1", "l2", "linf")
)
_DEEPFOOL = Known(
    *(RADIUS, "l2"), loss_if={"logits": "logits"}, losses={"cross-entropy": "crossentropy", "margin": "logits"}
)
_FMN = Known(RADIUS, "l2", loss="logits", returns_input_on_failure=True)
# Where pixels are black or white, SparseL1DescentAttack leaves out the steps that lead to a target.
_UNTARGETED = (
    *("FGM", "FGSM", "L1FastGradientAttack", "L2FastGradientAttack", "LinfFastGradientAttack"),
    *("L2DeepFoolAttack", "LinfDeepFoolAttack", "NewtonFoolAttack", "SparseL1DescentAttack"),
    "VirtualAdversarialAttack",
)


class ViaFoolbox(LibraryAttack):
    """Any attack of foolbox. `beta_parameter: epsilon` sets the radius, an argument of the call.

    The parameter `distance` of some attacks takes the name of a norm: l0, l1, l2 or linf.
    """

    name = "foolbox"
    source = "https://github.com/bethgelab/foolbox"
    packages = ("foolbox",)
    namespace = "foolbox.attacks"
    base_class = "foolbox.attacks.base:Attack"
    handled = ()
    known = {
        "AdamPGD": _LINF,
        "BinarySearchContrastReductionAttack": _SEARCH,
        "BoundaryAttack": Known(RADIUS, "l2", "black", ("steps",), choices=_NO_LOGS),
        "DDNAttack": Known(RADIUS, "l2", returns_input_on_failure=True),
        "DatasetAttack": _SEARCH._replace(returns_input_on_failure=True),
        "EADAttack": Known(RADIUS, "l1", loss="logits"),
        "FGM": _L2,
        "FGSM": _LINF,
        "GaussianBlurAttack": _SEARCH._replace(budget=("steps",), returns_input_on_failure=True),
        "GenAttack": Known("epsilon", "linf", "black", ("steps",), target="next"),
        "HopSkipJumpAttack": Known(
            *(RADIUS, "l2", "black", ("steps", "max_gradient_eval_steps")),
            norm_parameter="constraint",
            choices=_NO_LOGS,
        ),
        "InversionAttack": _SEARCH,
        "L0BrendelBethgeAttack": _BB_L0,
        "L0FMNAttack": _FMN._replace(norm="l0"),
        "L1AdamBasicIterativeAttack": _L1,
        "L1AdamPGD": _L1,
        "L1AdamProjectedGradientDescentAttack": _L1,
        "L1BasicIterativeAttack": _L1,
        "L1BrendelBethgeAttack": _BB_L1,
        "L1FMNAttack": _FMN._replace(norm="l1"),
        "L1FastGradientAttack": _L1,
        "L1MomentumIterativeFastGradientMethod": _L1,
        "L1PGD": _L1,
        "L1ProjectedGradientDescentAttack": _L1,
        "L2AdamBasicIterativeAttack": _L2,
        "L2AdamPGD": _L2,
        "L2AdamProjectedGradientDescentAttack": _L2,
        "L2AdditiveGaussianNoiseAttack": _NOISE,
        "L2AdditiveUniformNoiseAttack": _NOISE,
        "L2BasicIterativeAttack": _L2,
        "L2BrendelBethgeAttack": _BB_L2,
        "L2CarliniWagnerAttack": Known(RADIUS, "l2", loss="logits"),
        "L2ClippingAwareAdditiveGaussianNoiseAttack": _NOISE,
        "L2ClippingAwareAdditiveUniformNoiseAttack": _NOISE,
        "L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack": _REPEATED_NOISE,
        "L2ClippingAwareRepeatedAdditiveUniformNoiseAttack": _REPEATED_NOISE,
        "L2ContrastReductionAttack": _NOISE,
        "L2DeepFoolAttack": _DEEPFOOL,
        "L2FMNAttack": _FMN,
        "L2FastGradientAttack": _L2,
        "L2MomentumIterativeFastGradientMethod": _L2,
        "L2PGD": _L2,
        "L2ProjectedGradientDescentAttack": _L2,
        "L2RepeatedAdditiveGaussianNoiseAttack": _REPEATED_NOISE,
        "L2RepeatedAdditiveUniformNoiseAttack": _REPEATED_NOISE,
        "LInfFMNAttack": _FMN._replace(norm="linf"),
        "LinearSearchBlendedUniformNoiseAttack": _SEARCH._replace(budget=("steps", "directions")),
        "LinearSearchContrastReductionAttack": _SEARCH._replace(budget=("steps",)),
        "LinfAdamBasicIterativeAttack": _LINF,
        "LinfAdamPGD": _LINF,
        "LinfAdamProjectedGradientDescentAttack": _LINF,
        "LinfAdditiveUniformNoiseAttack": Known("epsilon", "linf", "none"),
        "LinfBasicIterativeAttack": _LINF,
        "LinfDeepFoolAttack": _DEEPFOOL._replace(norm="linf"),
        "LinfFastGradientAttack": _LINF,
        "LinfMomentumIterativeFastGradientMethod": _LINF,
        "LinfPGD": _LINF,
        "LinfProjectedGradientDescentAttack": _LINF,
        "LinfRepeatedAdditiveUniformNoiseAttack": _REPEATED_NOISE._replace(norm="linf"),
        "LinfinityBrendelBethgeAttack": _BB_LINF,
        "MIFGSM": _LINF,
        "NewtonFoolAttack": Known(RADIUS, "l2"),
        "PGD": _LINF,
        "PointwiseAttack": Known(RADIUS, "l2", "black", trial=False),
        "SaltAndPepperNoiseAttack": Known(RADIUS, "l2", "black", ("steps",), returns_input_on_failure=True),
        "SparseL1DescentAttack": _L1,
        "SpatialAttack": Known(
            "max_rotation", None, "black", ("num_rotations", "random_steps"), returns_input_on_failure=True
        ),
        "VirtualAdversarialAttack": _L2,
    }
    others = {
        "Attack": "it is the base class of the others",
        "BinarizationRefinementAttack": "it improves what another attack has found on binarized images",
    }

    def parameters(self) -> Parameters:
        accepted = super().parameters()
        if "distance" in accepted:  # an object, which a suite gives by its name
            accepted["distance"] = accepted["distance"].replace(default=self.norm or "l2", annotation="str")
        call = inspect.Parameter("epsilon", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="float | None")
        return {**accepted, "epsilon": call}

    trial_budget = {
        **{"steps": 2, "binary_search_steps": 2, "repeats": 2, "random_steps": 2, "num_rotations": 2},
        **{"num_translations": 2, "initial_gradient_eval_steps": 10, "max_gradient_eval_steps": 10},
    }

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        if self.targeted and self.attack in _UNTARGETED:
            raise ConfigError(f"attack '{self.title}' has no targeted mode; leave target out")

    def make(self, classifier: Classifier, seed: int) -> Any:
        import foolbox

        fixed = issubclass(self.attack_class(), foolbox.attacks.base.FixedEpsilonAttack)
        if fixed and self.beta_parameter != "epsilon" and self.params.get("epsilon") is None:
            raise ConfigError(f"attack '{self.title}' needs the parameter 'epsilon'")
        settings = self.settings()
        settings.pop("epsilon", None)
        if "distance" in settings:
            settings["distance"] = getattr(foolbox.distances, settings["distance"])
        return self.attack_class()(**settings)

    def generate(self, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        from foolbox.criteria import Misclassification, TargetedMisclassification

        from gtn_bench.inference.views import as_foolbox

        view = as_foolbox(classifier)
        if self.attack == "DatasetAttack":  # it takes images of other classes from those that it has been fed
            made.feed(view, x)
        epsilon = self.beta if self.beta_parameter == "epsilon" else self.params.get("epsilon")
        criterion = Misclassification(label) if self.target == "untargeted" else TargetedMisclassification(label)
        _, clipped, _ = made(view, x, criterion, epsilons=epsilon)
        found: Tensor = clipped
        return found
