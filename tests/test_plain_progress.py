"""Progress without a terminal: a line every 30 seconds, also when nothing finishes, that says what is running."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gtn_bench.execution import dispatch, plain_progress
from gtn_bench.execution.dispatch import Dispatcher
from gtn_bench.execution.executors.local import local_processes
from gtn_bench.execution.jobs import Job
from gtn_bench.execution.plain_progress import PlainProgress, Running, duration
from gtn_bench.store.cache import Context, Store


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_appears_every_30_seconds_whether_or_not_something_finishes() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(lines.append, clock)
    tasks = [Running("a", 3), Running("b", 75), Running("c", 0), Running("d", 3700), Running("e", 1)]
    progress("cells", 0, 5)
    for _ in range(65):  # one call per second
        clock.now += 1
        progress.wait("cells", 0, 5, lambda: tasks[: 2 if clock.now < 150 else 5])
    assert lines == [
        "cells: 0 of 5 after 30 s; running: b for 1 min 15 s; a for 3 s",
        "cells: 0 of 5 after 1 min 0 s; running: d for 1 h 1 min; b for 1 min 15 s; a for 3 s; 2 more",
    ]
    clock.now += 25
    progress("cells", 1, 5)
    progress("cells", 2, 5)
    progress.wait("cells", 2, 5, lambda: [])
    progress("cells", 5, 5)
    clock.now += 30
    progress.wait("probes", 0, 2, lambda: [])
    assert lines[2:] == [
        "cells: 1 of 5 after 1 min 30 s",
        "cells: 5 of 5 after 1 min 30 s",
        "probes: 0 of 2 after 2 min 0 s",
    ]
    progress("nothing", 0, 0)
    assert len(lines) == 5


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (60, "1 min 0 s"), (3725, "1 h 2 min")])
def test_times_as_text(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_cell_of_minutes_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_progress, "INTERVAL", 0.5)
    monkeypatch.setattr(dispatch, "_PATIENCE", 0.1)
    lines: list[str] = []
    context = Context(Store(tmp_path), "cpu")
    job = Job(lambda context, seconds: time.sleep(seconds), "cells", ("a",), (2.5,), what="'slow', mode 'm'")
    with local_processes(1) as pool:
        run = Dispatcher(context, pool, PlainProgress(lines.append), lambda event: None, None)
        assert run.run("cells", [job], 1) == {}
    said = [line for line in lines if line.startswith("cells: 0 of 1 after ") and "running: " in line]
    assert len(said) >= 3, lines
    assert {line.partition("running: ")[2].rpartition(" for ")[0] for line in said} == {"'slow', mode 'm'"}
    assert said[-1].endswith(" for 2 s") and lines[-1].startswith("cells: 1 of 1")
