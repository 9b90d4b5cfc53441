"""The results in an output folder, read back when they are accessed. Needs no torch."""

from __future__ import annotations

import os
import re
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.analysis.manifest import PROVENANCE
from gtn_bench.analysis.pooling import pooled
from gtn_bench.analysis.reading import RERUN, read_table, reading
from gtn_bench.analysis.run_files import RunFiles
from gtn_bench.analysis.tables import (
    CERTIFICATE_COLUMNS,
    CHECK_COLUMNS,
    COMPARISON_COLUMNS,
    CURVE_COLUMNS,
    IDENTITY,
    MEASURE_COLUMNS,
    SUMMARY_COLUMNS,
)
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.config.paths import user_path
from gtn_bench.store.files import open_for_arrow, read_tensors
from gtn_bench.store.keys import is_installed


class Results:
    """The results of a run, read from its output folder when they are accessed.

    Each file is compared with the digest that the run has recorded, so tables of two runs are never mixed.

    Args:
        folder: The output folder.
        accept_changes: Whether files are read that have changed after the run.

    Attributes:
        folder: The output folder.

    Raises:
        ConfigError: If the folder holds no results, or its run was interrupted while it wrote them.
    """

    def __init__(self, folder: str | os.PathLike[str], *, accept_changes: bool = False) -> None:
        self.folder = user_path(folder)
        self._files = RunFiles(self.folder, accept_changes=accept_changes)
        if (self.folder / PROVENANCE).is_file():
            _ = self.provenance  # raises if the run was interrupted
        if not (self.folder / "summary.csv").is_file():
            raise ConfigError(f"{self.folder}: expects the output folder of a run, found no summary.csv in it")

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r})"

    @property
    def files(self) -> RunFiles:
        """The files of the run, compared with what it has recorded about them."""
        return self._files

    def check(self) -> None:
        """Check that the run has finished, and that the files are all there and as it has written them.

        Results can be shared without their large files.

        Raises:
            ConfigError: If they are not.
        """
        self._files.check()
        count = self.provenance.get("cells", len(self.summary))
        if count != len(self.summary):
            raise ConfigError(
                f"{self.folder}: expects {count} cells in summary.csv, found {len(self.summary)}; {RERUN}"
            )

    def _table(self, name: str, columns: list[str]) -> pd.DataFrame:
        """Return a table of the folder."""
        table = read_table(self.folder / name, columns)
        self._files.verify(name)
        return table

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per cell, columns `SUMMARY_COLUMNS`."""
        summary = self._table("summary.csv", SUMMARY_COLUMNS)
        flags = [flags if isinstance(flags, str) else "" for flags in summary["flags"]]
        return summary.assign(flags=flags)

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """The finished rows of `summary`, and the means over accepted architectures; `rows` holds the rows of each."""
        return pooled(self.summary, self.rule)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per curve point, columns `CURVE_COLUMNS`."""
        return self._table("curves.csv", CURVE_COLUMNS)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """One row per pair of modes under a perturbation, columns `COMPARISON_COLUMNS`."""
        return self._optional("comparisons.csv", COMPARISON_COLUMNS)

    @cached_property
    def measures(self) -> pd.DataFrame:
        """One row per mode under a perturbation, columns `MEASURE_COLUMNS`."""
        return self._optional("measures.csv", MEASURE_COLUMNS)

    @cached_property
    def checks(self) -> pd.DataFrame:
        """One row per cell and check, columns `CHECK_COLUMNS`."""
        table = self._optional("checks.csv", CHECK_COLUMNS)
        return table.assign(text=[text if isinstance(text, str) else "" for text in table["text"]])

    @cached_property
    def certificates(self) -> pd.DataFrame:
        """One row per learner, certifier and ball, columns `CERTIFICATE_COLUMNS`."""
        return self._optional("certificates.csv", CERTIFICATE_COLUMNS)

    def _optional(self, file: str, columns: list[str]) -> pd.DataFrame:
        """Return a table; one without rows if the folder does not have it."""
        return self._table(file, columns) if (self.folder / file).is_file() else pd.DataFrame(columns=columns)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per cell and test image."""
        return self.select()

    def select(self, **where: Any) -> pd.DataFrame:
        """Return the samples with the given values, without reading the others.

        Args:
            where: Columns and their values: ``select(perturbation="fgsm", seed=0)``.

        Returns:
            One row per cell and test image; none if no finished cell has these values together.

        Raises:
            ConfigError: If there is no such column, if no cell has such a name in it, or if the samples are missing or
                damaged.
        """
        path = self.folder / "samples.parquet"
        if not path.is_file():
            raise ConfigError(f"{self.folder}: the folder has no samples.parquet; {RERUN}")
        with reading(path), open_for_arrow(path) as file:
            schema = pq.read_schema(file)
        filters = []
        for column, value in where.items():
            if column not in schema.names:
                raise ConfigError(
                    f"{self.folder}: samples have no column '{column}'{did_you_mean(column, schema.names)}"
                )
            filters.append((column, "==", self._value(column, value, schema.field(column).type)))
        with reading(path), open_for_arrow(path) as file:
            table = pd.read_parquet(file, filters=filters or None)
        self._files.verify(path.name)
        return table

    def _value(self, column: str, value: object, kind: pa.DataType) -> str | float:
        """Return a value as a built-in one; raise `ConfigError` if a column of samples cannot have it."""
        expected, number = "a number", None if isinstance(value, bool) else value
        if pa.types.is_dictionary(kind):
            known = [str(name) for name in self.summary[column].unique()]
            if isinstance(value, str) and value not in known:
                raise ConfigError(f"{self.folder}: no {column} is called {shown(value)}{did_you_mean(value, known)}")
            if isinstance(value, str):
                return value
            expected = "a text"
        elif pa.types.is_boolean(kind):
            if isinstance(value, bool | np.bool_):
                return bool(value)
            expected = "True or False"
        elif isinstance(number, Integral):
            if abs(int(number)) < 2**63:
                return int(number)
            expected = "an integer of at most 64 bits"
        elif isinstance(number, Real):
            return float(number)
        raise ConfigError(f"{self.folder}: column '{column}' of the samples expects {expected}, got {shown(value)}")

    @cached_property
    def errors(self) -> list[dict[str, Any]]:
        """The cells that failed: values of the columns `IDENTITY`, `error` and `traceback`.

        `error` is the last line of the traceback, with the line of the user's code that raised the exception.
        """
        return [
            {
                **{column: record[column] for column in IDENTITY},
                "error": record["traceback"].strip().splitlines()[-1].strip() + _line_of_user(record["traceback"]),
                "traceback": record["traceback"],
            }
            for record in self.provenance["errors"]
        ]

    @property
    def rule(self) -> AcceptanceRule:
        """The rule that accepts architectures."""
        return AcceptanceRule(float(self.provenance["acceptance"]), tuple(self.provenance.get("controls", ())))

    def display_name(self, perturbation: str) -> str:
        """Return the label of a perturbation with the parameter that its name leaves open: ``fgsm, 30 steps``.

        Args:
            perturbation: The label.
        """
        detail = self.provenance.get("details", {}).get(perturbation)
        return f"{perturbation}, {detail}" if detail else perturbation

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, machine, keys, the meaning of every beta, and the traceback of every failed cell."""
        return dict(self._files.provenance)

    @cached_property
    def examples(self) -> dict[str, np.ndarray[Any, Any]]:
        """Images (k, C, H, W): `clean`, and ``<perturbation>/<mode>/<beta>``; empty if the folder has none."""
        if not (self.folder / "examples.safetensors").is_file():
            return {}
        with reading(self.folder / "examples.safetensors") as path:
            examples = read_tensors(path)[0]
        self._files.verify(path.name)
        return examples


def _line_of_user(text: str) -> str:
    """Return the last line of a traceback that is neither of this package nor of installed ones, in parentheses."""
    own = Path(__file__).parents[1]
    frames = [(Path(file), line) for file, line in re.findall(r'File "([^"]+)", line (\d+)', text)]
    foreign = [(file, line) for file, line in frames if not file.is_relative_to(own) and not is_installed(file)]
    return f" ({foreign[-1][0].name}, line {foreign[-1][1]})" if foreign else ""
