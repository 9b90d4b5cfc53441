"""How often `--fail-if worse` fires on pairs of runs without a difference, and with one, in simulations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from gtn_bench.analysis import run_comparison
from gtn_bench.analysis.statistics import area

Array = np.ndarray[Any, Any]
BETAS = np.linspace(0, 1, 5)
WEIGHTS = np.array([area(BETAS, unit) for unit in np.eye(len(BETAS))])
CENTERS = (0.2, 0.4, 0.5, 0.7)  # of the distances at which images are misclassified, by curve
PAIRS, MOST = 200, 16


class Design(NamedTuple):
    """Two runs: their learners, what they share, and how much learners differ."""

    seeds: int
    other_seeds: int
    same_seeds: bool
    same_images: bool
    images: int = 100
    spread: float = 0.15  # of the learners of a run; a single model is the mean one, as nothing follows about others


DESIGNS = {
    "pairs of learners": Design(10, 10, True, True),
    "two models": Design(1, 1, True, True, 200, 0.0),
    "a model and learners": Design(1, 6, False, True),
    "other seeds": Design(5, 5, False, True),
    "few other seeds": Design(3, 3, False, True),
    "other images": Design(5, 5, True, False),
    "few learners on other images": Design(3, 4, False, False),
    "two models on other images": Design(1, 1, True, False, 200, 0.0),
}


def areas(distances: Array) -> Array:
    """Return areas (S, N) of learners that misclassify images (S, N) beyond these distances."""
    return np.tensordot(WEIGHTS, distances[None] > BETAS[:, None, None], 1)


def simulated(design: Design, shift: float, draw: np.random.Generator, margin: float = 0.0) -> pd.DataFrame:
    """Return the verdicts on two runs, one row per curve.

    The mean distances differ by `shift`, and areas by `-margin` on top of that. Learners, images, and their interaction
    are random; the curves of a run share them.
    """
    images = draw.normal(0, 0.3, (2, design.images))
    common = draw.normal(0, design.spread / 2, max(design.seeds, design.other_seeds))
    runs = []
    for which, (count, moved) in enumerate(((design.seeds, shift), (design.other_seeds, 0.0))):
        own = draw.normal(0, design.spread, count) if count > 1 else np.zeros(count)
        learners = own + (common[:count] if design.same_seeds and count > 1 else 0)
        interaction = draw.normal(0, 0.1, (count, design.images))
        base = learners[:, None] + images[0 if design.same_images else which] + interaction + moved
        seeds = [seed + (0 if design.same_seeds else 100 * which) for seed in range(count)]
        curves = [areas(base + center + draw.normal(0, 0.1, base.shape)) for center in CENTERS]
        lower = margin if which == 0 else 0.0
        runs.append([dict(zip(seeds, curve[:, None] - lower, strict=True)) for curve in curves])
    rows = []
    for mine, theirs in zip(*runs, strict=True):
        row = run_comparison.difference_row(mine, theirs, same_images=design.same_images, margin=margin)
        rows.append(row)
    return run_comparison.with_verdicts(pd.DataFrame(rows), margin)


def alarms(design: Design, shift: float, seed: int = 0, margin: float = 0.0) -> int:
    """Return the number of pairs of runs in which some curve is worse by more than the margin."""
    draw = np.random.default_rng(seed)
    return sum(bool(simulated(design, shift, draw, margin)["beyond"].any()) for _ in range(PAIRS))


@pytest.mark.long
@pytest.mark.parametrize("name", DESIGNS)
def test_runs_without_a_difference_seldom_fail(name: str, record_property: Callable[[str, object], None]) -> None:
    found = alarms(DESIGNS[name], 0.0)
    record_property("alarms", found)
    assert found <= MOST, f"{name}: {found} of {PAIRS}"


@pytest.mark.long
@pytest.mark.parametrize("name", ["pairs of learners", "other seeds", "two models on other images"])
def test_runs_that_are_worse_by_the_margin_seldom_fail(name: str) -> None:
    found = alarms(DESIGNS[name], 0.0, margin=0.02)
    assert found <= MOST, f"{name}: {found} of {PAIRS}"


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in DESIGNS if "few" not in name])
def test_runs_with_a_large_difference_fail(name: str) -> None:
    found = alarms(DESIGNS[name], -0.6)
    assert found >= 0.8 * PAIRS, f"{name}: {found} of {PAIRS}"


def test_a_large_difference_is_worse_and_none_is_not() -> None:
    draw = np.random.default_rng(0)
    design = DESIGNS["pairs of learners"]
    assert set(simulated(design, -0.6, draw)["verdict"]) == {"worse"}
    assert set(simulated(design, 0.6, draw)["verdict"]) == {"better"}
    assert set(simulated(design, 0.0, draw)["verdict"]) == {"no difference seen"}
