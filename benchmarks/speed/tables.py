"""Time and memory of the output tables for ten million samples: writing, checks, curves, measures, comparisons.

    python benchmarks/speed/tables.py
    python benchmarks/speed/tables.py --images 1000

The cells are those of the reference study for one teacher: two architectures, three modes, five seeds, and 33 strengths
of four perturbations. Predictions are random. Memory is the peak of the process so far, imports included.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.analysis.comparisons import comparisons
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.measures import measures
from gtn_bench.analysis.records import CellRecord, summarize
from gtn_bench.analysis.tables import IDENTITY
from gtn_bench.config.threat import Threat
from gtn_bench.execution.output import SampleWriter

STRENGTHS = {"noise": 10, "blur": 10, "fgsm": 6, "lbfgs-penalty": 7}
CLASSES = 10

Array = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.parquet"
        with stage("samples, checks"), SampleWriter(path) as writer:
            summary = summarize(writer.writing(records(options.images)))
        cells = len(summary.table)
        print(f"{cells} cells, {cells * options.images} rows, {path.stat().st_size / 1e6:.0f} MB")
    rule = AcceptanceRule(0.7)
    with stage("curves"):
        curve_table = curves(summary.table, rule, summary.correct)
    with stage("measures"):
        measures(summary.table, rule, summary.correct, curve_table)
    with stage("comparisons"):
        comparisons(summary.table, rule, summary.correct)


def records(images: int) -> Iterator[CellRecord]:
    """Yield the records of all cells, with random predictions for a number of images."""
    rng = np.random.default_rng(0)
    label = rng.integers(CLASSES, size=images)
    robustness = rng.random(images)  # of the images, the same for all learners
    learners = itertools.product(("base_larger", "base_larger3"), ("10_gtn", "gtn", "vanilla"), range(5))
    for architecture, mode, seed in learners:
        offset = rng.normal(0, 0.05)  # of the learner
        for perturbation, count in STRENGTHS.items():
            for beta in range(count):
                names = ("digits", "none" if mode == "vanilla" else "t", architecture, mode, seed, perturbation, beta)
                correct = rng.random(images) * 0.5 + robustness * 0.5 < 0.97 - 0.6 * beta / count + offset
                yield CellRecord(
                    identity=dict(zip(IDENTITY, names, strict=True)),
                    n=images,
                    status="done",
                    samples={
                        "label": label,
                        "clean_prediction": np.where(rng.random(images) < 0.97, label, (label + 1) % CLASSES),
                        "prediction": np.where(correct, label, (label + 1) % CLASSES),
                        "linf": rng.random(images),
                        "l2": rng.random(images),
                        "zero_gradient": np.zeros(images, dtype=bool),
                    },
                    cost={"forwards": 1.0, "backwards": 0.0, "seconds": 0.0},
                    search_region=None if perturbation in ("noise", "blur") else Threat("linf", 0.5),
                )


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print the duration of a block and the peak memory at its end."""
    started = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    print(f"{name:16}{time.perf_counter() - started:8.1f} s{peak:8.2f} GB", flush=True)


if __name__ == "__main__":
    main()
