"""The run of a plan: from the plan to the tables in the output folder.

Every finished part is stored in the cache under the key of its content. An interrupted run resumes, and a changed
suite computes only what changed.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.paths import user_path
from gtn_bench.config.suite import Suite
from gtn_bench.execution.accelerator import check_bfloat16, device_key
from gtn_bench.execution.environment import Device, choose_device, default_workers
from gtn_bench.execution.estimates import Estimate, estimate
from gtn_bench.execution.events import FILE as EVENTS
from gtn_bench.execution.events import EventLog, read_events
from gtn_bench.execution.executors import open_pool
from gtn_bench.execution.output import OutputFolder
from gtn_bench.execution.run_record import record_of_run
from gtn_bench.execution.scheduler import Progress, Scheduler
from gtn_bench.execution.shards import learners_of, parse_shard, part_of, record_of
from gtn_bench.execution.trials import try_attacks
from gtn_bench.execution.writing import write_results
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import keys_of
from gtn_bench.planning.plugins import loaded_plugins
from gtn_bench.reporting.notebook import Results
from gtn_bench.store.cache import Context, Store, cache_folder


@names_keywords
def run(
    plan: Plan,
    out: str | Path,
    *,
    device: Device = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    shard: str | None = None,
    cell_timeout: float | None = None,
    strict_hardware: bool = False,
    accept_changes: bool = False,
    cache: str | Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Results:
    """Compute all cells of a plan and write the output folder.

    Learners and cells are computed with one thread each, so results do not depend on `workers`.

    Args:
        plan: The plan, from `gtn_bench.plan`.
        out: The output folder. A folder with results of the same suite is updated.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        workers: Number of processes; by default one per core, or one per GPU. Several share the GPUs and their memory.
        scheduler: Address of a Dask scheduler that runs the tasks, such as "tcp://host:8786", or "local-cluster"; by
            default processes of this machine.
        shard: "i/N" for the i-th of N parts of the plan.
        cell_timeout: Time limit of a cell in seconds.
        strict_hardware: Whether stored results of other kinds of processors are computed again.
        accept_changes: Whether files of the folder that were changed after an earlier run are replaced.
        cache: Folder of the cache; by default `GTN_BENCH_CACHE`, or else the user's cache folder.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        The results in the output folder. A cell that failed is a row with status `error`, and a `RuntimeWarning`
        counts them; their tracebacks are in provenance.json.

    Raises:
        ConfigError: If the device, a folder or a data set is not available.
    """
    started = time.time()
    _check_arguments(plan, workers, cell_timeout, progress)
    part = parse_shard(shard) if shard is not None else None
    mine = learners_of(plan, part) if part else None
    folder = user_path(out)
    context = _open_context(device, cache, strict_hardware)
    rule = _rule(plan)
    for who in in_bfloat16(plan):
        check_bfloat16(context.device, who)
    processes = workers or default_workers(context.device)

    with OutputFolder(folder, plan.suite, accept_changes=accept_changes) as output, EventLog(folder) as observe:
        keys = keys_of(plan, context.key_device)
        try_attacks(plan, keys, context.store)
        in_processes = "processes" if workers is None or cell_timeout else None  # one worker may be this process
        with open_pool(scheduler or in_processes, processes, context) as pool:
            finished = Scheduler(context, pool, progress, observe, cell_timeout).run(plan, keys, rule, mine)
        record = {"workers": processes, "seconds": time.time() - started}
        if part and mine is not None:
            plan, keys = part_of(plan, keys, mine)
            record |= record_of(part, plan, keys, finished, context.store, context.key_device)
        else:
            record |= record_of_run(plan, keys, finished, context.store, context.key_device)
        with output.writing() as stage:
            write_results(stage, plan, keys, finished, context, rule, record)
    results = Results(folder)
    if hardware := results.provenance["hardware"]:
        warnings.warn(f"results were {hardware}", RuntimeWarning, stacklevel=3)
    if results.errors:
        failed = f"{len(results.errors)} of {len(plan.cells)} cells failed"
        first = results.errors[0]["error"]
        warnings.warn(f"{failed}; first: {first}; see results.errors", RuntimeWarning, stacklevel=3)
    return results


def dry_run(
    plan: Plan,
    out: str | Path,
    *,
    device: Device = "auto",
    workers: int | None = None,
    strict_hardware: bool = False,
    cache: str | Path | None = None,
) -> Estimate:
    """Estimate what a run would compute, and how long that takes. Nothing is trained or written.

    Args:
        plan: The plan.
        out: The output folder, whose earlier runs tell how long tasks take.
        device: As for `run`.
        workers: As for `run`.
        strict_hardware: As for `run`.
        cache: As for `run`.

    Returns:
        Numbers of cells and of missing results, seconds, memory, and what they rest on.

    Raises:
        ConfigError: If the device or a folder is not available.
    """
    _check_arguments(plan, workers)
    context = _open_context(device, cache, strict_hardware)
    context = context._replace(workers=workers or default_workers(context.device))
    return estimate(plan, keys_of(plan, context.key_device), context, read_events(user_path(out) / EVENTS))


def _check_arguments(
    plan: object,
    workers: object,
    cell_timeout: object = None,
    progress: object = lambda stage, done, total: None,
) -> None:
    """Raise `ConfigError` if an argument is of the wrong kind."""
    if not isinstance(plan, Plan):
        raise ConfigError(f"run expects a plan, got {_wrong_plan(plan)}")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigError(f"workers expects at least one process, got {shown(workers)}")
    number = cell_timeout if isinstance(cell_timeout, int | float) and not isinstance(cell_timeout, bool) else 0
    if cell_timeout is not None and not 0 < number < math.inf:
        raise ConfigError(f"cell_timeout expects a number of seconds above 0, got {shown(cell_timeout)}")
    if not callable(progress):
        raise ConfigError(f"progress expects a function of (stage, done, total), got {shown(progress)}")


def _open_context(device: Device, cache: str | Path | None, strict_hardware: bool) -> Context:
    store = Store(user_path(cache) if cache else cache_folder())
    chosen = choose_device(device)
    store.open()
    return Context(store, chosen, loaded_plugins(), key_device=device_key(chosen, strict_hardware))


def _rule(plan: Plan) -> AcceptanceRule:
    return AcceptanceRule(plan.suite.acceptance, tuple(control.title for control in plan.suite.controls))


def in_bfloat16(plan: Plan) -> Iterator[str]:
    """Yield the names of what computes in bfloat16, for messages: the suite, teachers.

    Args:
        plan: The plan.
    """
    if any(cell.precision == "bfloat16" for cell in plan.cells):
        yield f"suite '{plan.suite.name}'"
    for taught_by in plan.teachers:
        if getattr(taught_by.teacher, "precision", "float32") == "bfloat16":
            yield f"teacher '{taught_by.label}'"


def _wrong_plan(value: object) -> str:
    """Return what was given in place of a plan, with the right call."""
    if isinstance(value, Suite):
        return "a suite; call gtn_bench.run(gtn_bench.plan(suite), ...)"
    return f"{shown(value)}; call gtn_bench.run(gtn_bench.plan(gtn_bench.load({shown(value)})), ...)"
