"""Cost of the checksums of stored files: of hashes, of reading the files of a cache, and of a whole cached run.

    python benchmarks/speed/integrity.py demo --cache /tmp/demo-cache
    python benchmarks/speed/integrity.py demo --limit 20 --rounds 9

The suite runs once to fill the cache; with `--cache`, it is kept for the next time. A cached run without verification
opens the header of each file to see whether it is there, and reads it when it is needed. Times are CPU times of one
process with one thread; variants alternate, and ratios are medians over rounds. `xxhash` is measured if it is there.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors import safe_open
from safetensors.numpy import load

import gtn_bench
from gtn_bench.execution.environment import machine
from gtn_bench.store import format, intact
from gtn_bench.store.cache import RESULTS, Store
from gtn_bench.store.files import read_tensors, verify
from gtn_bench.store.listing import stored_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", default="demo")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = machine("cpu")
    print(f"{facts['processor']} ({' '.join(facts['instructions'])}), {facts['cores']} cores, one thread")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(options.cache or Path(folder) / "cache")
        plan = gtn_bench.plan(gtn_bench.load(options.suite), options.limit)

        def run() -> None:
            intact._verified.clear()
            gtn_bench.run(plan, Path(folder) / "out", cache=store.folder, workers=1, device="cpu")

        run()
        hashes(options.rounds)
        files(store, options.rounds)
        print(f"\n{options.suite}: {len(plan.cells)} cells")
        compare("cached run", {"without verification": (run, unverified), "with": (run, nullcontext)}, options.rounds)


def hashes(rounds: int) -> None:
    """Print the speed of hashes on 4 KB, the size of a cell, and on 8 MB, that of a teaching set."""
    known: dict[str, Callable[[bytes], object]] = {
        "blake2b": lambda content: hashlib.blake2b(content, digest_size=16).digest(),
        "sha256": lambda content: hashlib.sha256(content).digest(),
    }
    try:
        import xxhash

        known["xxh3_128"] = lambda content: xxhash.xxh3_128_digest(content)
    except ImportError:
        pass
    print(f"\n{'hash':12}{'4 KB':>12}{'8 MB':>12}")
    for name, function in known.items():
        cells = []
        for size, times in ((4096, 1000), (8 << 20, 5)):
            content = b"x" * size
            taken = [timed(lambda c=content, n=times, f=function: [f(c) for _ in range(n)]) for _ in range(rounds)]
            cells.append(f"{statistics.median(taken) / times * 1e6:9.1f} us")
        print(f"{name:12}{cells[0]:>12}{cells[1]:>12}")


def files(store: Store, rounds: int) -> None:
    """Print the time to look for and to read a file of each kind, with and without verification."""
    paths = defaultdict(list)
    for file in stored_files(store.folder):
        if file.kind in RESULTS and file.state == "whole":
            paths[file.kind].append(file.path)
    print("\nmicroseconds per file")
    print(f"{'kind':14}{'files':>6}{'bytes':>9}{'look':>8}{'verify':>8}{'read':>8}{'read and verify':>17}")
    for kind, chosen in paths.items():
        chosen = chosen[:200]
        keys = {path: f"{kind}/{path.stem}" for path in chosen}
        variants: dict[str, Callable[[Path], object]] = {
            "look": look,
            "verify": lambda path, keys=keys: verify(path, keys[path]),
            "read": lambda path: load(path.read_bytes()),
            "both": lambda path, keys=keys: read_tensors(path, key=keys[path]),
        }
        times = defaultdict(list)
        for _ in range(rounds):
            for name, function in variants.items():
                times[name].append(timed(lambda f=function, c=chosen: [f(path) for path in c]) / len(chosen) * 1e6)
        size = sum(path.stat().st_size for path in chosen) // len(chosen)
        columns = [statistics.median(times[name]) for name in variants]
        row = "".join(f"{each:8.0f}" for each in columns[:3])
        print(f"{kind:14}{len(paths[kind]):6}{size:9}{row}{columns[3]:17.0f}")


def compare(title: str, variants: dict[str, tuple[Callable[[], None], Callable[[], Any]]], rounds: int) -> None:
    """Print the time of two variants in turn, and the ratio of the second to the first."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (function, setting) in variants.items():
            with setting():
                times[name].append(timed(function))
    first, second = times.values()
    for name, seconds in times.items():
        print(f"{title} {name}: {statistics.median(seconds):.3f} s")
    ratio = statistics.median(two / one for one, two in zip(first, second, strict=True))
    print(f"ratio: {ratio:.4f} (median of {rounds} rounds)")


class _EqualBytes(bytes):
    """Bytes that are equal to all others."""

    __hash__ = bytes.__hash__

    def __ne__(self, other: object) -> bool:
        return False


class _EqualText(str):
    """A checksum that is equal to all others."""

    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return False

    def encode(self, *_: Any) -> bytes:
        return _EqualBytes(b"0" * format.DIGITS)


@contextmanager
def unverified() -> Iterator[None]:
    """Compute no checksums, and look for a file by its header alone, in the block."""

    def holds(store: Store, kind: str, key: str) -> bool:
        try:
            look(store.path(kind, key))
        except FileNotFoundError:
            return False
        return True

    with mock.patch.object(format, "_hash", lambda *parts: _EqualText()), mock.patch.object(Store, "holds", holds):
        yield


def look(path: Path) -> None:
    """Open a file, which compares its length with its header."""
    with safe_open(path, framework="np"):
        pass


def timed(function: Callable[[], object]) -> float:
    """Return the CPU time of a call in seconds."""
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    main()
