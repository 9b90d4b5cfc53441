"""How the reference study measured, so that its figures can be reproduced. It is no fair comparison.

Learners of two modes stay in training mode: their batch norms subtract the means of the 1000 images that they are
shown together, perturbed as these are. They adapt to a corruption before they are judged, and the gradient of an
image's loss depends on the images beside it. Learners of the third mode are in evaluation mode. The penalty of
`lbfgs-penalty` is one norm over all images beside their mean loss.

What this protocol knows, `published` in a suite, is listed here; all else is refused.
"""

from __future__ import annotations

from gtn_bench.description import Mistake
from gtn_bench.perturbations.base import MinimalPerturbation, Perturbation
from gtn_bench.perturbations.lbfgs_penalty import LBFGSPenalty

TRAINING_MODE = {"10_gtn": True, "gtn": False, "vanilla": True}  # for each mode, that of its networks
PERTURBATIONS = ("noise", "blur", "fgsm", "lbfgs-penalty")

NOTE = "published protocol: 10_gtn and vanilla in training mode (statistics of the perturbed batch), gtn in evaluation"


def check_mode(name: str) -> None:
    """Raise `Mistake` unless the study had this training mode."""
    if name not in TRAINING_MODE:
        raise Mistake(f"protocol 'published' knows the modes {', '.join(TRAINING_MODE)}, got '{name}'")


def check_perturbation(perturbation: Perturbation) -> None:
    """Raise `Mistake` unless the study had this perturbation, in this form."""
    if isinstance(perturbation, MinimalPerturbation):
        raise Mistake(
            f"protocol 'published' has no search for the smallest strength, got one for '{perturbation.title}'"
        )
    if perturbation.name not in PERTURBATIONS:
        known = ", ".join(PERTURBATIONS)
        raise Mistake(f"protocol 'published' knows the perturbations {known}, got '{perturbation.title}'")
    if isinstance(perturbation, LBFGSPenalty) and perturbation.penalty != "batch":
        raise Mistake(f"protocol 'published' expects penalty: batch, one for all images, got '{perturbation.penalty}'")
