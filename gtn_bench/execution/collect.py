"""Collection of results from the cache, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gtn_bench.analysis.records import CellRecord
from gtn_bench.analysis.tables import IDENTITY
from gtn_bench.planning.cells import Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store
from gtn_bench.store.files import read_tensors


class Finished(NamedTuple):
    """The outcome of all tasks of a plan; results are in the cache.

    Attributes:
        failures: Traceback of each failed teacher, learner or cell, by key.
        rejected: For each learner that is not attacked, the mask of clean images that it classifies correctly.
    """

    failures: dict[str, str]
    rejected: dict[Learner, np.ndarray[Any, Any]]

    def failure(self, keys: tuple[str, ...]) -> str | None:
        """Return the traceback of the first of some keys that failed, or None.

        Args:
            keys: Keys of a result and of its inputs.
        """
        return next((self.failures[key] for key in keys if key in self.failures), None)


def records(plan: Plan, keys: Keys, finished: Finished, store: Store) -> Iterator[CellRecord]:
    """Yield the result of every cell, in the order of the plan.

    Args:
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        store: The cache.
    """
    for cell, cell_keys in zip(plan.cells, keys.cells, strict=True):
        learner = cell.learner
        names = (*learner_identity(learner), cell.perturbation_label, cell.beta)
        identity = dict(zip(IDENTITY, names, strict=True))
        if error := finished.failure(cell_keys):
            yield CellRecord(identity, cell.samples, "error", traceback=error)
        elif learner in finished.rejected:
            clean_accuracy = float(finished.rejected[learner][: cell.samples].mean())
            yield CellRecord(identity, cell.samples, "rejected", clean_accuracy=clean_accuracy)
        else:
            samples, metadata = read_tensors(store.path("cells", cell_keys[0]))
            yield CellRecord(
                identity,
                cell.samples,
                "done",
                samples=samples,
                cost=metadata["cost"],
                shares=metadata["shares"],
                # With statistics of the batch, the class of an image depends on the other images.
                search_region=None if cell.in_train_mode else cell.perturbation.search_region,
                needs_ce_gradient=cell.perturbation.needs_ce_gradient,
            )


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
        tensors, _ = read_tensors(store.path("cells", cell_keys[0]))
        images["clean"] = tensors["clean"]
        images[f"{cell.perturbation_label}/{learner.mode_label}/{cell.beta!r}"] = tensors["examples"]
    return images


def learner_identity(learner: Learner) -> tuple[Any, ...]:
    """Return the values of the columns `LEARNER`.

    Args:
        learner: The learner.
    """
    labels = (learner.dataset.name, learner.teacher_label, learner.architecture_label, learner.mode_label)
    return (*labels, learner.seed)
