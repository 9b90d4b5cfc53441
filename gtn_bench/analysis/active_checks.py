"""The checks that query a learner again, on at most the first 128 images of a cell: the sub-sample."""

from __future__ import annotations

from gtn_bench.analysis.check import EVALUATION, FAILURES, OBFUSCATED, PARAMETER_FREE, Check

# Other attacks fool a few more images of an honest model, too. Seven of 128 images, more than the threshold of 0.05,
# are significantly more than the tolerated share of 0.02 (p < 0.05). More steps of an attack should change less.
_SAME_ATTACK = 0.04


def _probe(
    name: str, by: str, *, cost: str, source: str, action: str, threshold: float = 0.05, tolerance: float | None = None
) -> Check:
    """Return an active check of the images that another attack in the same ball newly fools."""
    return Check(
        name=name,
        formula=f"share of the sub-sample that the attack leaves correctly classified and that is fooled by {by}",
        threshold=threshold,
        cost=cost,
        source=source,
        text=f"{{measured}} of the images are newly fooled by {by}.",
        action=action,
        active=True,
        tolerance=tolerance,
    )


ACTIVE = (
    Check(
        name="path",
        formula="share of the sub-sample that an image on the path of the attack, inside the ball, fools, and the "
        "image at the end does not",
        threshold=0.03,
        cost="the attack once more",
        source=FAILURES,
        text="{measured} of the images are fooled on the path of the attack, and not at its end.",
        action="Keep the best image of the path: `keep: best`.",
        active=True,
    ),
    _probe(
        "more_steps",
        "twice as many steps after a restart",
        cost="the attack two to four times",
        source=EVALUATION,
        action="Increase the number of steps or restarts until the accuracy stops to fall.",
        threshold=_SAME_ATTACK,
    ),
    _probe(
        "second_attack",
        "AutoPGD, another white-box attack",
        cost="AutoPGD once",
        source=PARAMETER_FREE,
        action="Add the attack `apgd` to the suite, and trust the lower accuracy.",
        tolerance=0.02,
    ),
    _probe(
        "gradient_free",
        "the gradient-free attack Square",
        cost="the queries of Square",
        source="https://arxiv.org/abs/1912.00049",
        action="The gradients mislead the attack: add the attack `square` to the suite, and trust the lower accuracy.",
        tolerance=0.02,
    ),
    Check(
        name="binarization",
        formula="share of images on which the attack misses an adversarial example that exists by construction: "
        "the readout is replaced by a classifier of points inside and at the boundary of the ball",
        threshold=0.5,
        cost="the attack once, and the features of the points",
        source="https://arxiv.org/abs/2206.13991",
        text="The attack misses the adversarial example that exists by construction for {measured} of the images.",
        action="The attack is too weak for this network: use more steps, another loss or a gradient-free attack.",
        active=True,
        tolerance=0.05,
    ),
    _probe(
        "other_loss",
        "the same attack on a loss that does not depend on the scale of the logits",
        cost="the attack once",
        source=PARAMETER_FREE,
        action="Use a loss on logits: `loss: margin` or `loss: dlr`.",
    ),
    _probe(
        "step_size",
        "twice or half the step size, or by steps that reach the radius",
        cost="the attack twice",
        source="https://arxiv.org/abs/1810.12042",
        action="Tune the step size, or use an attack that adapts it, such as `apgd`.",
        threshold=_SAME_ATTACK,
    ),
    _probe(
        "transfer",
        "adversarial examples of another learner of the run",
        cost="the attack once on each of at most two other learners",
        source=OBFUSCATED,
        action="The gradients mislead the attack: use a gradient-free attack.",
    ),
    Check(
        name="unbounded",
        formula="share of correctly classified images that survive the attack without a bound but [0, 1]",
        threshold=0.05,
        cost="the attack once, with more steps",
        source=EVALUATION,
        text="{measured} of the images survive an attack whose ball contains every image.",
        action="Look for a gradient that vanishes or points the wrong way; use a gradient-free attack.",
        active=True,
    ),
    Check(
        name="rising",
        formula="share of the sub-sample whose loss still rises over the last tenth of the steps",
        threshold=0.5,
        cost="that of `path`",
        source=FAILURES,
        text="The loss of {measured} of the images still rises at the last step.",
        action="Increase the number of steps.",
        active=True,
        withholds=True,
    ),
)
