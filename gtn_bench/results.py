"""The output folder: tables of samples, cells and curves, and how to read them back. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from gtn_bench.analysis import Rule
from gtn_bench.cache import read_tensors
from gtn_bench.description import Mistake

LEARNER = ["dataset", "teacher", "architecture", "mode", "seed"]
IDENTITY = [*LEARNER, "perturbation", "beta"]
SUMMARY_COLUMNS = [
    *IDENTITY,
    "n",
    "clean_accuracy",
    "accuracy",
    "mean_linf",
    "mean_l2",
    "forwards",
    "backwards",
    "seconds",
    "grade",
    "status",
    "flags",
    "accuracy_given_correct",
    "missed",
]
FLAGS = {
    "unchanged": "a library's attack returned more than half of the images that it did not fool as they were",
    "found nothing": "a library's search came back without a success for more than half of the images",
    "left its ball": "a change is larger than the perturbation promises",
    "missed": "of more than 2 % of the images another perturbation found one that fools, in the ball of this attack",
    "no gradient": "more than 2 % of the images stayed correct, where the loss has no slope for the attack to follow",
}  # why a cell is suspect
CURVE_COLUMNS = [
    *("dataset", "teacher", "architecture", "mode", "perturbation", "beta"),
    *("accuracy", "std", "ci_low", "ci_high", "n_seeds"),
    *("accuracy_given_correct", "mean_linf", "mean_l2", "band_low", "band_high"),
]
COMPARISON_COLUMNS = [
    *("dataset", "teacher", "architecture", "perturbation", "mode", "other"),
    *("area", "other_area", "difference", "ci_low", "ci_high", "p", "p_holm", "detectable", "n_seeds", "n_pairs"),
]
MEASURE_COLUMNS = [
    *("dataset", "teacher", "architecture", "mode", "perturbation"),
    *("clean_accuracy", "area", "ci_low", "ci_high", "n_seeds", "area_given_correct"),
    *("half_strength", "half_ci_low", "half_ci_high"),
]

_AGAIN = "run the suite once more, what is in the cache is not computed again"
_NAME = pa.dictionary(pa.int32(), pa.string())
_IDENTITY_FIELDS = [
    ("dataset", _NAME),
    ("teacher", _NAME),
    ("architecture", _NAME),
    ("mode", _NAME),
    ("seed", pa.int64()),
    ("perturbation", _NAME),
    ("beta", pa.float64()),
]
SAMPLE_SCHEMA = pa.schema(
    [
        *_IDENTITY_FIELDS,
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("clean_prediction", pa.int16()),
        ("prediction", pa.int16()),
        ("linf", pa.float32()),
        ("l2", pa.float32()),
        ("zero_gradient", pa.bool_()),
    ]
)
MEASURED = [field.name for field in SAMPLE_SCHEMA][len(IDENTITY) + 1 :]


class SampleWriter:
    """Writes `samples.parquet` one cell at a time, so that a suite of any size fits in memory.

    A context manager: the file is there when it is left without an exception.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._writer = pq.ParquetWriter(self._part, SAMPLE_SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is None:
            self._part.replace(self._path)

    def write(self, identity: Mapping[str, Any], measured: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """`identity`: the cell's value for each column of `IDENTITY`; `measured`: an array for each other column."""
        n = len(measured["label"])
        columns: list[pa.Array] = []
        for name, kind in _IDENTITY_FIELDS:
            if kind == _NAME:
                columns.append(pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), [identity[name]]))
            else:
                columns.append(pa.array(np.full(n, identity[name]), kind))
        columns.append(pa.array(np.arange(n, dtype=np.int32)))
        columns += [pa.array(measured[field.name]).cast(field.type) for field in list(SAMPLE_SCHEMA)[len(columns) :]]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=SAMPLE_SCHEMA))


@dataclass(frozen=True)
class Results:
    """What a run left in its output folder, read when asked for."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "summary.csv").is_file():
            raise Mistake(f"{self.folder}: expects the output folder of a run, found no summary.csv in it")

    def check(self) -> None:
        """Raise `Mistake` if the run that wrote the folder has not come to its end, or cells have been lost since."""
        count = self.provenance.get("cells", len(self.summary))
        if count != len(self.summary):
            raise Mistake(f"{self.folder}: expects {count} cells in summary.csv, found {len(self.summary)}; {_AGAIN}")

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row for each cell, columns `SUMMARY_COLUMNS`."""
        summary = _table(self.folder / "summary.csv")
        flags = [flags if isinstance(flags, str) else "" for flags in summary["flags"]]
        return summary.reindex(columns=SUMMARY_COLUMNS).assign(flags=flags)  # older ones lack the last columns

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row for each curve point, columns `CURVE_COLUMNS`."""
        return _table(self.folder / "curves.csv")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """One row for each pair of modes under a perturbation, columns `COMPARISON_COLUMNS`."""
        path = self.folder / "comparisons.csv"
        return _table(path) if path.is_file() else pd.DataFrame(columns=COMPARISON_COLUMNS)

    @cached_property
    def measures(self) -> pd.DataFrame:
        """One row for each mode under a perturbation, columns `MEASURE_COLUMNS`."""
        path = self.folder / "measures.csv"
        return _table(path) if path.is_file() else pd.DataFrame(columns=MEASURE_COLUMNS)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row for each cell and test image."""
        return self.select()

    def select(self, **where: Any) -> pd.DataFrame:
        """The rows of the samples with these values, read without the others: `select(perturbation="fgsm", seed=0)`."""
        if not (self.folder / "samples.parquet").is_file():
            raise Mistake(f"{self.folder}: its samples.parquet was left out")
        filters = [(column, "==", value) for column, value in where.items()]
        with _reading(self.folder / "samples.parquet") as path:
            return pd.read_parquet(path, filters=filters or None)

    @property
    def rule(self) -> Rule:
        """When an architecture counts."""
        return Rule(float(self.provenance["acceptance"]), tuple(self.provenance.get("controls", ())))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, machine, keys, the meaning of every beta, and the traceback of every failed cell."""
        with _reading(self.folder / "provenance.json") as path:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return content

    @cached_property
    def examples(self) -> dict[str, np.ndarray[Any, Any]]:
        """Images (k, C, H, W): `clean`, and `<perturbation>/<mode>/<beta>`; none if the folder came without them."""
        if not (self.folder / "examples.safetensors").is_file():
            return {}
        with _reading(self.folder / "examples.safetensors") as path:
            return read_tensors(path)[0]


def _table(path: Path) -> pd.DataFrame:
    """A table of the folder; names stay what they are, be they `10` or `NA`."""
    names = dict.fromkeys(("dataset", "teacher", "architecture", "mode", "other", "perturbation"), str)
    with _reading(path):
        return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Raise `Mistake` if the file is missing or damaged."""
    try:
        yield path
    except (OSError, ValueError, SafetensorError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise Mistake(f"{path}: cannot be read ({said}); {_AGAIN}") from None
