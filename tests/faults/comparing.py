"""Comparison of output folders and of caches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

TABLES = (
    *("summary.csv", "checks.csv", "curves.csv", "measures.csv", "comparisons.csv", "certificates.csv"),
    *("samples.parquet", "examples.safetensors", "suite.yaml", "report.md"),
)
RESULTS = ("teachers", "learners", "examinations", "clean", "cells", "certificates", "probes")

_WALL_TIME = re.compile(r"[\d.]+ s\.$", re.MULTILINE)  # in the last lines of the report

Stamps = Mapping[str, tuple[int, int]]  # inode and time of the last change, by path in the cache


def contents(out: Path) -> dict[str, bytes]:
    """Return the content of the files of a run, without wall times.

    Wall times are the column `seconds` of summary.csv and the last line of the section of the report about its origin.

    Args:
        out: The output folder.
    """
    found = {}
    for name in TABLES:
        path = out / name
        if not path.is_file():
            continue
        if name == "summary.csv":
            found[name] = without_seconds(path).to_csv(index=False).encode()
        elif name == "report.md":
            found[name] = _WALL_TIME.sub("", path.read_text(encoding="utf-8")).encode()
        else:
            found[name] = path.read_bytes()
    return found


def without_seconds(summary: Path) -> pd.DataFrame:
    """Return a summary as text, without its wall times.

    Args:
        summary: The file summary.csv.
    """
    return pd.read_csv(summary, dtype=str, keep_default_na=False).drop(columns="seconds")


def differences(out: Path, clean: Path) -> list[str]:
    """Return the names of the files that two runs do not have in common, bit for bit.

    Args:
        out: An output folder.
        clean: The output folder of a run without a fault.
    """
    found, expected = contents(out), contents(clean)
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]


def stored(cache: Path, kinds: tuple[str, ...] = RESULTS) -> list[Path]:
    """Return the files of finished results in a cache, sorted.

    Args:
        cache: Folder of the cache.
        kinds: The kinds of results.
    """
    return sorted(path for kind in kinds for path in (cache / kind).glob("*/*.safetensors") if path.name[0] != ".")


def stamps(cache: Path) -> Stamps:
    """Return what changes if a result of a cache is computed again: inode and time of each file.

    Args:
        cache: Folder of the cache.
    """
    return {str(path.relative_to(cache)): _stamp(path) for path in stored(cache)}


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def computed_again(before: Stamps, cache: Path) -> list[str]:
    """Return the results that were finished and have been computed again, or are missing.

    Args:
        before: The stamps of finished results.
        cache: Folder of the cache.
    """
    after = stamps(cache)
    return [name for name, stamp in before.items() if after.get(name) != stamp]
