"""A whole suite, small: what lands on disk, and what happens when it is interrupted, changed or broken."""

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
import pytest
import torch
import yaml
from conftest import TINY
from torch import nn

import gtn_bench
from gtn_bench import cache, cli, results, runner, suite, work
from gtn_bench.datasets import Dataset
from gtn_bench.description import Mistake
from gtn_bench.learners import LEARNERS, Architecture
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.referee import MEASURED
from gtn_bench.reporting import figures
from gtn_bench.results import COMPARISON_COLUMNS, CURVE_COLUMNS, IDENTITY, SUMMARY_COLUMNS, Results


def run(text: str, out: Path, store: Path, **options: Any) -> Results:
    return gtn_bench.run(gtn_bench.plan(suite.parse(text)), out, cache=store, workers=1, device="cpu", **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Results:
    return run(TINY, tmp_path_factory.mktemp("out"), store)


def test_the_output_folder(tiny_run: Results) -> None:
    files = {path.name for path in tiny_run.folder.iterdir()}
    tables = {"samples.parquet", "summary.csv", "curves.csv", "measures.csv", "comparisons.csv", "examples.safetensors"}
    assert files == tables | {"suite.yaml", "suite.schema.json", "provenance.json"}
    assert list(tiny_run.summary.columns) == SUMMARY_COLUMNS and list(tiny_run.curves.columns) == CURVE_COLUMNS
    assert list(tiny_run.comparisons.columns) == COMPARISON_COLUMNS
    assert tuple(results.MEASURED) == MEASURED
    assert yaml.safe_load((tiny_run.folder / "suite.yaml").read_text())["modes"][2]["batch_size"] == 128


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


def test_a_run_in_bfloat16_is_judged_in_float32(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    coarse = run(TINY.replace("acceptance: 0.0", "acceptance: 0.0\nprecision: bfloat16"), tmp_path / "out", store)
    exact = tiny_run.summary
    assert (coarse.summary["clean_accuracy"] == exact["clean_accuracy"]).all()
    still = ~exact["perturbation"].isin(["fgsm", "lbfgs-penalty"]) | (exact["beta"] == 0)
    assert (coarse.summary["mean_l2"] == exact["mean_l2"])[still].all()
    assert (coarse.summary["mean_l2"] != exact["mean_l2"])[~still].any()
    assert ((coarse.summary["accuracy"] - exact["accuracy"]).abs() <= 0.1).all()
    page = gtn_bench.report(coarse.folder).read_text()
    assert "saw the learners in bfloat16" in page and "bfloat16" not in gtn_bench.report(tiny_run.folder).read_text()


def test_one_row_for_each_planned_cell(tiny_run: Results) -> None:
    cells = gtn_bench.plan(suite.parse(TINY)).cells
    planned = [(cell.learner.mode_label, cell.learner.seed, cell.perturbation_label, cell.beta) for cell in cells]
    rows = tiny_run.summary[["mode", "seed", "perturbation", "beta"]].itertuples(index=False, name=None)
    assert list(rows) == planned
    assert (tiny_run.summary["status"] == "done").all() and (tiny_run.summary["grade"] == "unknown").all()


def test_accuracies_are_those_of_the_samples(tiny_run: Results) -> None:
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


def test_strength_zero_is_clean_and_queries_are_counted(tiny_run: Results) -> None:
    zero = tiny_run.summary[tiny_run.summary["beta"] == 0]
    assert (zero["accuracy"] == zero["clean_accuracy"]).all() and (zero["mean_linf"] == 0).all()
    queries = tiny_run.summary.groupby("perturbation")[["forwards", "backwards"]].first()
    assert queries.loc["fgsm"].tolist() == [2, 2] and queries.loc["noise"].tolist() == [0, 0]


def without_seconds(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "summary.csv", dtype=str).drop(columns="seconds")


def test_a_cold_run_repeats_itself_and_workers_do_not_matter(tiny_run: Results, tmp_path: Path) -> None:
    plan = gtn_bench.plan(suite.parse(TINY))
    gtn_bench.run(plan, tmp_path / "out", cache=tmp_path / "store", workers=2, device="cpu")
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "out"), without_seconds(tiny_run.folder))
    assert (tmp_path / "out" / "curves.csv").read_bytes() == (tiny_run.folder / "curves.csv").read_bytes()


