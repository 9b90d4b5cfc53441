"""The GPU that a process uses, how exactly it computes, and what identifies its numbers; with a fake GPU."""

from __future__ import annotations

import ctypes.util
import multiprocessing
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gtn_bench
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits
from gtn_bench.evaluation import batching, timing
from gtn_bench.evaluation.batching import in_batches
from gtn_bench.evaluation.timing import seconds_when_done
from gtn_bench.execution import accelerator, environment
from gtn_bench.execution.accelerator import check_bfloat16, device_key, gpu_facts, reproducible, select_gpu
from gtn_bench.execution.environment import choose_device, default_workers, has_driver, machine
from gtn_bench.execution.jobs import Job, run_job
from gtn_bench.execution.memory import release_gpu_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.modes.training import train
from gtn_bench.perturbations.libraries.rng import isolated
from gtn_bench.store.cache import Context, Store

OPERATIONS = accelerator._OPERATIONS
V100 = SimpleNamespace(name="Tesla V100", major=7, minor=0, total_memory=32_000_000_000)
A100 = SimpleNamespace(name="NVIDIA A100", major=8, minor=0, total_memory=80_000_000_000)


class FakeGPUs:
    """GPUs of which PyTorch says that they are there. Nothing can be computed on them.

    Attributes:
        called: Names and arguments of the calls that changed something.
        cards: Their properties.
        current: Number of the current one.
        share: Share of its memory that this process may use.
    """

    def __init__(self, *cards: SimpleNamespace) -> None:
        self.cards, self.called, self.current, self.share = list(cards), [], 0, 1.0  # type: ignore[var-annotated]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def number(device: Any) -> int:
            return int(getattr(device, "index", device) or 0) if device is not None else self.current

        def recorder(name: str) -> Any:
            return lambda *args: self.called.append((name, *args))

        def set_share(share: float) -> None:
            self.share = share

        def set_device(device: int) -> None:
            self.current = device

        fakes = {
            "is_available": lambda: True,
            "device_count": lambda: len(self.cards),
            "current_device": lambda: self.current,
            "get_device_name": lambda device=None: self.cards[number(device)].name,
            "get_device_properties": lambda device=None: self.cards[number(device)],
            "set_device": set_device,
            "set_per_process_memory_fraction": set_share,
            "get_per_process_memory_fraction": lambda device=None: self.share,
            "synchronize": recorder("synchronize"),
            "empty_cache": recorder("empty_cache"),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake, raising=False)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.version, "cuda", "13.2")
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGPUs]:
    """Return two fake GPUs."""
    fake = FakeGPUs(A100, A100)
    fake.install(monkeypatch)
    gpu_facts.cache_clear()
    yield fake
    gpu_facts.cache_clear()


def precisions() -> list[str]:
    return [torch._C._get_fp32_precision_getter(*place) for place in OPERATIONS]


@pytest.fixture
def precision_settings() -> Iterator[None]:
    """Restore the precision settings of PyTorch."""
    before = precisions()
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
    for place, value in zip(OPERATIONS, before, strict=True):
        torch._C._set_fp32_precision_setter(*place, value)


def test_cudnn_uses_tf32_unless_it_is_told_not_to() -> None:
    """PyTorch's default, which would make float32 convolutions less precise."""
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.usefixtures("precision_settings")
@pytest.mark.parametrize("interface", ["default", "old", "new", "generic"])
def test_float32_is_exact_and_the_settings_return(interface: str, device: str) -> None:
    if interface == "old":
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = True
    if interface == "new":
        for place in OPERATIONS:
            torch._C._set_fp32_precision_setter(*place, "tf32")
    if interface == "generic":
        torch.backends.fp32_precision = "tf32"
    before = precisions()
    with pytest.raises(KeyError), reproducible(device):
        assert set(precisions()) <= {"ieee", "none"}
        if interface in ("default", "old"):  # other code can read both interfaces
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        raise KeyError
    assert precisions() == before
    torch.backends.fp32_precision = "none"


def test_versions_without_the_new_interface_use_the_old_one(
    monkeypatch: pytest.MonkeyPatch, precision_settings: None
) -> None:
    monkeypatch.delattr(torch._C, "_get_fp32_precision_getter")
    torch.set_float32_matmul_precision("high")
    with reproducible("cuda"):
        assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32


