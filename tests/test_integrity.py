"""Damaged files of the cache: every one is noticed, set aside and computed again, and no table changes."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.damage import DAMAGES
from helpers.runs import run
from helpers.suites import TINY
from safetensors import safe_open
from safetensors.numpy import save_file

import gtn_bench
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.config.locks import one_at_a_time
from gtn_bench.store import format, intact, memo
from gtn_bench.store.cache import RESULTS, Store
from gtn_bench.store.downloads import download
from gtn_bench.store.files import (
    DamagedFileError,
    StorageError,
    read_header,
    read_tensors,
    verify,
    write_atomically,
    write_tensors,
)
from gtn_bench.store.listing import stored_files
from gtn_bench.teaching.teaching_set import TeachingSet

KEY = "0123456789abcdef" * 2
ARRAYS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "mask": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "numbers": np.arange(4),
    "none": np.zeros((0, 3), np.float64),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process have verified no file."""
    monkeypatch.setattr(intact, "_verified", {})
    monkeypatch.setattr(intact, "_older", set())


def saved(store: Store, kind: str = "cells", key: str = KEY) -> Path:
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    store.save(kind, key, tensors, {"cost": {"forwards": 2}, "text": '"checksum":"'})
    return store.path(kind, key)


# The format


def test_files_are_safetensors_files(store: Store) -> None:
    with safe_open(saved(store), framework="np") as file:
        for name, array in ARRAYS.items():
            assert np.array_equal(file.get_tensor(name), array)
        assert set(file.metadata()) == {"about", "origin", "key", "checksum", "payload"}
        assert file.metadata()["key"] == f"cells/{KEY}"


@pytest.mark.parametrize("framework", ["np", "pt"])
def test_load_returns_what_was_saved(framework: str, store: Store) -> None:
    saved(store)
    tensors, metadata = store.load("cells", KEY, framework)  # type: ignore[arg-type]
    assert list(tensors) == sorted(ARRAYS) and metadata == {"cost": {"forwards": 2}, "text": '"checksum":"'}
    for name, array in ARRAYS.items():
        assert np.array_equal(np.asarray(tensors[name]), array) and np.asarray(tensors[name]).dtype == array.dtype
    assert store.metadata("cells", KEY) == metadata


def test_tensors_for_torch_are_aligned_as_its_own(store: Store) -> None:
    saved(store)
    tensors, _ = store.load("cells", KEY)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors.values() if tensor.numel())


def test_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    write_tensors(tmp_path / "one", ARRAYS, {"a": 1}, key="k")
    write_tensors(tmp_path / "two", dict(reversed(ARRAYS.items())), {"a": 1}, key="k")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_digest_depends_on_tensors_alone(store: Store) -> None:
    saved(store)
    digests = {store.digest("cells", KEY)}
    for number, (tensors, about, origin) in enumerate(
        [
            (ARRAYS, {}, {"threads": 2}),
            ({**ARRAYS, "mask": np.array([True, False, False])}, {}, {}),
            ({**ARRAYS, "mask": np.array([1, 0, 1], np.uint8)}, {}, {}),
            ({("x" if name == "mask" else name): array for name, array in ARRAYS.items()}, {}, {}),
        ]
    ):
        key = f"{number}" * 32
        write_tensors(store.path("cells", key), tensors, about, key=f"cells/{key}", origin=origin)
        digests.add(store.digest("cells", key))
    assert len(digests) == 4


def test_every_bit_counts(store: Store) -> None:
    content = saved(store).read_bytes()

    def check(content: bytes) -> format.Header:
        header = format.parse_header(content)
        format.check_payload(content, header)
        assert header.payload and header.key == f"cells/{KEY}"
        return header

    assert check(content).about["cost"] == {"forwards": 2}
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            with pytest.raises(ValueError):
                check(bytes(changed))
    for length in range(len(content)):
        with pytest.raises(ValueError):
            check(content[:length])