def test_from_the_cache_nothing_is_computed(
    tiny_run: Results, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("meta_train", "train", "measure"):
        monkeypatch.setattr(f"gtn_bench.work.{task}", lambda *_: pytest.fail("computed again"))
    told: list[tuple[str, int, int]] = []
    run(TINY, tmp_path, store, progress=lambda *what: told.append(what))
    assert (tmp_path / "summary.csv").read_bytes() == (tiny_run.folder / "summary.csv").read_bytes()
    assert told == [("teachers", 2, 2), ("learners", 6, 6), ("cells", 42, 42)]


def test_adding_a_perturbation_changes_no_other_number(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    more = TINY.replace("  - {name: noise", "  - {name: blur, label: soft, samples: 30, beta: [0.5]}\n  - {name: noise")
    new = run(more, tmp_path, store)
    assert len(new.summary) == len(tiny_run.summary) + 6
    old = new.summary[new.summary["perturbation"] != "soft"].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, tiny_run.summary)


def test_limit_takes_the_first_images(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    limited = gtn_bench.run(gtn_bench.plan(suite.parse(TINY), limit=10), tmp_path, cache=store, workers=1)
    assert (limited.summary["n"] == 10).all()
    whole = tiny_run.samples[tiny_run.samples["sample"] < 10].reset_index(drop=True)
    columns = [*IDENTITY, "sample", "label", "prediction"]
    pd.testing.assert_frame_equal(limited.samples[columns].reset_index(drop=True), whole[columns])


def test_limit_may_be_a_share(tmp_path: Path, store: Path) -> None:
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


def test_accepted_architectures_alone_are_attacked_if_asked(tmp_path: Path, store: Path) -> None:
    """One hidden unit is not enough; a control that learns nothing does not decide."""
    chosen = run(NARROW, tmp_path / "accepted", store)
    status = chosen.summary.groupby(["architecture", "mode"])["status"].unique().map(list).to_dict()
    assert status == {
        (name, mode): [said]
        for name, said in (("linear", "done"), ("narrow", "rejected"))
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
    assert "learners of narrow were not" in page and "but the controls" in page
    assert re.search(r"\| narrow \|.*\| no \| vanilla 0\.\d{3} \|", page)
    assert "failed" not in page


def test_nothing_accepted_is_said_with_the_reasons(tmp_path: Path, store: Path) -> None:
    none = run(NARROW.replace("acceptance: 0.5", "acceptance: 1.0"), tmp_path, store)
    assert (none.summary["status"] == "rejected").all() and none.curves.empty
    page = gtn_bench.report(tmp_path).read_text()
    assert "No cell was filled." in page
    assert re.search(r"\| linear \|.*\| no \| vanilla 0\.\d{3} \|", page)


def test_a_learner_that_cannot_be_looked_at_has_failed(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = work.look

    def fail(site: Any, key: str, learner_key: str, cell: Any) -> None:
        if cell.learner.architecture_label == "linear" and cell.learner.seed == 0:
            raise RuntimeError("no look")
        look(site, key, learner_key, cell)

    monkeypatch.setattr(work, "look", fail)
    broken = run(NARROW.replace("name: narrow", "name: broken").replace("[0.5]", "[0.4]"), tmp_path, tmp_path / "fresh")
    status = broken.summary.groupby(["architecture", "seed"])["status"].unique().map(list).to_dict()
    assert status["linear", 0] == ["error"] and status["linear", 1] == ["done"]
    assert "RuntimeError: no look" in broken.provenance["errors"][0]["traceback"]


def test_bands_of_whole_curves_are_wider(tiny_run: Results, tmp_path: Path) -> None:
    pages = {}
    for bands in ("pointwise", "simultaneous"):
        shutil.copytree(tiny_run.folder, tmp_path / bands)
        pages[bands] = gtn_bench.report(tmp_path / bands, bands=bands).read_text()
    figures = [(tmp_path / bands / "figures" / "noise.svg").read_bytes() for bands in pages]
    assert figures[0] != figures[1]
    assert "for all points of a curve at once" in pages["simultaneous"] and "at once" not in pages["pointwise"]


def test_progress_rises_to_its_total(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run(TINY, tmp_path / "out", tmp_path / "store", progress=lambda *what: told.append(what))
    for stage, total in (("teachers", 2), ("learners", 6), ("cells", 42)):
        done = [part for name, part, whole in told if name == stage and whole == total]
        assert done == sorted(done) and done[-1] == total and len(done) > 2


class Crash(PERTURBATIONS["noise"]):  # type: ignore[misc]
    """Fails at every strength above 0.2."""

    name = "crash"

    def __call__(self, classifier: Any, x: Any, y: Any, seeds: Any) -> Any:
        if self.beta > 0.2:
            raise RuntimeError(f"no strength {self.beta}")
        return super().__call__(classifier, x, y, seeds)


def test_a_cell_that_fails_is_an_error_row(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PERTURBATIONS, "crash", Crash)
    broken = run(TINY + "  - {name: crash, samples: 20, beta: [0.1, 0.5]}\n", tmp_path, store)
    rows = broken.summary[broken.summary["perturbation"] == "crash"]
    assert rows["status"].tolist() == ["done", "error"] * 6
    failed = rows[rows["status"] == "error"]
    assert failed["accuracy"].isna().all() and (failed["beta"] == 0.5).all()
    assert (broken.summary["status"] == "error").sum() == 6 == len(broken.provenance["errors"])
    assert "RuntimeError: no strength 0.5" in broken.provenance["errors"][0]["traceback"]
    assert not (broken.samples["perturbation"].eq("crash") & broken.samples["beta"].eq(0.5)).any()
    assert gtn_bench.report(tmp_path).read_text().count("no strength 0.5") == 1


def test_a_teacher_that_diverges_fails_its_learners_alone(tmp_path: Path, store: Path) -> None:
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


def test_layers_that_draw_draw_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEARNERS, "dropping", Dropping)
    text = TINY.replace("[linear]", "[dropping]")
    for place in ("one", "two"):
        torch.rand(3)
        run(text, tmp_path / place, tmp_path / f"{place}-store")
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "one"), without_seconds(tmp_path / "two"))


def test_learners_that_diverge_fail_alone(tmp_path: Path, store: Path) -> None:
    broken = run(TINY.replace("{name: vanilla", "{name: vanilla, lr: 1.0e+30"), tmp_path, store)
    status = broken.summary.groupby("mode")["status"].unique().map(list).to_dict()
    assert status == {"2_gtn": ["done"], "gtn": ["done"], "vanilla": ["error"]}
    assert "the learner has diverged" in broken.provenance["errors"][0]["traceback"]
    assert "the learner has diverged" in gtn_bench.report(tmp_path).read_text()


def test_killed_and_started_again_it_continues(tiny_run: Results, tmp_path: Path) -> None:
    """A real kill, twice: the numbers are those of an uninterrupted run, and nothing finished is repeated."""
    path, store = tmp_path / "tiny.yaml", tmp_path / "store"
    path.write_text(TINY)
    command = [sys.executable, "-m", "gtn_bench", "run", str(path), "--out", str(tmp_path / "out"), "--workers", "1"]
    environment = os.environ | {"GTN_BENCH_CACHE": str(store), "OMP_NUM_THREADS": "1"}  # as here
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
from gtn_bench import suite
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

class Darken(Perturbation):
    '''Every pixel times 1 - beta.'''
    name = "darken"
    meaning = "lost brightness"

    def __call__(self, classifier, x, y, seeds):
        return (1 - self.beta) * x

PERTURBATIONS["darken"] = Darken
text = open(sys.argv[1]).read() + "  - {name: darken, samples: 20, beta: [0, 1]}"
results = gtn_bench.run(gtn_bench.plan(suite.parse(text)), sys.argv[2], workers=2, cache=sys.argv[3], device="cpu")
dark = results.summary[results.summary["perturbation"] == "darken"]
assert (dark["status"] == "done").all() and (dark.loc[dark["beta"] == 1, "mean_linf"] > 0.9).all()
"""


def test_a_perturbation_of_a_script_reaches_its_workers(tiny: Path, tmp_path: Path, store: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tiny), str(tmp_path / "out"), str(store)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


HOARDING = """
import sys, time, warnings
from typing import ClassVar
import numpy as np
import gtn_bench
from gtn_bench import suite
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

class Hoard(Perturbation):
    name = meaning = "hoard"
    hoarded: ClassVar[list] = []

    def __call__(self, classifier, x, y, seeds):
        self.hoarded.append(np.ones(50_000_000))  # 400 MB; joblib looks after a second and allows 300
        time.sleep(1.1)
        return x

warnings.filterwarnings("error", "A worker")  # in joblib's own thread, too, and so the end of it
PERTURBATIONS["hoard"] = Hoard
text = open(sys.argv[1]).read() + "  - {name: hoard, samples: 20, beta: [1]}"
results = gtn_bench.run(gtn_bench.plan(suite.parse(text)), sys.argv[2], workers=2, cache=sys.argv[3], device="cpu")
assert (results.summary["status"] == "done").all()
"""


def test_workers_that_grow_are_replaced_without_a_word(tiny: Path, tmp_path: Path, store: Path) -> None:
    (tmp_path / "script.py").write_text(HOARDING)
    command = [sys.executable, str(tmp_path / "script.py"), str(tiny), str(tmp_path / "out"), str(store)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    cache.write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        cache.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_teachers_are_kept_with_their_provenance(tiny_run: Results, store: Path) -> None:
    key = tiny_run.provenance["teachers"]["t"]
    tensors, about = cache.Store(store).load("teachers", key)
    assert tensors["images"].shape == (3, 20, 1, 8, 8) and tensors["lr"].shape == (3,)
    assert about["teacher"]["meta_steps"] == 2 and about["dataset"] == {"name": "digits"}
    assert len(about["history"]["losses"]) == 2
    assert not cache.Store(store).holds("checkpoints", key)  # which only an interrupted teacher leaves


def test_the_machine_is_what_last_digits_depend_on(tiny_run: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = set(tiny_run.provenance["machine"])
    text = "processor\t: 0\nmodel name\t: Some: Processor\nflags\t\t: fpu avx2 amx_tile avx512f\n\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = runner.machine("cpu")
    assert found["processor"] == "Some: Processor" and found["instructions"] == ["x86_64", "avx2", "avx512f"]
    assert set(found) == kept

    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert runner.machine("cpu")["instructions"] == ["x86_64"]


def test_a_folder_that_does_not_say_so_much_of_its_machine_has_a_report(tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "older")
    provenance = json.loads((folder / "provenance.json").read_text())
    said = provenance["machine"].pop("instructions")
    (folder / "provenance.json").write_text(json.dumps(provenance))
    gtn_bench.report(folder)
    gtn_bench.report(tiny_run.folder)
    assert said[0] in (tiny_run.folder / "report.md").read_text()
    assert said[0] not in (folder / "report.md").read_text()


def test_the_report_needs_no_torch_and_can_be_made_again(tiny_run: Results) -> None:
    gtn_bench.report(tiny_run.folder)
    page = tiny_run.folder / "report.md"
    first = page.read_bytes()
    figures = {path.name: path.read_bytes() for path in (tiny_run.folder / "figures").iterdir()}
    page.unlink()
    (tiny_run.folder / "figures" / ".drawn-from").unlink()
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


def test_figures_are_drawn_again_only_if_needed(tiny_run: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    gtn_bench.report(tiny_run.folder)
    (tiny_run.folder / "figures" / "noise.svg").unlink()
    gtn_bench.report(tiny_run.folder)
    assert (tiny_run.folder / "figures" / "noise.svg").is_file()
    monkeypatch.setattr("gtn_bench.reporting.figures.save", lambda *_: pytest.fail("drawn again"))
    gtn_bench.report(tiny_run.folder)


def test_a_folder_of_something_else_is_left_alone(tiny_run: Results, tmp_path: Path, store: Path) -> None:
    (tmp_path / "taught").mkdir()
    (tmp_path / "taught" / "teacher.yaml").touch()
    (tmp_path / "file").touch()
    for folder, said in (
        (tmp_path / "taught", "holds a teacher; choose another folder"),
        (tiny_run.folder, "holds the results of suite 'tiny', not of 'other'; choose another folder"),
        (tmp_path / "file", "expects a folder that can be written to"),
    ):
        with pytest.raises(Mistake, match=said):
            run(TINY.replace("name: tiny", "name: other"), folder, store)
    with pytest.raises(Mistake, match="expects a folder that can be written to"):
        run(TINY, tmp_path / "out", tmp_path / "file")


def test_a_folder_without_its_large_files_has_its_report(tiny_run: Results, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    gtn_bench.report(tiny_run.folder)
    shutil.copytree(tiny_run.folder, folder, ignore=shutil.ignore_patterns("*.parquet", "*.safetensors", ".drawn-from"))
    page = (folder / "report.md").read_text()
    assert "figures/fgsm-examples.png" in page
    assert gtn_bench.report(folder).read_text() == page
    with pytest.raises(Mistake, match=r"its samples\.parquet was left out"):
        _ = Results(folder).samples


def test_figures_of_a_suite_that_has_changed_are_gone(tmp_path: Path, store: Path) -> None:
    """And none that were not drawn for it."""
    folder = run(TINY, tmp_path, store).folder
    gtn_bench.report(folder)
    (folder / "figures" / "mine.png").touch()
    run(TINY[: TINY.index("  - {name: blur")], folder, store)
    gtn_bench.report(folder)
    there = {path.name for path in (folder / "figures").iterdir()}
    assert {"mine.png", "fgsm.png", "fgsm-examples.svg"} <= there and not {"blur.png", "blur-examples.svg"} & there


def test_names_with_dots_have_figures_of_their_own(tmp_path: Path, store: Path) -> None:
    text = TINY.replace("{name: fgsm", "{name: fgsm, label: sign.fgsm-0.1").replace(
        "{name: blur", "{name: blur, label: sign.b"
    )
    folder = run(text, tmp_path, store).folder
    page = gtn_bench.report(folder).read_text()
    linked = re.findall(r"^!.*\]\((.*)\)$", page, flags=re.MULTILINE)
    assert "figures/sign.fgsm-0.1.png" in linked and "figures/sign.b-examples.png" in linked
    assert len({(folder / path).read_bytes() for path in linked}) == len(linked) == 10


@pytest.mark.parametrize("file", ["suite.yaml", "report.md"])
def test_files_of_ones_own_are_not_written_over(file: str, tmp_path: Path, store: Path) -> None:
    (tmp_path / file).write_text("name: tiny\n# mine\n")
    with pytest.raises(Mistake, match=rf"holds a {file} that is not of a run; choose another folder$"):
        run(TINY, tmp_path, store)
    assert (tmp_path / file).read_text() == "name: tiny\n# mine\n"


def test_figures_that_were_not_all_drawn_are_drawn_again(
    tiny_run: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "copy")
    gtn_bench.report(folder)
    before = (folder / "figures" / "noise.png").read_bytes()
    save = figures.save

    def stopped(figure: Any, path: Path) -> None:
        save(figure, path)
        if path.name == "noise":
            raise KeyboardInterrupt

    monkeypatch.setattr(figures, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        gtn_bench.report(folder, bands="simultaneous")
    assert (folder / "figures" / "noise.png").read_bytes() != before
    monkeypatch.setattr(figures, "save", save)
    gtn_bench.report(folder)
    assert (folder / "figures" / "noise.png").read_bytes() == before


@pytest.mark.parametrize(
    "file", ["summary.csv", "curves.csv", "measures.csv", "comparisons.csv", "provenance.json", "examples.safetensors"]
)
def test_a_damaged_folder_is_said(file: str, tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "damaged", ignore=shutil.ignore_patterns(".drawn-from"))
    (folder / file).write_bytes(b"")
    with pytest.raises(Mistake, match=rf"{file}: cannot be read \(.*\); run the suite once more"):
        gtn_bench.report(folder)


def test_an_unfinished_folder_is_said(tiny_run: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "unfinished")
    lines = (folder / "summary.csv").read_text().splitlines(keepends=True)
    (folder / "summary.csv").write_text("".join(lines[:10]))
    with pytest.raises(Mistake, match=r"expects 42 cells in summary\.csv, found 9; run the suite once more"):
        gtn_bench.report(folder)
    (folder / "provenance.json").unlink()
    with pytest.raises(Mistake, match=r"provenance\.json: cannot be read \(No such file or directory\); run the suite"):
        gtn_bench.report(folder)


@pytest.mark.parametrize("kind", ["teachers", "learners", "clean", "cells"])
@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "cut off"])
def test_damaged_files_of_the_cache_are_computed_again(
    kind: str, content: bytes | None, tiny_run: Results, tmp_path: Path, store: Path
) -> None:
    shutil.copytree(store, tmp_path / "store")
    for path in (tmp_path / "store" / kind).rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    run(TINY, tmp_path / "out", tmp_path / "store")
    pd.testing.assert_frame_equal(without_seconds(tmp_path / "out"), without_seconds(tiny_run.folder))


def test_an_interruption_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gtn_bench.runner.run", interrupted)
    monkeypatch.setattr(sys, "argv", ["gtn-bench", "run", "demo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130
    assert "interrupted; what was finished is kept, the same command continues" in capsys.readouterr().err


def test_names_that_look_like_numbers_or_like_nothing_stay_names(tmp_path: Path) -> None:
    rows = pd.DataFrame({"mode": ["10", "NA"], "perturbation": ["8", "null"], "accuracy": [0.5, np.nan], "flags": ""})
    rows.to_csv(tmp_path / "summary.csv", index=False)
    summary = Results(tmp_path).summary
    assert summary["mode"].tolist() == ["10", "NA"] and summary["perturbation"].tolist() == ["8", "null"]
    assert summary["accuracy"].isna().tolist() == [False, True] and summary["flags"].tolist() == ["", ""]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(gtn_bench.Mistake, match=r"expects the output folder of a run, found no summary.csv in it$"):
        gtn_bench.report(tmp_path)


def test_an_absent_gpu_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(gtn_bench.Mistake, match="device 'cuda' is not available here; use 'cpu' or 'auto'"):
        runner.run(gtn_bench.plan(suite.parse(TINY)), tmp_path, device="cuda")


def test_public_names() -> None:
    assert all(getattr(gtn_bench, name).__doc__ for name in gtn_bench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        gtn_bench.runn  # noqa: B018
