"""Records: the result of each cell as plain data, and the summary of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.checks import Array, Samples, failed_checks, grade, missed_adversarial, zero_gradient_share
from gtn_bench.analysis.tables import IDENTITY, LEARNER, SUMMARY_COLUMNS

if TYPE_CHECKING:
    from gtn_bench.config.threat import Threat

Status = Literal["done", "error", "rejected", "duplicate"]


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
    """

    table: pd.DataFrame
    correct: dict[int, Array]
    errors: list[dict[str, Any]]
    attack_errors: list[dict[str, Any]]


def summarize(records: Iterable[CellRecord]) -> Summary:
    """Summarize the records of a run.

    Args:
        records: Records of all cells; those of a learner follow each other, and are held in memory together.
    """
    rows: list[dict[str, Any]] = []
    correct: dict[int, Array] = {}
    errors: list[dict[str, Any]] = []
    attack_errors: list[dict[str, Any]] = []
    for _, group in itertools.groupby(records, key=attrgetter("learner")):
        cells = list(group)
        everything = [record.samples for record in cells if record.status == "done"]
        for record in cells:
            if record.status == "done":
                correct[len(rows)] = record.samples["prediction"] == record.samples["label"]
            if record.status == "error":
                errors.append({**record.identity, "traceback": record.traceback})
            if record.attack_error:
                attack_errors.append({**record.identity, "error": record.attack_error})
            rows.append(_row(record, everything))
    table = pd.DataFrame(rows, columns=SUMMARY_COLUMNS).astype({"duplicate_of": "Int64"})
    return Summary(table, correct, errors, attack_errors)


def _row(record: CellRecord, everything: list[Samples]) -> dict[str, Any]:
    """Return the row of a cell; `everything` holds the samples of all cells of its learner."""
    row = {**{column: record.identity[column] for column in IDENTITY}, "n": record.n, "status": record.status}
    if record.status != "done":
        row |= {"clean_accuracy": record.clean_accuracy, "duplicate_of": record.duplicate_of}
        return {**row, "grade": grade(())}
    samples = record.samples
    correct, clean_correct = (samples[name] == samples["label"] for name in ("prediction", "clean_prediction"))
    missed = missed_adversarial(samples, record.search_region, everything)
    shares = {**record.shares, "missed_adversarial": np.nan if missed is None else float(missed.mean())}
    shares["zero_gradient"] = zero_gradient_share(samples)
    flags = failed_checks(shares)
    return {
        **row,
        **record.cost,
        "clean_accuracy": clean_correct.mean(),
        "accuracy": correct.mean(),
        "mean_linf": samples["linf"].mean(dtype=float),
        "mean_l2": samples["l2"].mean(dtype=float),
        "grade": grade(flags),
        "flags": "; ".join(flags),
        "accuracy_given_correct": correct[clean_correct].mean() if clean_correct.any() else np.nan,
        "missed_adversarial": shares["missed_adversarial"],
    }
