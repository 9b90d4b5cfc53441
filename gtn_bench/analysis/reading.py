"""Reading files of an output folder: what is missing or damaged is one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa

from gtn_bench.analysis.columns import check_table
from gtn_bench.analysis.tables import read_csv
from gtn_bench.config.errors import ConfigError
from gtn_bench.store.files import DamagedFileError

RERUN = "run the suite again; cached parts are not computed again"


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table of an output folder.

    Args:
        path: The CSV file.
        columns: The columns that it must have; None for any.

    Returns:
        The table, with its columns in this order.

    Raises:
        ConfigError: If the file is missing, damaged, or of another schema version, or has other columns.
    """
    with reading(path):
        table = read_csv(path)
        if columns is not None:
            check_table(table, columns)
    return table if columns is None else table[columns]


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Yield a path; raise `ConfigError` if the block finds the file missing or damaged.

    Args:
        path: The file.
    """
    try:
        yield path
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read ({_reason(error)}); {RERUN}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, DamagedFileError):
        return error.reason
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # that of pyarrow repeats the path
    return next(iter(str(error).splitlines()), type(error).__name__)
