"""Scheduling of a part of a plan, the events of tasks, and jobs whose workers die."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers.suites import TINY

import gtn_bench
from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.execution.dispatch import Dispatcher
from gtn_bench.execution.events import Event
from gtn_bench.execution.executors import open_pool
from gtn_bench.execution.executors.base import WorkerDiedError
from gtn_bench.execution.finished import Finished
from gtn_bench.execution.jobs import Job, Outcome
from gtn_bench.execution.notes import Notebook, read_note
from gtn_bench.execution.probing import OTHERS, others_among
from gtn_bench.execution.scheduler import Scheduler
from gtn_bench.planning.cells import Learner, Plan
from gtn_bench.planning.keys import keys_of
from gtn_bench.store.cache import Context, Store
from gtn_bench.store.files import StorageError


def stored(folder: Path, kind: str) -> set[str]:
    return {path.stem for path in (folder / kind).rglob("*.safetensors")}


def schedule(plan: Plan, folder: Path, mine: frozenset[Learner] | None) -> tuple[Finished, list[Event]]:
    context, events = Context(Store(folder), "cpu"), []  # type: ignore[var-annotated]
    with open_pool(None, 1, context) as pool:
        scheduler = Scheduler(context, pool, lambda *_: None, events.append)
        return scheduler.run(plan, keys_of(plan, "cpu"), AcceptanceRule(0.0, ()), mine), events


def test_parts_of_a_plan_have_together_the_results_of_the_whole(tmp_path: Path) -> None:
    """Each part trains what its cells and probes need. Nothing is left to compute after all parts."""
    plan = gtn_bench.plan(suite.parse(TINY))
    keys = keys_of(plan, "cpu")
    learners = list(keys.learners)
    everything, _ = schedule(plan, tmp_path / "whole", None)
    assert everything.failures == {}
    for number in range(2):
        mine = frozenset(learners[number::2])
        store = tmp_path / f"part{number}"
        finished, events = schedule(plan, store, mine)
        assert finished.failures == {}
        cells = {key for cell, (key, *_) in zip(plan.cells, keys.cells, strict=True) if cell.learner in mine}
        assert stored(store, "cells") == cells
        others_of = others_among(learners)
        needed = mine | {other for learner in mine for other in others_of(learner)}
        assert stored(store, "learners") == {keys.learners[learner][0] for learner in needed}
        assert {key for event in events if event.stage == "cells" for key in event.keys} == cells
    for kind in ("cells", "probes"):
        parts = [stored(tmp_path / f"part{number}", kind) for number in range(2)]
        assert parts[0] | parts[1] == stored(tmp_path / "whole", kind) and not parts[0] & parts[1]


def test_events_say_what_was_computed_and_what_it_took(tmp_path: Path) -> None:
    plan = gtn_bench.plan(suite.parse(TINY))
    _, events = schedule(plan, tmp_path, None)
    count = Counter(event.stage for event in events)
    assert {stage: count[stage] for stage in ("learners", "checks", "cells")} == {
        "learners": 4,
        "checks": 3,
        "cells": 24,
    }
    assert sum(len(event.keys) for event in events if event.stage == "cells") == 42
    joint = {event.what for event in events if event.stage == "learners" and len(event.keys) == 2}
    assert joint == {f"mode '2_gtn' of 'linear', seed {seed}, together with 'gtn'" for seed in (0, 1)}
    (teacher,) = (event for event in events if event.stage == "meta-steps")
    assert teacher.what == f"teacher 't', {plan.teachers[0].teacher.work} meta-steps"
    assert teacher.keys == (keys_of(plan, "cpu").teachers["t"],) and teacher.status == "done"
    assert teacher.seconds > 0 and teacher.memory > 50e6 and teacher.host and teacher.process == os.getpid()
    first = next(event for event in events if event.stage == "cells")
    assert first.what == "'fgsm', mode '2_gtn' of 'linear', seed 0" and first.status == "done" and first.message == ""
    assert first.seconds > 0 and first.memory > 50e6 and first.host and first.process > 0


class Labeled(NamedTuple):
    """What the choice of other learners looks at."""

    name: int
    seed: int
    architecture_label: str


@pytest.mark.parametrize(("seeds", "architectures"), [(1, 1), (1, 9), (9, 1), (2, 2), (3, 40), (40, 3), (100, 100)])
@pytest.mark.parametrize("count", [1, 2, 3, 60])
def test_other_learners_are_the_most_similar_first_ones(seeds: int, architectures: int, count: int) -> None:
    draws = random.Random(f"{seeds} {architectures} {count}")
    learners = [Labeled(n, draws.randrange(seeds), str(draws.randrange(architectures))) for n in range(count)]
    others_of = others_among(learners)  # type: ignore[arg-type]
    for learner in learners:

        def differs(other: Labeled, learner: Labeled = learner) -> int:
            return (other.seed != learner.seed) + (other.architecture_label != learner.architecture_label)

        expected = sorted((other for other in learners if other != learner), key=differs)[:OTHERS]
        assert others_of(learner) == expected  # type: ignore[arg-type, comparison-overlap]


def test_other_learners_are_found_in_linear_time() -> None:
    """Each learner is looked at a few times, not once for each other one."""
    looks = 0

    class Counting:
        def __init__(self, number: int) -> None:
            self.number, self.architecture_label = number, str(number % 7)

        @property
        def seed(self) -> int:
            nonlocal looks
            looks += 1
            return self.number // 7

    learners: Any = [Counting(number) for number in range(2000)]
    others_of = others_among(learners)
    assert all(len(others_of(learner)) == OTHERS for learner in learners)
    assert looks < 30 * len(learners)


class Dying:
    """A pool whose workers die while they compute certain keys.

    Args:
        notes: folder of the notes.
        deadly: keys that kill their worker.
        begins: whether workers begin with a job before they die.
    """

    slots, window = 3, 3

    def __init__(self, notes: Path, deadly: set[str], begins: bool = True) -> None:
        self.notes: Path | None = notes
        self.deadly, self.begins, self.renewed = deadly, begins, 0
        self.given: list[tuple[str, ...]] = []
        self._open: list[tuple[Future[Outcome], Job, str]] = []

    def submit(self, job: Job, context: Context, note: str | None, cell_timeout: float | None) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        assert note is not None
        self.given.append(job.keys)
        self._open.append((future, job, note))
        if len(self._open) == 3 or len(self.given) > 4:  # all die together
            self._finish()
        return future

    def _finish(self) -> None:
        dying = any(self.deadly & set(job.keys) for _, job, _ in self._open)
        for future, job, note in self._open:
            if not dying:
                future.set_result(Outcome({}, 0.0, 0, "host", 1))
                continue
            if self.begins:
                computing = tuple(self.deadly & set(job.keys)) or job.keys[:1]
                Path(note).write_text("".join(f"{key}\n" for key in computing) + "\n")
            future.set_exception(WorkerDiedError("its worker was killed (signal 9; likely out of memory)"))
        self._open.clear()

    def renew(self) -> None:
        self.renewed += 1

    def check(self) -> None:
        self._finish()


def sweeps(count: int) -> list[Job]:
    keys = [[f"{number}{letter}" for letter in "abc"] for number in range(count)]
    return [Job(print, "cells", tuple(group), ("", dict.fromkeys(group)), divided=1) for group in keys]


def test_the_guilty_cell_fails_after_two_attempts_alone_and_the_others_run_again(tmp_path: Path) -> None:
    pool, events, progress = Dying(tmp_path, {"1b"}), [], []  # type: ignore[var-annotated]
    context = Context(Store(tmp_path), "cpu")
    dispatcher = Dispatcher(context, pool, lambda *what: progress.append(what), events.append, None)
    failures = dispatcher.run("cells", sweeps(3), 10)
    assert failures == {"1b": "\nWorkerDiedError: its worker was killed (signal 9; likely out of memory)"}
    assert pool.given.count(("1b",)) == 2 and pool.renewed >= 3
    finished = [key for event in events if event.status == "done" for key in event.keys]
    assert sorted(finished) == ["0a", "0b", "0c", "1a", "1c", "2a", "2b", "2c"]
    assert [event.keys for event in events if event.status == "error"] == [("1b",)]
    assert progress[0] == ("cells", 1, 10) and progress[-1] == ("cells", 10, 10)


@pytest.mark.parametrize(("stored", "again"), [(["0a", "0b", "0c"], []), (["0a", "0c"], [("0b",)])])
def test_what_a_dead_worker_has_stored_is_not_computed_again(
    stored: list[str], again: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """The worker had ended its job, and its note is gone, but it could not tell."""
    store = Store(tmp_path)

    class Ended(Dying):
        def _finish(self) -> None:
            if len(self.given) == 1:
                for key in stored:
                    store.save("cells", key, {}, {})
            super()._finish()
            self.deadly = set()

    pool, events = Ended(tmp_path, {"0a"}, begins=False), []  # type: ignore[var-annotated]
    dispatcher = Dispatcher(Context(store, "cpu"), pool, lambda *_: None, events.append, None)
    assert dispatcher.run("cells", sweeps(1), 3) == {}
    assert pool.given == [("0a", "0b", "0c"), *again]
    assert sorted(key for event in events for key in event.keys) == ["0a", "0b", "0c"]


def test_workers_that_die_before_they_begin_end_the_run(tmp_path: Path) -> None:
    pool = Dying(tmp_path, {"0a"}, begins=False)
    dispatcher = Dispatcher(Context(Store(tmp_path), "cpu"), pool, lambda *_: None, lambda _: None, None)
    with pytest.raises(RunError, match=r"^workers die before they begin with a task: its worker was killed"):
        dispatcher.run("cells", sweeps(1), 3)


@pytest.mark.parametrize("error", [StorageError("/full: cannot be written"), ConfigError("wrong"), KeyboardInterrupt()])
def test_what_concerns_the_whole_run_is_raised(error: BaseException, tmp_path: Path) -> None:
    class Failing(Dying):
        def _finish(self) -> None:
            for future, *_ in self._open:
                future.set_exception(error)
            self._open.clear()

    dispatcher = Dispatcher(
        Context(Store(tmp_path), "cpu"), Failing(tmp_path, set()), lambda *_: None, lambda _: None, None
    )
    with pytest.raises(type(error)):
        dispatcher.run("cells", sweeps(4), 12)


def test_notes_hold_the_innermost_part_and_vanish(tmp_path: Path) -> None:
    path = str(tmp_path / "note")
    with Notebook(path) as notebook:
        with notebook.computing(["a", "b"]), notebook.computing(["b"]):
            assert (tmp_path / "note").read_text() == "b\n\n"
        assert (tmp_path / "note").read_text() == "\n"
        with pytest.raises(FileExistsError), Notebook(path):
            pass
    assert read_note(path) is None


def long_running(context: Context, *arguments: Any) -> dict[str, str]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        torch.ones(3).sum()
    return {}


def test_the_time_limit_holds_in_this_process_once_for_each_key(tmp_path: Path) -> None:
    context = Context(Store(tmp_path), "cpu")
    with open_pool(None, 1, context) as pool:
        dispatcher = Dispatcher(context, pool, lambda *_: None, lambda _: None, 0.2)
        start = time.monotonic()
        failures = dispatcher.run("proofs", [Job(long_running, "certificates", ("a", "b"), ())], 2)
    assert 0.4 < time.monotonic() - start < 5
    assert [error.splitlines()[-1] for error in failures.values()] == [
        "TimeoutError: exceeded the time limit of 0.4 s"
    ] * 2
