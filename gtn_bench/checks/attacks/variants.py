"""Variants of an attack: on another loss, with more steps, with other step sizes."""

from __future__ import annotations

from gtn_bench.checks.attacks.challenge import Passes, does_not_apply, other_seeds, union_of
from gtn_bench.checks.attacks.natives import FACTOR, LOSS_STEPS, has_natives, no_natives, pgd, step_factors
from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.inference.losses import LossName
from gtn_bench.perturbations.base import Perturbation


def other_loss(situation: Situation) -> dict[str, Outcome]:
    """Repeat the attack on a loss that does not depend on the scale of the logits.

    It is the margin, or the difference of logits ratio for an attack on the margin. If the loss of a white-box attack
    cannot be changed, projected gradient descent on the margin takes its place.

    Args:
        situation: The attack.
    """
    given = situation.perturbation
    other = with_other_loss(given, situation.classifier.num_classes)
    if other is None and given.access != "white":
        return {"other_loss": does_not_apply("the attack follows no gradient of a loss")}
    if other is None and not has_natives(situation.ball):
        return {"other_loss": does_not_apply(no_natives(situation.ball))}
    passes = Passes(situation.classifier)
    fooled = union_of(situation, [(other or pgd(situation.ball, LOSS_STEPS), situation.seeds)])
    return {"other_loss": passes.outcome(fooled, len(fooled))}


def with_other_loss(perturbation: Perturbation, num_classes: int) -> Perturbation | None:
    """Return the same attack on a loss that does not depend on the scale of the logits; None if there is none.

    Args:
        perturbation: The attack.
        num_classes: Number of classes. The difference of logits ratio needs three.
    """
    losses: tuple[LossName, ...] = ("margin", "dlr") if num_classes > 2 else ("margin",)
    variants = (perturbation.with_loss(loss) for loss in losses)
    return next((each for each in variants if each is not None and each != perturbation), None)


def more_steps(situation: Situation) -> dict[str, Outcome]:
    """Repeat the attack with twice the steps from another random point of the ball, once if it has several restarts.

    An attack without a random start is repeated from its own start, too.

    Args:
        situation: The attack.
    """
    longer = situation.perturbation.once().with_steps(FACTOR)
    if longer is None:
        return {"more_steps": does_not_apply("the attack has no number of steps")}
    passes = Passes(situation.classifier)
    restarted = longer.with_restart()
    attacks = [] if restarted == longer else [(longer, situation.seeds)]
    if restarted is not None:
        attacks.append((restarted, other_seeds(situation.seeds, "restart")))
    fooled = union_of(situation, attacks)
    note = "the attack has no random start" if restarted is None else ""
    return {"more_steps": passes.outcome(fooled, len(fooled), note)}


def step_size(situation: Situation) -> dict[str, Outcome]:
    """Repeat the attack with twice and with half the step size, and with larger ones that reach the radius.

    Args:
        situation: The attack.
    """
    variants = [situation.perturbation.with_step_size(factor) for factor in step_factors(situation.perturbation)]
    attacks = [(each, situation.seeds) for each in variants if each is not None]
    if not attacks:
        return {"step_size": does_not_apply("the attack has no step size")}
    passes = Passes(situation.classifier)
    fooled = union_of(situation, attacks)
    return {"step_size": passes.outcome(fooled, len(fooled))}
