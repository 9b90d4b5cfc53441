"""Upper estimates of the passes per image that probes take, from the description of the attack alone.

A network whose outputs are averaged over several forward passes takes as many times more.
"""

from __future__ import annotations

from gtn_bench.checks.attacks.natives import (
    BOX,
    BOX_STEP_SIZES,
    BOX_STEPS,
    FACTOR,
    LOSS_STEPS,
    POINTS,
    SOURCES,
    TRANSFER_STEPS,
    has_natives,
    pgd,
    second,
    square,
    step_factors,
)
from gtn_bench.config.threat import Threat
from gtn_bench.perturbations.base import Perturbation

UNKNOWN = 2000.0  # passes of an attack that does not say how many it takes
_MANY_CLASSES = 1000


def of_attack(perturbation: Perturbation | None) -> float:
    """Return the forward and backward passes per image of an attack and of its judgment.

    Args:
        perturbation: The attack; None for no attack.
    """
    if perturbation is None:
        return 0.0
    return 1 + (UNKNOWN if perturbation.passes is None else perturbation.passes)


def gradient(perturbation: Perturbation) -> float:
    """Return the passes of `gradient` per image.

    Args:
        perturbation: The attack.
    """
    return 2.0


def recording(perturbation: Perturbation) -> float:
    """Return the passes of `recording` per image.

    Args:
        perturbation: The attack.
    """
    return of_attack(perturbation)


def second_attack(perturbation: Perturbation) -> float:
    """Return the passes of `second_attack` per image.

    Args:
        perturbation: The attack.
    """
    ball = _native_ball(perturbation)
    return of_attack(second(perturbation, ball, _MANY_CLASSES)) if ball else 0.0


def gradient_free(perturbation: Perturbation) -> float:
    """Return the passes of `gradient_free` per image.

    Args:
        perturbation: The attack.
    """
    ball = _native_ball(perturbation)
    return of_attack(square(ball)) if ball else 0.0


def transfer(perturbation: Perturbation) -> float:
    """Return the passes of `transfer` per image.

    Args:
        perturbation: The attack.
    """
    ball = _native_ball(perturbation)
    return SOURCES * of_attack(pgd(ball, TRANSFER_STEPS)) if ball else 0.0


def unbounded(perturbation: Perturbation) -> float:
    """Return the passes of `unbounded` per image.

    Args:
        perturbation: The attack.
    """
    return len(BOX_STEP_SIZES) * of_attack(pgd(BOX, BOX_STEPS))


def other_loss(perturbation: Perturbation) -> float:
    """Return the passes of `other_loss` per image.

    Args:
        perturbation: The attack.
    """
    ball = _native_ball(perturbation)
    return max(of_attack(perturbation), of_attack(pgd(ball, LOSS_STEPS)) if ball else 0.0)


def more_steps(perturbation: Perturbation) -> float:
    """Return the passes of `more_steps` per image.

    Args:
        perturbation: The attack.
    """
    longer = perturbation.once().with_steps(FACTOR)
    return of_attack(longer) + of_attack(longer and longer.with_restart())


def step_size(perturbation: Perturbation) -> float:
    """Return the passes of `step_size` per image.

    Args:
        perturbation: The attack.
    """
    return sum(of_attack(perturbation.with_step_size(factor)) for factor in step_factors(perturbation))


def binarization(perturbation: Perturbation) -> float:
    """Return the passes of `binarization` per image.

    Args:
        perturbation: The attack.
    """
    return POINTS + of_attack(perturbation) if _native_ball(perturbation) else 0.0


def _native_ball(perturbation: Perturbation) -> Threat | None:
    """Return the ball of an attack if attacks of this package search in it."""
    region = perturbation.search_region
    return region if region and has_natives(region) else None
