"""The stored results that the tables of a run are made of, and where they came from."""

from __future__ import annotations

from collections.abc import Iterator

from gtn_bench.execution.finished import Finished
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store
from gtn_bench.store.origin import Origins, origins


def used_results(keys: Keys, finished: Finished) -> Iterator[tuple[str, str]]:
    """Yield kind and key of every result of a run. The cache lacks those of failed and rejected parts.

    Args:
        keys: The content keys of the plan.
        finished: The outcome of its tasks.
    """
    yield from (("teachers", key) for key in keys.teachers.values())
    yield from (("learners", own_keys[0]) for own_keys in keys.learners.values())
    yield from (("cells", own_keys[0]) for own_keys in keys.cells)
    yield from (("certificates", own_keys[0]) for own_keys in keys.certifications.values())
    yield from (("probes", key) for probing in finished.probings.values() for key in probing.probes)
    yield from (("probes", key) for key in finished.batch_probes.values())


def origins_of(keys: Keys, finished: Finished, store: Store) -> Origins:
    """Return what computed the results of a run.

    Args:
        keys: The content keys of the plan.
        finished: The outcome of its tasks.
        store: The cache.
    """
    return origins(store, used_results(keys, finished))
