"""The check of a GPU runs on a CPU with tiny sizes, so that it is known not to fail for another reason than the GPU."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import torch

from gtn_bench.perturbations import PERTURBATIONS

FOLDER = Path(__file__).parents[1] / "benchmarks" / "speed"
TABLES = ["native perturbations", "waits", "libraries", "meta-step", "published protocol"]


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("accelerator")


def run(accelerator: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the script in this process, without compiled kernels, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["accelerator.py", *arguments])
    numba = mock.patch("gtn_bench.models.numba_backend.available", return_value=False)
    with numba, pytest.raises(SystemExit) as ended:
        accelerator.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.slow
def test_all_tables_on_a_cpu(
    accelerator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "numbers.json"
    assert run(accelerator, monkeypatch, "--device", "cpu", "--quick", "--json", str(file)) == 0
    content = json.loads(file.read_text())
    assert content["machine"]["device"] == "cpu" and content["torch"] == torch.__version__
    tables = content["tables"]
    assert list(tables) == TABLES
    natives = [name for name in PERTURBATIONS if name not in ("art", "foolbox", "torchattacks")]
    assert [row["name"] for row in tables["native perturbations"]] == natives
    assert all(row["largest difference"] == 0 and row["same bits twice"] for row in tables["native perturbations"])
    assert [row["waits"] for row in tables["meta-step"]] == [0, 0]
    assert tables["published protocol"][-1]["cells"] == 12
    printed = capsys.readouterr().out
    assert all(f"\n{title}\n" in printed for title in TABLES) and "all passed" in printed


def test_failures_and_the_time_limit_are_reported(
    accelerator: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"name": "fgsm", "passed": False}
    monkeypatch.setattr(accelerator, "native_row", lambda setting, name: row)
    monkeypatch.setattr(accelerator, "native_names", lambda: ["fgsm"])
    clock = iter([0.0, 1.0])
    monkeypatch.setattr(accelerator.time, "perf_counter", lambda: next(clock, accelerator.LIMIT + 1))
    monkeypatch.setattr(accelerator, "describe", lambda device: "cpu")
    monkeypatch.setattr(accelerator.Setting, "prepare", lambda *arguments: None)
    assert run(accelerator, monkeypatch, "--device", "cpu", "--quick") == 1
    printed = capsys.readouterr().out
    assert printed.count("not run: the time is used up") == len(TABLES) - 1
    assert "FAILED: fgsm" in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(accelerator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["accelerator.py"])
    with pytest.raises(SystemExit, match="no GPU here; use --device cpu --quick"):
        accelerator.main()
