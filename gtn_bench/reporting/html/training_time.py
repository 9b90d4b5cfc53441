"""How long the training of learners took, from the log of a run."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from gtn_bench.reporting import numbers

_FILE = "events.jsonl"
_MODE = re.compile(r"(?:'[^']*', )?mode '([^']*)'")
_TOGETHER = ", together with "


class TrainingTime(NamedTuple):
    """The wall time of the training of a learner.

    Attributes:
        seconds: The median over learners.
        together: The other modes whose learners are trained in the same pass.
        unnamed: The number of further ones, which the log does not name.
    """

    seconds: float
    together: tuple[str, ...] = ()
    unnamed: int = 0

    def __str__(self) -> str:
        others = [*self.together]
        if self.unnamed:
            others.append(numbers.counted(self.unnamed, "other mode" if not others else "further mode"))
        return f"{numbers.distance(self.seconds)}{' together with ' if others else ''}{', '.join(others)}"


class _Pass(NamedTuple):
    """The training of learners in one pass: the modes that the log names, the number of learners, and the time."""

    modes: tuple[str, ...]
    learners: int
    seconds: float


def training_times(folder: Path, modes: Collection[str], sharing: Collection[str] = ()) -> dict[str, TrainingTime]:
    """Return the wall time of the training of a learner, by mode.

    Args:
        folder: The output folder of a run.
        modes: Labels of the modes.
        sharing: Those that can be trained in one pass. Logs of earlier versions name one mode of a pass only.

    Returns:
        The times. A mode is missing if the log is missing, or if its learners came from the cache.
    """
    passes = list(_passes(folder / _FILE))
    named = {mode for each in passes for mode in each.modes}
    nameless = tuple(mode for mode in sharing if mode not in named)
    found: dict[str, dict[tuple[tuple[str, ...], int], list[float]]] = {}
    for each in passes:
        together, unnamed = each.modes, each.learners - len(each.modes)
        if unnamed and unnamed == len(nameless):
            together, unnamed = (*together, *nameless), 0
        for mode in together:
            others = tuple(other for other in together if other != mode)
            found.setdefault(mode, {}).setdefault((others, unnamed), []).append(each.seconds)
    times = {}
    for mode in modes:
        if mode in found:
            (others, unnamed), seconds = max(found[mode].items(), key=lambda item: len(item[1]))
            times[mode] = TrainingTime(statistics.median(seconds), others, unnamed)
    return times


def _passes(path: Path) -> Iterator[_Pass]:
    """Yield the passes in a log that gave learners."""
    if not path.is_file() or path.is_symlink():
        return
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
            first, seconds, learners = _MODE.match(event["what"]), float(event["seconds"]), len(event["keys"])
            trained = event["stage"] == "learners" and event["status"] == "done"
        except (ValueError, TypeError, KeyError):  # a line that was cut off
            continue
        if trained and first:
            others = re.findall(r"'([^']*)'", event["what"].partition(_TOGETHER)[2])
            yield _Pass((first[1], *others), learners, seconds)
