"""Sanity checks: the table of what is checked of a cell, and the grade that follows.

A failing attack looks like a robust learner (https://arxiv.org/abs/1802.00420). Every check measures a share of
images and fails above a threshold. No check queries a learner again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from gtn_bench.config.threat import Threat

Array = np.ndarray[Any, Any]
Samples = Mapping[str, Array]  # of a cell: an array (N,) for each measured column
Grade = Literal["suspect", "unknown"]


class Check(NamedTuple):
    """A sanity check.

    Attributes:
        name: Name in the column `flags`.
        formula: The measured share of images.
        threshold: The check fails if the share is larger.
        cost: What the check costs beside the attack.
        source: Where the check is from.
        text: What a failure means, in one sentence.
        action: What to do about it.
    """

    name: str
    formula: str
    threshold: float
    cost: str
    source: str
    text: str
    action: str


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check(
            name="unchanged",
            formula="share of correctly classified images that a library attack returned unchanged, if this is not how "
            "the attack reports a failure",
            threshold=0.5,
            cost="none",
            source="https://arxiv.org/abs/2106.09947",
            text="The attack returned more than half of the images that it did not fool without any change.",
            action="Increase the query budget or the number of steps; read the library's documentation of failures.",
        ),
        Check(
            name="attack_error",
            formula="share of images on which the attack raised an exception or returned non-finite pixels or another "
            "shape, even alone",
            threshold=0.0,
            cost="none",
            source="https://arxiv.org/abs/1902.06705",
            text="The attack failed with an error on some images, which count as not fooled.",
            action="Read the errors under `attack_errors` in provenance.json; change the attack's parameters, or use "
            "another attack.",
        ),
        Check(
            name="attack_failed",
            formula="share of correctly classified images for which a minimal-norm attack found no adversarial example",
            threshold=0.5,
            cost="none",
            source="https://arxiv.org/abs/2106.09947",
            text="The minimal-norm attack found no adversarial example for more than half of the images.",
            action="Increase the number of steps or the query budget.",
        ),
        Check(
            name="outside_ball",
            formula="share of perturbed images at a distance larger than the radius of the threat model",
            threshold=0.0,
            cost="none",
            source="https://arxiv.org/abs/1902.06705",
            text="A perturbation exceeds its norm bound.",
            action="Report the attack as broken; its accuracies are too low.",
        ),
        Check(
            name="missed_adversarial",
            formula="share of images classified correctly although another perturbation of the run, or the clean "
            "image, is an adversarial example within the search region",
            threshold=0.02,
            cost="none",
            source="https://arxiv.org/abs/1802.00420",
            text="For more than 2 % of the images, another perturbation found an adversarial example within the ball "
            "of this attack.",
            action="Trust the stronger attack; give this one more steps, restarts or another loss.",
        ),
        Check(
            name="zero_gradient",
            formula="share of images classified correctly for which the gradient that the attack follows is exactly "
            "zero at the clean image: that of the cross-entropy, or of all logits if the attack has another loss",
            threshold=0.02,
            cost="one gradient per image, shared by all attacks; another one for images where it is zero",
            source="https://arxiv.org/abs/2106.09947",
            text="More than 2 % of the images stayed correct where the gradient of the attack's loss is zero.",
            action="Use a loss on logits, such as margin or dlr; if the check still fails, use a gradient-free attack.",
        ),
    )
}


def failed_checks(shares: Mapping[str, float]) -> list[str]:
    """Return the names of the checks that fail.

    Args:
        shares: Measured shares of images, by name of the check; checks that do not apply are absent or nan.
    """
    return [name for name, check in CHECKS.items() if shares.get(name, np.nan) > check.threshold]


def grade(flags: Iterable[str]) -> Grade:
    """Return `suspect` if any check failed, else `unknown`: passing these checks does not prove an attack strong.

    Args:
        flags: Names of the checks that failed.
    """
    return "suspect" if any(True for _ in flags) else "unknown"


def missed_adversarial(samples: Samples, region: Threat | None, others: Iterable[Samples]) -> Array | None:
    """Return the images on which an attack failed although an adversarial example in its ball is known.

    Args:
        samples: The samples of the attack's cell, N images.
        region: The ball in which the attack searches for any misclassified image.
        others: Samples of all cells of the same learner; each holds the first images of the test split.

    Returns:
        Mask (N,); None if the attack searches no ball, or one in a norm that is not measured.
    """
    if region is None or region.norm not in samples:
        return None
    fooled = samples["clean_prediction"] != samples["label"]
    for other in others:
        shared = slice(min(len(fooled), len(other["label"])))
        within = region.contains(other[region.norm][shared])
        fooled[shared] |= within & (other["prediction"][shared] != other["label"][shared])
    return fooled & (samples["prediction"] == samples["label"])


def zero_gradient_share(samples: Samples) -> float:
    """Return the share of images that are classified correctly and had a zero gradient at the start.

    Args:
        samples: The samples of a cell.
    """
    return float((samples["zero_gradient"] & (samples["prediction"] == samples["label"])).mean())
