"""Results of single images of a finished run, read from its samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from gtn_bench.analysis.pooling import Correct
from gtn_bench.analysis.reading import RERUN, reading
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.statistics import Array
from gtn_bench.config.errors import ConfigError
from gtn_bench.store.files import open_for_arrow

_NAMES = ["perturbation", "mode", "architecture"]  # of a block of samples that are compared with its cell


class Images(NamedTuple):
    """The results of a run for each test image.

    Attributes:
        correct: Masks of correctly classified images (N,), by row of the summary.
        labels: True classes (N,) of the test images of a cell, by perturbation.
    """

    correct: Correct
    labels: dict[str, Array]


def images_in(results: Results) -> Images:
    """Return the results of a run for each test image.

    Args:
        results: The results.

    Raises:
        ConfigError: If the samples are missing or damaged, or do not belong to the summary.
    """
    path = results.folder / "samples.parquet"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; a comparison of runs needs the results of single images; {RERUN}")
    with reading(path), open_for_arrow(path) as file:
        samples = pd.read_parquet(file, columns=[*_NAMES, "label", "prediction"])
    results.files.verify(path.name)
    done = results.summary[results.summary["status"] == "done"]
    ends = done["n"].to_numpy(dtype=int).cumsum()
    starts = ends - done["n"].to_numpy(dtype=int)
    belongs = len(samples) == (ends[-1] if len(ends) else 0)
    for name in _NAMES if belongs else ():
        found = pd.Categorical(samples[name])
        codes = {str(label): code for code, label in enumerate(found.categories)}
        expected = np.repeat([codes.get(str(label), -1) for label in done[name]], ends - starts)
        belongs = belongs and bool((found.codes == expected).all())
    if not belongs:
        raise ConfigError(f"{path}: does not follow from summary.csv (rows); {RERUN}")
    labels, predictions = samples["label"].to_numpy(), samples["prediction"].to_numpy()
    right = labels == predictions
    correct: dict[int, Array] = {}
    of_perturbation: dict[str, Array] = {}
    for row, name, start, end in zip(done.index, done["perturbation"], starts, ends, strict=True):
        correct[int(row)] = right[start:end]
        of_perturbation.setdefault(str(name), labels[start:end])
    return Images(correct, of_perturbation)
