"""Tables on disk: columns, schema version, and text that looks like numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gtn_bench.analysis import tables
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import SCHEMA_VERSION, VERSION_COLUMN, read_csv, to_csv
from gtn_bench.config.errors import ConfigError

COLUMNS = {
    name: getattr(tables, name)
    for name in (
        *("SUMMARY_COLUMNS", "CHECK_COLUMNS", "CURVE_COLUMNS", "COMPARISON_COLUMNS", "MEASURE_COLUMNS"),
        "CERTIFICATE_COLUMNS",
    )
}
TABLE = pd.DataFrame({"mode": ["10", "NA"], "perturbation": ["8", "null"], "accuracy": [0.5, np.nan], "n": [1, 2]})


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_unique_and_leave_the_schema_version_to_the_file(name: str) -> None:
    assert len(set(COLUMNS[name])) == len(COLUMNS[name])
    assert VERSION_COLUMN not in COLUMNS[name]


def test_the_last_column_of_a_csv_file_is_the_schema_version() -> None:
    lines = to_csv(TABLE).decode().splitlines()
    assert lines[0] == f"mode,perturbation,accuracy,n,{VERSION_COLUMN}"
    assert all(line.endswith(f",{SCHEMA_VERSION}") for line in lines[1:])
    assert VERSION_COLUMN not in TABLE  # the argument is not changed


def test_read_csv_returns_what_to_csv_has_written(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(to_csv(TABLE))
    pd.testing.assert_frame_equal(read_csv(tmp_path / "table.csv"), TABLE)


def test_grades_and_checks_are_read_as_they_are_written(tmp_path: Path) -> None:
    """A grade that looks like a missing value stays a text, and truth values stay truth values."""
    graded = pd.DataFrame({"grade": ["n/a", "reliable"], "proven": [True, False], "check": ["path", "rising"]})
    (tmp_path / "table.csv").write_bytes(to_csv(graded))
    pd.testing.assert_frame_equal(read_csv(tmp_path / "table.csv"), graded)


def test_checks_and_certificates_are_optional(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_bytes(to_csv(TABLE))
    results = Results(tmp_path)
    assert results.checks.empty and list(results.checks) == tables.CHECK_COLUMNS
    assert results.certificates.empty and list(results.certificates) == tables.CERTIFICATE_COLUMNS
    names = dict.fromkeys(("dataset", "teacher", "architecture", "mode", "perturbation"), "a")
    rows = pd.DataFrame({"check": ["path", "rising"], "text": ["", "Not run."], "seed": 0, "beta": 0.5, **names})
    rows = rows.reindex(columns=tables.CHECK_COLUMNS)
    (tmp_path / "checks.csv").write_bytes(to_csv(rows))
    assert Results(tmp_path).checks["text"].tolist() == ["", "Not run."]


def test_an_empty_table_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(to_csv(TABLE[:0]))
    assert read_csv(tmp_path / "table.csv").empty


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION + 1, None])
def test_a_table_of_another_schema_version_is_refused(version: int | None, tmp_path: Path) -> None:
    """A table without the column has version 1."""
    other = TABLE if version is None else TABLE.assign(**{VERSION_COLUMN: version})
    other.to_csv(tmp_path / "summary.csv", index=False)
    message = f"schema version {version or 1}, this version of gtn-bench reads {SCHEMA_VERSION}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_csv(tmp_path / "summary.csv")
    with pytest.raises(ConfigError, match=re.escape(f"summary.csv: cannot be read ({message}); run the suite again")):
        _ = Results(tmp_path).summary


def test_a_table_of_several_schema_versions_is_refused(tmp_path: Path) -> None:
    TABLE.assign(**{VERSION_COLUMN: [1, SCHEMA_VERSION]}).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(ValueError, match=f"^schema version 1, {SCHEMA_VERSION}, this version"):
        read_csv(tmp_path / "table.csv")


def test_missing_schema_versions_are_named_once(tmp_path: Path) -> None:
    table = pd.concat([TABLE, TABLE], ignore_index=True).assign(**{VERSION_COLUMN: None})
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(ValueError, match=r"^schema version nan, this version"):
        read_csv(tmp_path / "table.csv")


def test_the_schema_of_samples_has_the_identity_the_image_and_the_measured_columns() -> None:
    assert tables.SAMPLE_SCHEMA.names == [*tables.IDENTITY, "sample", *tables.MEASURED]
    assert tables.SAMPLE_SCHEMA.metadata == {VERSION_COLUMN.encode(): str(SCHEMA_VERSION).encode()}
