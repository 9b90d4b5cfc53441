"""Shards: parts of a plan that several machines compute without a scheduler, in one shared cache."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.execution.finished import Finished
from gtn_bench.execution.run_record import finished_keys
from gtn_bench.planning.cells import Learner, Plan
from gtn_bench.planning.keys import Keys
from gtn_bench.store.cache import Store

_MOST = 1_000_000


@dataclass(frozen=True)
class Shard:
    """One of several parts of a plan.

    Attributes:
        index: Its number, from 0.
        count: Number of parts.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Return the shard that a text such as ``2/3`` means.

    Args:
        text: Its number, from 1, and the number of shards.

    Raises:
        ConfigError: If the text has another form.
    """
    match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text) if isinstance(text, str) else None
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count <= _MOST:
        raise ConfigError(f"shard expects I/N with 1 <= I <= N, such as 1/3, got {shown(text)}")
    return Shard(index - 1, count)


def learners_of(plan: Plan, shard: Shard) -> frozenset[Learner]:
    """Return the learners whose cells a shard evaluates.

    Learners are dealt out in the order of a hash of their content, so that shards are of equal size, and the place of a
    learner in the file does not matter.

    Args:
        plan: The whole plan, which is the same for all shards.
        shard: The shard.

    Raises:
        ConfigError: If there are more shards than learners.
    """
    learners = plan.learners
    if len(learners) < shard.count:
        raise ConfigError(f"shard {shard}: the suite has {len(learners)} learners; use at most {len(learners)} shards")
    return frozenset(sorted(learners, key=_order)[shard.index :: shard.count])


def _order(learner: Learner) -> str:
    content = {
        "dataset": learner.dataset.content(),
        "teacher": learner.taught_by.teacher.content() if learner.taught_by else None,
        "architecture": learner.architecture.content(),
        "mode": learner.mode.content(),
        "seed": learner.seed,
        # Two learners of the same content differ in their labels alone.
        "labels": [learner.teacher_label, learner.architecture_label, learner.mode_label],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def part_of(plan: Plan, keys: Keys, mine: frozenset[Learner]) -> tuple[Plan, Keys]:
    """Return the plan and the keys of some learners. The suite stays whole, so that shards can be compared.

    Args:
        plan: The whole plan.
        keys: Its content keys.
        mine: The learners.
    """
    pairs = [(cell, own) for cell, own in zip(plan.cells, keys.cells, strict=True) if cell.learner in mine]
    certifications = tuple(each for each in plan.certifications if each.learner in mine)
    part = Plan(plan.suite, tuple(cell for cell, _ in pairs), certifications)
    return part, Keys(
        {taught_by.label: keys.teachers[taught_by.label] for taught_by in part.teachers},
        {learner: keys.learners[learner] for learner in part.learners},
        [own for _, own in pairs],
        {learner: keys.clean[learner] for learner in part.learners},
        {each: keys.certifications[each] for each in certifications},
    )


def record_of(
    shard: Shard, part: Plan, keys: Keys, finished: Finished, store: Store, key_device: str
) -> dict[str, Any]:
    """Return what `merge` needs to know about a finished shard, as plain data for provenance.json.

    Args:
        shard: The shard.
        part: Its part of the plan.
        keys: The content keys of the part.
        finished: The outcome of its tasks.
        store: The cache.
        key_device: What of the device is in the keys.

    Returns:
        The shard as text, the type of the device, and for each cell with a result the digest of its numbers, by key.
    """
    done = finished_keys(part, keys, finished)
    return {"shard": str(shard), "key_device": key_device, "digests": {key: store.digest("cells", key) for key in done}}
