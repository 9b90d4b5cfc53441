"""The protocol of the reference study, to reproduce its figures. It does not compare modes fairly.

Learners of two modes stay in train mode: their batch norms subtract the means of the 1000 perturbed images of a
batch. They adapt to a corruption before they are evaluated, and the gradient of an image's loss depends on the other
images. Learners of the third mode are in evaluation mode. The penalty of `lbfgs-penalty` is one norm over all images
beside their mean loss.

This module lists everything that ``protocol: published`` allows. Other modes, perturbations and forms of them are
refused. Numbers of steps and strengths are free, and so are the parameters of modes: in the study, learners of `gtn`
subtracted the means of their last teaching batch (``statistics: teaching``).
"""

from __future__ import annotations

from typing import Any

from gtn_bench.config.errors import ConfigError
from gtn_bench.perturbations.base import MinimalPerturbation, Perturbation

TRAIN_MODE = {"10_gtn": True, "gtn": False, "vanilla": True}  # by mode, whether its networks are in train mode
PERTURBATIONS: dict[str, dict[str, Any]] = {  # with the required values of fields
    "noise": {"distribution": "gaussian"},
    "blur": {"truncate": 3.5, "padding": "reflect"},
    "fgsm": {
        "target": "untargeted",
        "epsilon": None,
        "random_start": False,
        "loss": "cross-entropy",
        "keep": "last",
    },
    "lbfgs-penalty": {
        "target": "untargeted",
        "penalty": "batch",
        "step": "sign",
        "beta_parameter": "inverse-weight",
    },
}
BATCH = 1000  # images per batch

NOTE = "published protocol: 10_gtn and vanilla in train mode (statistics of the perturbed batch), gtn in evaluation"


def check_mode(name: str) -> None:
    """Check that the study has a mode.

    Args:
        name: Name of the mode.

    Raises:
        ConfigError: If it does not.
    """
    if name not in TRAIN_MODE:
        raise ConfigError(f"protocol 'published' knows the modes {', '.join(TRAIN_MODE)}, got '{name}'")


def check_perturbation(perturbation: Perturbation, samples: int) -> None:
    """Check that the study has a perturbation, in this form.

    Args:
        perturbation: The perturbation.
        samples: Number of test images.

    Raises:
        ConfigError: If it does not.
    """
    if isinstance(perturbation, MinimalPerturbation):
        raise ConfigError(f"protocol 'published' has no 'search', got one for '{perturbation.title}'")
    if perturbation.name not in PERTURBATIONS:
        known = ", ".join(PERTURBATIONS)
        raise ConfigError(f"protocol 'published' knows the perturbations {known}, got '{perturbation.title}'")
    for field, expected in PERTURBATIONS[perturbation.name].items():
        got = getattr(perturbation, field)
        if got != expected:
            raise ConfigError(f"protocol 'published' expects {field}: {expected} of '{perturbation.name}', got {got}")
    if perturbation.batch == "all" and samples > BATCH:  # one penalty for all images
        raise ConfigError(
            f"protocol 'published' expects at most {BATCH} samples of '{perturbation.name}', got {samples}"
        )
