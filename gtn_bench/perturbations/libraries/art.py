"""Attacks of the Adversarial Robustness Toolbox, as `art.<Class>`."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.libraries.base import LibraryAttack
from gtn_bench.perturbations.libraries.known import RADIUS, Known

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_ALWAYS_TARGETED = ("SaliencyMapMethod", "TargetedUniversalPerturbation")  # labels are those to reach
# In its targeted mode AutoAttack takes the true labels, and SignOPTAttack requires images of the target class.
_UNTARGETED = ("AutoAttack", "SignOPTAttack")
_ONE_IMAGE = ("SimBA", "ZooAttack")  # they fail with any other batch size
_PATCH = "it makes a patch that is put on images, not perturbed images"
_DETECTORS = "it is for object detectors"
_SPEECH = "it is for speech recognition models"
_TENSORFLOW = "it is for TensorFlow estimators"

_LP = {"norm": (1, 2, math.inf)}
_AUTO_PGD = Known(
    *("eps", "linf"),
    loss_if={"difference_logits_ratio": "logits"},
    choices=_LP | {"loss_type": (None, "cross_entropy", "difference_logits_ratio")},
    min_classes_if={"difference_logits_ratio": 3},  # a loss of the three largest logits
    losses={"cross-entropy": "cross_entropy", "dlr": "difference_logits_ratio"},
)
_PIXELS = Known(
    *("th", None, "black", ("max_iter",)), returns_input_on_failure=True, choices={"es": (0, 1)}, min_classes=3
)
_WASSERSTEIN = ("inf", "1", "2", "wasserstein")
# Attacks behind universal perturbations that follow logits, which the view returns.
_ON_LOGITS = ("carlini", "carlini_inf", "deepfool", "ead", "newtonfool", "jsma")


class ViaART(LibraryAttack):
    """Any evasion attack of the Adversarial Robustness Toolbox on a classifier with gradients or outputs."""

    name = "art"
    source = "https://github.com/Trusted-AI/adversarial-robustness-toolbox"
    packages = ("adversarial-robustness-toolbox",)
    namespace = "art.attacks.evasion"
    base_class = "art.attacks.attack:EvasionAttack"
    handled = (
        *("estimator", "classifier", "estimator_orig", "verbose", "summary_writer"),
        *("targeted", "batch_size", "attacker_params"),
    )
    steps_parameter = "max_iter"
    loss_parameter = "loss_type"
    known = {
        "AutoAttack": Known(
            *("eps", "linf"),
            loss=None,
            returns_input_on_failure=True,
            choices=_LP,
            min_classes=3,
            has_step_size=False,  # it is that of the first of several attacks
        ),
        "AutoConjugateGradient": _AUTO_PGD,
        "AutoProjectedGradientDescent": _AUTO_PGD,
        "BasicIterativeMethod": Known("eps", "linf"),
        "BoundaryAttack": Known(RADIUS, "l2", "black", ("max_iter",), returns_input_on_failure=True),
        "BrendelBethgeAttack": Known(
            *(RADIUS, "linf"),
            loss="logits",
            choices={"norm": (0, 1, 2, math.inf)},
            steps="steps",
            package="numba",
            trial=False,
        ),
        "CarliniL0Method": Known(RADIUS, "l0", loss="logits", returns_input_on_failure=True),
        "CarliniL2Method": Known(RADIUS, "l2", loss="logits", returns_input_on_failure=True),
        "CarliniLInfMethod": Known(RADIUS, "linf", loss="logits", returns_input_on_failure=True),
        "DeepFool": Known(RADIUS, "l2", loss="logits"),
        "ElasticNet": Known(
            *(RADIUS, "l1"),
            loss="logits",
            returns_input_on_failure=True,
            choices={"decision_rule": ("EN", "L1", "L2")},
        ),
        "FastGradientMethod": Known("eps", "linf", has_step_size=False),  # it is that of a search with minimal: true
        "GeoDA": Known(RADIUS, "l2", "black", ("max_iter",), choices=_LP, square=True),
        "HopSkipJump": Known(
            *(RADIUS, "l2", "black", ("max_iter", "max_eval")),
            returns_input_on_failure=True,
            choices={"norm": (2, math.inf)},
        ),
        "MomentumIterativeMethod": Known("eps", "linf"),
        "NewtonFool": Known(RADIUS, "l2", loss="logits"),
        "PixelAttack": _PIXELS,
        "ProjectedGradientDescent": Known("eps", "linf"),
        "ProjectedGradientDescentNumpy": Known("eps", "linf"),
        "ProjectedGradientDescentPyTorch": Known("eps", "linf"),
        "RescalingAutoConjugateGradient": _AUTO_PGD,
        "SaliencyMapMethod": Known("gamma", loss="logits", target="next"),
        "SignOPTAttack": Known(
            *(RADIUS, "l2", "black", ("query_limit", "max_iter")),
            returns_input_on_failure=True,
            min_classes=3,
            steps="query_limit",
        ),
        "SimBA": Known(
            *("epsilon", None, "black", ("max_iter",)),
            choices={"attack": ("px", "dct"), "order": ("random", "diag")},
            probabilities=True,
        ),
        "SpatialTransformation": Known(
            "max_rotation", None, "black", ("num_rotations", "num_translations"), returns_input_on_failure=True
        ),
        # With norm 1 SquareAttack returns the images as they are.
        "SquareAttack": Known("eps", "linf", "black", ("max_iter",), choices={"norm": (2, math.inf)}),
        "TargetedUniversalPerturbation": Known(
            *("eps", "linf"), returns_input_on_failure=True, target="next", choices={"attacker": ("fgsm",)}
        ),
        "ThresholdAttack": _PIXELS,
        "UniversalPerturbation": Known(
            *("eps", "linf"),
            loss_if=dict.fromkeys(_ON_LOGITS, "logits"),
            returns_input_on_failure=True,
            choices={"attacker": (*_ON_LOGITS, "fgsm", "bim", "pgd")},
        ),
        # It differentiates numerically, with a query per pixel.
        "VirtualAdversarialMethod": Known("eps", "l2", "black", probabilities=True, trial=False),
        "Wasserstein": Known(
            *("eps",),
            returns_input_on_failure=True,
            norm_parameter="",
            choices={"norm": _WASSERSTEIN, "ball": _WASSERSTEIN},
        ),
        "ZooAttack": Known(RADIUS, "l2", "black", ("max_iter",), returns_input_on_failure=True, square="use_resize"),
    }
    others = {
        "AdversarialPatch": _PATCH,
        "AdversarialPatchNumpy": _PATCH,
        "AdversarialPatchPyTorch": _PATCH,
        "AdversarialPatchTensorFlowV2": _TENSORFLOW,
        "AdversarialTexturePyTorch": "it is for object trackers",
        "CarliniWagnerASR": _SPEECH,
        "CompositeAdversarialAttackPyTorch": "its strengths are pairs of bounds, which a single beta cannot set",
        "DPatch": _DETECTORS,
        "DecisionTreeAttack": "it is for decision trees",
        "FeatureAdversariesNumpy": "it needs a guide image for each image",
        "FeatureAdversariesPyTorch": "it needs a guide image for each image",
        "FeatureAdversariesTensorFlowV2": _TENSORFLOW,
        "FrameSaliencyAttack": "it is for videos",
        "GRAPHITEBlackbox": "it makes a sticker within a mask, for photographs of traffic signs",
        "GRAPHITEWhiteboxPyTorch": "it makes a sticker within a mask, for photographs of traffic signs",
        "HighConfidenceLowUncertainty": "it is for Gaussian processes",
        "ImperceptibleASR": _SPEECH,
        "ImperceptibleASRPyTorch": _SPEECH,
        "LaserAttack": "it needs a generator of laser beams, which a suite cannot name",
        "LowProFool": "it is for tabular data and needs feature importances",
        "MalwareGDTensorFlow": _TENSORFLOW,
        "OverTheAirFlickeringPyTorch": "it is for videos",
        "OverloadPyTorch": _DETECTORS,
        "ProjectedGradientDescentTensorFlowV2": _TENSORFLOW,
        "RobustDPatch": _DETECTORS,
        "SNAL": _DETECTORS,
        "ShadowAttack": "it attacks one color image at a time and has no strength",
    }

    trial_budget = {
        **{"max_iter": 2, "steps": 2, "binary_search_steps": 2, "nb_random_init": 1, "num_random_init": 1},
        **{"nb_restarts": 1, "max_eval": 10, "init_eval": 10, "query_limit": 50, "num_trial": 10, "k": 10},
        **{"iterate": 2, "num_rotations": 2, "num_translations": 2, "max_halving": 2, "max_doubling": 2},
        **{"conjugate_sinkhorn_max_iter": 2, "projected_sinkhorn_max_iter": 2, "parallel_pool_size": 0},
    }

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        is_optional = "targeted" in self._signature() and self.attack not in _UNTARGETED
        if self.targeted and not (is_optional or self.attack in _ALWAYS_TARGETED):
            raise ConfigError(f"attack '{self.title}' has no targeted mode; leave target out")
        if not self.targeted and self.attack in _ALWAYS_TARGETED:
            raise ConfigError(f"attack '{self.title}' is always targeted; set target: next")

    def make(self, classifier: Classifier, seed: int) -> Any:
        from gtn_bench.inference.views import as_art

        accepted = self._signature()
        own: dict[str, Any] = {
            "verbose": False,
            "targeted": self.targeted,
            "batch_size": 1 if self.attack in _ONE_IMAGE else self.batch_size,
        }
        own = {key: value for key, value in own.items() if key in accepted}
        if self.attack == "TargetedUniversalPerturbation":  # its inner attack is untargeted by default
            own["attacker_params"] = {"targeted": True}
        probabilities = self.attack in self.known and self.known[self.attack].probabilities
        return self.attack_class()(as_art(classifier, probabilities=probabilities), **self.settings(), **own)

    def inner_attacks(self, made: Any) -> Iterable[Any]:
        return made.attacks if self.attack == "AutoAttack" else ()

    def generate(self, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        import torch
        from torch.nn import functional as F

        labels = F.one_hot(label, classifier.num_classes).cpu().numpy()
        with contextlib.ExitStack() as stack:
            if self.attack == "GeoDA":  # it writes its basis of cosines to the working folder, and reads it from there
                stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
            found = made.generate(x.cpu().numpy(), labels)
        return torch.from_numpy(found).to(x)
