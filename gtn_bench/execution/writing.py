"""The files of a run: what the tasks of a plan left in the cache, as samples, tables, images and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gtn_bench.analysis.acceptance import AcceptanceRule, acceptance
from gtn_bench.analysis.comparisons import comparisons
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.manifest import IMAGES
from gtn_bench.analysis.measures import measures
from gtn_bench.analysis.records import Summary, summarize
from gtn_bench.config.labels import ACCEPTED, NO_TEACHER
from gtn_bench.execution.collect import example_images, findings_of, perturbed_images, records
from gtn_bench.execution.environment import provenance
from gtn_bench.execution.evidence import certificates
from gtn_bench.execution.finished import Finished
from gtn_bench.execution.output import SampleWriter, write, write_images
from gtn_bench.execution.passes import passes_of
from gtn_bench.execution.used import origins_of
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Context
from gtn_bench.store.origin import current_origin, kinds_of_origin, origins_to_plain


def write_results(
    stage: Path,
    plan: Plan,
    keys: Keys,
    finished: Finished,
    context: Context,
    rule: AcceptanceRule,
    record: Mapping[str, Any],
) -> None:
    """Write the files of a run: samples, tables, images and provenance.

    Args:
        stage: The folder.
        plan: The plan.
        keys: Its content keys.
        finished: The outcome of its tasks.
        context: Cache and device.
        rule: When an architecture is accepted.
        record: Further entries of provenance.json.
    """
    store = context.store
    with SampleWriter(stage / "samples.parquet") as samples:
        summary = summarize(samples.writing(records(plan, keys, finished, store)))
    examples = choose_examples(plan, summary.table, rule)
    images = example_images(plan, keys, finished, store, examples)
    write_images(stage / IMAGES, perturbed_images(plan, keys, finished, store))
    origins = origins_of(keys, finished, store)
    content = {
        **provenance(plan, context.device),
        "teachers": keys.teachers,
        "models": findings_of(finished),
        "examples": examples,
        "passes": passes_of(plan, summary.table),
        "origins": origins_to_plain(origins),
        "hardware": "; ".join(kinds_of_origin(origins, current_origin())),
        "errors": summary.errors,
        "attack_errors": summary.attack_errors,
        **record,
    }
    proven = {"certificates": certificates(keys, finished, store)}
    write(stage, plan.suite, {**tables(summary, rule), **proven}, images, content)


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
    return {"architecture": architecture, "seed": plan.cells[0].learner.seed, "teachers": teachers}
