"""Runs of a small suite: files on disk, and runs that are interrupted, changed or broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from helpers.runs import run
from helpers.suites import TINY
from torch import nn

import gtn_bench
from gtn_bench import cli
from gtn_bench.analysis import tables
from gtn_bench.analysis.results import Results
from gtn_bench.analysis.tables import (
    CERTIFICATE_COLUMNS,
    CHECK_COLUMNS,
    COMPARISON_COLUMNS,
    CURVE_COLUMNS,
    IDENTITY,
    MEASURE_COLUMNS,
    SCHEMA_VERSION,
    SUMMARY_COLUMNS,
    VERSION_COLUMN,
)
from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.evaluation.evaluate import MEASURED
from gtn_bench.execution import environment, runner, tasks
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.reporting import figures
from gtn_bench.store.cache import Store
from gtn_bench.store.files import StorageError, write_atomically


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Results:
    return run(TINY, tmp_path_factory.mktemp("out"), store)


COLUMNS = {
    "summary": SUMMARY_COLUMNS,
    "curves": CURVE_COLUMNS,
    "measures": MEASURE_COLUMNS,
    "comparisons": COMPARISON_COLUMNS,
    "checks": CHECK_COLUMNS,
    "certificates": CERTIFICATE_COLUMNS,
}


FILLED = sorted(COLUMNS.keys() - {"certificates"})  # in a run without certifiers


def test_output_folder_has_all_files_and_columns(tiny_run: Results) -> None:
    files = {path.name for path in tiny_run.folder.iterdir()} - {".gtn-bench"}
    results = {"samples.parquet", *(f"{name}.csv" for name in COLUMNS), "examples.safetensors"}
    assert files == results | {"suite.yaml", "suite.schema.json", "provenance.json", "events.jsonl"}
    assert list(tiny_run.summary.columns) == SUMMARY_COLUMNS and list(tiny_run.curves.columns) == CURVE_COLUMNS
    assert list(tiny_run.comparisons.columns) == COMPARISON_COLUMNS
    assert list(tiny_run.checks.columns) == CHECK_COLUMNS
    assert list(tiny_run.certificates.columns) == CERTIFICATE_COLUMNS
    assert tuple(tables.MEASURED) == MEASURED
    assert yaml.safe_load((tiny_run.folder / "suite.yaml").read_text())["modes"][2]["batch_size"] == 128


@pytest.mark.parametrize("name", FILLED)
def test_csv_files_have_their_columns_and_the_schema_version(name: str, tiny_run: Results) -> None:
    table = pd.read_csv(tiny_run.folder / f"{name}.csv")
    assert list(table.columns) == [*COLUMNS[name], VERSION_COLUMN]
    assert len(table) and (table[VERSION_COLUMN] == SCHEMA_VERSION).all()
    assert list(getattr(tiny_run, name).columns) == COLUMNS[name]


def test_samples_and_provenance_have_the_schema_version(tiny_run: Results) -> None:
    metadata = pq.read_schema(tiny_run.folder / "samples.parquet").metadata
    assert metadata[VERSION_COLUMN.encode()] == str(SCHEMA_VERSION).encode()
    assert tiny_run.provenance[VERSION_COLUMN] == SCHEMA_VERSION


@pytest.mark.parametrize("name", FILLED)
def test_report_refuses_a_table_of_another_schema_version(name: str, tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "other", ignore=shutil.ignore_patterns(".gtn-bench"))
    path = folder / f"{name}.csv"
    pd.read_csv(path).assign(**{VERSION_COLUMN: SCHEMA_VERSION + 1}).to_csv(path, index=False)
    with pytest.raises(ConfigError) as caught:
        gtn_bench.report(folder, accept_changes=True)
    versions = f"schema version {SCHEMA_VERSION + 1}, this version of gtn-bench reads {SCHEMA_VERSION}"
    expected = f"{path}: cannot be read ({versions}); run the suite again; cached parts are not computed again"
    assert str(caught.value) == expected


@pytest.mark.slow
def test_native_and_library_attacks_in_one_suite(tmp_path: Path) -> None:
    plan = gtn_bench.plan(gtn_bench.load("attacks"), 20)
    results = gtn_bench.run(plan, tmp_path / "out", cache=tmp_path / "cache", workers=1, device="cpu")
    assert len(results.summary) == len(plan.cells) and (results.summary["status"] == "done").all()
    rows = results.summary[results.summary["beta"] == 0]
    assert len(rows) == 14 and (rows["accuracy"] == rows["clean_accuracy"]).all()
    strongest = results.summary.groupby("perturbation").last()
    assert (strongest["accuracy"] < strongest["clean_accuracy"] - 0.2).all()
    found = results.summary[results.summary["beta"] == 0.6].groupby("perturbation")["accuracy"].mean()
    assert found["lbfgs"] <= found["ddn"] + 0.025 and found["lbfgs"] <= found["pgd-l2"] + 0.025


@pytest.mark.slow
def test_a_run_in_bfloat16_is_evaluated_in_float32(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    coarse = run(TINY.replace("acceptance: 0.0", "acceptance: 0.0\nprecision: bfloat16"), tmp_path / "out", store)
    exact = tiny_run.summary
    assert (coarse.summary["clean_accuracy"] == exact["clean_accuracy"]).all()
    still = ~exact["perturbation"].isin(["fgsm", "lbfgs-penalty"]) | (exact["beta"] == 0)
    assert (coarse.summary["mean_l2"] == exact["mean_l2"])[still].all()
    assert (coarse.summary["mean_l2"] != exact["mean_l2"])[~still].any()
    assert ((coarse.summary["accuracy"] - exact["accuracy"]).abs() <= 0.1).all()
    page = gtn_bench.report(coarse.folder).read_text()
    assert "saw the learners in bfloat16" in page and "bfloat16" not in gtn_bench.report(tiny_run.folder).read_text()


def test_summary_has_one_row_per_planned_cell_in_order(tiny_run: Results) -> None:
    cells = gtn_bench.plan(suite.parse(TINY)).cells
    planned = [(cell.learner.mode_label, cell.learner.seed, cell.perturbation_label, cell.beta) for cell in cells]
    rows = tiny_run.summary[["mode", "seed", "perturbation", "beta"]].itertuples(index=False, name=None)
    assert list(rows) == planned
    assert (tiny_run.summary["status"] == "done").all()
    nothing_to_grade = tiny_run.summary["perturbation"].isin(["noise", "blur"]) | (tiny_run.summary["beta"] == 0)
    unflagged = tiny_run.summary["flags"] == ""
    assert ((tiny_run.summary["grade"] == "n/a") == (nothing_to_grade & unflagged)).all()
    assert ((tiny_run.summary["grade"] == "suspect") == ~unflagged).all()


def test_summary_equals_the_means_of_the_samples(tiny_run: Results) -> None:
    samples = tiny_run.samples
    right = samples.assign(
        accuracy=samples["prediction"] == samples["label"],
        clean_accuracy=samples["clean_prediction"] == samples["label"],
        n=1,
    )
    groups = right.groupby(IDENTITY, sort=False, observed=True)
    again = groups.agg({"n": "sum", "clean_accuracy": "mean", "accuracy": "mean", "linf": "mean", "l2": "mean"})
    expected = tiny_run.summary.set_index(IDENTITY)
    assert len(again) == len(expected)
    assert (again["n"].to_numpy() == expected["n"].to_numpy()).all()
    assert (again["accuracy"].to_numpy() == expected["accuracy"].to_numpy()).all()
    assert (again["clean_accuracy"].to_numpy() == expected["clean_accuracy"].to_numpy()).all()
    assert np.allclose(again["linf"], expected["mean_linf"], rtol=1e-5)
    assert np.allclose(again["l2"], expected["mean_l2"], rtol=1e-5)


def test_beta_zero_gives_clean_accuracy_and_queries_are_counted(tiny_run: Results) -> None:
    zero = tiny_run.summary[tiny_run.summary["beta"] == 0]
    assert (zero["accuracy"] == zero["clean_accuracy"]).all() and (zero["mean_linf"] == 0).all()
    queries = tiny_run.summary.groupby("perturbation")[["forwards", "backwards"]].first()
    assert queries.loc["fgsm"].tolist() == [2, 2] and queries.loc["noise"].tolist() == [0, 0]


def without_seconds(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "summary.csv", dtype=str).drop(columns="seconds")


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(tiny_run: Results, tmp_path: Path) -> None:
    plan = gtn_bench.plan(suite.parse(TINY))
    gtn_bench.run(plan, tmp_path / "out", cache=tmp_path / "store", workers=2, device="cpu")
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "out"), without_seconds(tiny_run.folder))
    assert (tmp_path / "out" / "curves.csv").read_bytes() == (tiny_run.folder / "curves.csv").read_bytes()


def test_a_repeated_run_computes_nothing(
    tiny_run: Results, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("meta_train", "train_learners", "examine", "evaluate_clean", "evaluate_sweep", "certify", "probe"):
        monkeypatch.setattr(tasks, task, lambda *_: pytest.fail("computed again"))
    calls: list[tuple[str, int, int]] = []
    run(TINY, tmp_path, store, progress=lambda *what: calls.append(what))
    probes = calls[-1][1]
    assert (tmp_path / "summary.csv").read_bytes() == (tiny_run.folder / "summary.csv").read_bytes()
    finished = {"meta-steps": 2, "learners": 6, "checks": 3, "cells": 42, "probes": probes}
    assert calls == [(stage, count, count) for stage, count in finished.items()]


def test_adding_a_perturbation_changes_no_other_row(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    more = TINY.replace("  - {name: noise", "  - {name: blur, label: soft, samples: 30, beta: [0.5]}\n  - {name: noise")
    new = run(more, tmp_path, store)
    assert len(new.summary) == len(tiny_run.summary) + 6
    old = new.summary[new.summary["perturbation"] != "soft"].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, tiny_run.summary)


def test_limit_selects_the_first_images(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    limited = gtn_bench.run(gtn_bench.plan(suite.parse(TINY), limit=10), tmp_path, cache=store, workers=1)
    assert (limited.summary["n"] == 10).all()
    whole = tiny_run.samples[tiny_run.samples["sample"] < 10].reset_index(drop=True)
    columns = [*IDENTITY, "sample", "label", "prediction"]
    pd.testing.assert_frame_equal(limited.samples[columns].reset_index(drop=True), whole[columns])


def test_limit_as_a_share_of_the_images(tmp_path: Path, store: Path) -> None:
    limited = gtn_bench.run(gtn_bench.plan(suite.parse(TINY), limit=0.05), tmp_path, cache=store, workers=1)
    counts = limited.summary.groupby("perturbation")["n"].first()
    assert counts.to_dict() == {"fgsm": 1, "lbfgs-penalty": 1, "noise": 18, "blur": 5}


NARROW = """
name: narrow
dataset: digits
architectures: [linear, {name: linear, label: narrow, hidden: [1]}]
modes: [{name: vanilla, epochs: 2}]
controls: [random-labels]
seeds: [0, 1]
acceptance: 0.5
attack: accepted
perturbations: [{name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}, {name: noise, beta: [0.5]}]
"""


@pytest.mark.slow
def test_attack_accepted_skips_rejected_architectures(tmp_path: Path, store: Path) -> None:
    """An architecture with one hidden unit is rejected. A control that learns nothing does not decide."""
    chosen = run(NARROW, tmp_path / "accepted", store)
    status = chosen.summary.groupby(["architecture", "mode"])["status"].unique().map(list).to_dict()
    assert status == {
        (name, mode): [expected]
        for name, expected in (("linear", "done"), ("narrow", "rejected"))
        for mode in ("vanilla", "random-labels")
    }
    everything = run(NARROW.replace("attack: accepted", ""), tmp_path / "all", store)
    assert (everything.summary["status"] == "done").all()
    same = ["n", "clean_accuracy"]
    pd.testing.assert_frame_equal(chosen.summary[same], everything.summary[same])
    rejected = chosen.summary[chosen.summary["status"] == "rejected"]
    assert rejected[["accuracy", "forwards"]].isna().all(axis=None)
    assert "narrow" not in set(chosen.samples["architecture"]) | set(chosen.curves["architecture"])
    page = gtn_bench.report(tmp_path / "accepted").read_text()
    assert "Not attacked, for at least one teacher: narrow." in page and "but the controls" in page
    assert re.search(r"\| narrow \|.*\| no \| vanilla 0\.\d{3} \|", page)
    assert "cells failed" not in page and "Failed cells" not in page


def test_report_gives_the_reasons_if_no_architecture_is_accepted(tmp_path: Path, store: Path) -> None:
    none = run(NARROW.replace("acceptance: 0.5", "acceptance: 1.0"), tmp_path, store)
    assert (none.summary["status"] == "rejected").all() and none.curves.empty
    page = gtn_bench.report(tmp_path).read_text()
    assert "No cell was evaluated." in page
    assert re.search(r"\| linear \|.*\| no \| vanilla 0\.\d{3} \|", page)


def test_a_learner_whose_clean_evaluation_fails_has_error_rows(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_clean = tasks.evaluate_clean

    def fail(context: Any, key: str, learner_key: str, cell: Any) -> None:
        if cell.learner.architecture_label == "linear" and cell.learner.seed == 0:
            raise RuntimeError("no clean evaluation")
        evaluate_clean(context, key, learner_key, cell)

    monkeypatch.setattr(tasks, "evaluate_clean", fail)
    with pytest.warns(RuntimeWarning, match="cells failed"):
        broken = run(
            NARROW.replace("name: narrow", "name: broken").replace("[0.5]", "[0.4]"), tmp_path, tmp_path / "fresh"
        )
    status = broken.summary.groupby(["architecture", "seed"])["status"].unique().map(list).to_dict()
    assert status["linear", 0] == ["error"] and status["linear", 1] == ["done"]
    assert "RuntimeError: no clean evaluation" in broken.provenance["errors"][0]["traceback"]


@pytest.mark.slow
def test_results_of_two_kinds_of_processors_are_named(tiny: Path, tmp_path: Path) -> None:
    """A cache that another machine has filled: one warning, the kinds in provenance.json, a sentence in the report."""
    plan = gtn_bench.plan(gtn_bench.load(tiny))
    options: dict[str, Any] = {"cache": tmp_path / "cache", "workers": 1, "device": "cpu"}
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr("gtn_bench.store.origin._hardware", lambda: ("Another CPU", ("x86_64", "avx2")))
        before = gtn_bench.run(plan, tmp_path / "elsewhere", **options)
    assert before.provenance["hardware"] == ""
    with pytest.warns(RuntimeWarning, match="^results were computed on another kind of processor, Another CPU"):
        results = gtn_bench.run(plan, tmp_path / "here", **options)
    page = gtn_bench.report(results.folder).read_text(encoding="utf-8")
    assert f"The stored results were {results.provenance['hardware']}." in page


@pytest.mark.slow
def test_report_with_simultaneous_bands(tiny_run: Results, tmp_path: Path) -> None:
    pages = {}
    for bands in ("pointwise", "simultaneous"):
        shutil.copytree(tiny_run.folder, tmp_path / bands)
        pages[bands] = gtn_bench.report(tmp_path / bands, bands=bands).read_text()
    figures = [(tmp_path / bands / "figures" / "noise.svg").read_bytes() for bands in pages]
    assert figures[0] != figures[1]
    assert "for all points of a curve at once" in pages["simultaneous"] and "at once" not in pages["pointwise"]


def test_progress_rises_to_its_total(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    run(TINY, tmp_path / "out", tmp_path / "store", progress=lambda *what: calls.append(what))
    for stage, total in (("meta-steps", 2), ("learners", 6), ("cells", 42)):
        done = [part for name, part, whole in calls if name == stage and whole == total]
        assert done == sorted(done) and done[-1] == total and len(done) > 2


class Crash(PERTURBATIONS["noise"]):  # type: ignore[misc]
    """Noise that raises an error at every strength above 0.2."""

    name = "crash"

    def __call__(self, classifier: Any, x: Any, y: Any, seeds: Any) -> Any:
        if self.beta > 0.2:
            raise RuntimeError(f"no strength {self.beta}")
        return super().__call__(classifier, x, y, seeds)


@pytest.mark.slow
def test_a_failed_cell_is_an_error_row(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PERTURBATIONS, "crash", Crash)
    with pytest.warns(RuntimeWarning, match="cells failed"):
        broken = run(TINY + "  - {name: crash, samples: 20, beta: [0.1, 0.5]}\n", tmp_path, store)
    rows = broken.summary[broken.summary["perturbation"] == "crash"]
    assert rows["status"].tolist() == ["done", "error"] * 6
    failed = rows[rows["status"] == "error"]
    assert failed["accuracy"].isna().all() and (failed["beta"] == 0.5).all()
    assert (broken.summary["status"] == "error").sum() == 6 == len(broken.provenance["errors"])
    assert "RuntimeError: no strength 0.5" in broken.provenance["errors"][0]["traceback"]
    assert not (broken.samples["perturbation"].eq("crash") & broken.samples["beta"].eq(0.5)).any()
    assert gtn_bench.report(tmp_path).read_text().count("no strength 0.5") == 1


@pytest.mark.slow
def test_a_diverging_teacher_fails_its_own_learners_only(tmp_path: Path, store: Path) -> None:
    with pytest.warns(RuntimeWarning, match="cells failed"):
        broken = run(TINY.replace("meta_steps: 2", "meta_steps: 2, inner_lr: 1.0e+30"), tmp_path, store)
    status = broken.summary.groupby("mode")["status"].unique().map(list).to_dict()
    assert status == {"2_gtn": ["error"], "gtn": ["error"], "vanilla": ["done"]}
    assert "the meta-loss is nan at meta-step 0" in broken.provenance["errors"][0]["traceback"]
    assert "2_gtn" in gtn_bench.report(tmp_path).read_text()


class Dropping(Architecture):
    name = "dropping"

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))


def test_dropout_depends_on_the_seed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "dropping", Dropping)
    text = TINY.replace("[linear]", "[dropping]")
    for place in ("one", "two"):
        torch.rand(3)
        run(text, tmp_path / place, tmp_path / f"{place}-store")
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "one"), without_seconds(tmp_path / "two"))


@pytest.mark.slow
def test_diverging_learners_do_not_affect_other_modes(tmp_path: Path, store: Path) -> None:
    with pytest.warns(RuntimeWarning, match="cells failed"):
        broken = run(TINY.replace("{name: vanilla", "{name: vanilla, lr: 1.0e+30"), tmp_path, store)
    status = broken.summary.groupby("mode")["status"].unique().map(list).to_dict()
    assert status == {"2_gtn": ["done"], "gtn": ["done"], "vanilla": ["error"]}
    assert "the learner has diverged" in broken.provenance["errors"][0]["traceback"]
    assert "the learner has diverged" in gtn_bench.report(tmp_path).read_text()


@pytest.mark.slow
def test_a_killed_run_resumes_without_repeating_finished_work(tiny_run: Results, tmp_path: Path) -> None:
    """The process is killed twice. The numbers are those of an uninterrupted run."""
    path, store = tmp_path / "tiny.yaml", tmp_path / "store"
    path.write_text(TINY)
    command = [sys.executable, "-m", "gtn_bench", "run", str(path), "--out", str(tmp_path / "out"), "--workers", "1"]
    environment = os.environ | {"GTN_BENCH_CACHE": str(store), "OMP_NUM_THREADS": "1"}  # as in this process
    for finished in (1, 15):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(store.rglob("*.safetensors"))) < finished:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out" / "summary.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.safetensors")}
    assert 15 <= len(before) < 49  # one teacher, six learners, 42 cells
    run(TINY, tmp_path / "out", store)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "out"), without_seconds(tiny_run.folder))


SCRIPT = """
import sys
import gtn_bench
from gtn_bench.config import suite
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

