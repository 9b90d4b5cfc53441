"""The merge of the shards of a suite, or of runs of other seeds: checks that they belong together, then writes the
tables of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gtn_bench.analysis.manifest import PROVENANCE, read_run
from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.merging_runs import cell_name, device_of, is_whole_run, merge_runs
from gtn_bench.execution.runner import run
from gtn_bench.execution.scheduler import Progress
from gtn_bench.execution.shards import Shard, learners_of, parse_shard
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import Keys, keys_of
from gtn_bench.planning.planner import load, plan
from gtn_bench.reporting.notebook import Results
from gtn_bench.store.cache import Store, cache_folder


class _Part(NamedTuple):
    """The output folder of a finished shard."""

    folder: Path
    shard: Shard
    suite: str
    key_device: str
    digests: Mapping[str, str]


def merge(
    folders: Sequence[Path],
    out: Path,
    *,
    cache: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Results:
    """Write the tables of a suite from parts in a shared cache, as one run of the whole suite does.

    The parts are the shards of a suite, or whole runs of suites that differ in their seeds only.

    Args:
        folders: Output folders of all shards of the suite, or of the runs. A part can be named twice.
        out: The output folder of the whole.
        cache: The cache that the shards share; by default `GTN_BENCH_CACHE`, or else the user's cache folder.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        The results in the output folder.

    Raises:
        ConfigError: If a shard is missing or is one of another suite, if suites differ in more than their seeds, if two
            parts disagree about a cell, or if the cache lacks a cell or holds other numbers.
    """
    if not folders:
        raise ConfigError("merge expects the output folders of all shards, got none")
    if is_whole_run(Path(folders[0])):
        return merge_runs([Path(folder) for folder in folders], out, cache=cache, progress=progress)
    parts = [_read(Path(folder)) for folder in folders]
    _check_together(parts)
    whole = plan(load(parts[0].folder / "suite.yaml"), max_cells=sum(len(part.digests) for part in parts) + 10**9)
    store = Store(cache or cache_folder())
    device, strict = device_of(parts[0].folder, parts[0].key_device)
    keys = keys_of(whole, parts[0].key_device)
    _check_cells(parts, whole, keys, store)
    return run(whole, out, device=device, strict_hardware=strict, cache=store.folder, progress=progress)


def _read(folder: Path) -> _Part:
    """Return what a shard has recorded in its output folder."""
    try:
        found: Mapping[str, Any] | None = read_run(folder / PROVENANCE)
        suite = (folder / "suite.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(f"{folder}: expects the output folder of a finished shard ({reason})") from None
    shard, device, digests = ((found or {}).get(name) for name in ("shard", "key_device", "digests"))
    if not isinstance(shard, str) or not isinstance(device, str) or not isinstance(digests, dict):
        raise ConfigError(f"{folder}: expects the output folder of a shard, got that of a whole run")
    return _Part(folder, parse_shard(shard), suite, device, digests)


def _check_together(parts: Sequence[_Part]) -> None:
    """Check that some shards are all those of one suite, and agree about the cells that several of them have."""
    first = parts[0]
    for part in parts[1:]:
        for what, one, other in (
            ("suites", first.suite, part.suite),
            ("numbers of shards", str(first.shard.count), str(part.shard.count)),
            ("kinds of device", first.key_device, part.key_device),
        ):
            if one != other:
                detail = "" if what == "suites" else f": {one} and {other}"
                raise ConfigError(f"{first.folder} and {part.folder} have different {what}{detail}")
    present = {part.shard.index for part in parts}
    missing = [str(Shard(index, first.shard.count)) for index in range(first.shard.count) if index not in present]
    if missing:
        named = f"shard {missing[0]} is" if len(missing) == 1 else f"shards {', '.join(missing[:20])} are"
        raise ConfigError(f"{named} missing; run each with --shard, and name the folders of all shards")


def _check_cells(parts: Sequence[_Part], whole: Plan, keys: Keys, store: Store) -> None:
    """Check that the cache holds what every shard computed, and that no two shards computed different numbers."""
    cells = {own[0]: cell for cell, own in zip(whole.cells, keys.cells, strict=True)}
    learners = {part.shard: learners_of(whole, part.shard) for part in parts}
    known: dict[str, _Part] = {}
    for part in parts:
        if unknown := [key for key in part.digests if key not in cells]:
            raise ConfigError(
                f"{part.folder}: {len(unknown)} cells have other keys than here, because the code, a version of a "
                f"library or a file has changed; run shard {part.shard} again"
            )
        for key, found in part.digests.items():
            other = known.setdefault(key, part)
            if other.digests[key] != found:
                raise ConfigError(f"{other.folder} and {part.folder} disagree about the cell {cell_name(cells[key])}")
            if cells[key].learner not in learners[part.shard]:
                raise ConfigError(f"{part.folder}: the cell {cell_name(cells[key])} is not one of shard {part.shard}")
    for key, part in known.items():
        if not store.holds("cells", key):
            raise ConfigError(
                f"{store.folder}: lacks the cell {cell_name(cells[key])} of {part.folder}; run shard {part.shard} again"
            )
        if store.digest("cells", key) != part.digests[key]:
            raise ConfigError(f"{part.folder} and {store.folder} disagree about the cell {cell_name(cells[key])}")
