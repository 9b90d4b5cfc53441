"""Examination of existing networks, without any attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtn_bench.analysis.tables import LEARNER
from gtn_bench.config.paths import user_path
from gtn_bench.execution.accelerator import device_key
from gtn_bench.execution.environment import Device, choose_device
from gtn_bench.execution.executors import open_pool
from gtn_bench.execution.finished import learner_identity
from gtn_bench.execution.scheduler import Progress, Scheduler
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import keys_of
from gtn_bench.planning.plugins import loaded_plugins
from gtn_bench.store.cache import Context, Store, cache_folder
from gtn_bench.store.files import make_folder


def examine(
    plan: Plan,
    *,
    device: Device = "auto",
    cache: str | Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict[str, Any]]:
    """Check the existing networks of a plan.

    Args:
        plan: The plan.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        cache: Folder of the cache; by default `GTN_BENCH_CACHE`, or else the user's cache folder.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        One row per network: the values of the columns `LEARNER`, and `findings` with `name`, `severity`, `measured` and
        `sentence`.
    """
    store = Store(user_path(cache) if cache else cache_folder())
    chosen = choose_device(device)
    context = Context(store, chosen, loaded_plugins(), key_device=device_key(chosen))
    make_folder(store.folder)
    with open_pool(None, 1, context) as pool:
        found = Scheduler(context, pool, progress).examine(plan, keys_of(plan, context.key_device))
    return [
        {**dict(zip(LEARNER, learner_identity(learner), strict=True)), "findings": findings}
        for learner, findings in found.items()
    ]
