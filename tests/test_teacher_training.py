from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers.teachers import untrained

from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.config.shipped import teacher_specs
from gtn_bench.config.suite import parse
from gtn_bench.data.digits import Digits
from gtn_bench.data.torchvision import MNIST
from gtn_bench.execution import loading
from gtn_bench.execution.teach import TeacherSpec, _labeled, finish, load_teacher, retrain, teach
from gtn_bench.planning.planner import plan
from gtn_bench.reporting import teacher_report
from gtn_bench.store.files import read_tensors, write_tensors
from gtn_bench.store.hashing import file_digest
from gtn_bench.teaching.curricula import Curriculum
from gtn_bench.teaching.encoding import facts
from gtn_bench.teaching.history import Monitor
from gtn_bench.teaching.meta_training import backward
from gtn_bench.teaching.optimizers import SGD
from gtn_bench.teaching.teaching_set import TeachingSet
from gtn_bench.teaching.zoo import Trained, zoo

SPEC = """
name: small
dataset: digits
teacher: {name: cgtn, architecture: linear, inner_steps: 12, batch_size: 20, meta_batch_size: 16, latent_size: 8,
          meta_steps: 6, lr: 0.005, curriculum_lr: 0.05, learners: 2}
"""


@pytest.fixture
def spec(tmp_path: Path) -> TeacherSpec:
    return load_teacher(written(tmp_path))


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = SPEC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "small.yaml").write_text(text)
    return folder / "small.yaml"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    teach(load_teacher(written(folder)), folder / "out", device="cpu", check_every=3)
    return folder / "out"


def test_teach_writes_the_teaching_set_its_specification_and_its_provenance(taught: Path) -> None:
    assert {path.name for path in taught.iterdir()} >= {"teacher.yaml", "teacher.safetensors", "provenance.json"}
    assert not (taught / "checkpoint.safetensors").exists()
    assert facts(taught / "teacher.safetensors")[:3] == (12, (1, 8, 8), 10)
    provenance = json.loads((taught / "provenance.json").read_text())
    assert provenance["teacher"] == "small" and provenance["seconds"] > 0 and provenance["machine"]["device"] == "cpu"
    again = load_teacher(taught / "teacher.yaml")  # the specification with every default
    assert again.teacher == load_teacher(written(taught.parent)).teacher
    assert "meta_batch_size: 16" in (taught / "teacher.yaml").read_text()


def test_finished_teacher_and_its_specification_are_not_written_again(taught: Path) -> None:
    before = file_digest(taught / "teacher.safetensors")
    specification = taught / "teacher.yaml"
    specification.write_text(noted := specification.read_text() + "# a comment\n")
    steps: list[object] = []
    teach(load_teacher(specification), taught, device="cpu", progress=steps.append)
    assert not steps and file_digest(taught / "teacher.safetensors") == before
    assert specification.read_text() == noted


def test_folder_with_another_teacher_is_refused(taught: Path, tmp_path: Path) -> None:
    other = load_teacher(written(tmp_path, ("meta_steps: 6", "meta_steps: 7")))
    elsewhere = load_teacher(written(tmp_path, ("dataset: digits", "dataset: mnist")))
    for wrong in (other, elsewhere):
        with pytest.raises(ConfigError, match="holds another teacher; choose another folder"):
            teach(wrong, taught, device="cpu")


def test_folder_is_locked_while_a_process_meta_trains_there(taught: Path, tmp_path: Path) -> None:
    spec = load_teacher(taught / "teacher.yaml")
    with FileLock(tmp_path / ".lock"), pytest.raises(ConfigError, match="another process is meta-training there"):
        teach(spec, tmp_path, device="cpu")
    assert not (tmp_path / "teacher.yaml").exists()
    teach(spec, taught, device="cpu")
    assert not (taught / ".lock").exists()
    with pytest.raises(ConfigError, match=r"^checkpoint_every expects at least one meta-step, got 0$"):
        teach(spec, tmp_path, device="cpu", checkpoint_every=0)