@pytest.mark.parametrize("damage", ["a bit of the header", "cut off", "one more byte"])
def test_the_header_alone_is_verified(damage: str, store: Store) -> None:
    path = saved(store)
    content = path.read_bytes()
    flipped = content[:50] + bytes([content[50] ^ 1]) + content[51:]
    path.write_bytes({"a bit of the header": flipped, "cut off": content[:-1], "one more byte": content + b"x"}[damage])
    with pytest.raises(DamagedFileError):
        read_header(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no safetensors file"),
        (b"\xff" * 20, "it is no safetensors file"),
        (struct.pack("<Q", 4) + b"[1] ", "its header is no header of a safetensors file"),
        (struct.pack("<Q", 40) + b'{"__metadata__":{"key":"cells/x"}}      ', "its header lacks the checksum"),
        (struct.pack("<Q", 2) + b"{}", "it has neither checksums nor metadata"),
        (struct.pack("<Q", 40) + b'{"__metadata__":{"about":"{}"}}         ', "it has no checksum"),
    ],
)
def test_messages_about_damaged_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError) as caught:
        verify(path, "cells/x")
    assert str(caught.value) == f"{path}: {message}" and isinstance(caught.value, RunError | ValueError)


def test_files_without_checksums_are_read_where_no_key_is_expected(tmp_path: Path) -> None:
    save_file({"x": np.ones(3)}, tmp_path / "file")
    tensors, metadata = read_tensors(tmp_path / "file")
    assert tensors["x"].tolist() == [1, 1, 1] and metadata == {}
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=r"it has 23 bytes of tensors, its header states 24$"):
        read_tensors(tmp_path / "file")


# The cache


def test_a_file_of_another_key_or_kind_is_not_held(store: Store) -> None:
    path, other = saved(store), store.path("cells", "f" * 32)
    other.parent.mkdir(parents=True)
    shutil.copy(path, other)
    with pytest.warns(
        RuntimeWarning, match=rf"{other}: it holds cells/{KEY}; it was renamed to {other.name}.corrupt and"
    ):
        assert not store.holds("cells", "f" * 32)
    assert store.holds("cells", KEY) and not other.exists() and other.with_name(f"{other.name}.corrupt").exists()
    store.path("clean", KEY).parent.mkdir(parents=True)
    shutil.copy(path, store.path("clean", KEY))
    with pytest.raises(DamagedFileError, match=rf"it holds cells/{KEY}; it was renamed .*; run the command again"):
        store.load("clean", KEY)
    assert not store.path("clean", KEY).exists()


def test_a_verified_file_is_verified_again_when_it_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(store)
    monkeypatch.setattr(intact, "_RECENT", -1)
    assert store.holds("cells", KEY)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it is read"))
    assert store.holds("cells", KEY)
    monkeypatch.undo()
    facts = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.warns(RuntimeWarning, match="its checksum|the checksum of its tensors does not match"):
        assert not store.holds("cells", KEY)


def test_files_that_changed_a_moment_ago_are_not_remembered(store: Store) -> None:
    saved(store)
    assert store.holds("cells", KEY) and not intact._verified


def test_files_of_earlier_versions_are_reported_once_and_stay(store: Store) -> None:
    for key in (KEY, "f" * 32):
        store.path("cells", key).parent.mkdir(parents=True)
        save_file({"x": np.ones(3)}, store.path("cells", key), {"about": "{}"})
    with pytest.warns(RuntimeWarning, match="it has no checksum; it and all others that an earlier version") as caught:
        assert not store.holds("cells", KEY) and not store.holds("cells", "f" * 32)
    assert len(caught) == 1 and store.path("cells", KEY).exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_something_else_in_the_place_of_a_file(make: Callable[[Path], None], store: Store) -> None:
    path = store.path("cells", KEY)
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.warns(RuntimeWarning, match="it is no file; it was renamed"):
        assert not store.holds("cells", KEY)
    saved(store)
    assert store.holds("cells", KEY)


def test_a_file_that_another_process_replaced_is_not_set_aside(store: Store) -> None:
    path = saved(store)
    stamp = intact.stamp_of(path)
    saved(store)
    assert intact.set_aside(path, stamp) == "it was replaced by another process" and store.holds("cells", KEY)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no folder be written to, for the superuser, too."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("os.replace", "os.mkdir", "tempfile.mkstemp", "tempfile.TemporaryFile"):
        monkeypatch.setattr(name, fail)


