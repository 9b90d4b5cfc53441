"""Files of somebody else where teachers are meta-trained, retrained and exported."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gtn_bench
from gtn_bench import cli
from gtn_bench.execution.teach import load_teacher
from gtn_bench.models import ARCHITECTURES

TEACHER = """
name: small
dataset: digits
teacher: {name: cgtn, architecture: linear, inner_steps: 3, batch_size: 20, meta_batch_size: 10, latent_size: 4,
          meta_steps: 1}
"""
HEADER = "architecture,inner_steps,statistics,accuracy,std,learners,schema_version\n"
REMEDY = "; rename or remove them, or choose another folder"

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs a command in this process, and returns its exit code and its errors."""

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gtn-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), capsys.readouterr().err

    return command


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a specification, and the folder `taught` that `gtn-bench teach` has written."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "small.yaml").write_text(TEACHER)
    options = ("--out", folder / "taught", "--learners", "1", "--check-every", "0", "--export", folder / "export")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GTN_BENCH_CACHE", str(folder / "cache"))
        patched.setattr(sys, "argv", ["gtn-bench", "teach", str(folder / "small.yaml"), *map(str, options)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert not stopped.value.code
    return folder


@pytest.fixture
def taught(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the folder of a teacher. Learners are cached."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(whole / "cache"))
    return shutil.copytree(whole / "taught", tmp_path / "taught")


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let anything that is trained fail the test."""
    monkeypatch.setattr("gtn_bench.execution.teach.run", lambda *_, **__: pytest.fail("retrains"))
    monkeypatch.setattr("gtn_bench.execution.loading.splits", lambda *_: pytest.fail("meta-trains"))


FOREIGN = {
    "text": "mine",
    "empty": "",
    "other columns": "architecture,accuracy\nlinear,0.9\n",
    "another order": HEADER.replace("accuracy,std", "std,accuracy") + "linear,10,real,0.1,0.9,2,4\n",
    "another value": HEADER + "linear,10,real,high,0.1,2,4\n",
    "a longer row": HEADER + "linear,10,real,0.9,0.1,2,4,mine\n",
    "a comment": HEADER + "linear,10,real,0.9,0.1,2,4\n# mine\n",
    "binary": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_retrain_refuses_an_accuracy_table_of_somebody_else(
    content: str | bytes, whole: Path, tmp_path: Path, call: Call, no_work: None
) -> None:
    mine = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "accuracy.csv").write_bytes(mine)
    expected = f"error: {tmp_path}/out holds files that no retraining has written: accuracy.csv{REMEDY}\n"
    assert call("retrain", whole / "export", "--out", tmp_path / "out") == (2, expected)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["accuracy.csv"]
    assert (tmp_path / "out" / "accuracy.csv").read_bytes() == mine


@pytest.mark.parametrize(
    "row", ["", "linear,10,real,0.9,,1,4\n", "my net-2,3,teaching,1,1.5e-05,12,4\n", '"a,b",3,real,0,0,2,3\n']
)
def test_retrain_replaces_its_own_table(row: str, whole: Path, taught: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "accuracy.csv").write_text(HEADER + row)
    options = ("--learners", "1", "--workers", "1", "--device", "cpu")
    for _ in range(2):
        assert call("retrain", whole / "export", "--out", tmp_path / "out", *options)[0] == 0
        assert (tmp_path / "out" / "accuracy.csv").read_bytes() == (taught / "accuracy.csv").read_bytes()


def test_links_in_the_way_are_refused(whole: Path, tmp_path: Path, call: Call, no_work: None) -> None:
    (tmp_path / "mine").write_text(HEADER)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "accuracy.csv").symlink_to(tmp_path / "mine")
    expected = f"error: {tmp_path}/out/accuracy.csv: expects a file, got a symbolic link; remove it, or choose another"
    for command in (("retrain", whole / "export"), ("teach", whole / "small.yaml")):
        code, error = call(*command, "--out", tmp_path / "out")
        assert code == 2 and error.startswith(expected) and error.count("\n") == 1
    assert (tmp_path / "mine").read_text() == HEADER


TAUGHT = ["teacher.safetensors", "checkpoint.safetensors", "provenance.json", "accuracy.csv", "report.md", ".lock"]


@pytest.mark.parametrize("name", [*TAUGHT, "figures/learning.png", "figures/rates.svg"])
def test_teach_refuses_files_of_somebody_else(
    name: str, whole: Path, tmp_path: Path, call: Call, no_work: None
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    expected = f"error: {tmp_path}/out holds files that no meta-training has written: {name}{REMEDY}\n"
    assert call("teach", whole / "small.yaml", "--out", tmp_path / "out") == (2, expected)
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert files == [path] and path.read_text() == "mine"


@pytest.mark.parametrize("name", ["provenance.json", "accuracy.csv", "report.md", ".lock", "figures/rates.png"])
def test_teach_refuses_files_that_were_changed_in_its_own_folder(
    name: str, whole: Path, taught: Path, call: Call, no_work: None
) -> None:
    (taught / name).write_text("mine")
    expected = f"error: {taught} holds files that no meta-training has written: {name}{REMEDY}\n"
    assert call("teach", whole / "small.yaml", "--out", taught) == (2, expected)
    assert (taught / name).read_text() == "mine"


def test_teach_refuses_a_page_beside_an_unfinished_teacher(
    whole: Path, tmp_path: Path, call: Call, no_work: None
) -> None:
    (tmp_path / "out" / "figures").mkdir(parents=True)
    (tmp_path / "out" / "teacher.yaml").write_text(load_teacher(whole / "small.yaml").to_yaml())
    (tmp_path / "out" / "figures" / "rates.png").write_text("mine")
    expected = f"error: {tmp_path}/out holds files that no meta-training has written: figures/rates.png{REMEDY}\n"
    assert call("teach", whole / "small.yaml", "--out", tmp_path / "out") == (2, expected)


@pytest.mark.parametrize("name", ["accuracy.csv", "summary.csv", "provenance.json", "report.md"])
def test_teach_refuses_files_in_the_way_of_its_retraining(
    name: str, whole: Path, tmp_path: Path, call: Call, no_work: None
) -> None:
    path = tmp_path / "out" / "retrain" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, error = call("teach", whole / "small.yaml", "--out", tmp_path / "out")
    writer = "retraining" if name == "accuracy.csv" else "run"
    assert error.startswith(f"error: {tmp_path}/out/retrain holds files that no {writer} has written: {name}; ")
    assert (code, error.count("\n")) == (2, 1)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["retrain"] and path.read_text() == "mine"


def test_teach_continues_its_own_folder(whole: Path, taught: Path, call: Call) -> None:
    table = (taught / "accuracy.csv").read_bytes()
    (taught / ".lock").touch()  # of a killed process
    options = ("--out", taught, "--learners", "1", "--export", whole / "export")
    assert call("teach", whole / "small.yaml", *options)[0] == 0
    assert (taught / "accuracy.csv").read_bytes() == table


def test_an_export_replaces_nothing_but_a_teaching_set(whole: Path, tmp_path: Path, call: Call, no_work: None) -> None:
    (tmp_path / "mine").write_text("mine")
    expected = (
        f"error: {tmp_path}/mine holds something else than a teaching set; --export does not replace it, "
        "choose another file\n"
    )
    options = ("--out", tmp_path / "out", "--export", tmp_path / "mine")
    assert call("teach", whole / "small.yaml", *options) == (2, expected)
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "out").exists()


def test_a_changed_report_of_a_teacher_is_replaced_only_if_that_is_accepted(taught: Path, call: Call) -> None:
    before = (taught / "report.md").read_bytes()
    (taught / "report.md").write_text("mine")
    code, error = call("report", taught)
    assert code == 2 and "holds files that changed after a report: report.md; rename or remove them, or" in error
    assert call("report", taught, "--accept-changes")[0] == 0 and (taught / "report.md").read_bytes() == before


def test_python_functions_refuse_them_too(whole: Path, tmp_path: Path, no_work: None) -> None:
    (tmp_path / "accuracy.csv").write_text("mine")
    with pytest.raises(gtn_bench.ConfigError, match=r"no meta-training has written: accuracy\.csv; rename"):
        gtn_bench.teach(load_teacher(whole / "small.yaml"), tmp_path, device="cpu")
    with pytest.raises(gtn_bench.ConfigError, match=r"no retraining has written: accuracy\.csv; rename"):
        gtn_bench.retrain(whole / "export", tmp_path, device="cpu")


@pytest.mark.slow
def test_teach_and_retrain_take_architectures_of_plug_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "cache"))
    plugin = tmp_path / "plugged_models.py"
    plugin.write_text(
        "import gtn_bench\nfrom torch import nn\n\n\n@gtn_bench.architecture\ndef plugged(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    (tmp_path / "own.yaml").write_text(TEACHER.replace("linear", "plugged"))
    options = ("--learners", "1", "--device", "cpu")
    taught = tmp_path / "taught"
    code, error = call("teach", tmp_path / "own.yaml", "--out", taught)
    assert code == 2 and "unknown architecture 'plugged'" in error and "--plugin" in error
    try:
        assert call("teach", tmp_path / "own.yaml", "--out", taught, "--plugin", plugin, *options)[0] == 0
        again = ("retrain", taught / "teacher.safetensors", "--out", tmp_path / "out", "--plugin", plugin, *options)
        assert call(*again, "--workers", "2")[0] == 0
        assert (tmp_path / "out" / "accuracy.csv").read_bytes() == (taught / "accuracy.csv").read_bytes()
    finally:
        sys.modules.pop("plugged_models", None)
        ARCHITECTURES.pop("plugged", None)
