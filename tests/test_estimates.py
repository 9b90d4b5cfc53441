"""Estimates of runs count what the cache lacks, and rest on earlier tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.suites import TINY

from gtn_bench.config import suite
from gtn_bench.execution import timed_batches
from gtn_bench.execution.estimates import estimate
from gtn_bench.execution.events import Event
from gtn_bench.planning import planner
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import Keys, keys_of
from gtn_bench.store.cache import Context, Store


@pytest.fixture
def planned() -> tuple[Plan, Keys]:
    plan = planner.plan(suite.parse(TINY))
    return plan, keys_of(plan, "cpu")


def event(stage: str, what: str, keys: tuple[str, ...], seconds: float, *, memory: int = 100) -> Event:
    return Event(stage, what, keys, "done", seconds, memory, "host", 1)


def touch(store: Store, kind: str, key: str) -> None:
    path = store.path(kind, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_missing_results_are_counted_by_kind_and_nothing_is_written(planned: tuple[Plan, Keys], tmp_path: Path) -> None:
    plan, keys = planned
    store = Store(tmp_path)
    touch(store, "teachers", keys.teachers["t"])
    for learner in plan.learners[:2]:
        touch(store, "learners", keys.learners[learner][0])
    for key, *_ in keys.cells[:5]:
        touch(store, "cells", key)
    before = sorted(tmp_path.rglob("*"))
    found = estimate(plan, keys, Context(store, "cpu", workers=2), [event("cells", "", ("other",), 1.0)])
    assert found.parts == {"teachers": 1, "learners": 6, "examinations": 3, "cells": 42}
    assert found.missing == {"teachers": 0, "learners": 4, "examinations": 3, "cells": 37}
    assert found.unknown == ("examinations", "learners", "probes")
    assert sorted(tmp_path.rglob("*")) == before


def test_times_are_medians_of_similar_tasks_per_image(planned: tuple[Plan, Keys], tmp_path: Path) -> None:
    """The cells of fgsm take 2 s for 20 images, all others as long per image as the median of all cells."""
    plan, keys = planned
    fgsm = "'fgsm', mode 'gtn' of 'linear', seed 0"
    own = tuple(
        key
        for cell, (key, *_) in zip(plan.cells, keys.cells, strict=True)
        if (cell.perturbation_label, cell.learner.mode_label, cell.learner.seed) == ("fgsm", "gtn", 0)
    )
    events = [
        event("cells", fgsm, own, 4.0, memory=700),  # two strengths, 20 images each: 0.1 s per image
        event("cells", fgsm, own, 400.0)._replace(status="error"),
        event("learners", "mode 'vanilla' of 'linear', seed 0", ("a",), 3.0),
        event("learners", "mode 'vanilla' of 'linear', seed 1", ("b",), 5.0),
        event("learners", "mode 'vanilla' of 'linear', seed 1", ("c",), 100.0),
    ]
    found = estimate(plan, keys, Context(Store(tmp_path), "cpu", workers=4), events)
    images = sum(cell.samples for cell in plan.cells)
    assert found.worker_seconds == pytest.approx({"cells": 0.1 * images, "learners": 6 * 5.0})
    assert found.seconds == pytest.approx((0.1 * images + 30) / 4) and found.memory == 4 * 700
    assert found.basis == "from 4 earlier tasks"
    assert found.unknown == ("examinations", "probes", "teachers")


def test_teachers_are_estimated_by_meta_steps_and_not_in_parallel(planned: tuple[Plan, Keys], tmp_path: Path) -> None:
    plan, keys = planned
    context = Context(Store(tmp_path), "cpu", workers=4)
    work = plan.teachers[0].teacher.work
    events = [
        event("meta-steps", "teacher 't', 5 meta-steps", ("a",), 10.0, memory=9000),
        event("meta-steps", "teacher 't', 3 meta-steps", ("b",), 9.0),  # it had a checkpoint
        event("meta-steps", "teacher 't', 4 meta-steps", ("c",), 16.0),
        event("meta-steps", "teacher 'u', 4 meta-steps", ("d",), 4000.0),
        event("meta-steps", "teacher 't', 4 meta-steps", ("e",), 4000.0)._replace(status="error"),
        event("cells", "", ("other",), 1.0),
    ]
    found = estimate(plan, keys, context, events)
    assert found.worker_seconds["teachers"] == pytest.approx(3 * work) and "teachers" not in found.unknown
    rest = sum(found.worker_seconds.values()) - 3 * work
    assert found.seconds == pytest.approx(3 * work + rest / 4) and found.memory == 9000
    assert estimate(plan, keys, context, events[3:]).worker_seconds["teachers"] == pytest.approx(1000 * work)
    found = estimate(plan, keys, context, events[:1])
    assert found.basis == "from 1 earlier tasks and timed batches of 8 images" and found.memory > 10_000_000


def test_without_events_a_few_batches_are_timed(planned: tuple[Plan, Keys], tmp_path: Path) -> None:
    plan, keys = planned
    found = estimate(plan, keys, Context(Store(tmp_path), "cpu"), [])
    assert found.basis == "from timed batches of 8 images"
    assert set(found.worker_seconds) == {"cells"} and 0 < found.seconds < 600
    assert found.memory > 10_000_000
    assert list(tmp_path.iterdir()) == []


def test_timing_stops_at_its_limit(planned: tuple[Plan, Keys], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_batches, "_LIMIT", -1.0)
    assert timed_batches.time_batches(planned[0].cells, "cpu").seconds == {}


def test_nothing_is_missing_in_a_full_cache(planned: tuple[Plan, Keys], tmp_path: Path) -> None:
    plan, keys = planned
    context = Context(Store(tmp_path), "cpu")
    touch(context.store, "teachers", keys.teachers["t"])
    for learner, (key, *_) in keys.learners.items():
        touch(context.store, "learners", key)
        touch(context.store, "examinations", learner.examination_key("cpu", key))
    for key, *_ in keys.cells:
        touch(context.store, "cells", key)
    found = estimate(plan, keys, context, [])
    assert sum(found.missing.values()) == 0 and found.seconds == 0 and found.unknown == ()
    assert found.basis == "nothing is missing"
