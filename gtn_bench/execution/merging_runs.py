"""The merge of whole runs whose suites differ in their seeds only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from gtn_bench.analysis.manifest import PROVENANCE, read_run
from gtn_bench.analysis.run_differences import suite_of
from gtn_bench.analysis.suite_differences import suite_differences
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.execution.accelerator import device_key
from gtn_bench.execution.environment import Device, choose_device
from gtn_bench.execution.run_record import digest_of_results
from gtn_bench.execution.runner import run
from gtn_bench.execution.scheduler import Progress
from gtn_bench.planning.cells import Cell
from gtn_bench.planning.keys import keys_of
from gtn_bench.planning.planner import load, plan
from gtn_bench.reporting.notebook import Results, open
from gtn_bench.store.cache import Store, cache_folder

_MANY = 10**9  # cells; the runs have been computed, so their number is no mistake


class _Run(NamedTuple):
    """The output folder of a finished run of a whole suite."""

    results: Results
    suite: Mapping[str, Any]
    key_device: str
    digest: str


def is_whole_run(folder: Path) -> bool:
    """Return whether a folder holds a run of a whole suite, finished or not.

    Args:
        folder: The folder.
    """
    try:
        found = read_run(folder / PROVENANCE)
    except OSError:
        return False
    return found is not None and "shard" not in found


def merge_runs(
    folders: Sequence[Path],
    out: Path,
    *,
    cache: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Results:
    """Write the tables of one run with the seeds of several ones, in ascending order.

    Args:
        folders: The output folders of the runs.
        out: The output folder of the whole.
        cache: The cache that the runs share; by default `GTN_BENCH_CACHE`, or else the user's cache folder.
        progress: Called with the name of a stage, the number of its finished parts and of all its parts.

    Returns:
        The results in the output folder.

    Raises:
        ConfigError: If the suites differ in more than their seeds, or the cache lacks a cell or holds other numbers.
    """
    runs = [_read(folder) for folder in folders]
    for other in runs[1:]:
        _check_together(runs[0], other)
    store = Store(cache or cache_folder())
    device, strict = device_of(runs[0].results.folder, runs[0].key_device)
    for each in runs:
        _check_cells(each, store)
    suite = load(runs[0].results.folder / "suite.yaml")
    seeds = sorted({seed for each in runs for seed in each.suite["seeds"]})
    whole = plan(suite.model_copy(update={"seeds": tuple(seeds)}), max_cells=_MANY)
    return run(whole, out, device=device, strict_hardware=strict, cache=store.folder, progress=progress)


def _read(folder: Path) -> _Run:
    """Return what a run has recorded in its output folder."""
    results = open(folder)
    if "shard" in results.provenance:
        raise ConfigError(f"{folder}: expects the output folder of a whole run, got that of a shard")
    device, digest = (results.provenance.get(name) for name in ("key_device", "results"))
    if not isinstance(device, str) or not isinstance(digest, str):
        raise ConfigError(f"{folder}: was written by an earlier version of gtn-bench, {_again(folder)}")
    return _Run(results, suite_of(results), device, digest)


def _check_together(one: _Run, other: _Run) -> None:
    """Check that two runs differ in their seeds only."""
    both = f"{one.results.folder} and {other.results.folder}"
    found = [each for each in suite_differences(one.suite, other.suite) if each.field != "seeds"]
    if found:
        first = f"{found[0].field} is {shown(found[0].first)} and {shown(found[0].second)}"
        raise ConfigError(f"{both} have suites that differ in more than their seeds: {first}")
    if one.key_device != other.key_device:
        raise ConfigError(f"{both} have different kinds of device: {one.key_device} and {other.key_device}")


def _check_cells(part: _Run, store: Store) -> None:
    """Check that the cache holds what a run has computed."""
    folder, summary = part.results.folder, part.results.summary
    planned = plan(load(folder / "suite.yaml"), max_cells=_MANY)
    if len(planned.cells) != len(summary):
        raise ConfigError(f"{folder}: expects {len(planned.cells)} cells in summary.csv, found {len(summary)}")
    keys = keys_of(planned, part.key_device)
    done = {
        own[0]: cell
        for cell, own, status in zip(planned.cells, keys.cells, summary["status"], strict=True)
        if status == "done"
    }
    for key, cell in done.items():
        if not store.holds("cells", key):
            raise ConfigError(
                f"{store.folder}: lacks the cell {cell_name(cell)} of {folder}, because it is another cache, or the "
                f"code, a version of a library or a file has changed; {_again(folder)}"
            )
    if digest_of_results(done, store) != part.digest:
        raise ConfigError(f"{folder} and {store.folder} disagree about the results; {_again(folder)}")


def _again(folder: Path) -> str:
    return f"run it again: gtn-bench run {folder / 'suite.yaml'} --out {folder}"


def cell_name(cell: Cell) -> str:
    """Return the name of a cell in messages.

    Args:
        cell: The cell.
    """
    learner = cell.learner
    return (
        f"'{cell.perturbation_label}' at {cell.beta:g}, mode '{learner.mode_label}' of "
        f"'{learner.architecture_label}', seed {learner.seed}"
    )


def device_of(folder: Path, recorded: str) -> tuple[Device, bool]:
    """Return the device on which this machine has the keys of a part, and whether they are strict.

    Args:
        folder: The output folder of the part.
        recorded: What of the device is in its keys.

    Raises:
        ConfigError: If this machine has no such device.
    """
    kinds: list[Device] = [kind for kind in get_args(Device) if kind != "auto" and recorded.startswith(kind)]
    for kind in kinds:
        device = choose_device(kind)
        for strict in (False, True):
            if device_key(device, strict) == recorded:
                return kind, strict
    raise ConfigError(f"{folder}: was computed on another kind of device, {recorded}; merge on one of it")
