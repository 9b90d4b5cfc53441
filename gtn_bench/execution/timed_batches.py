"""The time of a few images of each perturbation, on untrained networks, for estimates without earlier runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from gtn_bench.evaluation.timing import seconds_when_done
from gtn_bench.execution.jobs import peak_memory
from gtn_bench.perturbations.base import MinimalPerturbation
from gtn_bench.planning.cells import Cell

IMAGES = 8
_LIMIT = 20.0  # seconds for all cells


class Timed(NamedTuple):
    """Measured times.

    Attributes:
        seconds: Seconds per image of a cell, by labels of its architecture and its perturbation.
        memory: Peak memory of this process in bytes.
    """

    seconds: dict[tuple[str, str], float]
    memory: int


def time_batches(cells: Sequence[Cell], device: str) -> Timed:
    """Time each perturbation on a few images that are noise, and on an untrained network of each architecture.

    After 20 seconds, or if a perturbation fails, the others are left out.

    Args:
        cells: One cell for each architecture and perturbation.
        device: Type of the device.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        return Timed(_seconds(cells, device), peak_memory())
    finally:
        torch.set_num_threads(threads)


def _seconds(cells: Sequence[Cell], device: str) -> dict[tuple[str, str], float]:
    import torch

    from gtn_bench.inference.classifier import Classifier

    started = time.monotonic()
    seconds: dict[tuple[str, str], float] = {}
    classifiers: dict[str, Classifier] = {}
    for cell in cells:
        if time.monotonic() - started > _LIMIT:
            break
        learner, dataset = cell.learner, cell.learner.dataset
        pair = learner.architecture_label, cell.perturbation_label
        if pair in seconds:
            continue
        try:
            if pair[0] not in classifiers:
                network = learner.architecture(dataset, learner.initial_seed).to(device).eval()
                classifiers[pair[0]] = Classifier(network, dataset.input_shape, dataset.num_classes, "float32")
            generator = torch.Generator().manual_seed(0)
            x = torch.rand(IMAGES, *dataset.input_shape, generator=generator).to(device)
            y = classifiers[pair[0]].predict(x)  # attacks of misclassified images may stop at once
            before = seconds_when_done(x.device)
            cell.perturbation(classifiers[pair[0]], x, y, torch.arange(IMAGES))
            spent = seconds_when_done(x.device) - before
        except Exception:  # the run itself reports it; an estimate goes without
            continue
        shared = _strengths(cell) if isinstance(cell.perturbation, MinimalPerturbation) else 1
        seconds[pair] = spent / IMAGES / shared
    return seconds


def _strengths(cell: Cell) -> int:
    """Return the number of strengths for which one search answers."""
    return max(1, len(getattr(cell.perturbation, "grid", ())))