def test_bfloat16_products_of_a_cpu_are_exact_in_a_run(precision_settings: None) -> None:
    a, b = torch.rand(2, 256, 256, generator=torch.Generator().manual_seed(0))
    expected = a @ b
    torch.set_float32_matmul_precision("medium")
    with reproducible("cpu"):
        assert torch.equal(a @ b, expected)


@pytest.mark.parametrize(("device", "deterministic"), [("cpu", False), ("cuda", True)])
def test_algorithms_on_a_gpu_are_deterministic(
    device: str, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with reproducible(device):
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.is_deterministic_algorithms_warn_only_enabled() == deterministic
        assert torch.backends.cudnn.benchmark != deterministic
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_a_stricter_setting_stays() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with reproducible("cuda"):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_tasks_compute_in_full_precision(tmp_path: Path, precision_settings: None) -> None:
    torch.set_float32_matmul_precision("medium")

    def task(context: Context) -> None:
        assert set(precisions()) <= {"ieee", "none"}

    assert run_job(Job(task, "cells", ("key",), ()), Context(Store(tmp_path), "cpu")).failures == {}
    assert torch.get_float32_matmul_precision() == "medium"


def test_keys_and_provenance_name_the_gpu_and_its_libraries(gpus: FakeGPUs) -> None:
    assert device_key("cpu") == "cpu"
    assert device_key("cuda") == "gpu NVIDIA A100, cuda 13.2, cudnn 91900, float32 full"
    assert machine("cuda")["accelerator"] == {
        "gpu": "NVIDIA A100",
        "cuda": "13.2",
        "cudnn": "91900",
        "float32": "full",
    }
    assert machine("cuda")["device"] == "NVIDIA A100" and "accelerator" not in machine("cpu")
    gpus.cards[1] = V100
    gpu_facts.cache_clear()
    assert device_key("cuda").startswith("gpu NVIDIA A100 and Tesla V100, ")


def refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("CUDA was initialized")


def test_runs_on_a_cpu_do_not_initialize_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("_lazy_init", "get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    dataset = Digits()
    split = dataset()["train"]
    network = ARCHITECTURES["base"]()(dataset, seed=0)
    train([Vanilla(steps=1)], network, dataset, split, None, seed=0)
    with isolated(torch.tensor([5])):
        torch.rand(1)
    seconds_when_done(torch.device("cpu"))
    release_gpu_memory("cpu")


def test_only_the_gpu_that_computes_is_seeded(gpus: FakeGPUs, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: ("state", str(device)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: seeded.append(("restored", state[1])))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeded.append(("seeded", seed)))
    monkeypatch.setattr(torch.cuda, "device", lambda device: __import__("contextlib").nullcontext())
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with isolated(torch.tensor([5]), torch.device("cuda:1")):
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert seeded == [("seeded", 5), ("restored", "cuda:1")]
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


DRIVERS: list[tuple[str, set[str], set[str], bool]] = [
    ("Linux", {"/dev/nvidiactl"}, set(), True),  # a container without the library in its path
    ("Linux", {"/dev/dxg"}, set(), True),  # the subsystem for Linux
    ("Linux", {"/dev/kfd"}, set(), True),  # AMD
    ("Linux", set(), {"cuda"}, True),
    ("Linux", set(), set(), False),
    ("Windows", set(), {"nvcuda"}, True),
    ("Windows", set(), {"amdhip64"}, True),
    ("Windows", set(), set(), False),
    ("Darwin", set(), {"cuda"}, False),
]


@pytest.mark.parametrize(("system", "files", "libraries", "expected"), DRIVERS)
def test_drivers_are_found(
    system: str, files: set[str], libraries: set[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(environment, "find_library", lambda name: name if name in libraries else None)
    monkeypatch.setattr(Path, "exists", lambda path: path.as_posix() in files)
    assert has_driver() == expected


def test_automatic_choice_asks_torch_where_there_is_a_driver(gpus: FakeGPUs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "has_driver", lambda: False)
    assert choose_device("auto") == "cpu" and choose_device("cuda") == "cuda"
    monkeypatch.setattr(environment, "has_driver", lambda: True)
    assert choose_device("auto") == "cuda" and choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match=r"^device 'cuda' is not available here; use 'cpu' or 'auto'$"):
        choose_device("cuda")


def test_automatic_choice_without_a_driver_does_not_import_torch() -> None:
    code = (
        "import sys; from gtn_bench.execution import environment; environment.has_driver = lambda: False; "
        "assert environment.choose_device('auto') == 'cpu'; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert ctypes.util.find_library is environment.find_library


def test_one_process_per_gpu(gpus: FakeGPUs) -> None:
    assert default_workers("cuda") == 2 and default_workers("cpu") == os.cpu_count()


@pytest.mark.parametrize(
    ("process", "workers", "gpu", "share"),
    [
        ("LokyProcess-1", 2, 1, 1),
        ("LokyProcess-2", 2, 0, 1),
        ("LokyProcess-3", 3, 1, 1 / 2),
        ("LokyProcess-8", 8, 0, 1 / 4),
        ("MainProcess", 1, 0, 1),
        ("Process-1", 1, 0, 1),  # of the user
    ],
)
def test_processes_take_gpus_in_turn_and_share_their_memory(
    process: str, workers: int, gpu: int, share: float, gpus: FakeGPUs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_name", process)
    select_gpu("cuda", workers)
    assert (gpus.current, gpus.share) == (gpu, share)


def test_batches_on_a_gpu_follow_from_its_whole_memory(gpus: FakeGPUs) -> None:
    device = torch.device("cuda:0")
    assert batching.available_memory(device) == 80_000_000_000
    gpus.share = 0.25
    assert batching.available_memory(device) == 20_000_000_000


def test_memory_of_a_gpu_is_returned_after_meta_training(gpus: FakeGPUs) -> None:
    release_gpu_memory("cuda")
    assert gpus.called == [("empty_cache",)]


@pytest.mark.parametrize("card", [V100, SimpleNamespace(name="NVIDIA T4", major=7, minor=5)])
def test_bfloat16_needs_a_gpu_that_has_it(card: SimpleNamespace, gpus: FakeGPUs) -> None:
    check_bfloat16("cpu", "suite 'quick'")
    check_bfloat16("cuda", "suite 'quick'")
    gpus.cards[0] = card
    with pytest.raises(ConfigError) as raised:
        check_bfloat16("cuda", "suite 'quick'")
    assert str(raised.value) == (
        "suite 'quick': 'precision: bfloat16' requires a GPU of compute capability 8.0 or later, got "
        f"{card.name} with 7.{card.minor}; set precision: float32, or device: cpu"
    )


def test_a_run_refuses_bfloat16_before_it_starts(gpus: FakeGPUs, tmp_path: Path, tiny: Path) -> None:
    gpus.cards[:] = [V100]
    text = tiny.read_text() + "\nprecision: bfloat16\n"
    tiny.write_text(text)
    planned = gtn_bench.plan(gtn_bench.load(tiny))
    with pytest.raises(ConfigError, match=r"'precision: bfloat16' requires a GPU of compute capability 8\.0"):
        gtn_bench.run(planned, tmp_path / "out", device="cuda", cache=tmp_path / "cache")


def test_clock_is_read_after_the_device_has_finished(gpus: FakeGPUs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing.time, "perf_counter", lambda: gpus.called.append(("clock",)) or 1.0)  # type: ignore[func-returns-value]
    device = torch.device("cuda:0")
    assert seconds_when_done(device) == 1.0
    assert gpus.called == [("synchronize", device), ("clock",)]


def test_passes_that_ran_out_of_memory_do_not_count(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    classifier = Classifier(network, (1, 8, 8), 10)
    x, y = digits

    def task(images: Tensor, labels: Tensor) -> Tensor:
        gradient = classifier.loss_gradient(images, labels)
        if len(images) > 10:
            raise torch.OutOfMemoryError("out of memory")
        return gradient

    gradient = torch.cat(in_batches(task, classifier, "any", x, y))
    assert gradient.shape == x.shape
    assert (classifier.forwards, classifier.backwards) == (len(x), len(x))
