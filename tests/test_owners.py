"""Folders that killed processes leave behind are removed by later ones; those of others stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gtn_bench.execution.executors.local import local_processes
from gtn_bench.store import owners

_SCRIPT = """
import sys, time
from gtn_bench.execution.executors.local import local_processes
with local_processes(1) as pool:
    print(pool.notes, flush=True)
    time.sleep(100)
"""


def test_notes_of_a_killed_run_are_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    others = [tmp_path / "gtn-bench-notes", tmp_path / "gtn-bench-notes-mine", tmp_path / "mine"]
    for folder in others:
        folder.mkdir()
    command = [sys.executable, "-c", _SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        notes = Path(process.stdout.readline().strip())
        assert notes.parent == tmp_path and notes.stat().st_mode & 0o777 == 0o700
        (notes / "1-1").write_text("key")
        with local_processes(1) as pool:
            assert notes.is_dir() and pool.notes is not None and pool.notes != notes
        assert sorted(tmp_path.iterdir()) == sorted([notes, *others])
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (notes / "1-1").exists()
    with local_processes(1):
        assert not notes.exists()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_folders_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = owners.owned_name("a-")
    (tmp_path / name).mkdir()
    assert owners.abandoned(tmp_path, "a-") == []
    gone = tmp_path / name.replace(str(os.getpid()), str(2**22 + 1), 1)
    gone.mkdir()
    assert owners.abandoned(tmp_path, "a-") == [gone] and owners.abandoned(tmp_path) == []
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: 2**31)  # they belong to another user
        assert owners.abandoned(tmp_path, "a-") == []
    gone.rmdir()
    gone.write_text("a file")
    assert owners.abandoned(tmp_path, "a-") == [] == owners.abandoned(tmp_path / "absent")
