"""Injected faults: a few of each kind in small suites here, all of them if marked `long`.

`python tests/faults/table.py --write` runs the same trials and writes reports/reliability.md.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save

from faults.damage import DAMAGES
from faults.damaged import damage_files
from faults.disks import limit_files, read_only
from faults.faults import FAULTS, Fault
from faults.fuzzing import fuzz
from faults.kills import kill_command
from faults.races import race
from faults.suites import SMALL
from faults.trials import Trial, Workplace


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for clean runs. The processes of a test run share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "faults"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def quick(shared: Path) -> Workplace:
    """Return the folder of quick trials, whose runs use the main process alone."""
    work = Workplace(shared / "quick", workers=1)
    with FileLock(shared / "lock"):
        work.clean(SMALL)
    return work


QUICK_TRIALS: dict[str, Callable[[Workplace], Trial]] = {
    "kill-command": lambda work: kill_command(work, 0, SMALL),
    "damaged-files": lambda work: damage_files(work, 0, SMALL, ("learners", "examinations", "cells", "cells")),
    "races": lambda work: race(work, 1, SMALL),
    "limited-files": lambda work: limit_files(work, 1, SMALL),
    "read-only": lambda work: read_only(work, 0, SMALL),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK_TRIALS)
def test_a_small_run_survives(name: str, quick: Workplace) -> None:
    found = QUICK_TRIALS[name](quick)
    assert found.is_good, found


@pytest.mark.slow
def test_hostile_suites_are_refused_in_time(tmp_path: Path) -> None:
    pytest.importorskip("hypothesis")
    found = fuzz(Workplace(tmp_path), 100, examples=5)
    assert found.is_good, found


def test_every_damage_changes_a_file() -> None:
    metadata = {"about": "{}"}
    one, other = (save({"x": np.full((4, 4), value, np.float32)}, metadata) for value in (1, 2))
    for damage in DAMAGES:
        for seed in range(20):
            assert damage(one, other, random.Random(seed)) != one, damage.__name__


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_runs_survive(fault: Fault, tmp_path: Path) -> None:
    if not fault.is_possible():
        pytest.skip(f"this machine cannot inject {fault.title}")
    work = Workplace(tmp_path)
    failed = [found for found in (fault.run(work, index) for index in range(fault.trials)) if not found.is_good]
    assert not failed, failed
