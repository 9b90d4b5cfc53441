"""The accuracy on the images of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gtn_bench.analysis.acceptance import pooled_or_all
from gtn_bench.reporting.html.samples import CellFacts, SampleFacts
from gtn_bench.reporting.html.sprites import class_names

_CURVE = ["teacher", "architecture", "mode", "perturbation"]
_CLASSES = 100  # with more classes, those with the most images
_MOST = 150_000  # numbers in a page


def class_data(learners: pd.DataFrame, samples: SampleFacts | None, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the accuracy on the images of each class, for the curves that a report shows.

    Args:
        learners: Rows of `gtn_bench.analysis.pooling.pooled`.
        samples: The samples of the run.
        names: The names of the classes; empty if they have none.

    Returns:
        The names of the `classes`, the number of all classes in `total`, and `rows`: names, strength, and the accuracy
        on each class over all learners of the point, None for a class without images. None without samples of a
        shown curve, or if the table would be too large.
    """
    if samples is None or not samples.cells:
        return None
    size = max(len(facts.images) for facts in samples.cells.values())
    total: Any = sum(_padded(facts.images, size) for facts in samples.cells.values())
    chosen = np.sort(np.argsort(-total, kind="stable")[:_CLASSES])
    chosen = chosen[total[chosen] > 0]
    rows = []
    shown = pooled_or_all(learners)
    for (*name, beta), point in shown.groupby([*_CURVE, "beta"], sort=False):
        cells = [samples.cells[row] for rows_ in point["rows"] for row in rows_ if row in samples.cells]
        if cells:
            accuracies = _accuracies(cells, size)[chosen]
            values = [None if np.isnan(value) else round(float(value), 3) for value in accuracies]
            identity = dict(zip(_CURVE, map(str, name), strict=True))
            rows.append({**identity, "beta": float(str(beta)), "accuracy": values})
    if not rows or len(rows) * len(chosen) > _MOST:
        return None
    shown_names = class_names([int(number) for number in chosen], names)
    return {"classes": shown_names, "total": int((total > 0).sum()), "rows": rows}


def _accuracies(cells: list[CellFacts], size: int) -> Any:
    count, correct = (sum(_padded(getattr(cell, name), size) for cell in cells) for name in ("images", "correct"))
    with np.errstate(invalid="ignore"):
        return np.asarray(correct) / np.asarray(count)


def _padded(values: Any, size: int) -> Any:
    return np.pad(values, (0, size - len(values)))