class Darken(Perturbation):
    '''Every pixel times 1 - beta.'''
    name = "darken"
    beta_meaning = "lost brightness"

    def __call__(self, classifier, x, y, seeds):
        return (1 - self.beta) * x

PERTURBATIONS["darken"] = Darken
text = open(sys.argv[1]).read() + "  - {name: darken, samples: 20, beta: [0, 1]}"
results = gtn_bench.run(gtn_bench.plan(suite.parse(text)), sys.argv[2], workers=2, cache=sys.argv[3], device="cpu")
dark = results.summary[results.summary["perturbation"] == "darken"]
assert (dark["status"] == "done").all() and (dark.loc[dark["beta"] == 1, "mean_linf"] > 0.9).all()
"""


@pytest.mark.slow
def test_a_perturbation_defined_in_a_script_runs_in_workers(tiny: Path, tmp_path: Path, store: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tiny), str(tmp_path / "out"), str(store)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


HOARDING = """
import sys, time, warnings
from typing import ClassVar
import numpy as np
import gtn_bench
from gtn_bench.config import suite
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

class Hoard(Perturbation):
    name = beta_meaning = "hoard"
    hoarded: ClassVar[list] = []

    def __call__(self, classifier, x, y, seeds):
        self.hoarded.append(np.ones(50_000_000))  # 400 MB; joblib checks every second and allows 300
        time.sleep(1.1)
        return x

