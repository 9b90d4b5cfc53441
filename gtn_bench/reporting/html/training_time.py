"""How long the training of learners took, from the log of a run."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Collection
from pathlib import Path

_FILE = "events.jsonl"
_WHAT = re.compile(r"(?:'[^']*', )?mode '([^']*)'")


def training_seconds(folder: Path, modes: Collection[str]) -> dict[str, float]:
    """Return the median wall time in seconds of the training of a learner, by mode.

    Args:
        folder: The output folder of a run.
        modes: Labels of the modes.

    Returns:
        The times. A mode is missing if the log is missing, or if its learners came from the cache.
    """
    path = folder / _FILE
    if not path.is_file() or path.is_symlink():
        return {}
    found: dict[str, list[float]] = {}
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
            mode, seconds = _WHAT.match(event["what"]), float(event["seconds"])
            trained = event["stage"] == "learners" and event["status"] == "done"
        except (ValueError, TypeError, KeyError):  # a line that was cut off
            continue
        if trained and mode and mode[1] in modes:
            found.setdefault(mode[1], []).append(seconds)
    return {mode: statistics.median(times) for mode, times in found.items()}
