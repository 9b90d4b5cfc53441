"""Suitability of learners: which of them cannot be evaluated, and which are the same as others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.finished import Finished
from gtn_bench.planning.cells import Learner
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store


def refuse_faulty(finished: Finished) -> None:
    """Check that all existing networks can be evaluated.

    Args:
        finished: The outcome of the checks.

    Raises:
        ConfigError: One line per fault.
    """
    lines = [f"{who(learner)}: {text}" for learner in finished.findings for text in finished.faults(learner)]
    if lines:
        raise ConfigError("\n".join(lines))


def reject_faulty(finished: Finished, keys: Keys, learners: Iterable[Learner]) -> None:
    """Let the learners of an architecture and mode fail if the examined one cannot be evaluated.

    Args:
        finished: The outcome of the checks, to which failures are added.
        keys: Content keys of the plan.
        learners: The learners.
    """
    learners = list(learners)
    faults = {_without_seed(learner): found for learner in learners if (found := finished.faults(learner))}
    for learner in learners:
        if found := faults.get(_without_seed(learner), []):
            finished.failures[keys.learners[learner][0]] = f"ConfigError: {who(learner)}: {found[0]}"


def find_duplicates(finished: Finished, keys: Keys, learners: Iterable[Learner], store: Store) -> None:
    """Find learners with the weights of another seed, which count once, and those with the weights of another mode.

    Args:
        finished: The outcome so far, to which duplicates and findings are added.
        keys: Content keys of the plan.
        learners: The learners.
        store: The cache.
    """
    first: dict[tuple[Hashable, ...], Learner] = {}
    anywhere: dict[tuple[Hashable, ...], Learner] = {}
    for learner in learners:
        own_keys = keys.learners[learner]
        if finished.failure(own_keys):
            continue
        weights = store.metadata("learners", own_keys[0])["weights"]
        original = first.setdefault((*_without_seed(learner), weights), learner)
        if original is not learner:
            finished.duplicates[learner] = original
            continue
        twin = anywhere.setdefault((learner.teacher_label, learner.architecture_label, weights), learner)
        if twin is not learner:
            finished.findings.setdefault(learner, []).append(_identical(twin))


def first_seeds(learners: Sequence[Learner]) -> list[Learner]:
    """Return the first learner of each teacher, architecture and mode.

    Args:
        learners: The learners.
    """
    first: dict[Hashable, Learner] = {}
    for learner in learners:
        first.setdefault(_without_seed(learner), learner)
    return list(first.values())


def who(learner: Learner) -> str:
    """Return the name of a learner in messages.

    Args:
        learner: The learner.
    """
    if not learner.mode.trains:
        return f"model '{learner.mode_label}', seed {learner.seed}"
    return f"mode '{learner.mode_label}' of '{learner.architecture_label}', seed {learner.seed}"


def _without_seed(learner: Learner) -> tuple[str, str, str]:
    return learner.teacher_label, learner.architecture_label, learner.mode_label


def _identical(twin: Learner) -> dict[str, Any]:
    """Return the finding that a learner has the weights of a learner of another mode."""
    sentence = (
        f"The weights are those of mode '{twin.mode_label}', seed {twin.seed}; check that the modes name the models "
        "that you mean"
    )
    return {"name": "identical", "severity": "warning", "measured": 0.0, "sentence": sentence}
