"""A suite of perturbations that harm their process, beside ordinary ones whose rows must not change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from faults.comparing import without_seconds
from faults.places import Outcome, Place
from faults.processes import survivors
from faults.suites import HEAD
from faults.trials import Trial, Workplace, tracebacks, trial

PLUGIN = Path(__file__).with_name("perturbations_plugin.py")
ORDINARY = ("pgd", "noise", "blur")
TIMEOUT = 10  # seconds

# What the error of a cell has to say; None for a perturbation that leaves valid images behind.
EXPECTED: dict[str, str | None] = {
    "ends_process": "worker",
    "ends_process_well": "worker",
    "killed": r"signal 9",
    "reads_address_zero": r"signal 11",
    "exits": "SystemExit",
    "exits_well": "SystemExit",
    "interrupts": "KeyboardInterrupt",
    "raises_odd_exception": "_Odd",
    "hangs": rf"{TIMEOUT} s",
    "sleeps": rf"{TIMEOUT} s",
    "hangs_and_catches_everything": rf"{TIMEOUT} s",
    "takes_all_memory": "[Mm]emory",
    "recurses": "RecursionError",
    "returns_text": "returned str",
    "returns_nan": "",
    "changes_inputs": None,
    "changes_torch": None,
    "changes_process": None,
    "closes_streams": None,
}
SLOW = ("hangs", "sleeps", "hangs_and_catches_everything")

# Columns that compare a cell with the other perturbations of the suite.
_COMPARED = ["missed_adversarial", "settled", "flags", "grade", "proven"]


def harm_processes(work: Workplace, index: int, names: tuple[str, ...] = ()) -> Trial:
    """Run a suite of harmful perturbations between ordinary ones, with one worker or two.

    With one worker, those that block a process are left out, because each takes the time limit several times.

    Args:
        work: Where the trial takes place.
        index: Its number.
        names: The harmful perturbations; by default all.
    """
    names = names or tuple(name for name in EXPECTED if index % 2 or name not in SLOW)
    clean, _ = work.clean(suite_with(()))
    place = work.place(f"harm-{index}", suite_with(names))
    workers = ("--workers", str(1 + index % 2))
    command = place.start_run("--plugin", PLUGIN, "--cell-timeout", str(TIMEOUT), *workers)
    outcome = command.wait(400)
    left = survivors(command.session)
    wrong = [f"{left} processes still ran after 5 s"] if left else []
    fails = any(EXPECTED[name] is not None for name in names)
    if outcome.code != int(fails):
        wrong.append(f"expected exit code {int(fails)}, got {outcome}")
    if not (place.out / "summary.csv").exists():
        return trial(len(names), 0, ORDINARY, [*wrong, "no tables"])
    wrong += tracebacks(outcome) + _unlike_ordinary(place, clean)
    unexpected = _unexpected(place, outcome, names)
    return trial(len(names), len(names) - len(unexpected), (), wrong + unexpected)


def suite_with(names: tuple[str, ...]) -> str:
    """Return the suite: ordinary perturbations, with harmful ones between them.

    Args:
        names: The harmful ones.
    """
    harmful = [f"  - {{name: {name}, samples: 20, beta: [0.1]}}\n" for name in names]
    half = len(harmful) // 2
    ordinary = [
        "  - {name: pgd, steps: 3, samples: 20, beta: [0.05]}\n",
        "  - {name: noise, samples: 20, beta: [0.1, 0.2]}\n",
        "  - {name: blur, samples: 20, beta: [1]}\n",
    ]
    listed = [ordinary[0], *harmful[:half], ordinary[1], *harmful[half:], ordinary[2]]
    head = HEAD.replace("seeds: [0, 1]", "seeds: [0]") + "checks: none\nmodes: [{name: vanilla, steps: 20}]\n"
    return head + "perturbations:\n" + "".join(listed)


def _unlike_ordinary(place: Place, clean: Place) -> list[str]:
    """Return in words which rows of ordinary perturbations differ from those of the clean run."""
    found, expected = _rows(place), _rows(clean)
    return [
        f"the {what} of ordinary perturbations differ" for what in expected if not found[what].equals(expected[what])
    ]


def _rows(place: Place) -> dict[str, pd.DataFrame]:
    """Return the rows of ordinary perturbations, of the summary and of the samples."""
    summary = without_seconds(place.out / "summary.csv").drop(columns=_COMPARED)
    samples = pq.read_table(place.out / "samples.parquet").to_pandas()
    tables = {"cells": summary, "samples": samples.astype({"perturbation": str})}
    return {
        name: table[table["perturbation"].isin(ORDINARY)].astype(str).reset_index(drop=True)
        for name, table in tables.items()
    }


def _unexpected(place: Place, outcome: Outcome, names: tuple[str, ...]) -> list[str]:
    """Return in words which harmful perturbations did not end as expected."""
    rows = without_seconds(place.out / "summary.csv").set_index("perturbation")
    errors = json.loads((place.out / "provenance.json").read_text())["errors"]
    texts = {error["perturbation"]: str(error["traceback"]) for error in errors}
    problems = []
    for name in names:
        expected, status, text = EXPECTED[name], str(rows.loc[name, "status"]), texts.get(name, "")
        if status != ("done" if expected is None else "error") or not re.search(expected or "", text):
            problems.append(f"{name}: status {status}, {text[-200:].strip() or 'no error'}")
    return problems
