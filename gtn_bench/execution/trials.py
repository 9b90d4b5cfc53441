"""Trials before a run: the attacks of the libraries on two images each, so that they fail before any training."""

from __future__ import annotations

from gtn_bench.config.errors import ConfigError, at_place
from gtn_bench.perturbations.base import Perturbation
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store


def try_attacks(plan: Plan, keys: Keys, store: Store) -> None:
    """Try the perturbations of a plan whose results the cache lacks, those of the libraries on two images.

    Args:
        plan: The plan.
        keys: Its content keys.
        store: The cache.

    Raises:
        ConfigError: One line per strength of an attack that fails.
    """
    sweeps: dict[str, dict[float, Perturbation]] = {}
    for cell, (key, *_) in zip(plan.cells, keys.cells, strict=True):
        missing = sweeps.setdefault(cell.perturbation_label, {})
        if cell.beta not in missing and not store.holds("cells", key):
            missing[cell.beta] = cell.perturbation
    problems = []
    for place, entry in zip(plan.suite.places("perturbations"), plan.suite.perturbations, strict=True):
        sweep = list(sweeps[entry.title].values())
        middle = len(sweep) // 2  # attacks that differ in their strength alone run once: at the middle strength
        for perturbation in (*sweep[middle:], *sweep[:middle]):
            try:
                perturbation.try_out(plan.dataset)
            except ConfigError as error:
                problems += at_place(error, place)
    if problems:
        raise plan.suite.error(problems)
