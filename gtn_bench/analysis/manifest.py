"""Names of the files in an output folder, and their comparison with what was recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gtn_bench.store.one_writer import HIDDEN
from gtn_bench.store.records import digests_in, read_json, read_record

PROVENANCE = "provenance.json"  # the record of the files of a run
PAGES = f"{HIDDEN}/report.json"  # the record of the files of a report
FIGURES, IMAGES = "figures", "adversarial"  # the folders
RESULTS = (
    *("samples.parquet", "summary.csv", "checks.csv", "curves.csv", "measures.csv", "comparisons.csv"),
    *("certificates.csv", "examples.safetensors", "suite.yaml", "suite.schema.json"),
)
# Results can be shared without their large files. Nothing reads the schema but editors.
_OPTIONAL = {"samples.parquet", "examples.safetensors", "suite.schema.json"}

INTERRUPTED = "the run was interrupted while it wrote its tables; run the same command again"
ACCEPT = "--accept-changes (in Python: accept_changes=True)"


class Differences(NamedTuple):
    """Differences between the files in a folder and their record.

    Attributes:
        foreign: Files that are not in the record.
        changed: Files with other content than in the record; the record itself, if somebody has changed it.
    """

    foreign: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()


def read_run(path: Path) -> Mapping[str, Any] | None:
    """Return the provenance of a run; None if the file holds something else.

    Args:
        path: The file `provenance.json`.

    Raises:
        OSError: If the file cannot be read.
    """
    content = read_json(path)
    versions = content.get("versions") if content else None
    is_run = (
        content is not None
        and isinstance(versions, dict)
        and "gtn-bench" in versions
        and isinstance(content.get("suite"), str)
    )
    return content if is_run else None


def differences(folder: Path, record: str, names: Collection[str]) -> Differences:
    """Compare files with a record.

    Earlier versions recorded no digests. Without a record nothing differs: otherwise no folder of theirs, and no copy
    without hidden files, could be used again.

    Args:
        folder: The output folder.
        record: `PROVENANCE` or `PAGES`.
        names: The files, as far as they exist.

    Raises:
        ConfigError: If a file is a link or something else.
        OSError: If a file cannot be read.
    """
    known = read_record(folder / record) if (folder / record).is_file() else None
    if known is None:
        return Differences()
    found = digests_in(folder, names)
    changed = {name for name in found if name in known.files and not known.accepts(name, found[name])}
    return Differences(
        frozenset(found.keys() - known.files), frozenset(changed | ({record} if not known.intact else set()))
    )


def absent(folder: Path) -> list[str]:
    """Return the files of a run that are missing in its folder.

    Args:
        folder: The output folder.
    """
    known = read_record(folder / PROVENANCE)
    return sorted(name for name in known.files if not (folder / name).is_file()) if known else []


def can_be_absent(name: str) -> bool:
    """Return whether results can be reported without a file.

    Args:
        name: The file.
    """
    return name in _OPTIONAL or name.startswith(f"{IMAGES}/")
