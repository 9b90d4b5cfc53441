"""The values of options: what their texts mean."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.paths import user_path

if TYPE_CHECKING:
    from gtn_bench.planning.cells import Plan

_MOST_SEEDS = 10_000
_LARGEST_SEED = 2**63 - 1


def folder_of(out: str | None, default: Path) -> Path:
    """Return the output folder of a command.

    Args:
        out: The value of ``--out``.
        default: The folder without it.
    """
    return default if out is None else user_path(out)


def default_output(suite: str, shard: str | None) -> Path:
    """Return the output folder of a suite, or of a part of it.

    Args:
        suite: Name of the suite.
        shard: The part, as text I/N.
    """
    return Path("results") / (f"{suite}-{shard.replace('/', '-of-')}" if shard else suite)


def load_plugins(paths: list[str] | None) -> None:
    """Import the files of ``--plugin``.

    Args:
        paths: Their paths.
    """
    if paths:
        from gtn_bench.planning.plugins import load_plugin

        for path in paths:
            load_plugin(path)


def parse_limit(limit: str | None) -> int | float | None:
    """Return the value of ``--limit``: a number of images, or a share of them.

    Args:
        limit: The text, such as ``100`` or ``10%``.

    Raises:
        ConfigError: If the text has another form.
    """
    if limit is None:
        return None
    number, percent = (limit[:-1], True) if limit.endswith("%") else (limit, False)
    with contextlib.suppress(ValueError):
        if percent and 0 < float(number) <= 100:
            return float(number) / 100
        if not percent and int(number) > 0:
            return int(number)
    raise ConfigError(f"--limit expects a number of images or a share of them, such as 100 or 10%, got '{limit}'")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the value of ``--seeds``.

    Args:
        text: Seeds and ranges, such as ``0-9`` or ``0,3,5-7``.

    Raises:
        ConfigError: If the text has another form, names a seed twice or names too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise ConfigError(f"--seeds expects seeds or ranges, such as 0-9 or 0,3,5, got {shown(text)}")
        if last > _LARGEST_SEED:
            raise ConfigError(f"--seeds expects integers below 2^63, got {shown(part.strip())}")
        if len(seeds) + last - first >= _MOST_SEEDS:
            raise ConfigError(f"--seeds expects at most {_MOST_SEEDS} seeds, got {shown(text)}")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed, count in Counter(seeds).items() if count > 1)
        raise ConfigError(f"--seeds names the seed {twice} twice, got {shown(text)}; name it once")
    return tuple(seeds)


def restricted(planned: Plan, chosen: Mapping[str, Sequence[str] | None]) -> Plan:
    """Return a plan restricted to the parts that options name.

    Args:
        planned: The plan.
        chosen: Labels by kind; None for all of a kind.

    Raises:
        ConfigError: If the plan has no such part, or no cell with all of them.
    """
    given = {kind: list(labels) for kind, labels in chosen.items() if labels}
    if not given:
        return planned
    try:
        return planned.only(given)
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(line.removeprefix("only: ") for line in lines)) from None
