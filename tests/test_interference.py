"""Perturbations that change the network, return no images, or refer to values outside of their code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.runs import run
from torch import nn

import gtn_bench
from gtn_bench.perturbations import PERTURBATIONS

SUITE = """
name: interference
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: 30}]
seeds: [0]
acceptance: 0
perturbations:
"""
LATER = "  - {name: pgd, steps: 5, samples: 40, beta: [0.05, 0.1]}\n"


def zeroed(model: Any, x: Any, y: Any, beta: float) -> Any:
    for parameter in model.parameters():
        parameter.data.zero_()
    return x


def hooked(model: Any, x: Any, y: Any, beta: float) -> Any:
    next(module for module in model.modules() if isinstance(module, nn.Linear)).register_forward_hook(
        lambda module, inputs, outputs: 0 * outputs
    )
    return x


def patched(model: Any, x: Any, y: Any, beta: float) -> Any:
    model.network.forward = lambda images: torch.zeros(len(images), 10)
    return x


def as_array(model: Any, x: Any, y: Any, beta: float) -> Any:
    return x.numpy()


def fewer(model: Any, x: Any, y: Any, beta: float) -> Any:
    return x[:8]


FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "zeroed": (zeroed, "'zeroed' changed the network: tensor '"),
    "hooked": (hooked, "'hooked' changed the network: its hooks or methods"),
    "patched": (patched, "'patched' changed the network: its hooks or methods"),
    "as_array": (as_array, "'as_array' returned ndarray, expected a tensor of shape (40, 1, 8, 8)"),
    "fewer": (fewer, "'fewer' returned shape (8, 1, 8, 8), expected (40, 1, 8, 8)"),
}


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(PERTURBATIONS)
    for function, _ in FAULTS.values():
        gtn_bench.perturbation(function)
    yield
    PERTURBATIONS.clear()
    PERTURBATIONS.update(before)


@pytest.mark.filterwarnings("ignore:.* cells failed:RuntimeWarning")
@pytest.mark.parametrize(("name", "message"), [(name, message) for name, (_, message) in FAULTS.items()])
def test_a_faulty_perturbation_fails_alone(name: str, message: str, registered: None, tmp_path: Path) -> None:
    """The cells after it have the numbers of a run without it."""
    alone = run(SUITE + LATER, tmp_path / "alone", tmp_path / "cache-alone").summary
    faulty = f"  - {{name: {name}, samples: 40, beta: [0.1]}}\n"
    both = run(SUITE + faulty + LATER, tmp_path / "both", tmp_path / "cache")
    rows = both.summary.set_index("perturbation")
    assert rows.loc[name, "status"] == "error"
    assert message in both.errors[0]["error"]
    assert rows.loc["pgd", "accuracy"].tolist() == alone["accuracy"].tolist()


@pytest.mark.filterwarnings("ignore:.* cells failed:RuntimeWarning")
def test_a_search_with_a_faulty_perturbation_fails_alone(registered: None, tmp_path: Path) -> None:
    alone = run(SUITE + LATER, tmp_path / "alone", tmp_path / "cache-alone").summary
    faulty = "  - {name: zeroed, search: minimal, samples: 40, beta: [0.1, 0.2]}\n"
    both = run(SUITE + faulty + LATER, tmp_path / "both", tmp_path / "cache")
    rows = both.summary.set_index("perturbation")
    assert rows.loc["zeroed", "status"].tolist() == ["error", "error"]
    assert "'zeroed' changed the network" in both.errors[0]["error"]
    assert rows.loc["pgd", "accuracy"].tolist() == alone["accuracy"].tolist()


FACTOR = 1.0
NOISE = np.full((8, 8), 0.1, np.float32)


def scaled(model: Any, x: Any, y: Any, beta: float) -> Any:
    return x + FACTOR * beta * torch.from_numpy(NOISE)


def test_values_that_a_function_refers_to_are_part_of_its_content(
    registered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gtn_bench.perturbation(scaled)
    one = PERTURBATIONS["scaled"](beta=0.1)
    first = one.content()
    assert one.content() == first and "function" not in one.rng_identity()
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    second = one.content()
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    monkeypatch.setitem(globals(), "NOISE", 2 * NOISE)
    assert len({str(content) for content in (first, second, one.content())}) == 3