@pytest.mark.slow
def test_killed_meta_training_resumes_to_the_same_teacher(taught: Path, tmp_path: Path) -> None:
    script = (
        "import torch, sys; torch.set_num_threads(1)\n"
        "from gtn_bench.execution.teach import load_teacher, teach\n"
        "teach(load_teacher(sys.argv[1]), sys.argv[2], device='cpu', checkpoint_every=1, check_every=3,\n"
        "      progress=lambda history: print(len(history.losses), flush=True))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", script, str(written(tmp_path)), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while process.stdout.readline().strip() not in ("2", ""):
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (out / "checkpoint.safetensors").exists() and not (out / "teacher.safetensors").exists()
    steps: list[int] = []
    spec = load_teacher(tmp_path / "small.yaml")
    teach(spec, out, device="cpu", check_every=3, progress=lambda history: steps.append(len(history.losses)))
    assert steps[0] in (3, 4) and steps[-1] == 6
    assert (out / "teacher.safetensors").read_bytes() == (taught / "teacher.safetensors").read_bytes()


RANK = """
import sys, torch
from helpers.teachers import untrained
from torch import distributed
from gtn_bench.execution.teach import load_teacher
from gtn_bench.teaching.meta_training import backward
torch.set_num_threads(1)
rank, store, spec, out = int(sys.argv[1]), *sys.argv[2:]
distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
training, module, train = untrained(load_teacher(spec).teacher)
loss = backward(training, module, train, 5, 0, rank, 2)
if rank == 0:
    torch.save([loss, [value.grad for value in module.parameters()]], out)
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_torchrun_gives_the_teacher_of_one_process(taught: Path, tmp_path: Path) -> None:
    script = tmp_path / "teach.py"
    script.write_text(
        "import sys, torch; torch.set_num_threads(1)\n"
        "from gtn_bench.execution.teach import load_teacher, teach\n"
        "teach(load_teacher(sys.argv[1]), sys.argv[2], device='cpu', check_every=3)"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run([*command, str(written(tmp_path)), str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "teacher.yaml",
        "teacher.safetensors",
        "provenance.json",
    }
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["processes"] == 2
    one, two = (TeachingSet.load(folder / "teacher.safetensors") for folder in (taught, tmp_path / "out"))
    losses = [torch.tensor(found.metadata["history"]["losses"]) for found in (one, two)]
    assert torch.allclose(*losses, atol=1e-3)
    assert torch.allclose(one.curriculum.lr, two.curriculum.lr, rtol=1e-2)


@pytest.mark.slow
def test_meta_gradient_of_two_processes_equals_that_of_one(spec: TeacherSpec, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("store", "small.yaml", "gradient.pt")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # for the helpers
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), *files], env=environment) for rank in (0, 1)]
    training, module, train = untrained(spec.teacher)
    loss = backward(training, module, train, 5, 0, 0, 1)
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    shared_loss, shared = torch.load(files[2], weights_only=True)
    assert shared_loss == pytest.approx(loss, abs=1e-6)
    for value, grad in zip(module.parameters(), shared, strict=True):
        assert value.grad is not None and torch.allclose(value.grad, grad, atol=1e-6)


def test_learners_that_processes_cannot_share_evenly_are_refused(spec: TeacherSpec) -> None:
    with pytest.raises(
        ConfigError, match="3 processes cannot share 2 learners per meta-step evenly; set learners to a"
    ):
        spec.teacher(Digits(), Digits()(), device="cpu", monitor=Monitor(ranks=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("architecture: linear", "architecture: lineer"), "unknown architecture 'lineer'; did you mean 'linear'"),
        (("architecture: linear", "architecture: []"), "at least one entry, got none"),
        (("inner_steps: 12", "inner_steps: 0"), "inner_steps: .*expects a number greater than 0, got 0"),
        (("meta_steps: 6", "meta_steps: 0"), "meta_steps: .*expects a number greater than 0, got 0"),
        (("batch_size: 20", "batch_size: 9"), "batch_size of at least one image per class \\(10\\), got 9"),
        (("meta_batch_size: 16", "exam_size: 16"), "exam_size: .*; it is now called 'meta_batch_size'"),
        (("lr: 0.005", "lrr: 0.005"), "lrr: .*did you mean 'lr'"),
        (("name: cgtn", "name: cgnt"), "unknown teacher 'cgnt'; did you mean 'cgtn'"),
        (("name: cgtn", "inner_optimizer: sdg, name: cgtn"), "unknown optimizer 'sdg'; did you mean 'sgd'"),
        (("name: cgtn", "growth: 6, name: cgtn"), "expects growth to end before the last of its 6 meta-steps, got 6"),
        (("name: cgtn", "growth: 2, growth_from: 12, name: cgtn"), "growth_from below its 12 inner steps, got 12"),
        (
            ("name: cgtn", "growth: 2, growth_from: 4, growth_to: 3, name: cgtn"),
            "expects growth_to between growth_from, 4, and its 12 inner steps, got 3",
        ),
        (
            ("name: cgtn", "growth: 2, growth_to: 13, name: cgtn"),
            "expects growth_to between growth_from, 10, and its 12 inner steps, got 13",
        ),
        (("name: cgtn", "meta_losses: 0, name: cgtn"), "meta_losses: .*expects a number greater than 0, got 0"),
        (("name: cgtn", "inner_lr_decay: 1.5, name: cgtn"), "inner_lr_decay: .*a number at most 1, got 1.5"),
        (("name: cgtn", "widths: [2, 1], name: cgtn"), r"expects widths as \[smallest, largest\], got \[2.0, 1.0\]"),
        (("name: cgtn", "narrow: 7, name: cgtn"), "expects narrow to be at most its 6 meta-steps, got 7"),
        (("name: cgtn", "narrow: 2, narrow_width: 2, name: cgtn"), "narrow_width: .*less than 1, got 2"),
        (("dataset: digits", "dataset: digit"), "unknown dataset 'digit'; did you mean 'digits'"),
        (("dataset: digits\n", ""), "dataset: .*needs this key"),
        (("name: small\n", "name: small\nnames: 3\n"), "names: .*does not know this key; did you mean 'name'"),
        (("architecture: linear", "architecture: base_larger4, name: gtn"), "key 'name' occurs twice"),
    ],
)
def test_invalid_specifications_raise_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_teacher(written(tmp_path, change))
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).startswith("small.yaml: ")


def test_specifications_that_are_missing_or_not_meta_trained_are_refused(taught: Path, tmp_path: Path) -> None:
    file = taught / "teacher.safetensors"
    (tmp_path / "ready.yaml").write_text(
        f"{{name: ready, dataset: digits, teacher: {{name: trained, teaching_set: '{file}'}}}}"
    )
    with pytest.raises(ConfigError, match=r"^ready.yaml: teacher: teacher 'trained' is not meta-trained$"):
        load_teacher(tmp_path / "ready.yaml")
    with pytest.raises(ConfigError, match="unknown teacher 'base_lrger'; did you mean 'base_larger'"):
        load_teacher("base_lrger")
    with pytest.raises(ConfigError, match=r"missing.yaml: no such file"):
        load_teacher("missing.yaml")


def test_missing_data_is_reported_before_meta_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision finds no files in an empty folder, and its download fails."""

    class Absent:
        def __init__(self, root: str, train: bool, download: bool) -> None:
            raise RuntimeError("Dataset not found" if not download else "no network")

    monkeypatch.setenv("GTN_BENCH_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.MNIST", Absent)
    loading.splits.cache_clear()
    steps: list[object] = []
    with pytest.raises(ConfigError, match=f"data set 'mnist' is not in {tmp_path} and could not be downloaded"):
        teach(
            load_teacher(written(tmp_path, ("digits", "mnist"))), tmp_path / "out", device="cpu", progress=steps.append
        )
    assert not steps and not (tmp_path / "out" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("name", teacher_specs())
def test_shipped_specifications_load(name: str) -> None:
    spec = load_teacher(name)
    assert spec.name == name and spec.teacher.work > 0


def test_retrain_measures_ten_and_all_inner_steps_and_caches_learners(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    source = str(taught / "teacher.safetensors")
    table = retrain(source, tmp_path / "out", architectures=["linear", "base"], learners=2, device="cpu", workers=1)
    assert table[["architecture", "inner_steps", "statistics"]].to_numpy().tolist() == [
        [architecture, steps, statistics]
        for architecture in ("linear", "base")
        for steps in (10, 12)
        for statistics in ("real", "teaching")
    ]
    assert (table["learners"] == 2).all() and table["accuracy"].between(0, 1).all()
    assert table["accuracy"].max() > 0.3
    store = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "learners").rglob("*.safetensors")}
    assert len(store) == 16
    retrain(source, tmp_path / "out", architectures=["linear", "base"], learners=2, device="cpu", workers=1)
    assert store == {path: path.stat().st_mtime_ns for path in store}  # cached by content

    finish(taught, table, export=tmp_path / "export.safetensors")
    metadata = facts(tmp_path / "export.safetensors").metadata
    assert len(metadata["accuracy"]) == 8 and metadata["provenance"]["teacher"] == "small"
    page = teacher_report(taught).read_text()
    assert "| linear | 10 | real |" in page and "None" not in page
    assert {path.name for path in (taught / "figures").glob("*.png")} == {"learning.png", "curriculum.png", "rates.png"}


def test_teacher_report_refuses_folders_without_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expects the folder of a teacher, found no teacher.safetensors"):
        teacher_report(tmp_path)
    for name in ("teacher.safetensors", "provenance.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"teacher.safetensors is not a teaching set"):
        teacher_report(tmp_path)


def mnist_sized() -> TeachingSet:
    torch.manual_seed(0)
    labels = torch.eye(10)[torch.arange(128) % 10].expand(64, 128, 10)
    return TeachingSet(
        Curriculum(torch.randn(64, 128, 1, 28, 28), labels, torch.rand(64), torch.rand(64)), SGD(), {"a": 1}
    )


def test_teaching_set_for_mnist_takes_at_most_8_megabytes_and_round_trips(tmp_path: Path) -> None:
    one, path = mnist_sized(), tmp_path / "set.safetensors"
    one.save(path)
    assert path.stat().st_size <= 8_000_000
    two = TeachingSet.load(path)
    level = (one.curriculum.images.max() - one.curriculum.images.min()) / 255
    assert (one.curriculum.images - two.curriculum.images).abs().max() <= level * 0.501
    assert torch.equal(one.curriculum.labels, two.curriculum.labels)
    assert torch.equal(one.curriculum.lr, two.curriculum.lr)
    assert torch.equal(one.curriculum.momentum, two.curriculum.momentum)
    assert two.optimizer == SGD() and two.metadata == {"a": 1}
    two.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()  # only the first save rounds


def test_saving_a_loaded_teaching_set_gives_the_same_bytes_for_any_range_of_pixels(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    path, again = tmp_path / "set.safetensors", tmp_path / "again.safetensors"
    labels = torch.eye(2).expand(1, 2, 2)
    for _ in range(50):
        images = torch.randn(1, 2, 1, 8, 8, generator=draw) * 10 ** torch.randn(1, generator=draw)
        TeachingSet(Curriculum(images, labels, torch.ones(1), torch.ones(1)), SGD(), {}).save(path)
        TeachingSet.load(path).save(again)
        assert again.read_bytes() == path.read_bytes()


def test_teaching_set_with_nan_is_not_written(tmp_path: Path) -> None:
    one = mnist_sized()
    broken = one.curriculum._replace(lr=one.curriculum.lr * math.nan)
    with pytest.raises(RunError, match="needs finite images"):
        TeachingSet(broken, SGD(), {}).save(tmp_path / "set.safetensors")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": np.full(64, np.nan, np.float32)}, "it holds non-finite numbers"),
        ({"lr": np.ones((64, 3), np.float32)}, "its tensors have the wrong number of dimensions"),
        ({"labels": np.ones((64, 128), np.float32)}, "its tensors have the wrong number of dimensions"),
        ({"labels": np.ones(10, np.float32)}, "RuntimeError"),
        ({"range": np.ones(1, np.float32)}, "IndexError"),
        ({"momentum": np.ones(5, np.float32)}, "its tensors differ in length"),
    ],
    ids=[
        "nan",
        "rates of two dimensions",
        "labels of two dimensions",
        "labels of one",
        "range of one",
        "momentum of five",
    ],
)
def test_damaged_teaching_sets_are_refused(
    change: dict[str, np.ndarray[Any, Any]], message: str, tmp_path: Path
) -> None:
    mnist_sized().save(tmp_path / "set.safetensors")
    tensors, metadata = read_tensors(tmp_path / "set.safetensors")
    write_tensors(tmp_path / "set.safetensors", {**tensors, **change}, metadata)
    with pytest.raises(ConfigError, match=rf"is not a teaching set \(.*{message}"):
        TeachingSet.load(tmp_path / "set.safetensors")


def test_soft_labels_round_trip(tmp_path: Path) -> None:
    one = mnist_sized()
    soft = torch.rand(64, 128, 10).softmax(2)
    TeachingSet(one.curriculum._replace(labels=soft), one.optimizer, {}).save(tmp_path / "soft.safetensors")
    assert torch.equal(TeachingSet.load(tmp_path / "soft.safetensors").curriculum.labels, soft)


def test_trained_teacher_by_path_and_by_url(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    file = taught / "teacher.safetensors"
    checksum = file_digest(file)
    by_path = Trained(teaching_set=str(file))
    assert by_path.sha256 == checksum and by_path.inner_steps_taught == 12
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(file.read_bytes())
    assert Trained(teaching_set=str(copied)).content() == by_path.content()  # the path does not matter

    handler = partial(SimpleHTTPRequestHandler, directory=str(taught))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/teacher.safetensors"
        by_url = Trained(teaching_set=url, sha256=checksum)
        with pytest.raises(ConfigError, match=r"^teacher 'trained' needs the sha256 of http"):
            retrain(url, tmp_path / "out")
        assert by_url.inner_steps_taught is None  # a description downloads nothing
        fetched = by_url(Digits(), {}, device="cpu")
        with pytest.raises(ConfigError, match=f"expects the sha256 {'0' * 64} of http.*, got {checksum}"):
            Trained(teaching_set=url, sha256="0" * 64)(Digits(), {}, device="cpu")
        server.shutdown()
    here = by_path(Digits(), {}, device="cpu")
    assert torch.equal(fetched.curriculum.images, here.curriculum.images)
    cached = by_url(Digits(), {}, device="cpu")  # the server is down
    assert cached.curriculum.lr.equal(here.curriculum.lr)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teaching_set": "nothing/here.safetensors"}, "nothing/here.safetensors: no such file"),
        ({"teaching_set": "mnist"}, "no teaching set 'mnist'"),
        ({"teaching_set": "~nobody/a.safetensors"}, "~nobody/a.safetensors: no such file"),
        ({"teaching_set": "a" * 300 + ".safetensors"}, "a.safetensors: no such file"),
        ({"teaching_set": "https://example.org/a.safetensors"}, "needs the sha256 of https://example.org"),
    ],
)
def test_missing_teaching_sets_are_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trained(**fields)


