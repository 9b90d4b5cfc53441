"""Effect of `precision: bfloat16` on the curves of a suite, with the same learners in both precisions.

    python benchmarks/speed/precision.py demo benchmarks/speed/precision.yaml

For each perturbation that supports bfloat16: the number of curve points, the largest and the mean difference of their
accuracies, and the seconds of its cells in either precision.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import pandas as pd

import gtn_bench
from gtn_bench.store.cache import cache_folder

POINT = ["teacher", "architecture", "mode", "perturbation", "beta"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    print(f"{'suite':16}{'perturbation':16}{'points':>7}{'largest':>9}{'mean':>9}{'float32 s':>11}{'bfloat16 s':>12}")
    for name in options.suites:
        float32, bfloat16 = (measure(name, precision, options) for precision in ("float32", "bfloat16"))
        for perturbation, points in float32.groupby("perturbation", sort=False):
            other = bfloat16[bfloat16["perturbation"] == perturbation]
            both = points.merge(other, on=POINT, suffixes=("", " bfloat16"), validate="one_to_one")
            difference = (both["accuracy"] - both["accuracy bfloat16"]).abs()
            print(f"{Path(name).stem:16}{perturbation:16}{len(both):7}{difference.max():9.4f}", end="")
            seconds = both["seconds"].sum(), both["seconds bfloat16"].sum()
            print(f"{difference.mean():9.4f}{seconds[0]:11.1f}{seconds[1]:12.1f}", flush=True)


def measure(name: str, precision: str, options: argparse.Namespace) -> pd.DataFrame:
    """Return the points of all perturbations that support bfloat16: mean accuracy and sum of seconds over seeds."""
    suite = gtn_bench.load(name).model_copy(update={"precision": precision})
    plan = gtn_bench.plan(suite, options.limit)
    supported = {cell.perturbation_label for cell in plan.cells if cell.perturbation.supports_bfloat16}
    with tempfile.TemporaryDirectory() as folder:
        summary = gtn_bench.run(plan, folder, cache=cache_folder(), workers=options.workers).summary
    rows = summary[summary["perturbation"].isin(supported)]
    return rows.groupby(POINT, sort=False).agg({"accuracy": "mean", "seconds": "sum"}).reset_index()


if __name__ == "__main__":
    main()
