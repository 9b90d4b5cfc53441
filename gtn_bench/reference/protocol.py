"""How the reference study measured, so that its figures can be reproduced. It is no fair comparison.

Learners of two modes stay in training mode: their batch norms subtract the means of the 1000 images that they are
shown together, perturbed as these are. They adapt to a corruption before they are judged, and the gradient of an
image's loss depends on the images beside it. Learners of the third mode are in evaluation mode. The penalty of
`lbfgs-penalty` is one norm over all images beside their mean loss.

What this protocol knows, `published` in a suite, is listed here; other modes, perturbations and forms of them are
refused. Numbers of steps and strengths are free, and so are the parameters of modes: the study's learners of `gtn`
subtracted the means of their last teaching batch (`statistics: teaching`).
"""

from __future__ import annotations

from typing import Any

from gtn_bench.description import Mistake
from gtn_bench.perturbations.base import MinimalPerturbation, Perturbation

TRAINING_MODE = {"10_gtn": True, "gtn": False, "vanilla": True}  # for each mode, that of its networks
PERTURBATIONS: dict[str, dict[str, Any]] = {  # and what may not be otherwise
    "noise": {"distribution": "gaussian"},
    "blur": {"truncate": 3.5, "padding": "reflect"},
    "fgsm": {"epsilon": None, "random_start": False, "loss": "cross-entropy"},
    "lbfgs-penalty": {"penalty": "batch", "step": "sign", "beta_is": "inverse-weight"},
}
BATCH = 1000  # images that are looked at together

NOTE = "published protocol: 10_gtn and vanilla in training mode (statistics of the perturbed batch), gtn in evaluation"


def check_mode(name: str) -> None:
    """Raise `Mistake` unless the study had this training mode."""
    if name not in TRAINING_MODE:
        raise Mistake(f"protocol 'published' knows the modes {', '.join(TRAINING_MODE)}, got '{name}'")


def check_perturbation(perturbation: Perturbation, samples: int) -> None:
    """Raise `Mistake` unless the study had this perturbation, in this form."""
    if isinstance(perturbation, MinimalPerturbation):
        raise Mistake(f"protocol 'published' has no search for smallest strengths, got one for '{perturbation.title}'")
    if perturbation.name not in PERTURBATIONS:
        known = ", ".join(PERTURBATIONS)
        raise Mistake(f"protocol 'published' knows the perturbations {known}, got '{perturbation.title}'")
    for field, expected in PERTURBATIONS[perturbation.name].items():
        got = getattr(perturbation, field)
        if got != expected:
            raise Mistake(f"protocol 'published' expects {field}: {expected} of '{perturbation.name}', got {got}")
    if perturbation.batch == "all" and samples > BATCH:  # one penalty for all images
        raise Mistake(f"protocol 'published' expects at most {BATCH} samples of '{perturbation.name}', got {samples}")
