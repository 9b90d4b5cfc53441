"""Shards in separate processes, merged, are one run; shards that do not belong together are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.suites import TINY

from gtn_bench.config.errors import ConfigError
from gtn_bench.execution.merging import merge
from gtn_bench.execution.runner import run
from gtn_bench.execution.shards import Shard, learners_of, parse_shard, part_of
from gtn_bench.planning.keys import keys_of
from gtn_bench.planning.planner import load, plan
from gtn_bench.store.cache import Store

SUITE = """
name: sharded
dataset: digits
architectures: [linear, base_larger]
modes:
  - {name: vanilla, steps: 3}
  - {name: vanilla, label: longer, steps: 6}
seeds: [0, 1]
acceptance: 0.0
perturbations:
  - {name: fgsm, steps: 1, samples: 10, beta: [0, 0.1]}
  - {name: noise, samples: 10, beta: [0.5]}
"""
RUN = """
import sys, gtn_bench
suite, out, cache, shard = sys.argv[1:]
gtn_bench.run(gtn_bench.plan(gtn_bench.load(suite)), out, workers=1, cache=cache, shard=shard)
"""
TABLES = ("samples.parquet", "summary.csv", "curves.csv", "measures.csv", "comparisons.csv", "checks.csv", "suite.yaml")


@pytest.mark.parametrize("text, shard", [("1/1", Shard(0, 1)), ("2/3", Shard(1, 3)), ("10/12", Shard(9, 12))])
def test_shards_are_counted_from_one(text: str, shard: Shard) -> None:
    assert parse_shard(text) == shard and str(shard) == text


@pytest.mark.parametrize(
    "text", ["", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "1 / 3", "a/b", "1/99999999", "٣/٣", "1/3\n"]
)
def test_other_forms_of_shards_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_shard(text)
    assert str(caught.value) == f"shard expects I/N with 1 <= I <= N, such as 1/3, got {text!r}"


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_learner_belongs_to_one_shard_of_equal_size_wherever_it_stands_in_the_file(
    count: int, tmp_path: Path
) -> None:
    reordered = tmp_path / "reordered.yaml"
    reordered.write_text(SUITE.replace("[linear, base_larger]", "[base_larger, linear]").replace("[0, 1]", "[1, 0]"))
    original = tmp_path / "original.yaml"
    original.write_text(SUITE)
    one, other = (plan(load(file)) for file in (original, reordered))
    parts = [learners_of(one, Shard(index, count)) for index in range(count)]
    assert sum(map(len, parts)) == len(one.learners) == 8
    assert frozenset().union(*parts) == set(one.learners)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == [learners_of(other, Shard(index, count)) for index in range(count)]


def test_more_shards_than_learners_are_refused(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    with pytest.raises(ConfigError, match=r"^shard 1/9: the suite has 8 learners; use at most 8 shards$"):
        learners_of(plan(load(tmp_path / "suite.yaml")), Shard(0, 9))


def test_the_parts_of_a_plan_have_its_cells_and_keys(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(TINY)
    whole = plan(load(tmp_path / "suite.yaml"))
    keys = keys_of(whole, "cpu")
    parts = [part_of(whole, keys, learners_of(whole, Shard(index, 2))) for index in range(2)]
    assert sorted(key for _, own in parts for key in own.cells) == sorted(keys.cells)
    for part, own in parts:
        assert own == keys_of(part, "cpu") and part.suite == whole.suite


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a suite, three of its shards from three processes, and their cache."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "sharded.yaml").write_text(SUITE)
    command = [sys.executable, "-c", RUN, str(folder / "sharded.yaml")]
    processes = [
        subprocess.Popen([*command, str(folder / f"{i}"), str(folder / "cache"), f"{i}/3"], stderr=subprocess.PIPE)
        for i in (1, 2, 3)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    return folder


def content(path: Path) -> bytes:
    """Return the content of a file, of the summary without the seconds that each cell took."""
    if path.name != "summary.csv":
        return path.read_bytes()
    table = pd.read_csv(path, dtype=str)
    assert "seconds" in table
    return table.drop(columns="seconds").to_csv().encode()


def test_merged_shards_are_bit_identical_to_one_run(shards: Path, tmp_path: Path) -> None:
    """The run of the whole has a cache of its own, so that it computes everything again."""
    one = run(plan(load(shards / "sharded.yaml")), tmp_path / "one", workers=1, cache=tmp_path / "cache")
    before = {file: file.stat().st_mtime_ns for file in (shards / "cache" / "cells").rglob("*.safetensors")}
    merged = merge([shards / "3", shards / "1", shards / "2"], tmp_path / "merged", cache=shards / "cache")
    assert len(before) == 24 == len(merged.summary) and set(merged.summary["status"]) == {"done"}
    assert before == {file: file.stat().st_mtime_ns for file in (shards / "cache" / "cells").rglob("*.safetensors")}
    for name in TABLES:
        assert content(one.folder / name) == content(merged.folder / name), name
    sizes = [json.loads((shards / i / "provenance.json").read_text())["cells"] for i in "123"]
    assert sum(sizes) == 24 and min(sizes) >= 6


def altered(shards: Path, folder: Path, change: Callable[[dict[str, object]], None]) -> list[Path]:
    """Return copies of the folders of all shards, the second one with changed provenance."""
    copies = [shutil.copytree(shards / i, folder / i) for i in "123"]
    path = copies[1] / "provenance.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return copies


def other_digest(content: dict[str, object]) -> None:
    digests = content["digests"]
    assert isinstance(digests, dict)
    digests[next(iter(digests))] = "0" * 32


def other_key(content: dict[str, object]) -> None:
    digests = content["digests"]
    assert isinstance(digests, dict)
    digests["f" * 32] = "0" * 32


@pytest.mark.parametrize(
    "change, message",
    [
        (
            other_digest,
            r"/2 and .*/cache disagree about the cell '(fgsm|noise)' at [0-9.]+, mode '\w+' of '\w+', seed \d$",
        ),
        (other_key, r"/2: 1 cells have other keys than here, because .*; run shard 2/3 again$"),
        (lambda content: content.pop("shard"), r"/2: expects the output folder of a shard, got that of a whole run$"),
        (lambda content: content.update(shard="2/4"), r"/1 and .*/2 have different numbers of shards: 3 and 4$"),
        (lambda content: content.update(shard="1/3"), r"^shard 2/3 is missing; run each with --shard"),
        (
            lambda content: content.update(key_device="cuda"),
            r"/1 and .*/2 have different kinds of device: cpu and cuda$",
        ),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    change: Callable[[dict[str, object]], None], message: str, shards: Path, tmp_path: Path
) -> None:
    folders = altered(shards, tmp_path, change)
    with pytest.raises(ConfigError, match=message):
        merge(folders, tmp_path / "merged", cache=shards / "cache")
    assert not (tmp_path / "merged").exists()


def test_a_shard_that_was_computed_twice_must_agree_with_itself(shards: Path, tmp_path: Path) -> None:
    folders = altered(shards, tmp_path, other_digest)
    with pytest.raises(ConfigError, match=r"/2 and .*/2 disagree about the cell"):
        merge([*folders, shards / "2"], tmp_path / "merged", cache=shards / "cache")
    merged = merge([shards / i for i in "1223"], tmp_path / "merged", cache=shards / "cache")
    assert len(merged.summary) == 24


def test_missing_shards_other_suites_and_missing_cells_are_named(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^shards 1/3, 3/3 are missing"):
        merge([shards / "2"], tmp_path / "merged", cache=shards / "cache")
    with pytest.raises(ConfigError, match=r"^merge expects the output folders of all shards, got none$"):
        merge([], tmp_path / "merged")
    with pytest.raises(ConfigError, match=r"nowhere: expects the output folder of a finished shard \(No such file"):
        merge([tmp_path / "nowhere"], tmp_path / "merged")
    folders = altered(shards, tmp_path, lambda content: None)
    suite = folders[1] / "suite.yaml"
    suite.write_text(suite.read_text().replace("acceptance: 0.0", "acceptance: 0.5"))
    with pytest.raises(ConfigError, match=r"/1 and .*/2 have different suites$"):
        merge(folders, tmp_path / "merged", cache=shards / "cache")
    key = next(iter(json.loads((shards / "2" / "provenance.json").read_text())["digests"]))
    cache = shutil.copytree(shards / "cache", tmp_path / "cache")
    Store(cache).path("cells", key).unlink()
    with pytest.raises(ConfigError, match=r"/cache: lacks the cell '.*' of .*/2; run shard 2/3 again$"):
        merge([shards / i for i in "123"], tmp_path / "merged", cache=cache)
