"""Attacks of foolbox 3, as `foolbox.<Class>`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args

from gtn_bench.description import Mistake, did_you_mean
from gtn_bench.perturbations.base import Norm
from gtn_bench.perturbations.library import RADIUS, Known, LibraryAttack

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier

_DISTANCES = get_args(Norm)
_LINF, _L2, _L1 = (Known("epsilon", norm) for norm in ("linf", "l2", "l1"))
_NOISE = Known("epsilon", "l2", "none")
_REPEATED_NOISE = Known("epsilon", "l2", "black", ("repeats",))
_SEARCH = Known(RADIUS, "l2", "black")


class ViaFoolbox(LibraryAttack):
    """Any attack of foolbox. `drives: epsilon` gives beta to the call, which foolbox's own constructors lack.

    Attacks that are told the distance to search in take it by its name: l0, l1, l2 or linf.
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
        "BoundaryAttack": Known(RADIUS, "l2", "black", ("steps",)),
        "DDNAttack": Known(RADIUS, "l2"),
        "DatasetAttack": _SEARCH,
        "EADAttack": Known(RADIUS, "l1"),
        "FGM": _L2,
        "FGSM": _LINF,
        "GaussianBlurAttack": Known(RADIUS, "l2", "black", ("steps",)),
        "GenAttack": Known("epsilon", "linf", "black", ("steps",), target="next"),
        "HopSkipJumpAttack": Known(RADIUS, "l2", "black", ("steps", "max_gradient_eval_steps")),
        "InversionAttack": _SEARCH,
        "L0BrendelBethgeAttack": Known(RADIUS, "l0"),
        "L0FMNAttack": Known(RADIUS, "l0"),
        "L1AdamBasicIterativeAttack": _L1,
        "L1AdamPGD": _L1,
        "L1AdamProjectedGradientDescentAttack": _L1,
        "L1BasicIterativeAttack": _L1,
        "L1BrendelBethgeAttack": Known(RADIUS, "l1"),
        "L1FMNAttack": Known(RADIUS, "l1"),
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
        "L2BrendelBethgeAttack": Known(RADIUS, "l2"),
        "L2CarliniWagnerAttack": Known(RADIUS, "l2"),
        "L2ClippingAwareAdditiveGaussianNoiseAttack": _NOISE,
        "L2ClippingAwareAdditiveUniformNoiseAttack": _NOISE,
        "L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack": _REPEATED_NOISE,
        "L2ClippingAwareRepeatedAdditiveUniformNoiseAttack": _REPEATED_NOISE,
        "L2ContrastReductionAttack": _NOISE,
        "L2DeepFoolAttack": Known(RADIUS, "l2"),
        "L2FMNAttack": Known(RADIUS, "l2"),
        "L2FastGradientAttack": _L2,
        "L2MomentumIterativeFastGradientMethod": _L2,
        "L2PGD": _L2,
        "L2ProjectedGradientDescentAttack": _L2,
        "L2RepeatedAdditiveGaussianNoiseAttack": _REPEATED_NOISE,
        "L2RepeatedAdditiveUniformNoiseAttack": _REPEATED_NOISE,
        "LInfFMNAttack": Known(RADIUS, "linf"),
        "LinearSearchBlendedUniformNoiseAttack": Known(RADIUS, "l2", "black", ("steps", "directions")),
        "LinearSearchContrastReductionAttack": Known(RADIUS, "l2", "black", ("steps",)),
        "LinfAdamBasicIterativeAttack": _LINF,
        "LinfAdamPGD": _LINF,
        "LinfAdamProjectedGradientDescentAttack": _LINF,
        "LinfAdditiveUniformNoiseAttack": Known("epsilon", "linf", "none"),
        "LinfBasicIterativeAttack": _LINF,
        "LinfDeepFoolAttack": Known(RADIUS, "linf"),
        "LinfFastGradientAttack": _LINF,
        "LinfMomentumIterativeFastGradientMethod": _LINF,
        "LinfPGD": _LINF,
        "LinfProjectedGradientDescentAttack": _LINF,
        "LinfRepeatedAdditiveUniformNoiseAttack": Known("epsilon", "linf", "black", ("repeats",)),
        "LinfinityBrendelBethgeAttack": Known(RADIUS, "linf"),
        "MIFGSM": _LINF,
        "NewtonFoolAttack": Known(RADIUS, "l2"),
        "PGD": _LINF,
        "PointwiseAttack": _SEARCH,
        "SaltAndPepperNoiseAttack": Known(RADIUS, "l2", "black", ("steps",)),
        "SparseL1DescentAttack": _L1,
        "SpatialAttack": Known("max_rotation", None, "black", ("num_rotations", "random_steps")),
        "VirtualAdversarialAttack": _L2,
    }
    others = {
        "Attack": "it is the base class of the others",
        "BinarizationRefinementAttack": "it improves what another attack has found on binarised images",
    }

    def parameters(self) -> dict[str, inspect.Parameter]:
        accepted = super().parameters()
        if "distance" in accepted:  # an object, which files give by its name
            accepted["distance"] = accepted["distance"].replace(default=self.ball or "l2", annotation=str)
        call = inspect.Parameter("epsilon", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=float | None)
        return {**accepted, "epsilon": call}

    def make(self, classifier: Classifier, seed: int) -> Any:
        import foolbox

        fixed = issubclass(self.attack_class(), foolbox.attacks.base.FixedEpsilonAttack)
        if fixed and self.drives != "epsilon" and self.params.get("epsilon") is None:
            raise Mistake(f"attack '{self.title}' needs the parameter 'epsilon'")
        settings = self.settings()
        settings.pop("epsilon", None)
        if (distance := settings.get("distance")) is not None:
            if distance not in _DISTANCES:
                what = f"expects one of {', '.join(_DISTANCES)}, got {distance!r}{did_you_mean(distance, _DISTANCES)}"
                raise Mistake(f"attack '{self.title}': 'distance' {what}")
            settings["distance"] = getattr(foolbox.distances, distance)
        return self.attack_class()(**settings)

    def generate(self, made: Any, classifier: Classifier, x: Tensor, aim: Tensor) -> Tensor:
        from foolbox.criteria import Misclassification, TargetedMisclassification

        from gtn_bench.classifiers import as_foolbox

        view = as_foolbox(classifier)
        if self.attack == "DatasetAttack":  # which looks for images of another class among those that it is fed
            made.feed(view, x)
        epsilon = self.beta if self.drives == "epsilon" else self.params.get("epsilon")
        criterion = Misclassification(aim) if self.target == "any" else TargetedMisclassification(aim)
        _, clipped, _ = made(view, x, criterion, epsilons=epsilon)
        found: Tensor = clipped
        return found
