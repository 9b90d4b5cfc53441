"""Runs of other seeds, merged, are one run of all seeds; runs that do not belong together are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.runs import run

import gtn_bench
from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.merging import merge
from gtn_bench.store.cache import Store

SUITE = """
name: seeded
dataset: digits
architectures: [linear, base_larger]
modes:
  - {name: vanilla, steps: 3}
  - {name: vanilla, label: longer, steps: 6}
seeds: SEEDS
acceptance: 0.2
attack: accepted
perturbations:
  - {name: fgsm, steps: 1, samples: 10, beta: [0, 0.1]}
  - {name: noise, samples: 10, beta: [0.5]}
"""
TABLES = ("samples.parquet", "summary.csv", "curves.csv", "measures.csv", "comparisons.csv", "checks.csv", "suite.yaml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs of different seeds, and their cache."""
    folder = tmp_path_factory.mktemp("seeds")
    for name, seeds in (("a", "[2, 0]"), ("b", "[1, 2]")):
        run(SUITE.replace("SEEDS", seeds), folder / name, folder / "cache")
    return folder


def content(path: Path) -> bytes:
    """Return the content of a file, of the summary without the seconds that each cell took."""
    if path.name != "summary.csv":
        return path.read_bytes()
    table = pd.read_csv(path, dtype=str)
    return table.drop(columns="seconds").to_csv().encode()


@pytest.mark.slow
def test_merged_runs_are_bit_identical_to_one_run_of_all_seeds(runs: Path, tmp_path: Path) -> None:
    """The run of all seeds has a cache of its own, so that it computes everything again."""
    one = run(SUITE.replace("SEEDS", "[0, 1, 2]"), tmp_path / "one", tmp_path / "cache")
    before = sorted((runs / "cache" / "cells").rglob("*.safetensors"))
    merged = merge([runs / "b", runs / "a"], tmp_path / "merged", cache=runs / "cache")
    assert sorted((runs / "cache" / "cells").rglob("*.safetensors")) == before
    assert len(merged.summary) == 2 * 2 * 3 * 3 and set(merged.summary["seed"]) == {0, 1, 2}
    for name in TABLES:
        assert content(one.folder / name) == content(merged.folder / name), name
    for key in ("results", "code", "key_device"):
        assert one.provenance[key] == merged.provenance[key]
    again = merge([merged.folder, runs / "a"], tmp_path / "again", cache=runs / "cache")  # what is merged is a run
    assert content(again.folder / "curves.csv") == content(one.folder / "curves.csv")


def test_runs_that_do_not_belong_together_are_refused(runs: Path, tmp_path: Path) -> None:
    def message(*folders: Path, cache: Path = runs / "cache") -> str:
        with pytest.raises(ConfigError) as caught:
            merge(folders, tmp_path / "merged", cache=cache)
        assert not (tmp_path / "merged").exists() and "\n" not in str(caught.value)
        return str(caught.value)

    a, b = runs / "a", runs / "b"
    other = run(SUITE.replace("SEEDS", "[3]").replace("steps: 1,", "steps: 2,"), tmp_path / "other", runs / "cache")
    assert message(a, other.folder) == (
        f"{a} and {other.folder} have suites that differ in more than their seeds: perturbations[fgsm].steps is 1 and 2"
    )
    assert message(a, tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: expects the output folder of a run")
    assert message(a, b, cache=tmp_path / "empty").startswith(f"{tmp_path / 'empty'}: lacks the cell 'fgsm' at 0")

    old = shutil.copytree(b, tmp_path / "old")
    provenance = json.loads((old / "provenance.json").read_text())
    for key in ("results", "manifest", "self"):
        provenance.pop(key, None)
    (old / "provenance.json").write_text(json.dumps(provenance))
    assert message(a, old).startswith(f"{old}: was written by an earlier version of gtn-bench, run it again: gtn-bench")


def test_other_numbers_in_the_cache_are_found(runs: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(runs / "cache", tmp_path / "cache")
    store = Store(cache)
    for path in sorted((cache / "cells").rglob("*.safetensors")):  # those of other runs, too
        tensors, metadata = store.load("cells", path.stem)
        changed = {name: value.clone() for name, value in tensors.items()}
        changed["prediction"] = changed["prediction"] + 1
        path.unlink()
        store.save("cells", path.stem, changed, metadata)
    with pytest.raises(ConfigError, match=r"(/a|/b) and .*/cache disagree about the results; run it again"):
        merge([runs / "a", runs / "b"], tmp_path / "merged", cache=cache)


def test_a_whole_run_and_a_shard_are_refused(runs: Path, tmp_path: Path) -> None:
    shard = run(SUITE.replace("SEEDS", "[0, 2]"), tmp_path / "shard", runs / "cache", shard="1/2")
    with pytest.raises(ConfigError, match=r"/shard: expects the output folder of a whole run, got that of a shard$"):
        merge([runs / "a", shard.folder], tmp_path / "merged", cache=runs / "cache")
    with pytest.raises(ConfigError, match=r"/a: expects the output folder of a shard, got that of a whole run$"):
        merge([shard.folder, runs / "a"], tmp_path / "merged", cache=runs / "cache")
    assert isinstance(shard, gtn_bench.Results)
