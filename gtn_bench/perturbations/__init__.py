"""Perturbations: adversarial attacks and corruptions behind one interface."""

from gtn_bench.perturbations.apgd import AutoPGD
from gtn_bench.perturbations.base import MinimalPerturbation, Perturbation
from gtn_bench.perturbations.blur import Blur
from gtn_bench.perturbations.corruptions import (
    Brightness,
    Contrast,
    Occlusion,
    Quantization,
    Rotation,
    SaltAndPepper,
    Translation,
)
from gtn_bench.perturbations.fgsm import FGSM
from gtn_bench.perturbations.lbfgs import LBFGS
from gtn_bench.perturbations.lbfgs_penalty import LBFGSPenalty
from gtn_bench.perturbations.libraries.art import ViaART
from gtn_bench.perturbations.libraries.base import LibraryAttack
from gtn_bench.perturbations.libraries.foolbox import ViaFoolbox
from gtn_bench.perturbations.libraries.torchattacks import ViaTorchattacks
from gtn_bench.perturbations.noise import Noise
from gtn_bench.perturbations.pgd import PGD
from gtn_bench.perturbations.square import Square
from gtn_bench.perturbations.strong import Strong

ATTACKS = (FGSM, PGD, AutoPGD, Square, Strong, LBFGS, LBFGSPenalty)
CORRUPTIONS = (Noise, Blur, Brightness, Contrast, Translation, Rotation, SaltAndPepper, Quantization, Occlusion)
LIBRARIES = (ViaART, ViaFoolbox, ViaTorchattacks)

PERTURBATIONS: dict[str, type[Perturbation]] = {cls.name: cls for cls in (*ATTACKS, *CORRUPTIONS, *LIBRARIES)}

__all__ = ["PERTURBATIONS", "LibraryAttack", "MinimalPerturbation", "Perturbation"]
