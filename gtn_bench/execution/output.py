"""The output folder: samples, tables, example images, provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gtn_bench.analysis.records import CellRecord
from gtn_bench.analysis.tables import (
    IDENTITY_FIELDS,
    NAME,
    SAMPLE_SCHEMA,
    to_csv,
)
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.suite import Suite
from gtn_bench.config.yaml import errors_in, parse_mapping
from gtn_bench.planning.schema import suite_schema
from gtn_bench.store.files import check_folder, write_atomically, write_tensors

FILES = (
    *("samples.parquet", "summary.csv", "checks.csv", "curves.csv", "measures.csv", "comparisons.csv"),
    *("certificates.csv", "examples.safetensors", "suite.yaml", "suite.schema.json", "provenance.json", "report.md"),
)


def check_output(folder: Path, suite: Suite) -> None:
    """Check, before anything is computed, that the results of a suite can be written to a folder.

    Args:
        folder: The output folder, which need not exist.
        suite: The suite.

    Raises:
        ConfigError: If the folder cannot be written to, holds the results of another suite, or holds other files that
            the run would overwrite.
    """
    check_folder(folder)
    for file in FILES:
        if (folder / file).is_dir():
            raise ConfigError(f"{folder / file}: expects a file, got a folder; choose another output folder")
    if (folder / "figures").is_file():
        raise ConfigError(f"{folder / 'figures'}: expects a folder, got a file; choose another output folder")
    if (folder / "teacher.yaml").exists():
        raise ConfigError(f"{folder} holds a teacher; choose another folder")
    of_a_run = any((folder / file).exists() for file in ("summary.csv", "suite.schema.json", "provenance.json"))
    for file in ("suite.yaml", "report.md"):
        if (folder / file).exists() and not of_a_run:
            raise ConfigError(f"{folder} holds a {file} that no run has written; choose another folder")
    if (folder / "suite.yaml").exists():
        with errors_in(folder / "suite.yaml"):
            found = parse_mapping((folder / "suite.yaml").read_text(encoding="utf-8"), "a suite").get("name")
        if found != suite.name:
            raise ConfigError(
                f"{folder} holds the results of suite '{found}', not of '{suite.name}'; choose another folder"
            )


class SampleWriter:
    """Writes `samples.parquet` one cell at a time, so that a suite of any size fits in memory.

    A context manager: the file appears when the block ends without an exception.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._part = path.with_suffix(".part")
        self._file = self._part.open("wb")  # pyarrow would read a path with a colon as a URL
        self._writer = pq.ParquetWriter(self._file, SAMPLE_SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def writing(self, records: Iterable[CellRecord]) -> Iterator[CellRecord]:
        """Write the samples of each record, then yield the record.

        Args:
            records: The records of a run.
        """
        for record in records:
            if record.status == "done":
                self.write(record.identity, record.samples)
            yield record

    def write(self, identity: Mapping[str, Any], samples: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write the samples of a cell.

        Args:
            identity: Values of the columns `IDENTITY`.
            samples: An array (n,) for each other column.
        """
        n = len(samples["label"])
        columns: list[pa.Array] = []
        for name, kind in IDENTITY_FIELDS:
            if kind == NAME:
                columns.append(pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), [identity[name]]))
            else:
                columns.append(pa.array(np.full(n, identity[name]), kind))
        columns.append(pa.array(np.arange(n, dtype=np.int32)))
        columns += [pa.array(samples[field.name]).cast(field.type) for field in list(SAMPLE_SCHEMA)[len(columns) :]]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=SAMPLE_SCHEMA))


def write_images(
    folder: Path, sweeps: Iterable[tuple[str, Mapping[str, np.ndarray[Any, Any]], Mapping[str, Any]]]
) -> None:
    """Write all perturbed images, one safetensors file for each learner and perturbation.

    Args:
        folder: The folder.
        sweeps: Name of the file without suffix; arrays by name; metadata.
    """
    for name, images, metadata in sweeps:
        write_tensors(folder / f"{name}.safetensors", images, metadata)


def write(
    folder: Path,
    suite: Suite,
    tables: Mapping[str, pd.DataFrame],
    images: Mapping[str, np.ndarray[Any, Any]],
    provenance: Mapping[str, Any],
) -> None:
    """Write everything but the samples. provenance.json is written last: without it, the run is unfinished.

    Args:
        folder: The output folder.
        suite: The suite, with every default.
        tables: The tables by name.
        images: Example images (k, C, H, W) by name.
        provenance: The content of provenance.json.
    """
    editors = "# yaml-language-server: $schema=suite.schema.json\n"
    files = {f"{name}.csv": to_csv(table) for name, table in tables.items()}
    files["suite.schema.json"] = json.dumps(suite_schema(), indent=2).encode()
    files["suite.yaml"] = (editors + suite.to_yaml()).encode()
    write_tensors(folder / "examples.safetensors", images)
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / "provenance.json", json.dumps(provenance, indent=2).encode())
