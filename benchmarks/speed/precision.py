"""What `precision: bfloat16` changes: every curve of a suite in both precisions, from the same learners.

    python benchmarks/speed/precision.py demo benchmarks/speed/precision.yaml

For each perturbation that may see learners in bfloat16: the number of curve points, the largest and the mean
difference of a point's accuracy, and the time that its cells took in either precision.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import pandas as pd

import gtn_bench
from gtn_bench.cache import cache_folder

POINT = ["teacher", "architecture", "mode", "perturbation", "beta"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    print(f"{'suite':16}{'perturbation':16}{'points':>7}{'largest':>9}{'mean':>9}{'float32 s':>11}{'bfloat16 s':>12}")
    for name in options.suites:
        exact, coarse = (measured(name, precision, options) for precision in ("float32", "bfloat16"))
        for perturbation, points in exact.groupby("perturbation", sort=False):
            other = coarse[coarse["perturbation"] == perturbation]
            both = points.merge(other, on=POINT, suffixes=("", " coarse"), validate="one_to_one")
            difference = (both["accuracy"] - both["accuracy coarse"]).abs()
            print(f"{Path(name).stem:16}{perturbation:16}{len(both):7}{difference.max():9.4f}", end="")
            print(
                f"{difference.mean():9.4f}{both['seconds'].sum():11.1f}{both['seconds coarse'].sum():12.1f}", flush=True
            )


def measured(name: str, precision: str, options: argparse.Namespace) -> pd.DataFrame:
    """Accuracy (mean over seeds) and seconds (summed) of every point whose attack may be coarse."""
    suite = gtn_bench.load(name).model_copy(update={"precision": precision})
    plan = gtn_bench.plan(suite, options.limit)
    coarse = {cell.perturbation_label for cell in plan.cells if cell.perturbation.tolerates_bfloat16}
    with tempfile.TemporaryDirectory() as folder:
        summary = gtn_bench.run(plan, folder, cache=cache_folder(), workers=options.workers).summary
    rows = summary[summary["perturbation"].isin(coarse)]
    return rows.groupby(POINT, sort=False).agg({"accuracy": "mean", "seconds": "sum"}).reset_index()


if __name__ == "__main__":
    main()
