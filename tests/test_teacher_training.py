from __future__ import annotations

import hashlib
import json
import math
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

from gtn_bench import work
from gtn_bench.cache import file_digest, read_tensors, write_tensors
from gtn_bench.datasets import MNIST, Digits
from gtn_bench.description import Failure, Mistake
from gtn_bench.planner import plan
from gtn_bench.reporting import teacher_report
from gtn_bench.suite import parse, teacher_specs
from gtn_bench.teacher_training import TeacherSpec, _labelled, finish, load_teacher, retrain, teach
from gtn_bench.teaching import Trained, zoo
from gtn_bench.teaching.lessons import Lesson
from gtn_bench.teaching.meta_training import Watch, backward
from gtn_bench.teaching.optimizers import SGD
from gtn_bench.teaching.teaching_set import TeachingSet
from gtn_bench.teaching.zoo import facts

SPEC = """
name: small
dataset: digits
teacher: {name: cgtn, architecture: linear, inner_steps: 12, batch_size: 20, exam_size: 16, latent_size: 8,
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
    """The folder of a finished teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    teach(load_teacher(written(folder)), folder / "out", device="cpu", check_every=3)
    return folder / "out"


def test_a_teacher_leaves_its_set_its_specification_and_its_provenance(taught: Path) -> None:
    assert {path.name for path in taught.iterdir()} >= {"teacher.yaml", "teacher.safetensors", "provenance.json"}
    assert not (taught / "checkpoint.safetensors").exists()
    assert facts(taught / "teacher.safetensors")[:3] == (12, (1, 8, 8), 10)
    provenance = json.loads((taught / "provenance.json").read_text())
    assert provenance["teacher"] == "small" and provenance["seconds"] > 0 and provenance["machine"]["device"] == "cpu"
    again = load_teacher(taught / "teacher.yaml")  # every default is written out
    assert again.teacher == load_teacher(written(taught.parent)).teacher
    assert "exam_size: 16" in (taught / "teacher.yaml").read_text()


def test_a_finished_teacher_is_not_trained_again(taught: Path) -> None:
    """And its specification, with what somebody noted in it, is left as it is."""
    before = file_digest(taught / "teacher.safetensors")
    specification = taught / "teacher.yaml"
    specification.write_text(noted := specification.read_text() + "# mine\n")
    steps: list[object] = []
    teach(load_teacher(specification), taught, device="cpu", progress=steps.append)
    assert not steps and file_digest(taught / "teacher.safetensors") == before
    assert specification.read_text() == noted


def test_a_folder_with_another_teacher_is_left_alone(taught: Path, tmp_path: Path) -> None:
    other = load_teacher(written(tmp_path, ("meta_steps: 6", "meta_steps: 7")))
    elsewhere = load_teacher(written(tmp_path, ("dataset: digits", "dataset: mnist")))
    for wrong in (other, elsewhere):
        with pytest.raises(Mistake, match="holds another teacher; choose another folder"):
            teach(wrong, taught, device="cpu")


def test_only_one_process_at_a_time_works_in_a_folder(taught: Path, tmp_path: Path) -> None:
    spec = load_teacher(taught / "teacher.yaml")
    with FileLock(tmp_path / ".lock"), pytest.raises(Mistake, match="another process is meta-training there"):
        teach(spec, tmp_path, device="cpu")
    assert not (tmp_path / "teacher.yaml").exists()
    teach(spec, taught, device="cpu")
    assert not (taught / ".lock").exists()
    with pytest.raises(Mistake, match=r"^checkpoint_every expects at least one meta-step, got 0$"):
        teach(spec, tmp_path, device="cpu", checkpoint_every=0)