warnings.filterwarnings("error", "A worker")  # raises in joblib's own thread, too, and ends it
PERTURBATIONS["hoard"] = Hoard
text = open(sys.argv[1]).read() + "  - {name: hoard, samples: 20, beta: [1]}"
results = gtn_bench.run(gtn_bench.plan(suite.parse(text)), sys.argv[2], workers=2, cache=sys.argv[3], device="cpu")
assert (results.summary["status"] == "done").all()
"""


@pytest.mark.slow
def test_workers_with_growing_memory_are_replaced_without_a_warning(tiny: Path, tmp_path: Path, store: Path) -> None:
    (tmp_path / "script.py").write_text(HOARDING)
    command = [sys.executable, str(tmp_path / "script.py"), str(tiny), str(tmp_path / "out"), str(store)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_write_atomically_keeps_the_old_file_on_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(StorageError, match=r"/file: cannot be written \(disk full\)$"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_cached_teachers_have_metadata_and_no_checkpoint(tiny_run: Results, store: Path) -> None:
    key = tiny_run.provenance["teachers"]["t"]
    tensors, metadata = Store(store).load("teachers", key)
    assert tensors["images"].shape == (3, 20, 1, 8, 8) and tensors["lr"].shape == (3,)
    assert metadata["teacher"]["meta_steps"] == 2 and metadata["dataset"] == {"name": "digits"}
    assert len(metadata["history"]["losses"]) == 2
    assert not Store(store).holds("checkpoints", key)  # only an interrupted teacher has one


def test_machine_describes_processor_and_instructions(tiny_run: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = set(tiny_run.provenance["machine"])
    text = "processor\t: 0\nmodel name\t: Some: Processor\nflags\t\t: fpu avx2 amx_tile avx512f\n\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = environment.machine("cpu")
    assert found["processor"] == "Some: Processor" and found["instructions"] == ["x86_64", "avx2", "avx512f"]
    assert set(found) == kept

    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert environment.machine("cpu")["instructions"] == ["x86_64"]


@pytest.mark.slow
def test_report_without_instructions_of_the_processor(tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "older")
    provenance = json.loads((folder / "provenance.json").read_text())
    instructions = provenance["machine"].pop("instructions")
    (folder / "provenance.json").write_text(json.dumps(provenance))
    gtn_bench.report(folder, accept_changes=True)
    gtn_bench.report(tiny_run.folder)
    assert instructions[0] in (tiny_run.folder / "report.md").read_text()
    assert instructions[0] not in (folder / "report.md").read_text()


@pytest.mark.slow
def test_report_needs_no_torch_and_is_reproducible(tiny_run: Results) -> None:
    gtn_bench.report(tiny_run.folder)
    page = tiny_run.folder / "report.md"
    first = page.read_bytes()
    figures = {path.name: path.read_bytes() for path in (tiny_run.folder / "figures").iterdir()}
    page.unlink()
    (tiny_run.folder / ".gtn-bench" / "report.json").unlink()
    code = f"import sys, gtn_bench; gtn_bench.report({str(tiny_run.folder)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert page.read_bytes() == first
    assert {path.name: path.read_bytes() for path in (tiny_run.folder / "figures").iterdir()} == figures
    assert {f"{name}.{kind}" for name in ("fgsm", "noise", "blur", "fgsm-examples") for kind in ("png", "svg")} <= set(
        figures
    )
    for line in first.decode().splitlines():
        if line.startswith("!["):
            assert (tiny_run.folder / line[line.index("(") + 1 : -1]).is_file()


@pytest.mark.slow
def test_figures_are_redrawn_only_if_missing(tiny_run: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    gtn_bench.report(tiny_run.folder)
    (tiny_run.folder / "figures" / "noise.svg").unlink()
    gtn_bench.report(tiny_run.folder)
    assert (tiny_run.folder / "figures" / "noise.svg").is_file()
    monkeypatch.setattr("gtn_bench.reporting.figures.save", lambda *_: pytest.fail("drawn again"))
    gtn_bench.report(tiny_run.folder)


def test_a_folder_with_other_results_is_refused(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    (tmp_path / "taught").mkdir()
    (tmp_path / "taught" / "teacher.yaml").touch()
    (tmp_path / "file").touch()
    for folder, message in (
        (tmp_path / "taught", "holds a teacher; choose another folder"),
        (tiny_run.folder, "holds the results of suite 'tiny', not of 'other'; choose another folder"),
        (tmp_path / "file", "expects a folder that can be written to"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(TINY.replace("name: tiny", "name: other"), folder, store)
    with pytest.raises(ConfigError, match="expects a folder that can be written to"):
        run(TINY, tmp_path / "out", tmp_path / "file")


@pytest.mark.slow
def test_report_of_a_folder_without_its_large_files(tiny_run: Results, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    gtn_bench.report(tiny_run.folder)
    shutil.copytree(tiny_run.folder, folder, ignore=shutil.ignore_patterns("*.parquet", "*.safetensors", ".gtn-bench"))
    page = (folder / "report.md").read_text()
    assert "figures/fgsm-examples.png" in page
    absent = "- Not in this folder, although the run has written it: `examples.safetensors`, `samples.parquet`.\n"
    for _ in range(2):
        shared = gtn_bench.report(folder).read_text().replace(absent, "", 1)
        assert _without_first_intervals(shared) == _without_first_intervals(page)
    with pytest.raises(ConfigError, match=r"the folder has no samples\.parquet; run the suite again; cached parts"):
        _ = Results(folder).samples


def _without_first_intervals(page: str) -> str:
    """Return a page without the intervals of clean accuracies, which need the samples."""
    return re.sub(r"(?m)^(\| t \| \S+ \| [\d.]+) \[[^]]*\]", r"\1", page)


@pytest.mark.slow
def test_figures_of_removed_perturbations_are_deleted(tmp_path: Path, store: Path) -> None:
    """Files that no report has drawn are kept."""
    folder = run(TINY, tmp_path, store).folder
    gtn_bench.report(folder)
    (folder / "figures" / "mine.png").touch()
    run(TINY[: TINY.index("  - {name: blur")], folder, store)
    gtn_bench.report(folder)
    there = {path.name for path in (folder / "figures").iterdir()}
    assert {"mine.png", "fgsm.png", "fgsm-examples.svg"} <= there and not {"blur.png", "blur-examples.svg"} & there


@pytest.mark.slow
def test_labels_with_dots_have_separate_figures(tmp_path: Path, store: Path) -> None:
    text = TINY.replace("{name: fgsm", "{name: fgsm, label: sign.fgsm-0.1").replace(
        "{name: blur", "{name: blur, label: sign.b"
    )
    folder = run(text, tmp_path, store).folder
    page = gtn_bench.report(folder).read_text()
    linked = re.findall(r"^!.*\]\((.*)\)$", page, flags=re.MULTILINE)
    assert "figures/sign.fgsm-0.1.png" in linked and "figures/sign.b-examples.png" in linked
    assert len({(folder / path).read_bytes() for path in linked}) == len(linked) == 10


@pytest.mark.parametrize("file", ["suite.yaml", "report.md"])
def test_files_that_no_run_has_written_are_not_overwritten(file: str, tmp_path: Path, store: Path) -> None:
    (tmp_path / file).write_text("name: tiny\n# mine\n")
    with pytest.raises(ConfigError, match=rf"holds files that no run has written: {file}; choose another folder, or"):
        run(TINY, tmp_path, store)
    assert (tmp_path / file).read_text() == "name: tiny\n# mine\n"


@pytest.mark.slow
def test_interrupted_drawing_changes_nothing(
    tiny_run: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "copy")
    gtn_bench.report(folder)
    before = (folder / "figures" / "noise.png").read_bytes()
    save = figures.save

    def stopped(figure: Any, path: Path) -> None:
        save(figure, path)
        if path.name == "over-linf":  # the last one
            raise KeyboardInterrupt

    monkeypatch.setattr(figures, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        gtn_bench.report(folder, bands="simultaneous")
    assert (folder / "figures" / "noise.png").read_bytes() == before
    monkeypatch.setattr(figures, "save", save)
    gtn_bench.report(folder, bands="simultaneous")
    assert (folder / "figures" / "noise.png").read_bytes() != before
    gtn_bench.report(folder)
    assert (folder / "figures" / "noise.png").read_bytes() == before


@pytest.mark.parametrize(
    "file", ["summary.csv", "curves.csv", "measures.csv", "comparisons.csv", "provenance.json", "examples.safetensors"]
)
def test_report_names_a_damaged_file(file: str, tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "damaged", ignore=shutil.ignore_patterns(".gtn-bench"))
    (folder / file).write_bytes(b"")
    if file != "provenance.json":
        with pytest.raises(ConfigError, match=rf"not as the run has written it: {file}; run the suite again"):
            gtn_bench.report(folder)
    with pytest.raises(ConfigError, match=rf"{file}: cannot be read \(.*\); run the suite again"):
        gtn_bench.report(folder, accept_changes=True)


def test_report_refuses_an_unfinished_run(tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "unfinished")
    lines = (folder / "summary.csv").read_text().splitlines(keepends=True)
    (folder / "summary.csv").write_text("".join(lines[:10]))
    with pytest.raises(ConfigError, match=r"expects 42 cells in summary\.csv, found 9; run the suite again"):
        gtn_bench.report(folder, accept_changes=True)
    (folder / "provenance.json").unlink()
    with pytest.raises(
        ConfigError, match=r"provenance\.json: cannot be read \(No such file or directory\); run the suite again"
    ):
        gtn_bench.report(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* is recomputed:RuntimeWarning")
@pytest.mark.parametrize("kind", ["teachers", "learners", "clean", "cells"])
@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "cut off"])
def test_damaged_cache_files_are_computed_again(
    kind: str, content: bytes | None, tiny_run: Results, tmp_path: Path, store: Path
) -> None:
    shutil.copytree(store, tmp_path / "store")
    for path in (tmp_path / "store" / kind).rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    run(TINY, tmp_path / "out", tmp_path / "store")
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "out"), without_seconds(tiny_run.folder))


def test_an_interrupted_command_exits_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gtn_bench.execution.runner.run", interrupted)
    monkeypatch.setattr(sys, "argv", ["gtn-bench", "run", "demo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130
    assert "Interrupted. Finished work is cached; rerun the same command to resume." in capsys.readouterr().err


def test_names_that_look_like_numbers_or_missing_values_stay_text(tiny_run: Results, tmp_path: Path) -> None:
    rows = tiny_run.summary[:2].assign(mode=["10", "NA"], perturbation=["8", "null"], accuracy=[0.5, np.nan], flags="")
    (tmp_path / "summary.csv").write_bytes(tables.to_csv(rows))
    summary = Results(tmp_path).summary
    assert summary["mode"].tolist() == ["10", "NA"] and summary["perturbation"].tolist() == ["8", "null"]
    assert summary["accuracy"].isna().tolist() == [False, True] and summary["flags"].tolist() == ["", ""]


def test_report_refuses_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(gtn_bench.ConfigError, match=r"expects the output folder of a run, found no summary.csv in it$"):
        gtn_bench.report(tmp_path)


def test_an_unavailable_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(gtn_bench.ConfigError, match="device 'cuda' is not available here; use 'cpu' or 'auto'"):
        runner.run(gtn_bench.plan(suite.parse(TINY)), tmp_path, device="cuda")


def test_public_names_are_documented_and_others_raise() -> None:
    assert all(getattr(gtn_bench, name).__doc__ for name in gtn_bench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        gtn_bench.runn  # noqa: B018
