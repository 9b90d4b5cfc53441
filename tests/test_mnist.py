"""The smoke suite on MNIST: minutes, and only where the data set is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import gtn_bench
from gtn_bench.datasets import MNIST, data_folder

RAW = data_folder() / "MNIST" / "raw"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not RAW.is_dir(), reason=f"MNIST is not in {data_folder()}; set GTN_BENCH_DATA to its folder"),
]


def test_stated_mean_and_deviation() -> None:
    x, _ = MNIST()()["train"][:]
    assert tuple(len(split) for split in MNIST()().values()) == MNIST.sizes
    assert (x.mean().item(), x.std().item()) == pytest.approx((MNIST.mean[0], MNIST.std[0]), abs=1e-3)


def test_smoke(tmp_path: Path) -> None:
    plan = gtn_bench.plan(gtn_bench.load("mnist-smoke"))
    results = gtn_bench.run(plan, tmp_path / "out", cache=os.environ.get("GTN_BENCH_CACHE", tmp_path / "cache"))
    assert (results.summary["status"] == "done").all() and len(results.summary) == len(plan.cells)
    clean = results.summary[results.summary["architecture"] == "base_larger"].groupby("mode")["clean_accuracy"].mean()
    assert clean["vanilla"] > 0.95 and clean["gtn"] > 0.5
    vanilla = results.curves[results.curves["mode"] == "vanilla"]
    for perturbation in ("fgsm", "noise", "blur"):
        curve = vanilla[(vanilla["perturbation"] == perturbation) & (vanilla["architecture"] == "base_larger")]
        assert curve["accuracy"].iloc[-1] < curve["accuracy"].iloc[0] - 0.2
    assert gtn_bench.report(tmp_path / "out").is_file()