def test_killed_at_any_point_it_ends_with_the_same_teacher(taught: Path, tmp_path: Path) -> None:
    script = (
        "import torch, sys; torch.set_num_threads(1)\n"
        "from gtn_bench.teacher_training import load_teacher, teach\n"
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
from torch import distributed
from gtn_bench.datasets import Digits
from gtn_bench.teacher_training import load_teacher
from gtn_bench.teaching.meta_training import backward
torch.set_num_threads(1)
rank, store, spec, out = int(sys.argv[1]), *sys.argv[2:]
distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
teacher = load_teacher(spec).teacher
train = Digits()()["train"]
torch.manual_seed(0)
lessons = teacher.lessons(Digits(), train)
loss = backward(teacher, lessons, Digits(), train, 5, 0, rank, 2)
if rank == 0:
    torch.save([loss, [value.grad for value in lessons.parameters()]], out)
distributed.destroy_process_group()
"""


def test_torchrun_gives_the_teacher_of_one_process(taught: Path, tmp_path: Path) -> None:
    script = tmp_path / "teach.py"
    script.write_text(
        "import sys, torch; torch.set_num_threads(1)\n"
        "from gtn_bench.teacher_training import load_teacher, teach\n"
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
    losses = [torch.tensor(found.about["history"]["losses"]) for found in (one, two)]
    assert torch.allclose(*losses, atol=1e-3)
    assert torch.allclose(one.lesson.lr, two.lesson.lr, rtol=1e-2)


def test_two_processes_give_the_gradient_of_one(spec: TeacherSpec, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("store", "small.yaml", "gradient.pt")]
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), *files]) for rank in (0, 1)]
    train = Digits()()["train"]
    torch.manual_seed(0)
    lessons = spec.teacher.lessons(Digits(), train)  # type: ignore[attr-defined]
    loss = backward(spec.teacher, lessons, Digits(), train, 5, 0, 0, 1)  # type: ignore[arg-type]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    shared_loss, shared = torch.load(files[2], weights_only=True)
    assert shared_loss == pytest.approx(loss, abs=1e-6)
    for value, grad in zip(lessons.parameters(), shared, strict=True):
        assert value.grad is not None and torch.allclose(value.grad, grad, atol=1e-6)


def test_learners_that_processes_cannot_share_are_a_mistake(spec: TeacherSpec) -> None:
    with pytest.raises(Mistake, match="3 processes cannot share 2 learners per meta-step evenly; set learners to a"):
        spec.teacher(Digits(), Digits()(), device="cpu", watch=Watch(ranks=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("architecture: linear", "architecture: lineer"), "unknown architecture 'lineer'; did you mean 'linear'"),
        (("architecture: linear", "architecture: []"), "at least one entry, got none"),
        (("inner_steps: 12", "inner_steps: 0"), "inner_steps: .*expects a number greater than 0, got 0"),
        (("meta_steps: 6", "meta_steps: 0"), "meta_steps: .*expects a number greater than 0, got 0"),
        (("batch_size: 20", "batch_size: 9"), "batch_size of at least one image per class \\(10\\), got 9"),
        (("lr: 0.005", "lrr: 0.005"), "lrr: .*did you mean 'lr'"),
        (("name: cgtn", "name: cgnt"), "unknown teacher 'cgnt'; did you mean 'cgtn'"),
        (("name: cgtn", "inner_optimizer: sdg, name: cgtn"), "unknown optimizer 'sdg'; did you mean 'sgd'"),
        (("name: cgtn", "growth: 6, name: cgtn"), "expects growth to end before the last of its 6 meta-steps, got 6"),
        (("name: cgtn", "growth: 2, growth_from: 12, name: cgtn"), "growth_from below its 12 inner steps, got 12"),
        (("name: cgtn", "widths: [2, 1], name: cgtn"), r"expects widths as \[smallest, largest\], got \[2.0, 1.0\]"),
        (("dataset: digits", "dataset: digit"), "unknown dataset 'digit'; did you mean 'digits'"),
        (("dataset: digits\n", ""), "dataset: .*needs this key"),
        (("name: small\n", "name: small\nnames: 3\n"), "names: .*does not know this key; did you mean 'name'"),
        (("architecture: linear", "architecture: base_larger4, name: gtn"), "key 'name' occurs twice"),
    ],
)
def test_bad_specifications_are_one_clear_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(Mistake, match=message) as caught:
        load_teacher(written(tmp_path, change))
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).startswith("small.yaml: ")


def test_a_teacher_that_is_not_meta_trained_and_one_that_is_not_there(taught: Path, tmp_path: Path) -> None:
    file = taught / "teacher.safetensors"
    (tmp_path / "ready.yaml").write_text(
        f"{{name: ready, dataset: digits, teacher: {{name: trained, teaching_set: '{file}'}}}}"
    )
    with pytest.raises(Mistake, match=r"^ready.yaml: teacher: teacher 'trained' is not meta-trained$"):
        load_teacher(tmp_path / "ready.yaml")
    with pytest.raises(Mistake, match="unknown teacher 'base_lrger'; did you mean 'base_larger'"):
        load_teacher("base_lrger")
    with pytest.raises(Mistake, match=r"missing.yaml: no such file"):
        load_teacher("missing.yaml")


def test_missing_data_is_said_before_any_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision finds no files in an empty folder, and its download fails."""

    class Absent:
        def __init__(self, root: str, train: bool, download: bool) -> None:
            raise RuntimeError("Dataset not found" if not download else "no network")

    monkeypatch.setenv("GTN_BENCH_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.MNIST", Absent)
    work.splits.cache_clear()
    steps: list[object] = []
    with pytest.raises(Mistake, match=f"data set 'mnist' is not in {tmp_path} and could not be downloaded"):
        teach(
            load_teacher(written(tmp_path, ("digits", "mnist"))), tmp_path / "out", device="cpu", progress=steps.append
        )
    assert not steps and not (tmp_path / "out" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("name", teacher_specs())
def test_shipped_specifications_can_be_read(name: str) -> None:
    spec = load_teacher(name)
    assert spec.name == name and spec.teacher.work > 0


def test_retraining_after_ten_and_all_steps(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    source = str(taught / "teacher.safetensors")
    table = retrain(source, tmp_path / "out", architectures=["linear", "base"], seeds=2, device="cpu", workers=1)
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
    retrain(source, tmp_path / "out", architectures=["linear", "base"], seeds=2, device="cpu", workers=1)
    assert store == {path: path.stat().st_mtime_ns for path in store}  # cached by content

    finish(taught, table, export=tmp_path / "export.safetensors")
    about = facts(tmp_path / "export.safetensors").about
    assert len(about["accuracy"]) == 8 and about["provenance"]["teacher"] == "small"
    page = teacher_report(taught).read_text()
    assert "| linear | 10 | real |" in page and "None" not in page
    assert {path.name for path in (taught / "figures").glob("*.png")} == {"learning.png", "lessons.png", "rates.png"}


def test_a_report_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"expects the folder of a teacher, found no teacher.safetensors"):
        teacher_report(tmp_path)
    for name in ("teacher.safetensors", "provenance.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(Mistake, match=r"teacher.safetensors is not a teaching set"):
        teacher_report(tmp_path)


def mnist_sized() -> TeachingSet:
    torch.manual_seed(0)
    labels = torch.eye(10)[torch.arange(128) % 10].expand(64, 128, 10)
    return TeachingSet(Lesson(torch.randn(64, 128, 1, 28, 28), labels, torch.rand(64), torch.rand(64)), SGD(), {"a": 1})


def test_a_teaching_set_for_mnist_has_at_most_eight_megabytes_and_comes_back(tmp_path: Path) -> None:
    one, path = mnist_sized(), tmp_path / "set.safetensors"
    one.save(path)
    assert path.stat().st_size <= 8_000_000
    two = TeachingSet.load(path)
    level = (one.lesson.images.max() - one.lesson.images.min()) / 255
    assert (one.lesson.images - two.lesson.images).abs().max() <= level * 0.501
    assert torch.equal(one.lesson.labels, two.lesson.labels)
    assert torch.equal(one.lesson.lr, two.lesson.lr) and torch.equal(one.lesson.momentum, two.lesson.momentum)
    assert two.optimizer == SGD() and two.about == {"a": 1}
    two.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()  # nothing is lost a second time


def test_what_is_read_is_written_again_exactly(tmp_path: Path) -> None:
    """Over many ranges of pixels: the levels, and the darkest and the brightest pixel."""
    draw = torch.Generator().manual_seed(0)
    path, again = tmp_path / "set.safetensors", tmp_path / "again.safetensors"
    labels = torch.eye(2).expand(1, 2, 2)
    for _ in range(50):
        images = torch.randn(1, 2, 1, 8, 8, generator=draw) * 10 ** torch.randn(1, generator=draw)
        TeachingSet(Lesson(images, labels, torch.ones(1), torch.ones(1)), SGD(), {}).save(path)
        TeachingSet.load(path).save(again)
        assert again.read_bytes() == path.read_bytes()


def test_a_teaching_set_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    one = mnist_sized()
    with pytest.raises(Failure, match="needs finite images"):
        TeachingSet(one.lesson._replace(lr=one.lesson.lr * math.nan), SGD(), {}).save(tmp_path / "set.safetensors")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": np.full(64, np.nan, np.float32)}, "it holds numbers that are not finite"),
        ({"lr": np.ones((64, 3), np.float32)}, "its parts have other dimensions"),
        ({"labels": np.ones((64, 128), np.float32)}, "its parts have other dimensions"),
        ({"labels": np.ones(10, np.float32)}, "RuntimeError"),
        ({"range": np.ones(1, np.float32)}, "IndexError"),
        ({"momentum": np.ones(5, np.float32)}, "its parts differ in length"),
    ],
    ids=str,
)
def test_a_file_that_is_almost_a_teaching_set_is_a_mistake(
    change: dict[str, np.ndarray[Any, Any]], message: str, tmp_path: Path
) -> None:
    mnist_sized().save(tmp_path / "set.safetensors")
    tensors, about = read_tensors(tmp_path / "set.safetensors")
    write_tensors(tmp_path / "set.safetensors", {**tensors, **change}, about)
    with pytest.raises(Mistake, match=rf"is not a teaching set \(.*{message}"):
        TeachingSet.load(tmp_path / "set.safetensors")


def test_soft_labels_come_back(tmp_path: Path) -> None:
    one = mnist_sized()
    soft = torch.rand(64, 128, 10).softmax(2)
    TeachingSet(one.lesson._replace(labels=soft), one.optimizer, {}).save(tmp_path / "soft.safetensors")
    assert torch.equal(TeachingSet.load(tmp_path / "soft.safetensors").lesson.labels, soft)


def test_trained_teachers_by_path_name_and_url(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "store"))
    file = taught / "teacher.safetensors"
    checksum = file_digest(file)
    by_path = Trained(teaching_set=str(file))
    assert by_path.sha256 == checksum and by_path.inner_steps_taught == 12
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(file.read_bytes())
    assert Trained(teaching_set=str(copied)).content() == by_path.content()  # where it lies does not matter

    handler = partial(SimpleHTTPRequestHandler, directory=str(taught))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/teacher.safetensors"
        by_url = Trained(teaching_set=url, sha256=checksum)
        with pytest.raises(Mistake, match=r"^teacher 'trained' needs the sha256 of http"):
            retrain(url, tmp_path / "out")
        assert by_url.inner_steps_taught is None  # nothing is downloaded by a description
        fetched = by_url(Digits(), {}, device="cpu")
        with pytest.raises(Mistake, match=f"expects the sha256 {'0' * 64} of http.*, got {checksum}"):
            Trained(teaching_set=url, sha256="0" * 64)(Digits(), {}, device="cpu")
        server.shutdown()
    here = by_path(Digits(), {}, device="cpu")
    assert torch.equal(fetched.lesson.images, here.lesson.images)
    assert by_url(Digits(), {}, device="cpu").lesson.lr.equal(here.lesson.lr)  # from the cache, the server is gone


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
def test_trained_teachers_that_are_not_there(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trained(**fields)


def test_a_trained_teacher_must_fit_the_data_and_its_checksum(taught: Path, tmp_path: Path) -> None:
    file = str(taught / "teacher.safetensors")
    with pytest.raises(Mistake, match=r"holds images \(1, 8, 8\) of 10 classes, data set 'mnist' has \(1, 28, 28\)"):
        Trained(teaching_set=file).check(MNIST())
    with pytest.raises(ValueError, match="expects the sha256 0000"):
        Trained(teaching_set=file, sha256="0" * 64)
    (tmp_path / "not.safetensors").write_bytes(b"something else")
    with pytest.raises(Mistake, match="is not a teaching set"):
        Trained(teaching_set=str(tmp_path / "not.safetensors")).check(MNIST())


@pytest.mark.parametrize(
    "about",
    [{"teacher": None}, {"teacher": "cgtn"}, {"teacher": {}}, {"teacher": {"architecture": "linear"}}, {"dataset": 3}],
)
def test_a_teaching_set_that_does_not_say_what_it_is_for(about: dict[str, Any], taught: Path, tmp_path: Path) -> None:
    tensors, said = read_tensors(taught / "teacher.safetensors")
    write_tensors(tmp_path / "odd.safetensors", tensors, said | about)
    with pytest.raises(Mistake, match=r"odd\.safetensors does not say what it was made for$"):
        retrain(str(tmp_path / "odd.safetensors"), tmp_path / "out", device="cpu")
    write_tensors(tmp_path / "odd.safetensors", tensors | {"labels": tensors["labels"].astype(int)}, said)
    with pytest.raises(Mistake, match="it holds integers where real numbers are due"):
        retrain(str(tmp_path / "odd.safetensors"), tmp_path / "out", device="cpu")


def test_names_that_are_wrong_are_one_line_for_retraining(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^teacher 'trained': no teaching set 'nothing'"):
        retrain("nothing", tmp_path / "out")
    with pytest.raises(Mistake, match="expects 64 lower-case hexadecimal digits, got 'abc'"):
        retrain("nothing", tmp_path / "out", sha256="abc")


def test_architectures_of_one_name_get_labels() -> None:
    full = {"name": "base", "batch_norm": "full"}
    entries = [{"name": "base", "batch_norm": "mean"}, full, {"name": "linear"}, full]
    assert [entry.get("label", entry["name"]) for entry in _labelled(entries)] == ["base", "base-2", "linear"]


def test_a_suite_with_a_trained_teacher_names_its_checksum(taught: Path) -> None:
    file = taught / "teacher.safetensors"
    text = (
        f"{{name: s, dataset: digits, teachers: [{{name: trained, teaching_set: '{file}'}}], architectures: [linear], "
        "modes: [gtn, 10_gtn], seeds: [0], perturbations: [{name: noise, beta: [0]}]}"
    )
    assert hashlib.sha256(file.read_bytes()).hexdigest() in plan(parse(text)).suite.to_yaml()
    with pytest.raises(Mistake, match="trains for 13 inner steps, the teacher has 12"):
        plan(parse(text.replace("modes: [gtn", "modes: [{name: gtn, inner_steps: 13}")))


@pytest.mark.parametrize("name", zoo())
def test_the_zoo_says_where_its_teachers_come_from(name: str) -> None:
    found = facts(zoo()[name])
    assert zoo()[name].stat().st_size <= 8_000_000
    assert found.inner_steps >= 10 and found.about["teacher"]["seed"] is not None
    assert found.about["provenance"]["seconds"] > 0 and found.about["provenance"]["machine"]
    assert all(row["learners"] == 5 for row in found.about["accuracy"])
    tensors, _ = read_tensors(zoo()[name])
    assert np.isfinite(tensors["lr"]).all() and tensors["images"].dtype == np.uint8
