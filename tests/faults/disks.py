"""Full disks and read-only folders."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.comparing import computed_again, stamps
from faults.places import Outcome, Place
from faults.suites import ALL_STAGES
from faults.trials import Trial, Workplace, trial, unlike, unlike_refusal, unlike_success

# Bytes: the run stops at a teacher, a learner, a table or figure, the schema of suites.
LARGEST_FILES = (1_000, 4_000, 12_000, 100_000)
DISKS = (16, 64, 120, 240)  # KiB


def limit_files(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Let the system refuse all files above a size, then run again without a limit.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    clean, _ = work.clean(suite)
    size = LARGEST_FILES[index % len(LARGEST_FILES)]
    place = work.place(f"limited-{index}", suite)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
    return _again(place, clean, place.run(prepare=limit))


def fill_disk(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Put the cache or the output folder on a small file system, then run again where there is space. Needs root.

    Args:
        work: Where the trial takes place.
        index: Its number.
        suite: The suite.
    """
    clean, _ = work.clean(suite)
    place = work.place(f"disk-{index}", suite)
    small, kept = (place.out if index % 2 else place.cache), place.folder / "kept"
    with small_file_system(small, DISKS[index % len(DISKS)]):
        refused = place.run()
        shutil.copytree(small, kept)
    small.rmdir()
    kept.rename(small)
    return _again(place, clean, refused)


def _again(place: Place, clean: Place, refused: Outcome) -> Trial:
    """Return the trial of a run without space and of the same command afterwards."""
    before = stamps(place.cache)
    problems = unlike_refusal(refused, 1)
    again = place.run()
    wrong = problems + unlike_success(again) + unlike(place, clean)
    return trial(1, int(not problems), computed_again(before, place.cache), wrong)


def read_only(work: Workplace, index: int, suite: str = ALL_STAGES) -> Trial:
    """Run a suite with a cache or an output folder that cannot be written to, then again with rights.

    A cache that holds everything is enough. Everything else is refused before anything is computed.

    Args:
        work: Where the trial takes place.
        index: Its number: 0 for a full cache, 1 for an empty one, 2 for an output folder, 3 for an existing one.
        suite: The suite.
    """
    clean, _ = work.clean(suite)
    case = index % 4
    place = work.place(f"read-only-{index}", suite, cache=None if case == 1 else clean.cache)
    if case == 3:
        shutil.copytree(clean.out, place.out)
    place.out.mkdir(exist_ok=True)
    with protected(place.cache if case < 2 else place.out):
        outcome = place.run()
    problems = unlike_success(outcome) if case == 0 else unlike_refusal(outcome, 2)
    again = place.run()
    return trial(1, int(not problems), (), problems + unlike_success(again) + unlike(place, clean))


def can_mount() -> bool:
    """Return whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        return os.getuid() == 0 and _mount("-t", "tmpfs", "tmpfs", folder) and _unmount(Path(folder))


@contextmanager
def small_file_system(folder: Path, size: int) -> Iterator[None]:
    """Mount an empty file system of a size, for the block.

    Args:
        folder: Where it is mounted.
        size: Its size in KiB.
    """
    folder.mkdir(exist_ok=True)
    assert _mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder))
    try:
        yield
    finally:
        _unmount(folder)


@contextmanager
def protected(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder, for the block. For root, it becomes a read-only file system.

    Args:
        folder: The folder.
    """
    if os.getuid() == 0:
        assert _mount("--bind", str(folder), str(folder)) and _mount("-o", "remount,ro,bind", str(folder))
    else:
        _chmod(folder, 0o555, 0o444)
    try:
        yield
    finally:
        if os.getuid() == 0:
            _unmount(folder)
        else:
            _chmod(folder, 0o755, 0o644)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def _unmount(folder: Path) -> bool:
    return subprocess.run(["umount", "-l", folder], capture_output=True).returncode == 0


def _chmod(folder: Path, of_folders: int, of_files: int) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(of_folders if path.is_dir() else of_files)
