"""Perturbations: attacks and corruptions behind one protocol, judged by one referee."""

from gtn_bench.perturbations.base import Perturbation
from gtn_bench.perturbations.blur import Blur
from gtn_bench.perturbations.fgsm import FGSM
from gtn_bench.perturbations.lbfgs_penalty import LBFGSPenalty
from gtn_bench.perturbations.library import LibraryAttack
from gtn_bench.perturbations.noise import Noise
from gtn_bench.perturbations.via_art import ViaART
from gtn_bench.perturbations.via_foolbox import ViaFoolbox
from gtn_bench.perturbations.via_torchattacks import ViaTorchattacks

PERTURBATIONS: dict[str, type[Perturbation]] = {
    cls.name: cls for cls in (FGSM, LBFGSPenalty, Noise, Blur, ViaART, ViaFoolbox, ViaTorchattacks)
}

__all__ = ["PERTURBATIONS", "LibraryAttack", "Perturbation"]
