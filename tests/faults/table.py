"""Inject all faults and write reports/reliability.md.

python tests/faults/table.py [--write] [--only NAME] [--outcomes FILE] [--trials N]

Needs the extras `test` and `dask`, and root for file systems that are full or read-only. Finished trials are appended
to a file; a repeated command continues from it, unless the code of the package has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.faults import FAULTS, Fault
from faults.places import PACKAGE
from faults.trials import Trial, Workplace
from gtn_bench.store.keys import installed

REPORT = PACKAGE / "reports" / "reliability.md"


class Row(NamedTuple):
    """A finished trial.

    Attributes:
        fault: Name of the fault.
        number: Number of the trial.
        code: Hash of the code that was tried.
        seconds: Wall time.
        trial: The outcome.
    """

    fault: str
    number: int
    code: str
    seconds: float
    trial: Trial


def code_version() -> str:
    """Return a hash of the source files of the package and of the trials."""
    content = hashlib.sha256()
    for folder in ("gtn_bench", "tests/faults"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            content.update(path.read_bytes())
    return content.hexdigest()[:12]


def read(path: Path, code: str) -> dict[tuple[str, int], Row]:
    """Return the finished trials of a version of the code, by fault and number.

    Args:
        path: The file, which need not exist.
        code: Hash of the code.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = []
    for line in lines:
        fault, number, tried, seconds, (injected, noticed, lost, wrong, notes) = json.loads(line)
        rows.append(Row(fault, number, tried, seconds, Trial(injected, noticed, lost, wrong, tuple(notes))))
    return {(row.fault, row.number): row for row in rows if row.code == code}


def run(fault: Fault, number: int, work: Workplace, code: str) -> Row:
    """Run a trial. An exception of the trial itself counts as wrong.

    Args:
        fault: The fault.
        number: Number of the trial.
        work: Where it takes place.
        code: Hash of the code that is tried.
    """
    start = time.monotonic()
    try:
        found = fault.run(work, number)
    except Exception as error:  # one row of the table
        found = Trial(1, 0, 0, 1, (f"the trial failed: {type(error).__name__}: {error}",))
    return Row(fault.name, number, code, time.monotonic() - start, found)


def page(rows: list[Row]) -> str:
    """Return the report.

    Args:
        rows: All finished trials.
    """
    lines = [
        "# Does a run survive faults?",
        "",
        "`python tests/faults/table.py --write` injects the faults and makes this page. Every run is a command in a "
        "process of its own. Its tables are compared bit for bit with those of a run without a fault; wall times, the "
        "column `seconds` of summary.csv and the seconds in report.md, are left out.",
        "",
        "- noticed: how many faults were answered as the last column says;",
        "- lost: finished results that were missing afterwards, or computed again although they were intact;",
        "- wrong: tables that differ, tracebacks, processes that stay, other answers than in the last column.",
        "",
        "| fault | injected | noticed | lost | wrong | what happens |",
        "|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        found = [row.trial for row in rows if row.fault == fault.name]
        if found:
            counts = [sum(values) for values in zip(*(each[:4] for each in found), strict=True)]
            lines.append(f"| {fault.title} | {' | '.join(map(str, counts))} | {fault.answer} |")
    left_out = [fault.title for fault in FAULTS if fault.name not in {row.fault for row in rows}]
    if left_out:
        lines += ["", "Not tried:", "", *(f"- {title}" for title in left_out)]
    failures = [f"- {row.fault}, trial {row.number}: {note}" for row in rows for note in row.trial.notes]
    if failures:
        lines += ["", "## What went wrong", "", *failures]
    versions = ", ".join(
        f"{name} {installed(name)}" for name in ("gtn-bench", "torch", "numpy", "joblib", "distributed")
    )
    minutes = sum(row.seconds for row in rows) / 60
    machine = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores"
    lines += ["", f"Made on {machine}, in {minutes:.0f} minutes, Python {platform.python_version()}, {versions}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Run the trials that are missing, and write the report if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write reports/reliability.md")
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS], help="only this fault")
    parser.add_argument("--trials", type=int, help="at most this many trials of each fault")
    default = Path(tempfile.gettempdir()) / "gtn-bench-faults.jsonl"
    parser.add_argument("--outcomes", type=Path, default=default, help=f"file of finished trials; by default {default}")
    chosen = parser.parse_args()
    code = code_version()
    finished, rows = read(chosen.outcomes, code), []
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        with chosen.outcomes.open("a", encoding="utf-8") as file:
            for fault in FAULTS:
                for number in range(min(fault.trials, chosen.trials or fault.trials)):
                    row = finished.get((fault.name, number))
                    if row is None and (not chosen.only or fault.name in chosen.only) and fault.is_possible():
                        row = run(fault, number, Workplace(Path(folder)), code)
                        file.write(json.dumps(row) + "\n")
                        file.flush()
                        verdict = "good" if row.trial.is_good else "; ".join(row.trial.notes) or "not noticed"
                        print(f"{fault.name} {number}: {row.seconds:.1f} s, {verdict}", flush=True)
                    rows += [row] if row else []
    if chosen.write:
        REPORT.write_text(page(rows), encoding="utf-8")
    sys.exit(0 if all(row.trial.is_good for row in rows) else 1)


if __name__ == "__main__":
    main()
