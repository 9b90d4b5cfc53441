"""Shared fixtures. Heavy libraries are loaded here once, offline, with one thread."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gtn_bench.classifiers import Classifier
from gtn_bench.datasets import Digits
from gtn_bench.learners import LEARNERS
from gtn_bench.modes import Vanilla

TINY = """
name: tiny
dataset: digits
teachers:
  - {name: cgtn, label: t, architecture: linear, inner_steps: 3, batch_size: 20,
     exam_size: 10, latent_size: 4, meta_steps: 2}
architectures: [linear]
modes:
  - {name: gtn, label: 2_gtn, inner_steps: 2}
  - gtn
  - {name: vanilla, epochs: 2}
seeds: [0, 1]
acceptance: 0.0
perturbations:
  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}
  - {name: lbfgs-penalty, steps: 2, samples: 20, beta: [1]}
  - {name: noise, beta: [0, 0.5]}
  - {name: blur, samples: 100, beta: [0, 1]}
"""


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws without a seed of its own is the same whichever tests run before it."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """For all tests and fixtures: the bits of a teacher depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A suite that runs in seconds, as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """The first 60 test images (60, 1, 8, 8) and labels."""
    x, y = Digits()()["test"][:60]
    return x, y


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """`base_larger`, trained on digits for an epoch."""
    dataset = Digits()
    network = LEARNERS["base_larger"]()(dataset, seed=0).train()
    network.load_state_dict(Vanilla(epochs=2)(network, dataset, dataset()["train"], None, seed=0))
    return network.eval()


@pytest.fixture
def classifier(network: nn.Module) -> Classifier:
    return Classifier(network, (1, 8, 8), 10)


@pytest.fixture
def art_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """ART rounds everything to a type that each of its modules has imported by name."""
    for name in ("art.attacks.evasion", "art.estimators.classification"):
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        if name.startswith("art.") and hasattr(module, "ART_NUMPY_DTYPE"):
            monkeypatch.setattr(module, "ART_NUMPY_DTYPE", np.float64)
