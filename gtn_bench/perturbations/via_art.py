"""Attacks of the Adversarial Robustness Toolbox, as `art.<Class>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtn_bench.description import Mistake
from gtn_bench.perturbations.library import RADIUS, Known, LibraryAttack

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier

_ALWAYS_AIMING = ("SaliencyMapMethod", "TargetedUniversalPerturbation")  # labels are what they lead to
_PATCH = "it makes a patch that is put on images, not perturbed images"
_DETECTORS = "it is for object detectors"
_SPEECH = "it is for speech recognisers"
_TENSORFLOW = "it is for TensorFlow estimators"


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
    known = {
        "AutoAttack": Known("eps", "linf"),
        "AutoConjugateGradient": Known("eps", "linf"),
        "AutoProjectedGradientDescent": Known("eps", "linf"),
        "BasicIterativeMethod": Known("eps", "linf"),
        "BoundaryAttack": Known(RADIUS, "l2", "black", ("max_iter",)),
        "BrendelBethgeAttack": Known(RADIUS, "l2"),
        "CarliniL0Method": Known(RADIUS, "l0"),
        "CarliniL2Method": Known(RADIUS, "l2"),
        "CarliniLInfMethod": Known(RADIUS, "linf"),
        "DeepFool": Known(RADIUS, "l2"),
        "ElasticNet": Known(RADIUS, "l1"),
        "FastGradientMethod": Known("eps", "linf"),
        "GeoDA": Known(RADIUS, "l2", "black", ("max_iter",)),
        "HopSkipJump": Known(RADIUS, "l2", "black", ("max_iter", "max_eval")),
        "MomentumIterativeMethod": Known("eps", "linf"),
        "NewtonFool": Known(RADIUS, "l2"),
        "PixelAttack": Known("th", None, "black", ("max_iter",)),
        "ProjectedGradientDescent": Known("eps", "linf"),
        "ProjectedGradientDescentNumpy": Known("eps", "linf"),
        "ProjectedGradientDescentPyTorch": Known("eps", "linf"),
        "RescalingAutoConjugateGradient": Known("eps", "linf"),
        "SaliencyMapMethod": Known("gamma", target="next"),
        "SignOPTAttack": Known(RADIUS, "l2", "black", ("query_limit", "max_iter")),
        "SimBA": Known("epsilon", None, "black", ("max_iter",), probabilities=True),
        "SpatialTransformation": Known("max_rotation", None, "black", ("num_rotations", "num_translations")),
        "SquareAttack": Known("eps", "linf", "black", ("max_iter",)),
        "TargetedUniversalPerturbation": Known("eps", "linf", target="next"),
        "ThresholdAttack": Known("th", None, "black", ("max_iter",)),
        "UniversalPerturbation": Known("eps", "linf"),
        "VirtualAdversarialMethod": Known("eps", "l2", probabilities=True),
        "Wasserstein": Known("eps"),
        "ZooAttack": Known(RADIUS, "l2", "black", ("max_iter",)),
    }
    others = {
        "AdversarialPatch": _PATCH,
        "AdversarialPatchNumpy": _PATCH,
        "AdversarialPatchPyTorch": _PATCH,
        "AdversarialPatchTensorFlowV2": _TENSORFLOW,
        "AdversarialTexturePyTorch": "it is for object trackers",
        "CarliniWagnerASR": _SPEECH,
        "CompositeAdversarialAttackPyTorch": "its strengths are pairs of bounds, which one number cannot drive",
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
        "LowProFool": "it is for tables, and needs the importance of every column",
        "MalwareGDTensorFlow": _TENSORFLOW,
        "OverTheAirFlickeringPyTorch": "it is for videos",
        "OverloadPyTorch": _DETECTORS,
        "ProjectedGradientDescentTensorFlowV2": _TENSORFLOW,
        "RobustDPatch": _DETECTORS,
        "SNAL": _DETECTORS,
        "ShadowAttack": "it takes one colour image at a time and has no strength",
    }

    def make(self, classifier: Classifier, seed: int) -> Any:
        from gtn_bench.classifiers import as_art

        accepted = self._signature()
        batch_size = 1 if self.attack in ("SimBA", "ZooAttack") else self.batch_size  # which fail with any other
        here = {"verbose": False, "targeted": self.target != "any", "batch_size": batch_size}
        aiming = "targeted" in accepted or self.attack in _ALWAYS_AIMING
        if self.target != "any" and not aiming:
            raise Mistake(f"attack '{self.title}' cannot aim at a class; leave target out")
        if self.target == "any" and self.attack in _ALWAYS_AIMING:
            raise Mistake(f"attack '{self.title}' must aim at a class; say target: next")
        handed: dict[str, Any] = {key: value for key, value in here.items() if key in accepted}
        if self.attack == "TargetedUniversalPerturbation":  # whose inner attack would lead away from the target
            handed["attacker_params"] = {"targeted": True}
        probabilities = self.attack in self.known and self.known[self.attack].probabilities
        return self.attack_class()(as_art(classifier, probabilities=probabilities), **self.settings(), **handed)

    def generate(self, made: Any, classifier: Classifier, x: Tensor, aim: Tensor) -> Tensor:
        import torch
        from torch.nn import functional as F

        found = made.generate(x.cpu().numpy(), F.one_hot(aim, classifier.num_classes).cpu().numpy())
        return torch.from_numpy(found).to(x)
