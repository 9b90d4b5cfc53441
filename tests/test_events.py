"""The log of a run: appended, read back, and never in the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.output_folders import SMALL, message
from helpers.runs import run

from gtn_bench.execution.events import Event, EventLog, read_events
from gtn_bench.store.files import write_atomically

EVENT = Event("cells", "noise 0.1", ("a", "b"), "done", 1.5, 2**30, "here", 7)


def test_events_are_appended_and_read_back(tmp_path: Path) -> None:
    failed = EVENT._replace(status="error", message="two\nlines ☃")
    for event in (EVENT, failed):
        with EventLog(tmp_path) as log:
            log(event)
    path = tmp_path / "events.jsonl"
    assert read_events(path) == [EVENT, failed] and path.read_bytes().count(b"\n") == 2
    assert json.loads(path.read_text().splitlines()[0])["time"].endswith("+00:00")
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [b"\0\xff\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n", lines[0].replace(b"1.5", b'"x"'), lines[1][:-9]]
    path.write_bytes(b"".join([lines[0], *damaged]))
    assert read_events(path) == [EVENT]
    assert read_events(tmp_path / "absent.jsonl") == []
    assert "cannot be read" in message(read_events, tmp_path)


def test_events_that_cannot_be_written_do_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    (tmp_path / "linked").mkdir()
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "linked" / "events.jsonl").symlink_to(tmp_path / "theirs")
    for folder in (tmp_path / "linked", tmp_path / "absent"):
        with EventLog(folder) as log:
            log(EVENT)
    assert (tmp_path / "theirs").read_text() == "theirs"
    with EventLog(tmp_path) as log:
        monkeypatch.setattr(os, "write", full)
        log(EVENT)
    assert (tmp_path / "events.jsonl").read_bytes() == b""


def test_a_run_logs_its_tasks_and_continues_the_log(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("store")
    folder = run(SMALL.replace("[0.1, 0.3]", "[0.1, 0.4]"), tmp_path, store).folder
    found = read_events(folder / "events.jsonl")
    assert "cells" in {event.stage for event in found} and {event.status for event in found} == {"done"}
    with EventLog(folder) as log:
        log(EVENT)
    run(SMALL.replace("[0.1, 0.3]", "[0.1, 0.4]"), tmp_path, store)
    assert read_events(folder / "events.jsonl")[: len(found) + 1] == [*found, EVENT]
    write_atomically(folder / "events.jsonl", b"something else")
    assert "no run has written: events.jsonl" in message(run, SMALL, folder, store)
