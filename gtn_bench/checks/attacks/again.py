"""Other attacks: without gradients, with other gradients, without a bound, and on other networks."""

from __future__ import annotations

from dataclasses import replace

import torch

from gtn_bench.checks.attacks.challenge import Passes, does_not_apply, fooled_by, other_seeds, union_of
from gtn_bench.checks.attacks.natives import (
    BOX,
    BOX_START,
    BOX_STEP_SIZES,
    BOX_STEPS,
    SOURCES,
    TRANSFER_STEPS,
    has_natives,
    no_natives,
    pgd,
    second,
    square,
)
from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.perturbations.base import uniform_like


def gradient_free(situation: Situation) -> dict[str, Outcome]:
    """Attack with Square, which follows no gradient.

    Args:
        situation: The attack.
    """
    if not has_natives(situation.ball):
        return {"gradient_free": does_not_apply(no_natives(situation.ball))}
    passes = Passes(situation.classifier)
    seeds = other_seeds(situation.seeds, "gradient_free")
    fooled = union_of(situation, [(square(situation.ball), seeds)])
    return {"gradient_free": passes.outcome(fooled, len(fooled))}


def second_attack(situation: Situation) -> dict[str, Outcome]:
    """Attack with AutoPGD on the margin; if that is the attack, with projected gradient descent.

    Args:
        situation: The attack.
    """
    if not has_natives(situation.ball):
        return {"second_attack": does_not_apply(no_natives(situation.ball))}
    passes = Passes(situation.classifier)
    seeds, classes = other_seeds(situation.seeds, "second_attack"), situation.classifier.num_classes
    fooled = union_of(situation, [(second(situation.perturbation, situation.ball, classes), seeds)])
    return {"second_attack": passes.outcome(fooled, len(fooled))}


def unbounded(situation: Situation) -> dict[str, Outcome]:
    """Attack with projected gradient descent on the margin in the whole box, in large steps, then in small ones.

    The count is that of the images that stay correctly classified. A network whose logits have no gradient leaves all.

    Args:
        situation: The attack.
    """
    n, left = len(situation.y), situation.survivors
    if not situation.classifier.differentiable:
        return {"unbounded": Outcome(int(left.sum()), n, 0, 0, "the logits have no gradient")}
    passes = Passes(situation.classifier)
    # A random image of the box would often be of another class, so that no gradient were needed.
    moved = 2 * uniform_like(situation.x, other_seeds(situation.seeds, "unbounded")) - 1
    starts = situation.x, (situation.x + BOX_START * moved).clamp(0, 1)
    for x, size in zip(starts, BOX_STEP_SIZES, strict=True):
        attack = pgd(BOX, BOX_STEPS, step=size, random_start=False)
        left = left & ~fooled_by(replace(situation, x=x), attack, left, region=BOX)
    return {"unbounded": passes.outcome(left, n)}


def transfer(situation: Situation) -> dict[str, Outcome]:
    """Judge adversarial examples of other networks.

    Args:
        situation: The attack, and the other networks.
    """
    if not situation.others:
        return {"transfer": does_not_apply("the run has no other network")}
    if not has_natives(situation.ball):
        return {"transfer": does_not_apply(no_natives(situation.ball))}
    sources = situation.others[:SOURCES]
    passes, fooled = Passes(situation.classifier, *sources), torch.zeros_like(situation.survivors)
    seeds = other_seeds(situation.seeds, "transfer")
    for source in sources:
        attack = pgd(situation.ball, TRANSFER_STEPS)
        fooled = fooled | fooled_by(situation, attack, situation.survivors & ~fooled, seeds=seeds, source=source)
    return {"transfer": passes.outcome(fooled, len(fooled))}
