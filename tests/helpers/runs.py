"""Runs of suites in one process, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gtn_bench
from gtn_bench.config import suite


def run(text: str, out: Path, store: Path, **options: Any) -> gtn_bench.Results:
    """Run a suite given as YAML text.

    Args:
        text: the suite.
        out: the output folder.
        store: the folder of the cache.
        options: further arguments of `gtn_bench.run`.
    """
    return gtn_bench.run(gtn_bench.plan(suite.parse(text)), out, cache=store, workers=1, device="cpu", **options)
