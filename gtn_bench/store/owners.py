"""Temporary folders whose names tell the process that owns them, so that those of killed processes can be removed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
import uuid
from pathlib import Path

DAY = 24 * 3600.0  # seconds without a change, after which a folder of another machine counts as abandoned


def owned_name(prefix: str = "") -> str:
    """Return a name for a new folder of this process.

    Args:
        prefix: The beginning of the name.
    """
    return f"{prefix}{os.getpid()}-{platform.node()}-{uuid.uuid4().hex}"


def abandoned(parent: Path, prefix: str = "") -> list[Path]:
    """Return the folders of processes that have ended without removing them.

    On this machine the process must have ended. A folder of another machine counts after a day without a change.
    Folders with other names, links, and those of other users are left out.

    Args:
        parent: The folder that holds them, which need not exist.
        prefix: The beginning of their names.
    """
    found = []
    form = re.compile(rf"{re.escape(prefix)}([0-9]{{1,10}})-(.*)-[0-9a-f]{{32}}", re.DOTALL)
    try:
        with os.scandir(parent) as entries:
            for entry in entries:
                name = form.fullmatch(entry.name)
                if name and entry.is_dir(follow_symlinks=False) and _is_abandoned(entry, *name.groups()):
                    found.append(Path(entry.path))
    except OSError:
        return []
    return sorted(found)


def remove_abandoned(parent: Path, prefix: str = "") -> None:
    """Remove what `abandoned` returns.

    Args:
        parent: The folder that holds the folders, which need not exist.
        prefix: The beginning of their names.
    """
    for path in abandoned(parent, prefix):
        shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str], process: str, node: str) -> bool:
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError:  # its process has removed it
        return False
    if hasattr(os, "getuid") and facts.st_uid != os.getuid():
        return False
    return not _is_running(int(process)) if node == platform.node() else time.time() - facts.st_mtime > DAY


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user
        return True
    return True
