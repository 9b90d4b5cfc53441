"""What a run of a whole suite records about its results, so that runs can be compared and merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gtn_bench.execution.finished import Finished
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.planning.learners import modules_of
from gtn_bench.store.cache import Store
from gtn_bench.store.hashing import digest
from gtn_bench.store.keys import fingerprint, imports_of
from gtn_bench.store.parsing import save_what_was_read

_ALWAYS = ("gtn_bench.evaluation.evaluate", "gtn_bench.inference.classifier", "gtn_bench.modes.training")


def record_of_run(plan: Plan, keys: Keys, finished: Finished, store: Store, key_device: str) -> dict[str, Any]:
    """Return what a run records about its results, as plain data for provenance.json.

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        store: The cache.
        key_device: What of the device is in the keys.

    Returns:
        The type of the device, a digest of the numbers of all cells, and one of each module that can change them.
    """
    done = finished_keys(plan, keys, finished)
    return {"key_device": key_device, "results": digest_of_results(done, store), "code": _code(plan)}


def finished_keys(plan: Plan, keys: Keys, finished: Finished) -> list[str]:
    """Return the keys of all cells with a result.

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
    """
    return [
        own[0]
        for cell, own in zip(plan.cells, keys.cells, strict=True)
        if cell.learner not in finished.rejected
        and cell.learner not in finished.duplicates
        and not finished.failure(own)
    ]


def digest_of_results(keys: Iterable[str], store: Store) -> str:
    """Return a digest of the numbers of some cells. Their order does not matter.

    Args:
        keys: The keys of the cells.
        store: The cache, which holds all of them.
    """
    return digest({key: store.digest("cells", key) for key in keys})


def _code(plan: Plan) -> dict[str, str]:
    """Return a digest of each module that computes the numbers of a plan, those that they import included."""
    modules = sorted(imports_of(frozenset({*_ALWAYS, *_modules(plan)})))
    found = {module: fingerprint(module) for module in modules}
    save_what_was_read()
    return found


def _modules(plan: Plan) -> set[str]:
    """Return the modules of everything that a plan names."""
    parts = [part for learner in plan.learners for part in (learner.dataset, learner.architecture, learner.mode)]
    perturbations = {id(cell.perturbation): cell.perturbation for cell in plan.cells}
    return modules_of(*parts, *perturbations.values(), *(taught_by.teacher for taught_by in plan.teachers))
