"""Shared fixtures. Heavy libraries are imported here once, offline, with one thread."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.suites import TINY
from torch import Tensor, nn

from gtn_bench.config import own_names
from gtn_bench.data.digits import Digits
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla

_HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}  # of an interactive Python


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed the global random generators, so that no test depends on the tests before it."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread in all tests and fixtures: the bits of a teacher depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """Leave the user's cache alone. Processes of one test run share a folder, in which memos save seconds."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GTN_BENCH_CACHE", str((base if worker_id == "master" else base.parent) / "cache"))
        yield


@pytest.fixture(autouse=True)
def _signal_handlers() -> None:
    """Let no test inherit ignored signals: a command that a fixture has run ignores them, so does a background job."""
    for stop, handler in _HANDLERS.items():
        signal.signal(stop, handler)


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no message depend on the plug-ins that the tests before it loaded."""
    monkeypatch.setattr(own_names, "LOADED", [])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the file of a suite that runs in seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """Return the first 60 test images (60, 1, 8, 8) and their labels (60,)."""
    x, y = Digits()()["test"][:60]
    return x, y


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """Return `base_larger`, trained on digits for two epochs."""
    dataset = Digits()
    network = ARCHITECTURES["base_larger"]()(dataset, seed=0).train()
    network.load_state_dict(Vanilla(epochs=2)(network, dataset, dataset()["train"], None, seed=0))
    return network.eval()


@pytest.fixture
def classifier(network: nn.Module) -> Classifier:
    """Return a classifier of `network`."""
    return Classifier(network, (1, 8, 8), 10)


@pytest.fixture
def art_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ART compute in float64. Each of its modules has imported its number type by name."""
    for name in ("art.attacks.evasion", "art.estimators.classification"):
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        if name.startswith("art.") and hasattr(module, "ART_NUMPY_DTYPE"):
            monkeypatch.setattr(module, "ART_NUMPY_DTYPE", np.float64)
