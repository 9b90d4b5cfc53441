"""The columns of the output tables, and how the tables are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

SCHEMA_VERSION = 4  # of all tables; increased when a column is renamed, removed or redefined
VERSION_COLUMN = "schema_version"

LEARNER = ["dataset", "teacher", "architecture", "mode", "seed"]
IDENTITY = [*LEARNER, "perturbation", "beta"]
SUMMARY_COLUMNS = [
    *IDENTITY,
    *("n", "clean_accuracy", "accuracy", "mean_linf", "mean_l2", "forwards", "backwards", "seconds"),
    *("grade", "status", "flags", "accuracy_given_correct", "missed_adversarial", "duplicate_of"),
    *("certified_accuracy", "proven", "settled"),
]
CHECK_COLUMNS = [*IDENTITY, "check", "measured", "upper", "threshold", "n", "outcome", "text"]
CERTIFICATE_COLUMNS = [
    *(*LEARNER, "certifier", "about", "norm", "epsilon"),
    *("n", "certified_accuracy", "ci_low", "ci_high", "error"),
]
CURVE_COLUMNS = [
    *("dataset", "teacher", "architecture", "mode", "perturbation", "beta"),
    *("accuracy", "std", "ci_low", "ci_high", "n_seeds"),
    *("accuracy_given_correct", "mean_linf", "mean_l2", "band_low", "band_high"),
    *("grade", "certified_accuracy", "proven"),
]
COMPARISON_COLUMNS = [
    *("dataset", "teacher", "architecture", "perturbation", "mode", "other"),
    *("area", "other_area", "difference", "ci_low", "ci_high", "p", "p_holm", "minimum_detectable_effect"),
    *("n_seeds", "n_pairs", "over", "other_n_seeds", "n_images"),
]
MEASURE_COLUMNS = [
    *("dataset", "teacher", "architecture", "mode", "perturbation"),
    *("clean_accuracy", "area", "ci_low", "ci_high", "n_seeds", "area_given_correct"),
    *("half_strength", "half_ci_low", "half_ci_high"),
]

NAME = pa.dictionary(pa.int32(), pa.string())
IDENTITY_FIELDS = [
    ("dataset", NAME),
    ("teacher", NAME),
    ("architecture", NAME),
    ("mode", NAME),
    ("seed", pa.int64()),
    ("perturbation", NAME),
    ("beta", pa.float64()),
]
SAMPLE_SCHEMA = pa.schema(
    [
        *IDENTITY_FIELDS,
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("clean_prediction", pa.int16()),
        ("prediction", pa.int16()),
        ("confidence", pa.float32()),
        ("linf", pa.float32()),
        ("l2", pa.float32()),
        ("zero_gradient", pa.bool_()),
    ],
    metadata={VERSION_COLUMN: str(SCHEMA_VERSION)},
)
MEASURED = [field.name for field in SAMPLE_SCHEMA][len(IDENTITY) + 1 :]


def to_csv(table: pd.DataFrame, float_format: str | None = None) -> bytes:
    """Return a table as CSV, with its schema version in the last column.

    Args:
        table: The table.
        float_format: Format of floating-point numbers; None for all digits.
    """
    versioned = table.assign(**{VERSION_COLUMN: SCHEMA_VERSION})
    return versioned.to_csv(index=False, float_format=float_format).encode()


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that `to_csv` has written, without its schema version. Names stay text, be they ``10`` or ``NA``.

    Args:
        path: The CSV file.

    Raises:
        ValueError: If the table has another schema version.
    """
    names = ("dataset", "teacher", "architecture", "mode", "other", "perturbation", "over", "check", "certifier")
    types: dict[str, Any] = {**dict.fromkeys(names, str), "duplicate_of": "Int64"}
    with path.open(encoding="utf-8", newline="") as file:  # pandas would read a path with a colon as a URL
        table = pd.read_csv(file, dtype=types, keep_default_na=False, na_values=[""])
    versions = set(table.pop(VERSION_COLUMN).unique().tolist()) if VERSION_COLUMN in table else {1}
    if len(table) and versions != {SCHEMA_VERSION}:
        found = ", ".join(map(str, sorted(versions)))
        raise ValueError(f"schema version {found}, this version of gtn-bench reads {SCHEMA_VERSION}")
    return table
