"""The number of cells of a suite, from the lengths of its lists, before any of them is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.suite import Suite
from gtn_bench.modes.base import Mode

if TYPE_CHECKING:
    from gtn_bench.planning.resolving import Resolved

MAX_CELLS = 100_000  # by default
_MAX_GRID = 256  # strengths of a search; each of its cells states them all
_MAX_ATTEMPTS = 1_000_000  # pairs of a mode and a seed, of modes without a learner for some seeds


def checked_max_cells(max_cells: object) -> int:
    """Return the largest number of cells that a plan may have.

    Args:
        max_cells: The number.

    Raises:
        ConfigError: If it is no positive integer.
    """
    if isinstance(max_cells, bool) or not isinstance(max_cells, int) or max_cells < 1:
        raise ConfigError(f"max_cells expects at least one cell, got {shown(max_cells)}")
    return max_cells


def problems_before_resolving(suite: Suite, max_cells: int) -> list[str]:
    """Return what makes a suite too large whatever its names mean, one line ``place: problem`` each.

    Args:
        suite: The suite.
        max_cells: The largest number of cells.
    """
    problems = [
        f"{place}.search: expects at most {_MAX_GRID} strengths, got {len(entry.beta)}"
        for place, entry in zip(suite.places("perturbations"), suite.perturbations, strict=True)
        if entry.search and len(entry.beta) > _MAX_GRID
    ]
    pairs = max(1, len(suite.architectures)) * (len(suite.modes) + len(suite.controls))
    least = pairs * sum(len(entry.beta) for entry in suite.perturbations)  # a mode has a learner of at least one seed
    return problems + ([_too_many(f"at least {least}", least, max_cells)] if least > max_cells else [])


def problems_of_size(suite: Suite, resolved: Resolved, max_cells: int) -> list[str]:
    """Return what makes a suite too large, one line ``place: problem`` each.

    Args:
        suite: The suite.
        resolved: The descriptions that its names mean.
        max_cells: The largest number of cells, and of proofs.
    """
    partial = [mode for mode in resolved.modes.values() if type(mode).for_seed is not Mode.for_seed]
    if len(partial) * len(suite.seeds) > _MAX_ATTEMPTS:
        return [f"seeds: expects at most {_MAX_ATTEMPTS // len(partial)} with {len(partial)} modes of existing models"]
    architectures = max(1, len(resolved.architectures))
    learners = architectures * sum(
        _count_seeds(mode, suite.seeds) * (len(resolved.teachers) if mode.needs_teacher else 1)
        for mode in resolved.modes.values()
    )
    problems = []
    cells = learners * sum(map(len, resolved.sweeps.values()))
    if cells > max_cells:
        problems.append(_too_many(str(cells), cells, max_cells))
    proofs = learners * len(resolved.certifiers)
    if proofs > max_cells:
        problems.append(f"certify: expects at most {max_cells} proofs, got {proofs}; see --max-cells")
    return problems


def _count_seeds(mode: Mode, seeds: Sequence[int]) -> int:
    """Return the number of seeds for which a mode has a learner."""
    if type(mode).for_seed is Mode.for_seed:
        return len(seeds)
    try:
        return sum(1 for _ in _learned(mode, seeds))
    except ConfigError:  # a file is missing, which is a problem of its own
        return 0


def _learned(mode: Mode, seeds: Sequence[int]) -> Iterable[Mode]:
    learned = (mode.for_seed(seed, position) for position, seed in enumerate(seeds))
    return (each for each in learned if each is not None)


def _too_many(got: str, needed: int, max_cells: int) -> str:
    return f"expects at most {max_cells} cells, got {got}; allow more with --max-cells {needed}"
