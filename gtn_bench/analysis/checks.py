"""Sanity checks: the table of what is checked of a cell.

A failing attack looks like a robust learner (https://arxiv.org/abs/1802.00420). Every check measures a share of images
and fails above a threshold. Most checks use the results of the run alone. Active checks query the learner again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gtn_bench.analysis.active_checks import ACTIVE
from gtn_bench.analysis.check import EVALUATION, FAILURES, OBFUSCATED, Array, Check, Evidence, Samples, percent

__all__ = ["CHECKS", "Array", "Check", "Evidence", "Samples", "failed_checks", "percent"]

FREE = "none"

CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check(
            name="unchanged",
            formula="share of correctly classified images that a library attack returned unchanged, if this is not how "
            "the attack reports a failure",
            threshold=0.5,
            cost=FREE,
            source=FAILURES,
            text="The attack returned {measured} of the images that it did not fool without any change.",
            action="Increase the query budget or the number of steps; read the library's documentation of failures.",
        ),
        Check(
            name="attack_error",
            formula="share of images on which the attack raised an exception or returned non-finite pixels or another "
            "shape, even alone",
            threshold=0.0,
            cost=FREE,
            source=EVALUATION,
            text="The attack failed with an error on {measured} of the images, which count as not fooled.",
            action="Read the errors under `attack_errors` in provenance.json; change the attack's parameters, or use "
            "another attack.",
        ),
        Check(
            name="attack_failed",
            formula="share of correctly classified images for which a minimal-norm attack found no adversarial example",
            threshold=0.5,
            cost=FREE,
            source=FAILURES,
            text="The minimal-norm attack found no adversarial example for {measured} of the images.",
            action="Increase the number of steps or the query budget.",
        ),
        Check(
            name="outside_ball",
            formula="share of perturbed images at a distance larger than the radius of the threat model",
            threshold=0.0,
            cost=FREE,
            source=EVALUATION,
            text="{measured} of the perturbed images exceed the norm bound.",
            action="Report the attack as broken; its accuracies are too low.",
        ),
        Check(
            name="certificate_violated",
            formula="share of images that are certified robust in the ball and misclassified at a point inside it",
            threshold=0.0,
            cost=FREE,
            source="https://arxiv.org/abs/1811.00866",
            text="{measured} of the images are certified robust although an adversarial example inside the ball is "
            "known: the certificate or the evaluation is wrong.",
            action="Use neither number; report the error to the authors of the certifier.",
        ),
        Check(
            name="missed_adversarial",
            formula="share of cross-checked images classified correctly although another perturbation of the run, or "
            "the clean image, is an adversarial example within the search region",
            threshold=0.03,
            tolerance=0.02,
            cost=FREE,
            source=OBFUSCATED,
            text="For {measured} of the cross-checked images, another perturbation found an adversarial example within "
            "the ball of this attack.",
            action="Trust the stronger attack; give this one more steps, restarts or another loss.",
        ),
        Check(
            name="not_monotone",
            formula="share of images that the perturbation fools in a smaller ball and not in this one",
            threshold=0.02,
            cost=FREE,
            source=EVALUATION,
            text="{measured} of the images are fooled by the same perturbation in a smaller ball, and not in this one.",
            action="Decrease the step size, or increase the number of steps with the radius.",
        ),
        Check(
            name="above_chance",
            formula="share of images classified correctly, minus the share of the most frequent class, if the ball "
            "contains every image",
            threshold=0.02,
            cost=FREE,
            source=EVALUATION,
            text="The ball contains every image, and the accuracy still exceeds that of the most frequent class by "
            "{measured}.",
            action="Look for a gradient that vanishes or points the wrong way; use a gradient-free attack.",
        ),
        Check(
            name="batch_coupling",
            formula="share of clean images whose logits change with the other images of the batch",
            threshold=0.0,
            cost="a few forward passes of at most 128 images, only if the protocol keeps learners in train mode",
            source="https://arxiv.org/abs/1502.03167",
            text="The logits of {measured} of the images depend on the other images of the batch, so that attack and "
            "evaluation see different networks.",
            action="Evaluate learners in evaluation mode: `protocol: evaluation`.",
        ),
        Check(
            name="zero_gradient",
            formula="share of images classified correctly for which the gradient that the attack follows is exactly "
            "zero at the clean image: that of the cross-entropy, or of all logits if the attack has another loss",
            threshold=0.02,
            cost="one gradient per image, shared by all attacks; another one for images where it is zero",
            source=FAILURES,
            text="{measured} of the images stayed correct where the gradient of the attack's loss is zero.",
            action="Use a loss on logits, such as margin or dlr; if the check still fails, use a gradient-free attack.",
        ),
        Check(
            name="non_finite_gradient",
            formula="share of images with a gradient of the attack's loss that is not finite",
            threshold=0.0,
            cost="that of `zero_gradient`",
            source=FAILURES,
            text="The gradient of the attack's loss is not finite for {measured} of the images.",
            action="Look for square roots and norms of zero, or an overflow in the network.",
        ),
        *ACTIVE,
    )
}


def failed_checks(shares: Mapping[str, float]) -> list[str]:
    """Return the names of the checks that make a cell suspect.

    Args:
        shares: Measured shares of images, by name of the check; checks that do not apply are absent or nan.
    """
    return [
        name for name, check in CHECKS.items() if shares.get(name, np.nan) > check.threshold and not check.withholds
    ]
