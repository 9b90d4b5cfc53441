"""Estimates of a run that has not begun: what is missing in the cache, how long it takes, and the memory it needs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from gtn_bench.execution.events import Event
from gtn_bench.execution.suitability import first_seeds
from gtn_bench.planning.cells import Cell, Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Context

_WHAT = re.compile(r"(?:'(?P<label>[^']*)', )?model? '(?P<mode>[^']*)'(?: of '(?P<architecture>[^']*)')?")
_TEACHER = re.compile(r"teacher '(?P<label>[^']*)', (?P<steps>[0-9]{1,10}) meta-steps")


class Estimate(NamedTuple):
    """The work, time and memory of a run that has not begun.

    Attributes:
        cells: Number of cells of the plan.
        parts: Number of results that the run needs, by kind.
        missing: Number of those that the cache lacks, by kind.
        worker_seconds: Time of the missing ones in one worker, by kind. Kinds without a basis are left out.
        workers: Number of workers.
        seconds: Time of the run, for the kinds of `worker_seconds`. Teachers are meta-trained one after another.
        memory: Peak memory of all workers in bytes; 0 if it is unknown.
        unknown: Kinds of results whose time is not part of the estimate.
        basis: What the estimate rests on.
    """

    cells: int
    parts: dict[str, int]
    missing: dict[str, int]
    worker_seconds: dict[str, float]
    workers: int
    seconds: float
    memory: int
    unknown: tuple[str, ...]
    basis: str


class _Task(NamedTuple):
    """A result that the cache lacks."""

    kind: str
    architecture: str
    label: str  # of the teacher, the perturbation, the mode or the certifier
    size: int  # number of images or of meta-steps, to which its time is proportional


def estimate(plan: Plan, keys: Keys, context: Context, events: Iterable[Event]) -> Estimate:
    """Return the work, time and memory of a run, without training or writing anything.

    The time of a result is the median of earlier ones of the same kind, architecture and perturbation, per image, or
    else of the same kind; that of a teacher per meta-step. Without any event of a cell, a few
    batches are timed on untrained networks.

    Args:
        plan: The plan.
        keys: Its content keys.
        context: Cache, device and number of workers. The files of the cache are counted, not verified.
        events: Events of earlier runs.
    """
    parts, missing = _tasks(plan, keys, context)
    lacking = Counter(task.kind for task in missing)
    rates, used, memory, memory_alone = _rates(events, plan, keys)
    basis = [f"{used} earlier tasks"] if used else []
    if lacking["cells"] and not any(kind == "cells" for kind, *_ in rates):
        from gtn_bench.execution.timed_batches import IMAGES, time_batches

        timed = time_batches(_examples(plan, missing), context.device)
        memory = max(memory, timed.memory)
        rates = {**rates, **{("cells", *pair): [seconds] for pair, seconds in timed.seconds.items()}}
        basis.append(f"timed batches of {IMAGES} images")
    spent: dict[str, float] = defaultdict(float)
    unknown: set[str] = set()
    for task, count in Counter(missing).items():
        rate = _rate(rates, task)
        if rate is None:
            unknown.add(task.kind)
        else:
            spent[task.kind] += rate * task.size * count
    if plan.suite.checks != "none" and any(task.kind == "cells" for task in missing):
        unknown.add("probes")
    alone = spent.get("teachers", 0.0)
    return Estimate(
        cells=len(plan.cells),
        parts=dict(parts),
        missing={kind: lacking[kind] for kind in parts},
        worker_seconds=dict(spent),
        workers=context.workers,
        seconds=alone + (sum(spent.values()) - alone) / context.workers,
        memory=max(memory * context.workers, memory_alone),
        unknown=tuple(sorted(unknown)),
        basis=f"from {' and '.join(basis)}" if spent else "nothing to go by" if missing else "nothing is missing",
    )


def _tasks(plan: Plan, keys: Keys, context: Context) -> tuple[Counter[str], list[_Task]]:
    """Return the number of results by kind, and those that the cache lacks."""
    found: list[tuple[_Task, str]] = []
    for taught_by in plan.teachers:
        found.append(
            (_Task("teachers", "", taught_by.label, taught_by.teacher.work or 1), keys.teachers[taught_by.label])
        )
    for learner in plan.learners:
        found.append((_task("learners", learner), keys.learners[learner][0]))
    trained = [learner for learner in plan.learners if learner.mode.trains]
    existing = [learner for learner in plan.learners if not learner.mode.trains]
    for learner in (*first_seeds(trained), *existing):
        key = learner.examination_key(context.key_device, keys.learners[learner][0])
        found.append((_task("examinations", learner), key))
    for cell, own in zip(plan.cells, keys.cells, strict=True):
        found.append((_task("cells", cell.learner, cell.perturbation_label, cell.samples), own[0]))
    for each, own in keys.certifications.items():
        found.append((_task("certificates", each.learner, each.label, each.samples), own[0]))
    parts = Counter(task.kind for task, _ in found)
    return parts, [task for task, key in found if not context.store.path(task.kind, key).is_file()]


def _task(kind: str, learner: Learner, label: str = "", size: int = 1) -> _Task:
    return _Task(kind, learner.architecture_label, label or learner.mode_label, size)


Rates = Mapping[tuple[str, str, str], Sequence[float]]


class _Known(NamedTuple):
    """The facts about earlier tasks."""

    rates: Rates  # seconds per image or meta-step by kind, architecture and label
    used: int  # number of tasks
    memory: int  # peak memory of a worker in bytes
    memory_alone: int  # that of the process that meta-trains teachers, while no worker computes


def _rates(events: Iterable[Event], plan: Plan, keys: Keys) -> _Known:
    """Return what the events of earlier runs tell."""
    images = {own[0]: cell.samples for cell, own in zip(plan.cells, keys.cells, strict=True)}
    usual = {cell.perturbation_label: cell.samples for cell in plan.cells}
    rates: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    used = memory = memory_alone = 0
    for event in events:
        kind = _KINDS.get(event.stage)
        if event.status != "done" or kind is None or not event.keys:
            continue
        if kind == "teachers":
            if teacher := _TEACHER.fullmatch(event.what):
                rates[kind, "", teacher["label"]].append(event.seconds / max(int(teacher["steps"]), 1))
                used, memory_alone = used + 1, max(memory_alone, event.memory)
            continue
        found = _WHAT.search(event.what)
        label = (found["label"] or found["mode"]) if found else ""
        each = usual.get(label, 1) if kind in ("cells", "certificates") else 1
        count = sum(images.get(key, each) for key in event.keys)
        rates[kind, (found["architecture"] if found else None) or "", label].append(event.seconds / max(count, 1))
        used += 1
        memory = max(memory, event.memory)
    return _Known(rates, used, memory, memory_alone)


# The kinds of results, by the name of their stage.
_KINDS = {
    "learners": "learners",
    "checks": "examinations",
    "cells": "cells",
    "proofs": "certificates",
    "meta-steps": "teachers",
}


def _rate(rates: Rates, task: _Task) -> float | None:
    """Return the median seconds per image of the most similar earlier tasks; None if there is none."""
    exact = rates.get((task.kind, task.architecture, task.label))
    if exact:
        return median(exact)
    same_label = [rate for key, group in rates.items() if key[::2] == (task.kind, task.label) for rate in group]
    same_kind = [rate for key, group in rates.items() if key[0] == task.kind for rate in group]
    similar = same_label or same_kind
    return median(similar) if similar else None


def _examples(plan: Plan, missing: Iterable[_Task]) -> list[Cell]:
    """Return one cell with a middle strength for each architecture and perturbation that the cache lacks."""
    wanted = {(task.architecture, task.label) for task in missing if task.kind == "cells"}
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in plan.cells:
        groups[cell.learner.architecture_label, cell.perturbation_label].append(cell)
    return [
        sorted(groups[pair], key=lambda cell: cell.beta)[len(groups[pair]) // 2] for pair in groups if pair in wanted
    ]
