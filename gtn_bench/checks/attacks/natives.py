"""The attacks of this package with which probes attack again, and their budgets."""

from __future__ import annotations

from typing import Any, Literal, get_args

from gtn_bench.config.threat import Threat
from gtn_bench.inference.losses import LossName
from gtn_bench.perturbations.apgd import AutoPGD
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.perturbations.fgsm import FGSM
from gtn_bench.perturbations.pgd import PGD
from gtn_bench.perturbations.square import Square

NormName = Literal["linf", "l2"]

QUERIES = 500  # of the gradient-free attack
SECOND_STEPS, SECOND_TARGETS = 50, 2  # of AutoPGD
DESCENT_STEPS = 100  # of projected gradient descent where AutoPGD is the first attack
LOSS_STEPS = 40  # of the attack on a margin, if the loss of an attack cannot be changed
TRANSFER_STEPS = 20
SOURCES = 2  # largest number of other networks
FACTOR = 2  # of steps and step sizes

BOX = Threat("linf", 1.0)  # contains every image in [0, 1]
BOX_STEPS = 40
BOX_STEP_SIZES = (0.1, 0.03)  # the box is crossed in 10 and in 34 steps
BOX_START = 0.01  # largest change of a pixel at the start of the second run

INNER_POINTS = 31  # of the binarization test, at most
RANDOM_POINTS = 64
POINTS = INNER_POINTS + 1 + RANDOM_POINTS + 2  # the clean image and the boundary point pass twice


def step_factors(perturbation: Perturbation) -> list[float]:
    """Return the factors on the step size with which an attack is repeated.

    They are two and one half. If all steps together do not reach the radius, there is one with which they are 2.5 times
    as long, as in https://arxiv.org/abs/1706.06083.

    Args:
        perturbation: The attack.
    """
    region, steps = perturbation.search_region, getattr(perturbation, "steps", None)
    factors = [FACTOR, 1 / FACTOR]
    if region is None or not steps:
        return factors
    if isinstance(perturbation, PGD):
        travel = perturbation.relative_step_size * steps
    elif isinstance(perturbation, FGSM):
        travel = perturbation.beta * steps / region.epsilon
    else:
        return factors
    return [*factors, 2.5 / travel] if 0 < travel < 1 - 1e-6 else factors


def has_natives(ball: Threat) -> bool:
    """Return whether the attacks of this package search in a ball.

    Args:
        ball: The ball.
    """
    return ball.norm in get_args(NormName)


def no_natives(ball: Threat) -> str:
    """Return the reason why a probe does not apply to a ball without native attacks.

    Args:
        ball: The ball.
    """
    return f"no attack for the norm {ball.norm}, only for {' and '.join(get_args(NormName))}"


def pgd(
    ball: Threat, steps: int, *, loss: LossName = "margin", step: float = 0.1, random_start: bool = True
) -> Perturbation:
    """Return projected gradient descent in a ball.

    Args:
        ball: The ball, of norm linf or l2.
        steps: Number of steps.
        loss: The loss.
        step: Norm of each step as a multiple of the radius.
        random_start: Whether it starts at a random point of the ball.
    """
    fields: dict[str, Any] = {"steps": steps, "relative_step_size": step, "random_start": random_start}
    return PGD(norm=_norm(ball), beta=ball.epsilon, loss=loss, **fields)


def square(ball: Threat) -> Perturbation:
    """Return the Square attack in a ball, which follows no gradient.

    Args:
        ball: The ball, of norm linf or l2.
    """
    return Square(norm=_norm(ball), queries=QUERIES, beta=ball.epsilon)


def second(perturbation: Perturbation, ball: Threat, num_classes: int) -> Perturbation:
    """Return a white-box attack on the margin of another class than a given one: AutoPGD, if it is another one.

    Args:
        perturbation: The given attack.
        ball: The ball, of norm linf or l2.
        num_classes: Number of classes.
    """
    title = perturbation.title.lower()
    if "apgd" in title or "autoprojectedgradientdescent" in title:
        return pgd(ball, DESCENT_STEPS, step=0.05)
    targets = min(SECOND_TARGETS, num_classes - 1)
    return AutoPGD(norm=_norm(ball), steps=SECOND_STEPS, loss="margin", targets=targets, beta=ball.epsilon)


def _norm(ball: Threat) -> NormName:
    assert ball.norm == "linf" or ball.norm == "l2"
    return ball.norm