def test_trained_teacher_must_match_the_data_set_and_its_checksum(taught: Path, tmp_path: Path) -> None:
    file = str(taught / "teacher.safetensors")
    with pytest.raises(
        ConfigError, match=r"holds images \(1, 8, 8\) of 10 classes, data set 'mnist' has \(1, 28, 28\)"
    ):
        Trained(teaching_set=file).check(MNIST())
    with pytest.raises(ValueError, match="expects the sha256 0000"):
        Trained(teaching_set=file, sha256="0" * 64)
    (tmp_path / "not.safetensors").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="is not a teaching set"):
        Trained(teaching_set=str(tmp_path / "not.safetensors")).check(MNIST())


@pytest.mark.parametrize(
    "change",
    [{"teacher": None}, {"teacher": "cgtn"}, {"teacher": {}}, {"teacher": {"architecture": "linear"}}, {"dataset": 3}],
)
def test_retrain_refuses_teaching_sets_without_valid_metadata(
    change: dict[str, Any], taught: Path, tmp_path: Path
) -> None:
    tensors, metadata = read_tensors(taught / "teacher.safetensors")
    write_tensors(tmp_path / "odd.safetensors", tensors, metadata | change)
    with pytest.raises(ConfigError, match=r"odd\.safetensors does not say what it was made for$"):
        retrain(str(tmp_path / "odd.safetensors"), tmp_path / "out", device="cpu")
    write_tensors(tmp_path / "odd.safetensors", tensors | {"labels": tensors["labels"].astype(int)}, metadata)
    with pytest.raises(ConfigError, match="it holds integers where floating-point numbers are expected"):
        retrain(str(tmp_path / "odd.safetensors"), tmp_path / "out", device="cpu")