def test_a_damaged_file_of_a_read_only_cache_counts_as_missing(store: Store, read_only: None) -> None:
    path = store.path("cells", KEY)
    with pytest.raises(StorageError) as caught:
        saved(store)
    assert str(caught.value) == f"{path}: cannot be written (Read-only file system)"


def test_a_read_only_cache_is_enough_where_nothing_is_missing(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = saved(store)
    request.getfixturevalue("read_only")
    store.open()
    assert store.holds("cells", KEY) and store.load("cells", KEY)[1]["cost"] == {"forwards": 2}
    path.write_bytes(b"")
    with pytest.warns(RuntimeWarning, match=r"it cannot be renamed \(Read-only file system\) and is recomputed$"):
        assert not store.holds("cells", KEY)
    with pytest.raises(ConfigError, match=r"expects a folder that can be written to \(Read-only file system\)$"):
        Store(tmp_path / "missing").open()


def test_a_read_only_cache_without_results_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    temporary_file = tempfile.TemporaryFile

    def fail_there(*arguments: Any, dir: Path, **named: Any) -> Any:
        if Path(dir) == store:
            raise OSError(30, "Read-only file system")
        return temporary_file(*arguments, dir=dir, **named)

    monkeypatch.setattr("tempfile.TemporaryFile", fail_there)
    monkeypatch.setattr("gtn_bench.execution.tasks.meta_train", lambda *_: pytest.fail("a teacher is trained"))
    with pytest.raises(ConfigError) as caught:
        run(TINY, tmp_path / "out", store)
    assert str(caught.value) == f"{store}: expects a folder that can be written to (Read-only file system)"
    assert not list(store.iterdir())


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.chmod", full)
    with pytest.raises(StorageError) as caught:
        write_tensors(path, ARRAYS)
    assert str(caught.value) == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# Other files


def test_damaged_downloads_are_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path))
    (tmp_path / "source.npz").write_bytes(b"content")
    url, sha256 = (tmp_path / "source.npz").as_uri(), hashlib.sha256(b"content").hexdigest()
    path = download(url, sha256)
    path.write_bytes(b"contend")
    with pytest.warns(RuntimeWarning, match="the checksum in its name is not that of its content; it was renamed to"):
        assert download(url, sha256).read_bytes() == b"content"
    assert path.with_name(f"{path.name}.corrupt").read_bytes() == b"contend"


@pytest.mark.parametrize("place", [0, 5, 15, 44, 60, -1])
def test_damaged_memos_are_not_recalled(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path))
    memo.remember("kind", {"a": 1}, [1, 2])
    assert memo.recall("kind", {"a": 1}) == [1, 2]
    path = memo.memo_path("kind", {"a": 1})
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="its checksum does not match; it was renamed"):
        assert memo.recall("kind", {"a": 1}) is None


def test_a_damaged_teaching_set_of_a_user_is_refused(tmp_path: Path) -> None:
    from gtn_bench.teaching.curricula import Curriculum
    from gtn_bench.teaching.optimizers import SGD

    labels = torch.eye(10).expand(2, 10, 10)
    curriculum = Curriculum(torch.rand(2, 10, 1, 4, 4), labels, torch.ones(2), torch.ones(2))
    path = tmp_path / "set.safetensors"
    TeachingSet(curriculum, SGD(), {}).save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        TeachingSet.load(path)
    assert str(caught.value) == f"{path} is not a teaching set (the checksum of its tensors does not match)"


# Runs


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, gtn_bench.Results]]:
    """Return the cache and the results of a run, whose files each test may damage and must leave complete."""
    folder = tmp_path_factory.mktemp("first")
    text = TINY.replace("acceptance: 0.0", "acceptance: 0.0\nattack: accepted\ncertify: [interval]")
    (folder / "suite.yaml").write_text(text)
    yield folder / "store", run(text, folder / "out", folder / "store")


def tables(results: gtn_bench.Results) -> dict[str, pd.DataFrame]:
    columns = [name for name in results.summary if "seconds" not in str(name)]
    return {
        "summary": results.summary[columns],
        "samples": pd.read_parquet(results.folder / "samples.parquet"),
        "checks": results.checks,
        "comparisons": results.comparisons,
        "certificates": results.certificates,
    }


