"""The files that compare and board write, and what these may replace."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.config.paths import user_path
from gtn_bench.store.files import check_file

# How the files of a command begin: HTML, Markdown or text, JSON, CSV.
_BEGINNINGS = {
    "compare": (
        r" · gtn-bench compare</title>",
        r"\A# Comparison of two runs$",
        r"\A.* compared with .* of \d+ curves?\b",
        r'\A\{\s*"version": \d+,\s*"baseline": ',
    ),
    "board": (
        r" · gtn-bench board</title>",
        r"\A(## )?Board 1: \d+ runs?, ranked by ",
        r'\A\[\s*\{\s*"runs": ',
        r"\Aboard,rank,run,",
    ),
}
_READ = 4096  # bytes of a file in which its beginning is looked for


def check_target(out: str, command: str, *, table: bool = False, accept_changes: bool = False) -> Path:
    """Return the file of ``--out``, checked before anything is computed.

    Args:
        out: The value of the option.
        command: The command, compare or board.
        table: Whether a CSV table is written beside the file.
        accept_changes: Whether files that the command has not written are replaced.

    Raises:
        ConfigError: If it is a folder, lies in the output folder of a run, cannot be written to, or would replace a
            file that the command has not written.
    """
    path = user_path(out)
    run = _run_of(path / command)
    if os.path.isdir(path) or out.endswith(("/", os.sep)):
        inside = f"{command}.html" if run else str(path / f"{command}.html")
        raise ConfigError(f"--out expects the name of a file, got the folder {shown(out)}; use --out {inside}")
    if run is not None:
        beside = run.parent / f"{command}{path.suffix}"
        raise ConfigError(
            f"--out expects a file outside of the output folder of a run, got {shown(out)} in {run}; use --out {beside}"
        )
    for file in (path, path.with_suffix(".csv")) if table else (path,):
        check_file(file)
        if os.path.lexists(file) and not os.path.isfile(file):
            raise ConfigError(f"--out expects a file, got {shown(out)}, which is none; leave it out to print")
        if os.path.lexists(file) and not accept_changes and not _is_of(file, command):
            what = f"{shown(str(file))} of somebody else{'' if file == path else ', where the table goes'}"
            raise ConfigError(
                f"--out expects a new file, or one that gtn-bench {command} has written, got {what}; choose another "
                "name, or replace it with --accept-changes"
            )
    return path


def _run_of(path: Path) -> Path | None:
    """Return the output folder of a run that a path lies in."""
    for folder in Path(os.path.realpath(path)).parents:
        files = [name for name in ("summary.csv", "provenance.json", "suite.yaml") if os.path.isfile(folder / name)]
        if len(files) > 1 and files[0] == "summary.csv":  # each of them alone can be somebody else's
            return folder
    return None


def _is_of(file: Path, command: str) -> bool:
    """Return whether a file is empty, or begins as those that a command writes."""
    try:
        with file.open("rb") as opened:
            beginning = opened.read(_READ).decode(errors="replace")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); choose another name for --out") from None
    return not beginning or any(re.search(known, beginning, re.M) for known in _BEGINNINGS[command])
