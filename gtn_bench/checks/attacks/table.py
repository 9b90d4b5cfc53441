"""The table of probes, in the order in which a budget is spent: the cheapest and most telling ones first.

Planning imports it, so that torch is imported only where a probe runs.
"""

from __future__ import annotations

from gtn_bench.checks.attacks import estimates
from gtn_bench.checks.attacks.situation import SUBSAMPLE, Outcome, Probe, Situation
from gtn_bench.data.base import Dataset
from gtn_bench.perturbations.base import Perturbation

__all__ = ["PROBES", "SUBSAMPLE", "Outcome", "Probe", "Situation"]


def searches_a_ball(perturbation: Perturbation, dataset: Dataset) -> bool:
    """Return whether an attack searches a ball for any misclassified image.

    Args:
        perturbation: The attack.
        dataset: The data set.
    """
    region = perturbation.search_region
    return perturbation.access != "none" and region is not None and region.epsilon > 0


def follows_gradients(perturbation: Perturbation, dataset: Dataset) -> bool:
    """Return whether an attack searches a ball and follows gradients.

    Args:
        perturbation: The attack.
        dataset: The data set.
    """
    return perturbation.access == "white" and searches_a_ball(perturbation, dataset)


def _gradient(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.gradient import gradient

    return gradient(situation)


def _second_attack(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.again import second_attack

    return second_attack(situation)


def _more_steps(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.variants import more_steps

    return more_steps(situation)


def _recording(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.recording import record

    return record(situation)


def _gradient_free(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.again import gradient_free

    return gradient_free(situation)


def _binarization(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.binarization import binarization

    return binarization(situation)


def _other_loss(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.variants import other_loss

    return other_loss(situation)


def _unbounded(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.again import unbounded

    return unbounded(situation)


def _transfer(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.again import transfer

    return transfer(situation)


def _step_size(situation: Situation) -> dict[str, Outcome]:
    from gtn_bench.checks.attacks.variants import step_size

    return step_size(situation)


PROBES: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe("gradient", ("non_finite_gradient",), follows_gradients, estimates.gradient, _gradient, "all"),
        Probe("second_attack", ("second_attack",), searches_a_ball, estimates.second_attack, _second_attack),
        Probe("recording", ("path", "rising"), searches_a_ball, estimates.recording, _recording),
        Probe("other_loss", ("other_loss",), follows_gradients, estimates.other_loss, _other_loss),
        Probe("more_steps", ("more_steps",), searches_a_ball, estimates.more_steps, _more_steps),
        Probe("gradient_free", ("gradient_free",), searches_a_ball, estimates.gradient_free, _gradient_free),
        Probe("binarization", ("binarization",), searches_a_ball, estimates.binarization, _binarization, "all"),
        Probe("unbounded", ("unbounded",), follows_gradients, estimates.unbounded, _unbounded),
        Probe("transfer", ("transfer",), searches_a_ball, estimates.transfer, _transfer),
        Probe("step_size", ("step_size",), searches_a_ball, estimates.step_size, _step_size),
    )
}
