"""The files of a report: written together, and not over files of somebody else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gtn_bench.analysis.manifest import ACCEPT, PAGES, differences
from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.store.publishing import publish
from gtn_bench.store.records import is_there


def check_pages(folder: Path, names: Collection[str], *, accept_changes: bool = False) -> None:
    """Check that a report can write its files.

    Args:
        folder: The folder of a run or teacher.
        names: The files.
        accept_changes: Whether files are replaced that no report has written, or that have changed since then.

    Raises:
        ConfigError: If one is a link, or may not be replaced.
    """
    there = {name for name in sorted(names) if is_there(folder, name)}
    if accept_changes:
        return
    found = differences(folder, PAGES, there)
    for wrong, problem in ((found.foreign, "no report has written"), (found.changed, "changed after a report")):
        if wrong:
            what = f"{folder} holds files that {problem}: {listed(sorted(wrong), str)}"
            raise ConfigError(f"{what}; rename or remove them, or replace them with {ACCEPT}")


def publish_pages(stage: Path, folder: Path, content: Mapping[str, Any], keep: Collection[str] = ()) -> Path:
    """Rename the files of a report into place.

    Args:
        stage: The hidden folder with the files.
        folder: The folder of the run or teacher.
        content: What to remember about them until the next report.
        keep: Figures of the last report that stay.

    Returns:
        Path of the page.
    """
    publish(stage, folder, folder / PAGES, content, keep)
    return folder / "report.md"
