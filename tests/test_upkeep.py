"""Upkeep of the cache: listing, verification, removal, and what is left alone."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.upkeep import Entry, Verification, entries, prune, verify
from gtn_bench.store import intact, listing, memo
from gtn_bench.store.cache import Store
from gtn_bench.store.files import write_atomically, write_tensors

KEYS = [f"{number:x}" * 32 for number in range(4)]
DAY = 86_400
SHA256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"  # of b"content"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a cache with two cells, a learner, a data set, a memo and a download."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    store = Store(tmp_path / "store")
    for kind, key in (("cells", KEYS[0]), ("cells", KEYS[1]), ("learners", KEYS[2])):
        write_tensors(store.path(kind, key), {"x": np.ones(3)}, key=f"{kind}/{key}")
    name = f"arrays-{KEYS[3]}"
    write_tensors(store.folder / "data" / f"{name}.safetensors", {"x": np.ones(3)}, key=f"data/{name}")
    memo.remember("kind-of-memo", {"a": 1}, [1])
    write_atomically(store.folder / "downloads" / f"{SHA256}.npz", b"content")
    return store


def aged(path: Path, *, written: float, used: float) -> Path:
    now = time.time()
    os.utime(path, (now - used * DAY, now - written * DAY))
    return path


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_entries_have_number_size_and_times(store: Store) -> None:
    aged(store.path("cells", KEYS[0]), written=3, used=0)
    found = {entry.kind: entry for entry in entries(store)}
    assert list(found) == ["learners", "cells", "data", "downloads", "memo"]
    cells = [store.path("cells", key) for key in KEYS[:2]]
    times = [path.stat().st_mtime for path in cells]
    assert found["cells"] == Entry("cells", 2, sum(path.stat().st_size for path in cells), *times)
    assert found["downloads"].bytes == len(b"content")
    assert entries(Store(store.folder / "none")) == []


def test_verify_finds_nothing_in_an_intact_cache(store: Store) -> None:
    calls: list[tuple[str, int, int]] = []
    found = verify(store, progress=lambda *what: calls.append(what))
    assert found == Verification(6, sum(path.stat().st_size for path in files(store.folder)), {}, 0)
    assert found.exit_code == 0 and calls == [("files", number, 6) for number in range(1, 7)]


@pytest.mark.parametrize("rename", [True, False])
def test_verify_names_damaged_files_and_sets_them_aside(rename: bool, store: Store) -> None:
    expected = {}
    for path in sorted(files(store.folder)):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        reasons = {
            ".json": "its checksum does not match",
            ".npz": "the checksum in its name is not that of its content",
        }
        expected[path] = reasons.get(path.suffix, "the checksum of its tensors does not match")
    found = verify(store, rename=rename)
    ending = {path: f"; it was renamed to {path.name}.corrupt" if rename else "" for path in expected}
    assert found.damaged == {path: reason + ending[path] for path, reason in expected.items()}
    assert found.exit_code == 1 and found.files == 6
    assert {path.suffix == ".corrupt" for path in files(store.folder)} == {rename}
    assert [entry.kind for entry in entries(store)][-1] == ("corrupt" if rename else "memo")


def test_verify_counts_files_of_earlier_versions(store: Store) -> None:
    save_file({"x": np.ones(3)}, store.path("cells", KEYS[0]), {"about": "{}"})
    found = verify(store)
    assert (found.files, found.damaged, found.older, found.exit_code) == (6, {}, 1, 0)


@pytest.mark.parametrize(("by", "removed"), [("use", [1]), ("write", [0, 1])])
def test_prune_removes_files_by_their_age(by: str, removed: list[int], store: Store) -> None:
    aged(store.path("cells", KEYS[0]), written=20, used=1)
    aged(store.path("cells", KEYS[1]), written=20, used=15)
    before = files(store.folder)
    paths = {store.path("cells", KEYS[number]) for number in removed}
    listed = prune(store, older_than_days=10, by=by, dry=True)  # type: ignore[arg-type]
    assert {each.path for each in listed} == paths and {each.reason for each in listed} == {"old"}
    assert files(store.folder) == before
    assert prune(store, older_than_days=10, by=by) == listed  # type: ignore[arg-type]
    assert files(store.folder) == before - paths and not store.holds("cells", KEYS[1])


def test_prune_removes_corrupt_files_on_request(store: Store) -> None:
    path = store.path("cells", KEYS[0])
    path.write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="is recomputed"):
        store.holds("cells", KEYS[0])
    assert prune(store, older_than_days=0.5) == []
    (found,) = prune(store, corrupt=True)
    assert found.path == path.with_name(f"{path.name}.corrupt") and found.reason == "corrupt"
    assert not found.path.exists() and len(files(store.folder)) == 5


def test_prune_removes_leftovers_after_a_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(store.folder)
    with monkeypatch.context() as patched:  # a killed process neither renames nor removes its temporary file
        patched.setattr("os.replace", lambda *_: None)
        for path in before:
            write_atomically(path, b"half")
    leftovers = files(store.folder) - before
    assert len(leftovers) == 6 and entries(store)[-1][:3] == ("leftover", 6, 24)
    assert prune(store) == []
    for path in leftovers:
        aged(path, written=1.1, used=1.1)
    assert {(each.path, each.reason) for each in prune(store)} == {(path, "leftover") for path in leftovers}
    assert files(store.folder) == before


def test_prune_removes_notes_of_runs_that_were_killed(store: Store, tmp_path: Path) -> None:
    before, running, node = files(store.folder), store.folder / "running", platform.node()
    gone, end = 2**22 + 1, "0" * 32  # above the largest process number of Linux
    names = {
        "killed": f"{gone}-{node}-{end}",
        "far": f"1-far-{end}",
        "alive": f"{os.getpid()}-{node}-{end}",
        "fresh": f"2-far-{end}",
        "short": f"{gone}-{node}-0",
        "other": f"notes-{gone}-{node}-{end}",
    }
    for name in names.values():
        (running / name).mkdir(parents=True)
        (running / name / "nonce").write_text("")
    (tmp_path / "linked").mkdir()
    (running / f"{gone}-{node}-{'1' * 32}").symlink_to(tmp_path / "linked")
    aged(running / names["far"], written=1.1, used=1.1)
    for old in ("alive", "short", "other"):
        aged(running / names[old], written=30, used=30)
    expected = {running / names["killed"], running / names["far"]}
    assert {each.path for each in prune(store, dry=True)} == expected == {each.path for each in prune(store)}
    left = {path.name for path in running.iterdir()}
    assert left == {*(names[name] for name in ("alive", "fresh", "short", "other")), f"{gone}-{node}-{'1' * 32}"}
    assert prune(store) == [] and files(store.folder) - files(running) == before and (tmp_path / "linked").is_dir()


def test_other_files_are_left_alone(store: Store, tmp_path: Path) -> None:
    own = files(store.folder)
    elsewhere = tmp_path / "elsewhere" / "00" / f"{KEYS[0]}.safetensors"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(b"mine")
    names = [
        "notes.txt",
        "cells/notes.txt",
        f"cells/{KEYS[0]}.safetensors",
        f"cells/11/{KEYS[0]}.safetensors",
        f"cells/00/{KEYS[0]}.safetensors.bak",
        f"cells/00/{KEYS[0][:-1]}.safetensors",
        f"cells/00/deeper/{KEYS[0]}.safetensors",
        "cells/00/.notes-abcdefgh",
        "cells/00/notes.corrupt",
        f"mine/00/{KEYS[0]}.safetensors",
        "data/images.safetensors",
        f"{KEYS[0]}.safetensors",
    ]
    for name in names:
        path = store.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aged(path, written=0, used=0) if path.exists() else path.write_text("mine")
        aged(path, written=99, used=99)
    (store.folder / "cells" / "00" / f"{'00' * 15}ff.safetensors").symlink_to(elsewhere)
    (store.folder / "teachers").symlink_to(tmp_path / "elsewhere")
    (store.folder / "cells" / "33").symlink_to(tmp_path / "elsewhere" / "00")
    assert sum(entry.files for entry in entries(store)) == 6 and verify(store).files == 6
    assert {each.path for each in prune(store, older_than_days=0, corrupt=True)} == own
    assert elsewhere.read_bytes() == b"mine" and all((store.folder / name).exists() for name in names)


@pytest.mark.parametrize("days", [-1, float("nan")])
def test_prune_refuses_a_wrong_number_of_days(days: float, store: Store) -> None:
    with pytest.raises(ConfigError, match=f"^expects a number of days from 0 on, got {re.escape(repr(days))}$"):
        prune(store, older_than_days=days)


def test_names_of_all_kinds_are_known() -> None:
    assert intact.CORRUPT == ".corrupt" and set(listing.KINDS) >= {"teachers", "learners", "cells", "data", "memo"}