def test_retrain_refuses_unknown_names_and_checksums(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^teacher 'trained': no teaching set 'nothing'"):
        retrain("nothing", tmp_path / "out")
    with pytest.raises(ConfigError, match="expects 64 lower-case hexadecimal digits, got 'abc'"):
        retrain("nothing", tmp_path / "out", sha256="abc")


def test_architectures_with_equal_names_get_labels() -> None:
    full = {"name": "base", "batch_norm": "full"}
    entries = [{"name": "base", "batch_norm": "mean"}, full, {"name": "linear"}, full]
    assert [entry.get("label", entry["name"]) for entry in _labeled(entries)] == ["base", "base-2", "linear"]


def test_plan_with_a_trained_teacher_holds_its_checksum_and_its_inner_steps(taught: Path) -> None:
    file = taught / "teacher.safetensors"
    text = (
        f"{{name: s, dataset: digits, teachers: [{{name: trained, teaching_set: '{file}'}}], architectures: [linear], "
        "modes: [gtn, 10_gtn], seeds: [0], perturbations: [{name: noise, beta: [0]}]}"
    )
    assert hashlib.sha256(file.read_bytes()).hexdigest() in plan(parse(text)).suite.to_yaml()
    with pytest.raises(ConfigError, match="trains for 13 inner steps, the teacher has 12"):
        plan(parse(text.replace("modes: [gtn", "modes: [{name: gtn, inner_steps: 13}")))


@pytest.mark.parametrize("name", zoo())
def test_zoo_teachers_hold_provenance_and_accuracy(name: str) -> None:
    found = facts(zoo()[name])
    assert zoo()[name].stat().st_size <= 8_000_000
    assert found.inner_steps >= 10 and found.metadata["teacher"]["seed"] is not None
    assert found.metadata["provenance"]["seconds"] > 0 and found.metadata["provenance"]["machine"]
    assert all(row["learners"] == 5 for row in found.metadata["accuracy"])
    tensors, _ = read_tensors(zoo()[name])
    assert np.isfinite(tensors["lr"]).all() and tensors["images"].dtype == np.uint8
