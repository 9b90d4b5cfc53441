"""The run of a plan: from the plan to the tables in the output folder.

Every finished part is stored in the cache under the key of its content. An interrupted run resumes, and a changed
suite computes only what changed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, acceptance
from gtn_bench.analysis.comparisons import comparisons
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.measures import measures
from gtn_bench.analysis.records import Summary, summarize
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.keywords import names_keywords
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.config.paths import user_path
from gtn_bench.config.suite import Suite
from gtn_bench.execution.accelerator import check_bfloat16, device_key
from gtn_bench.execution.collect import example_images, findings_of, perturbed_images, records
from gtn_bench.execution.environment import Device, choose_device, default_workers, provenance
from gtn_bench.execution.evidence import certificates
from gtn_bench.execution.output import SampleWriter, check_output, write, write_images
from gtn_bench.execution.passes import passes_of
from gtn_bench.execution.scheduler import Progress, Scheduler
from gtn_bench.execution.trials import try_attacks
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import keys_of
from gtn_bench.planning.plugins import loaded_plugins
from gtn_bench.reporting.notebook import Results
from gtn_bench.store.cache import Context, Store, cache_folder
from gtn_bench.store.files import make_folder


@names_keywords
def run(
    plan: Plan,
    out: str | Path,
    *,
    device: Device = "auto",
    workers: int | None = None,
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
        cache: Folder of the cache; by default `GTN_BENCH_CACHE`, or else the user's cache folder.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        The results in the output folder. A cell that failed is a row with status `error`, and a `RuntimeWarning`
        counts them; their tracebacks are in provenance.json.

    Raises:
        ConfigError: If the device, a folder or a data set is not available.
    """
    started = time.time()
    if not isinstance(plan, Plan):
        raise ConfigError(f"run expects a plan, got {_wrong_plan(plan)}")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigError(f"workers expects at least one process, got {shown(workers)}")
    if not callable(progress):
        raise ConfigError(f"progress expects a function of (stage, done, total), got {shown(progress)}")
    folder = user_path(out)
    store = Store(user_path(cache) if cache else cache_folder())
    context = Context(store, choose_device(device), loaded_plugins())
    make_folder(context.store.folder)
    check_output(folder, plan.suite)
    rule = AcceptanceRule(plan.suite.acceptance, tuple(control.title for control in plan.suite.controls))

    for who in in_bfloat16(plan):
        check_bfloat16(context.device, who)
    processes = workers or default_workers(context.device)
    keys = keys_of(plan, device_key(context.device))
    try_attacks(plan, keys, store)
    finished = Scheduler(context, processes, progress).run(plan, keys, rule)
    (folder / "provenance.json").unlink(missing_ok=True)  # until it is written again, the folder is unfinished
    with SampleWriter(folder / "samples.parquet") as samples:
        summary = summarize(samples.writing(records(plan, keys, finished, context.store)))
    examples = choose_examples(plan, summary.table, rule)
    images = example_images(plan, keys, finished, context.store, examples)
    origin = {
        **provenance(plan, context.device),
        "workers": processes,
        "teachers": keys.teachers,
        "models": findings_of(finished),
        "examples": examples,
        "passes": passes_of(plan, summary.table),
        "seconds": time.time() - started,
        "errors": summary.errors,
        "attack_errors": summary.attack_errors,
    }
    write_images(folder / "adversarial", perturbed_images(plan, keys, finished, context.store))
    proven = {"certificates": certificates(keys, finished, context.store)}
    write(folder, plan.suite, {**tables(summary, rule), **proven}, images, origin)
    results = Results(folder)
    if results.errors:
        failed = f"{len(results.errors)} of {len(plan.cells)} cells failed"
        first = results.errors[0]["error"]
        warnings.warn(f"{failed}; first: {first}; see results.errors", RuntimeWarning, stacklevel=3)
    return results


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


def tables(summary: Summary, rule: AcceptanceRule) -> dict[str, pd.DataFrame]:
    """Return the tables of a run.

    Args:
        summary: The summary of all records.
        rule: When an architecture is accepted.

    Returns:
        The tables `summary`, `checks`, `curves`, `measures` and `comparisons`, by name.
    """
    points = curves(summary.table, rule, summary.correct)
    return {
        "summary": summary.table,
        "checks": summary.checks,
        "curves": points,
        "measures": measures(summary.table, rule, summary.correct, points),
        "comparisons": comparisons(summary.table, rule, summary.correct),
    }


def choose_examples(plan: Plan, summary: pd.DataFrame, rule: AcceptanceRule) -> dict[str, Any]:
    """Choose the learners whose perturbed images are stored: one per mode.

    They have the first accepted architecture, the first teacher and the first seed.

    Args:
        plan: The plan.
        summary: The summary of its cells.
        rule: When an architecture is accepted.

    Returns:
        Architecture, seed and teachers of the learners.
    """
    accepted = acceptance(summary, rule)
    first = [plan.teachers[0].label if plan.teachers else NO_TEACHER, plan.cells[0].learner.architecture_label]
    pairs = accepted.loc[accepted[ACCEPTED], ["teacher", "architecture"]].to_numpy().tolist()
    teacher, architecture = [*pairs, first][0]
    teachers = list(dict.fromkeys([NO_TEACHER, teacher]))
    return {"architecture": architecture, "seed": plan.suite.seeds[0], "teachers": teachers}
