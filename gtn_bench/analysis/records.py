"""Records: the result of each cell as plain data, and the summary of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.checks import Array, Evidence, Samples
from gtn_bench.analysis.crosschecks import settled
from gtn_bench.analysis.grades import Graded, grade_learner
from gtn_bench.analysis.tables import CHECK_COLUMNS, IDENTITY, LEARNER, SUMMARY_COLUMNS

if TYPE_CHECKING:
    from gtn_bench.config.threat import Threat

Status = Literal["done", "error", "rejected", "duplicate"]
Access = Literal["white", "black", "none"]

PROVEN = 0.01  # largest difference of accuracy and certified accuracy at a proven point


@dataclass(frozen=True)
class CellRecord:
    """The result of one cell.

    Attributes:
        identity: Values of the columns `IDENTITY`.
        n: Number of test images.
        status: `done`; `error`; `rejected` if the architecture is not accepted and was not attacked; `duplicate` if the
            learner has the weights of another seed of the same teacher, architecture and mode, and does not count.
        samples: An array (n,) per measured column; empty unless done.
        cost: Forwards, backwards and seconds; empty unless done.
        shares: Measured shares of images, by name of the check; empty unless done.
        clean_accuracy: Accuracy on the clean images, if rejected or a duplicate.
        duplicate_of: The seed with the same weights, if a duplicate.
        traceback: The traceback, if an error.
        search_region: The ball in which the perturbation searches for any misclassified image.
        attack_error: Number of images on which the perturbation failed, and its first exception, in one line.
        evidence: What was measured by other means than the samples, by name of the check.
        access: `white` if the perturbation follows gradients, `black` if it queries outputs, `none` if it ignores the
            model.
        attack: Class of the perturbation. Evidence for an attack is that of an attack of another class.
        model_flags: Names of the checks of the model that failed and that concern this cell.
        certified: Mask (k,) of the images that are classified correctly and proven robust in `search_region`, the
            first ones; None without a certificate.
        pixels: Number of values of an image, if it is known.
    """

    identity: Mapping[str, Any]
    n: int
    status: Status
    samples: Samples = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    clean_accuracy: float = np.nan
    duplicate_of: int | None = None
    traceback: str = ""
    search_region: Threat | None = None
    attack_error: str = ""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    access: Access = "white"
    attack: str = ""
    model_flags: tuple[str, ...] = ()
    certified: Array | None = None
    pixels: int | None = None

    @property
    def learner(self) -> tuple[Any, ...]:
        """Values of the columns `LEARNER`."""
        return tuple(self.identity[column] for column in LEARNER)


class Summary(NamedTuple):
    """All records of a run as a table.

    Attributes:
        table: One row per cell, columns `SUMMARY_COLUMNS`.
        correct: For each row that is done, the mask of correctly classified images (n,), by index of the row.
        errors: Identity and traceback of each cell that failed.
        attack_errors: Identity of each cell in which the perturbation failed on some images, and their number and the
            first exception as `error`.
        checks: One row per cell and check, columns `CHECK_COLUMNS`.
    """

    table: pd.DataFrame
    correct: dict[int, Array]
    errors: list[dict[str, Any]]
    attack_errors: list[dict[str, Any]]
    checks: pd.DataFrame


def summarize(records: Iterable[CellRecord]) -> Summary:
    """Summarize the records of a run.

    Args:
        records: Records of all cells; those of a learner follow each other, and are held in memory together.
    """
    rows: list[dict[str, Any]] = []
    checks: list[dict[str, Any]] = []
    correct: dict[int, Array] = {}
    errors: list[dict[str, Any]] = []
    attack_errors: list[dict[str, Any]] = []
    for _, group in itertools.groupby(records, key=attrgetter("learner")):
        cells = list(group)
        done = [record for record in cells if record.status == "done"]
        for record, graded in zip(cells, grade_learner(cells), strict=True):
            if record.status == "done":
                correct[len(rows)] = record.samples["prediction"] == record.samples["label"]
            if record.status == "error":
                errors.append({**record.identity, "traceback": record.traceback})
            if record.attack_error:
                attack_errors.append({**record.identity, "error": record.attack_error})
            checks += [{**_identity(record), **finding._asdict()} for finding in graded.findings]
            rows.append(_row(record, graded, done))
    table = pd.DataFrame(rows, columns=SUMMARY_COLUMNS).astype({"duplicate_of": "Int64"})
    return Summary(table, correct, errors, attack_errors, pd.DataFrame(checks, columns=CHECK_COLUMNS))


def _identity(record: CellRecord) -> dict[str, Any]:
    return {column: record.identity[column] for column in IDENTITY}


def _row(record: CellRecord, graded: Graded, done: list[CellRecord]) -> dict[str, Any]:
    """Return the row of a cell; `done` holds all finished cells of its learner."""
    row = {**_identity(record), "n": record.n, "status": record.status, "grade": graded.grade, "proven": False}
    if record.status != "done":
        return {**row, "clean_accuracy": record.clean_accuracy, "duplicate_of": record.duplicate_of}
    samples = record.samples
    correct, clean_correct = (samples[name] == samples["label"] for name in ("prediction", "clean_prediction"))
    missed = [finding.measured for finding in graded.findings if finding.check == "missed_adversarial"]
    return {
        **row,
        **record.cost,
        "clean_accuracy": clean_correct.mean(),
        "accuracy": correct.mean(),
        "mean_linf": samples["linf"].mean(dtype=float),
        "mean_l2": samples["l2"].mean(dtype=float),
        "flags": "; ".join(graded.flags),
        "accuracy_given_correct": correct[clean_correct].mean() if clean_correct.any() else np.nan,
        "missed_adversarial": missed[0] if missed else np.nan,
        "settled": settled(record, done),
        **_certified(record, correct, graded),
    }


def _certified(record: CellRecord, correct: Array, graded: Graded) -> dict[str, Any]:
    """Return the certified accuracy of a cell, and whether its accuracy is proven; nothing without a certificate."""
    if record.certified is None:
        return {}
    certified = float(record.certified.mean())
    gap = float(correct[: len(record.certified)].mean()) - certified
    return {
        "certified_accuracy": certified,
        "proven": gap <= PROVEN + 1e-9 and "certificate_violated" not in graded.flags,
    }
