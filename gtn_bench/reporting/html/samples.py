"""What a page shows of the samples: one pass over samples.parquet, one cell after another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from gtn_bench.analysis.reading import reading
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import IDENTITY
from gtn_bench.store.files import open_for_arrow

Array = np.ndarray[Any, Any]

Identity = tuple[Any, ...]

_FILE = "samples.parquet"
_COLUMNS = ["label", "clean_prediction", "prediction", "linf", "l2"]
_CONFIDENCE = "confidence"  # a column that earlier versions did not write
_SHOWN = 16  # first images of a cell whose predictions are kept


class CellFacts(NamedTuple):
    """Facts about the images of a cell.

    Attributes:
        fooled: Number of images that the learner classifies correctly before the perturbation and not after it.
        l2, linf: Mean distance of the fooled images; nan without one.
        images: Number of images of each class (C,).
        correct: Those of them that are classified correctly after the perturbation (C,).
        label, clean_prediction, prediction: Classes of the first images (k,).
        confidence: Softmax probabilities of `prediction` (k,); None if they are not stored.
    """

    fooled: int
    l2: float
    linf: float
    images: Array
    correct: Array
    label: Array
    clean_prediction: Array
    prediction: Array
    confidence: Array | None


class SampleFacts(NamedTuple):
    """Facts about the samples of a run.

    Attributes:
        cells: Facts by row of the summary.
        clean: For each cell with the smallest strength of its sweep, the mask (N,) of the images that its learner
            classifies correctly before the perturbation, by row of the summary.
    """

    cells: Mapping[int, CellFacts]
    clean: Mapping[int, Array]


def read_samples(results: Results) -> SampleFacts | None:
    """Return what a page shows of the samples; None if the folder has none.

    Args:
        results: The results of a run.

    Raises:
        ConfigError: If the samples are damaged.
    """
    path = results.folder / _FILE
    if not path.is_file():
        return None
    summary = results.summary
    rows = {key: int(row) for row, *key_of in summary[IDENTITY].itertuples(name=None) if (key := tuple(key_of))}
    smallest = summary.groupby("perturbation")["beta"].min().to_dict()
    cells, clean = {}, {}
    with reading(path):
        for identity, columns in _cells(path, rows.keys()):
            row = rows.get(identity)
            if row is None:
                continue
            cells[row] = _facts(columns)
            if identity[-1] == smallest[identity[-2]]:
                clean[row] = columns["clean_prediction"] == columns["label"]
    results.files.verify(_FILE)
    return SampleFacts(cells, clean)


def _cells(path: Path, known: Collection[Identity]) -> Iterator[tuple[Identity, dict[str, Array]]]:
    """Yield identity and samples of each cell. A run writes each cell as one group of rows, which is read at once."""
    with open_for_arrow(path) as stream, pq.ParquetFile(stream) as file:
        wanted = [*_COLUMNS, *({_CONFIDENCE} & set(file.schema_arrow.names))]
        for number in range(file.num_row_groups):
            identity = _identity(file.metadata.row_group(number))
            if identity in known:
                group = file.read_row_group(number, columns=wanted, use_threads=False)
                yield identity, {name: group.column(name).to_numpy() for name in wanted}
                continue
            group = file.read_row_group(number, columns=[*IDENTITY, *wanted])
            for key, part in group.to_pandas().groupby(IDENTITY, sort=False, observed=True):
                yield tuple(key), {name: part[name].to_numpy() for name in wanted}


def _identity(group: Any) -> Identity:
    """Return the identity that all rows of a group share according to its statistics; empty if there is none."""
    found: list[Any] = []
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema in IDENTITY:
            known = column.statistics
            if known is None or not known.has_min_max or known.min != known.max:
                return ()
            found.append((IDENTITY.index(column.path_in_schema), known.min))
    return tuple(value for _, value in sorted(found, key=lambda pair: pair[0]))


def _facts(columns: Mapping[str, Array]) -> CellFacts:
    label, prediction = columns["label"].astype(np.int64), columns["prediction"]
    right = prediction == label
    fooled = (columns["clean_prediction"] == label) & ~right
    l2, linf = (float(columns[name][fooled].mean()) if fooled.any() else np.nan for name in ("l2", "linf"))
    size = int(label.max(initial=-1)) + 1
    count, correct = (np.bincount(label[mask], minlength=size) for mask in (slice(None), right))
    return CellFacts(
        fooled=int(fooled.sum()),
        l2=l2,
        linf=linf,
        images=count,
        correct=correct,
        label=label[:_SHOWN],
        clean_prediction=columns["clean_prediction"][:_SHOWN].astype(int),
        prediction=prediction[:_SHOWN].astype(int),
        confidence=columns[_CONFIDENCE][:_SHOWN] if _CONFIDENCE in columns else None,
    )
