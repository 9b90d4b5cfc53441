"""Ten million rows of samples: how long it takes to write them and to see what attacks have missed, and to make curves,
measures and comparisons of them.

    python benchmarks/speed/tables.py
    python benchmarks/speed/tables.py --images 1000

The cells are those of the reference study for one teacher: two architectures, three modes, five seeds, 33 strengths of
four perturbations. Which images are still right is drawn at random. Memory is the peak of the process up to there, its
imports included.
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
import pandas as pd

from gtn_bench import analysis, evidence
from gtn_bench.results import IDENTITY, LEARNER, SUMMARY_COLUMNS, SampleWriter

STRENGTHS = {"noise": 10, "blur": 10, "fgsm": 6, "lbfgs": 7}
CLASSES = 10

Array = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    correct: dict[int, Array] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.parquet"
        with stage("samples, missed"), SampleWriter(path) as samples:
            for _, of_one in itertools.groupby(
                cells(options.images), key=lambda cell: [cell[0][key] for key in LEARNER]
            ):
                left = list(of_one)
                for identity, measured in left:
                    samples.write(identity, measured)
                    right = measured["prediction"] == measured["label"]
                    known = measured["clean_prediction"] == measured["label"]
                    correct[len(rows)] = right
                    accuracies = {
                        "clean_accuracy": known.mean(),
                        "accuracy": right.mean(),
                        "accuracy_given_correct": right[known].mean(),
                    }
                    distances = {"mean_linf": measured["linf"].mean(), "mean_l2": measured["l2"].mean()}
                    ball = None if identity["perturbation"] in ("noise", "blur") else ("linf", 0.5)
                    missed = evidence.missed(measured, ball, (other for _, other in left))
                    found = {"missed": np.nan if missed is None else missed.mean(), "n": options.images}
                    rows.append({**identity, **accuracies, **distances, **found, "status": "done"})
        print(f"{len(rows)} cells, {len(rows) * options.images} rows, {path.stat().st_size / 1e6:.0f} MB")
    summary, rule = pd.DataFrame(rows, columns=SUMMARY_COLUMNS), analysis.Rule(0.7)
    with stage("curves"):
        curves = analysis.curves(summary, rule, correct)
    with stage("measures"):
        analysis.measures(summary, rule, correct, curves)
    with stage("comparisons"):
        analysis.comparisons(summary, rule, correct)


def cells(images: int) -> Iterator[tuple[dict[str, Any], dict[str, Array]]]:
    """What each cell is called, and what was measured in it."""
    draw = np.random.default_rng(0)
    label = draw.integers(CLASSES, size=images)
    hardness = draw.random(images)  # of the images: the same for all learners
    learners = itertools.product(("base_larger", "base_larger3"), ("10_gtn", "gtn", "vanilla"), range(5))
    for architecture, mode, seed in learners:
        luck = draw.normal(0, 0.05)  # of the learner
        for perturbation, count in STRENGTHS.items():
            for beta in range(count):
                names = ("digits", "none" if mode == "vanilla" else "t", architecture, mode, seed, perturbation, beta)
                right = draw.random(images) * 0.5 + hardness * 0.5 < 0.97 - 0.6 * beta / count + luck
                measured = {
                    "label": label,
                    "clean_prediction": np.where(draw.random(images) < 0.97, label, (label + 1) % CLASSES),
                    "prediction": np.where(right, label, (label + 1) % CLASSES),
                    "linf": draw.random(images),
                    "l2": draw.random(images),
                    "zero_gradient": np.zeros(images, dtype=bool),
                }
                yield dict(zip(IDENTITY, names, strict=True)), measured


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Prints how long its block took, and the memory up to there."""
    started = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    print(f"{name:16}{time.perf_counter() - started:8.1f} s{peak:8.2f} GB", flush=True)


if __name__ == "__main__":
    main()
