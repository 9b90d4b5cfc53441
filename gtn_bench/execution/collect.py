"""Collection of results from the cache, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gtn_bench.analysis.records import CellRecord
from gtn_bench.analysis.tables import IDENTITY, LEARNER
from gtn_bench.execution.evidence import certified, evidence_of, model_flags, proofs
from gtn_bench.execution.finished import Finished, learner_identity
from gtn_bench.planning.cells import Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store

EXAMPLES = 4  # perturbed images that the report shows


def records(plan: Plan, keys: Keys, finished: Finished, store: Store) -> Iterator[CellRecord]:
    """Yield the result of every cell, in the order of the plan.

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        store: The cache.
    """
    keys_of_cells = {
        (cell.learner, cell.perturbation_label, cell.beta): cell_keys[0]
        for cell, cell_keys in zip(plan.cells, keys.cells, strict=True)
    }
    masks = proofs(keys, finished, store)
    for cell, cell_keys in zip(plan.cells, keys.cells, strict=True):
        learner = cell.learner
        names = (*learner_identity(learner), cell.perturbation_label, cell.beta)
        identity = dict(zip(IDENTITY, names, strict=True))
        if error := finished.failure(cell_keys):
            yield CellRecord(identity, cell.samples, "error", traceback=error)
        elif original := finished.duplicates.get(learner):
            key = keys_of_cells.get((original, cell.perturbation_label, cell.beta))  # None if it is of another shard
            yield CellRecord(
                identity,
                cell.samples,
                "duplicate",
                clean_accuracy=_clean_accuracy(store, key),
                duplicate_of=original.seed,
            )
        elif learner in finished.rejected:
            clean_accuracy = float(finished.rejected[learner][: cell.samples].mean())
            yield CellRecord(identity, cell.samples, "rejected", clean_accuracy=clean_accuracy)
        else:
            samples, metadata = store.load("cells", cell_keys[0], "np")
            yield CellRecord(
                identity,
                cell.samples,
                "done",
                samples=samples,
                cost=metadata["cost"],
                shares=metadata["shares"],
                search_region=cell.search_region,
                attack_error=metadata["attack_error"],
                evidence=evidence_of(cell, cell_keys[0], finished, store),
                access=cell.perturbation.access,
                attack=cell.perturbation.title,
                model_flags=model_flags(learner, cell, finished),
                certified=certified(masks, cell),
                pixels=math.prod(learner.dataset.input_shape),
            )


def _clean_accuracy(store: Store, key: str | None) -> float:
    """Return the clean accuracy of the images of a cell; nan if the cell has failed or is none of the plan."""
    if key is None or not store.holds("cells", key):
        return np.nan
    samples, _ = store.load("cells", key, "np")
    return float((samples["clean_prediction"] == samples["label"]).mean())


def findings_of(finished: Finished) -> list[dict[str, Any]]:
    """Return what the checks of models found, one row per learner with findings.

    Args:
        finished: The outcome of the tasks of a plan.
    """
    return [
        {
            **dict(zip(LEARNER, learner_identity(learner), strict=True)),
            "findings": [f"{each['severity']}: {each['sentence']}" for each in found],
        }
        for learner, found in finished.findings.items()
        if found
    ]


def perturbed_images(
    plan: Plan, keys: Keys, finished: Finished, store: Store
) -> Iterator[tuple[str, dict[str, np.ndarray[Any, Any]], dict[str, Any]]]:
    """Yield all perturbed images of each sweep of a learner, if the suite keeps them.

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        store: The cache.

    Yields:
        Name of the file; images (N, C, H, W) by strength, beside `clean` and `label`; identity of the sweep.
    """
    sweeps: dict[tuple[Learner, str], list[tuple[float, str]]] = {}
    for cell, cell_keys in zip(plan.cells, keys.cells, strict=True):
        if cell.keeps_images and not finished.failure(cell_keys) and store.holds("cells", cell_keys[0]):
            sweeps.setdefault((cell.learner, cell.perturbation_label), []).append((cell.beta, cell_keys[0]))
    for (learner, perturbation), cells in sweeps.items():
        identity = {**dict(zip(LEARNER, learner_identity(learner), strict=True)), "perturbation": perturbation}
        images: dict[str, np.ndarray[Any, Any]] = {}
        for beta, key in cells:
            tensors, _ = store.load("cells", key, "np")
            images |= {"clean": tensors["clean"], "label": tensors["label"], f"{beta!r}": tensors["examples"]}
        names = (perturbation, *learner_identity(learner)[1:])
        yield "-".join(map(str, names)), images, identity


def example_images(
    plan: Plan, keys: Keys, finished: Finished, store: Store, chosen: Mapping[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return example images: `clean`, and ``<perturbation>/<mode>/<beta>``, each (k, C, H, W).

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        store: The cache.
        chosen: Architecture, seed and teachers of the learners whose images are returned.
    """
    images = {}
    for cell, cell_keys in zip(plan.cells, keys.cells, strict=True):
        learner = cell.learner
        if learner.architecture_label != chosen["architecture"] or learner.seed != chosen["seed"]:
            continue
        if learner.teacher_label not in chosen["teachers"]:
            continue
        if finished.failure(cell_keys) or learner in finished.rejected:
            continue
        if learner in finished.duplicates:
            continue
        tensors, _ = store.load("cells", cell_keys[0], "np")
        tensors = {name: tensors[name][:EXAMPLES] for name in ("clean", "examples")}
        images["clean"] = tensors["clean"]
        images[f"{cell.perturbation_label}/{learner.mode_label}/{cell.beta!r}"] = tensors["examples"]
    return images
