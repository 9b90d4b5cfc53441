"""The output folder: samples, tables, example images, provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gtn_bench.analysis.manifest import ACCEPT, FIGURES, IMAGES, PAGES, PROVENANCE, RESULTS, differences, read_run
from gtn_bench.analysis.records import CellRecord
from gtn_bench.analysis.tables import (
    IDENTITY_FIELDS,
    NAME,
    SAMPLE_SCHEMA,
    to_csv,
)
from gtn_bench.config.errors import ConfigError, listed, shown
from gtn_bench.config.suite import Suite
from gtn_bench.execution import events
from gtn_bench.planning.schema import suite_schema
from gtn_bench.reporting.names import TABLES, page_files
from gtn_bench.store.files import StorageError, check_folder, write_atomically, write_tensors
from gtn_bench.store.one_writer import one_writer
from gtn_bench.store.publishing import publish, staged
from gtn_bench.store.records import digests_in, encode_record, has_folder, is_there
from gtn_bench.store.storing import storing

_HELP = f"choose another folder, or replace them with {ACCEPT}"


class OutputFolder:
    """The output folder of a run, which one process writes to. A context manager.

    Entering it locks the folder and checks, before anything is computed, that no file of somebody else is in the way.

    Args:
        folder: The folder. It is created.
        suite: The suite that is run.
        accept_changes: Whether files are replaced that no run has written, or that have changed since then.
    """

    def __init__(self, folder: Path, suite: Suite, *, accept_changes: bool = False) -> None:
        self.folder = folder
        self._suite, self._accept_changes = suite, accept_changes
        self._had_events = True
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Lock and check the folder.

        Raises:
            ConfigError: If another process writes to it, or `check_output` refuses it.
        """
        with ExitStack() as held:
            held.enter_context(one_writer(self.folder))
            self._check()
            self._had_events = (self.folder / events.FILE).exists()
            self._held = held.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is not None and issubclass(kind, ConfigError) and not self._had_events:
            with suppress(OSError):  # a run that is refused leaves no folder behind
                (self.folder / events.FILE).unlink(missing_ok=True)
        self._held.__exit__(kind, *error)

    def _check(self) -> None:
        check_output(self.folder, self._suite, accept_changes=self._accept_changes)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield a hidden folder for the files of the run; they appear together after the block.

        An exception in the block leaves the folder as it was.

        Raises:
            ConfigError: If somebody has changed a file of the folder since the run began.
            StorageError: If a file cannot be written.
        """
        with staged(self.folder) as stage:
            yield stage
            self._check()
            content = json.loads((stage / PROVENANCE).read_text(encoding="utf-8"))
            (stage / PROVENANCE).unlink()
            publish(stage, self.folder, self.folder / PROVENANCE, content)
            if not (self.folder / PAGES).exists():
                self._record_pages(stage / "pages")

    def _record_pages(self, path: Path) -> None:
        """Record the pages that there are, so that from now on none is replaced that no report has written."""
        found = digests_in(self.folder, _pages(self._suite))
        with storing(self.folder / PAGES):
            path.write_bytes(encode_record({"manifest": found, "complete": True}))
            os.replace(path, self.folder / PAGES)


def check_output(folder: Path, suite: Suite, *, accept_changes: bool = False) -> None:
    """Check, before anything is computed, that the results of a suite can be written to a folder.

    Args:
        folder: The output folder, which need not exist.
        suite: The suite.
        accept_changes: Whether files are replaced that no run has written, or that have changed since then.

    Raises:
        ConfigError: If the folder cannot be written to, holds the results of another suite, or holds other files that
            the run would overwrite.
    """
    check_folder(folder)
    if (folder / "teacher.yaml").exists():
        raise ConfigError(f"{folder} holds a teacher; choose another folder")
    pages = _pages(suite)
    try:
        has_folder(folder, FIGURES)
        has_folder(folder, TABLES)
        stored = (folder / IMAGES).glob("*.safetensors") if has_folder(folder, IMAGES) else ()
        images = {f"{IMAGES}/{path.name}" for path in stored}
        found = {
            name for name in sorted({*RESULTS, PROVENANCE, events.FILE, *images, *pages}) if is_there(folder, name)
        }
        run = read_run(folder / PROVENANCE) if PROVENANCE in found else None
        if run is not None and run["suite"] != suite.name:
            others = f"holds the results of suite {shown(run['suite'])}, not of '{suite.name}'"
            raise ConfigError(f"{folder} {others}; choose another folder")
        if not accept_changes:
            _refuse_others(folder, found, pages, is_of_a_run=run is not None)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: cannot be read ({error.strerror or error})") from None


def _refuse_others(folder: Path, found: set[str], pages: set[str], *, is_of_a_run: bool) -> None:
    """Raise `ConfigError` if a file in the way of a run is not as a run or a report has written it."""
    foreign = {events.FILE} if events.FILE in found and not events.is_event_log(folder / events.FILE) else set()
    changed: set[str] = set()
    if is_of_a_run:
        for record, names in ((PROVENANCE, found - pages - {PROVENANCE, events.FILE}), (PAGES, found & pages)):
            differing = differences(folder, record, names)
            foreign |= differing.foreign
            changed |= differing.changed
    else:
        foreign |= found - {events.FILE}
    for names, problem in ((foreign, "no run has written"), (changed, "changed after they had been written")):
        if names:
            raise ConfigError(f"{folder} holds files that {problem}: {listed(sorted(names), str)}; {_HELP}")


def _pages(suite: Suite) -> set[str]:
    architectures = len(suite.architectures) + len(suite.modes) + len(suite.controls)  # at most
    return page_files((entry.title for entry in suite.perturbations), len(suite.teachers), architectures)


class SampleWriter:
    """Writes `samples.parquet` one cell at a time, so that a suite of any size fits in memory.

    A context manager. If the block ends with an exception, there is no file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")  # pyarrow would read a path with a colon as a URL
            self._writer = pq.ParquetWriter(self._file, SAMPLE_SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the file, or remove it after an exception.

        Raises:
            StorageError: If it cannot be finished.
        """
        try:
            with storing(self._path), self._file:
                self._writer.close()
        except StorageError:
            if kind is None:
                self._path.unlink(missing_ok=True)
                raise
        if kind is not None:
            self._path.unlink(missing_ok=True)

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

        Raises:
            StorageError: If the file cannot be written.
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
        with storing(self._path):
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
    """Write everything but the samples.

    Args:
        folder: The folder, such as that of `OutputFolder.writing`.
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
    write_atomically(folder / PROVENANCE, json.dumps(provenance, indent=2).encode())
