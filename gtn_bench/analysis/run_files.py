"""The files of a finished run, compared with what the run has recorded about them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from gtn_bench.analysis.manifest import ACCEPT, INTERRUPTED, PROVENANCE, can_be_absent
from gtn_bench.analysis.reading import RERUN, reading
from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.store.hashing import file_digest
from gtn_bench.store.records import Record, parse_record, read_json


class RunFiles:
    """The files of a run.

    Runs of earlier versions recorded no digests; nothing is compared then.

    Args:
        folder: The output folder.
        accept_changes: Whether files can differ from the record.
    """

    def __init__(self, folder: Path, *, accept_changes: bool = False) -> None:
        self._folder, self._accept_changes = folder, accept_changes
        self._verified: dict[str, tuple[int, ...]] = {}

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The content of provenance.json. It stays that of the first access, and all files are compared with it.

        Raises:
            ConfigError: If it cannot be read, has changed, or says that the run was interrupted.
        """
        with reading(self._folder / PROVENANCE) as path:
            content = read_json(path)
        if content is None:
            raise ConfigError(f"{path}: cannot be read (it is no JSON object); {RERUN}")
        if content.get("complete", True) is not True:
            raise ConfigError(f"{self._folder}: {INTERRUPTED}")
        record = parse_record(content)
        if record and not record.intact:
            self._refuse([PROVENANCE])
        return content

    @cached_property
    def record(self) -> Record | None:
        """The record of the run; None for a run of an earlier version, or one that is not finished."""
        return parse_record(self.provenance) if (self._folder / PROVENANCE).is_file() else None

    @property
    def absent(self) -> list[str]:
        """The files of the run that are not in the folder."""
        return sorted(name for name in self.record.files if not self._has(name)) if self.record else []

    @property
    def changed(self) -> list[str]:
        """The files in the folder that have changed after the run."""
        known = self.record
        if known is None:
            return []
        files = [name for name in known.files if self._has(name) and not self._is_as_written(name)]
        return sorted([*files, *([] if known.intact else [PROVENANCE])])

    def check(self) -> None:
        """Compare all files.

        Raises:
            ConfigError: If one has changed, or one is absent that results cannot be shared without.
        """
        if self._accept_changes:
            return
        if missing := [name for name in self.absent if not can_be_absent(name)]:
            raise ConfigError(f"{self._folder}: expects {listed(missing, str)}, found none; {RERUN}")
        if changed := self.changed:
            self._refuse(changed)

    def verify(self, name: str) -> None:
        """Compare a file after it was read, so that no other run can have replaced it in between.

        Args:
            name: The file.

        Raises:
            ConfigError: If it has changed.
        """
        if self.record and not self._accept_changes and not self._is_as_written(name):
            self._refuse([name])

    def _has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def _is_as_written(self, name: str) -> bool:
        """Return whether a file has its digest. It is computed once, as long as the file is the same."""
        with reading(self._folder / name) as path:
            state = path.stat()
            seen = (state.st_ino, state.st_size, state.st_mtime_ns)
            if self._verified.get(name) != seen:
                if not self.record or not self.record.accepts(name, file_digest(path)):
                    return False
                self._verified[name] = seen
        return True

    def _refuse(self, names: list[str]) -> None:
        if not self._accept_changes:
            what = f"not as the run has written {'them' if len(names) > 1 else 'it'}: {listed(names, str)}"
            raise ConfigError(f"{self._folder}: {what}; {RERUN}; or accept this with {ACCEPT}")