def damaged_runs(first: tuple[Path, gtn_bench.Results], folder: Path, count: int, at_once: int, seed: int) -> set[str]:
    """Damage files of a cache and run the suite again, until `count` files were damaged.

    Returns:
        The kinds of the damaged files.
    """
    store, original = first
    text = (store.parent / "suite.yaml").read_text()
    draw, expected, kinds = random.Random(seed), tables(original), set()
    names = list(DAMAGES) * (count // len(DAMAGES) + 1)
    for number in range(0, count, at_once):
        by_kind: dict[str, list[Path]] = {}
        for file in stored_files(store):
            if file.state == "whole" and file.kind in RESULTS:
                by_kind.setdefault(file.kind, []).append(file.path)
        chosen: dict[Path, str] = {}
        for place, name in enumerate(names[number : number + at_once], start=number):
            kind = sorted(by_kind)[place % len(by_kind)]
            while not (left := [path for path in by_kind[kind] if path not in chosen]):  # there is one teacher
                kind = draw.choice(sorted(by_kind))
            path = draw.choice(left)
            DAMAGES[name](path, left, draw)
            chosen[path] = name
            kinds.add(kind)
        intact._older.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            again = run(text, folder / f"out{number}", store)
        reported = " ".join(str(each.message) for each in caught)
        for path, name in chosen.items():
            assert name == "no checksum" or f"{path}: " in reported, (name, path)
            assert path.is_file() and (name == "no checksum" or path.with_name(f"{path.name}.corrupt").exists())
        for table, content in tables(again).items():
            pd.testing.assert_frame_equal(content, expected[table], check_exact=True)
    return kinds


@pytest.mark.slow
def test_damaged_files_change_no_table(first: tuple[Path, gtn_bench.Results], tmp_path: Path) -> None:
    kinds = damaged_runs(first, tmp_path, count=48, at_once=12, seed=0)
    assert kinds == {*RESULTS} - {"checkpoints"}


@pytest.mark.long
def test_two_hundred_damaged_files_change_no_table(first: tuple[Path, gtn_bench.Results], tmp_path: Path) -> None:
    damaged_runs(first, tmp_path, count=200, at_once=1, seed=1)


def test_a_damaged_checkpoint_is_set_aside(first: tuple[Path, gtn_bench.Results], tmp_path: Path) -> None:
    store, original = first
    key = original.provenance["teachers"]["t"]
    teacher = Store(store).path("teachers", key).read_bytes()
    stored = Store(tmp_path / "store")
    stored.path("checkpoints", key).parent.mkdir(parents=True)
    write_tensors(stored.path("checkpoints", key), {"x": np.ones(2)}, key="checkpoints/another")
    text = TINY.partition("perturbations:")[0] + "perturbations: [{name: noise, beta: [0.1]}]"
    with pytest.warns(RuntimeWarning, match=r"it holds checkpoints/another; it was renamed .* and is recomputed$"):
        run(text, tmp_path / "out", stored.folder)
    assert stored.path("teachers", key).read_bytes() == teacher and not stored.path("checkpoints", key).exists()


def test_format_names_all_types_that_tensors_have() -> None:
    for name in format._TYPES:
        raw = format.pack({"x": np.ones(3, name)}, {}, "", {})
        assert format.parse_header(raw).size == 3 * np.dtype(name).itemsize


# Locks


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("no flock")])
def test_locks_that_a_file_system_lacks_are_not_needed(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    with one_at_a_time(tmp_path / "lock"):
        (tmp_path / "file").write_text("done")
    assert (tmp_path / "file").read_text() == "done"


WRITING = """
import sys
import numpy as np
from pathlib import Path
from gtn_bench.store.files import write_tensors
path, fill = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(100):
    write_tensors(path, {"x": np.full(20_000, fill)}, key="cells/x")
"""


def test_two_processes_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "file.safetensors"
    writers = [subprocess.Popen([sys.executable, "-c", WRITING, str(path), str(fill)]) for fill in (1, 2)]
    found = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            found |= set(np.unique(read_tensors(path, key="cells/x")[0]["x"]).tolist())
    assert [writer.returncode for writer in writers] == [0, 0] and found == {1, 2}
    assert list(path.parent.iterdir()) == [path]
