"""Global state that user code changes: restored between the cells of a sweep, between tasks, and after exceptions."""

from __future__ import annotations

import contextlib
import copy
import functools
import random
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.changes import CHANGES
from helpers.runs import run

import gtn_bench
from gtn_bench.execution.isolation import isolated_settings
from gtn_bench.execution.process_settings import process_settings
from gtn_bench.execution.torch_settings import torch_settings
from gtn_bench.perturbations import PERTURBATIONS


def settings() -> list[Any]:
    """Return all values that code could have changed."""
    draws = float(torch.rand(())), float(np.random.rand()), random.random()
    return [*(each.read() for each in (*process_settings(), *torch_settings())), list(warnings.filters), draws]


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_ends_with_its_part(what: str, raises: bool) -> None:
    def part() -> None:
        with isolated_settings():
            CHANGES[what]()
            if raises:
                raise RuntimeError("after the change")

    with isolated_settings():
        before = settings()
    if raises:
        with pytest.raises(RuntimeError, match="after the change"):
            part()
    else:
        part()
    with isolated_settings():
        assert settings() == before
    assert (torch.ones(2, requires_grad=True) * 2).requires_grad and torch.ones(1).dtype == torch.float32


@pytest.mark.parametrize("what", [name for name in CHANGES if name not in ("nothing", "locale")])
def test_each_change_is_one(what: str) -> None:
    """A change that no setting shows would pass the tests above for nothing."""
    with isolated_settings():
        before = settings()
        CHANGES[what]()
        assert _readable() != before
    with isolated_settings():
        assert settings() != []


def _readable() -> list[Any] | None:
    try:
        return settings()
    except Exception:  # some changes break the functions that read
        return None


def cross_entropy(*given: Any, **named: Any) -> Any:
    return torch.nn.functional.nll_loss(*given, **named)


PATCHES: dict[str, tuple[Any, str, Any]] = {
    "torch.nn.functional.cross_entropy": (torch.nn.functional, "cross_entropy", cross_entropy),
    "torch.clamp": (torch, "clamp", torch.relu),
    "torch.Tensor.sign": (torch.Tensor, "sign", torch.Tensor.abs),  # inherited: nothing to put back
    "torch.Tensor.backward": (torch.Tensor, "backward", lambda self: None),
    "torch.Tensor.grad": (torch.Tensor, "grad", property(lambda self: self)),
    "torch.nn.Linear.forward": (torch.nn.Linear, "forward", lambda self, x: x),
    "torch.nn.Module.__call__": (torch.nn.Module, "__call__", lambda self, x: x),
    "torch.nn.functional.mse_loss": (torch.nn.functional, "mse_loss", torch.no_grad()(torch.nn.functional.mse_loss)),
    "torch.nn.functional.relu": (torch.nn.functional, "relu", functools.wraps(torch.nn.functional.relu)(cross_entropy)),
    "torch.nn.ReLU": (torch.nn, "ReLU", torch.nn.ReLU6),
    "torch.get_num_threads": (torch, "get_num_threads", lambda: 1 / 0),  # restoring the settings would call it
    "numpy.sign": (np, "sign", np.abs),
    "random.random": (random, "random", lambda: 0.5),
}


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("name", PATCHES)
def test_replaced_code_is_put_back_with_a_warning(name: str, raises: bool) -> None:
    owner, attribute, new = PATCHES[name]
    before, own = getattr(owner, attribute), attribute in vars(owner)
    said = f"put back so that no other task uses it: {re.escape(name)}$"
    with pytest.warns(RuntimeWarning, match=said), contextlib.suppress(KeyError), isolated_settings():
        setattr(owner, attribute, new)
        assert getattr(owner, attribute) is not before
        if raises:
            raise KeyError
    assert getattr(owner, attribute) is before
    assert (attribute in vars(owner)) == own


def test_removed_functions_are_put_back_and_what_was_added_stays() -> None:
    relu = torch.nn.functional.relu
    try:
        with pytest.warns(RuntimeWarning, match=r"uses it: torch\.nn\.functional\.relu$"), isolated_settings():
            del torch.nn.functional.relu
            torch.added_by_a_test = torch.Tensor.added_by_a_test = len  # type: ignore[attr-defined]
        assert torch.nn.functional.relu is relu
        assert torch.added_by_a_test is torch.Tensor.added_by_a_test is len  # type: ignore[attr-defined]
    finally:
        del torch.added_by_a_test, torch.Tensor.added_by_a_test  # type: ignore[attr-defined]


def test_parts_that_replace_nothing_warn_about_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with isolated_settings():
            network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
            copy.deepcopy(network)(torch.ones(1, 3)).sum().backward()
            torch.optim.SGD(network.parameters(), lr=0.1).step()
            torch.compile(torch.relu, backend="eager")(torch.ones(1))  # replaces methods of torch.nn.Module
            torch.set_default_dtype(torch.float64)  # replaces torch.Storage


SUITE = """
name: changes
dataset: digits
architectures: [linear]
modes: [{name: vanilla, steps: 30}]
seeds: [0]
acceptance: 0
checks: none
perturbations:
"""


def changing(model: Any, x: Any, y: Any, beta: float, what: str = "nothing", raises: bool = False) -> Any:
    if beta < 0.15:
        CHANGES[what]()
        if raises:
            raise RuntimeError("after the change")
        return x
    images = x.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(images), y).backward()
    return (x + beta * images.grad.sign()).clamp(0, 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the samples of a run in which every perturbation changes something at its first strength."""
    before = dict(PERTURBATIONS)
    gtn_bench.perturbation(changing, norm="linf", uses_gradient=True)
    folder = tmp_path_factory.mktemp("changes")
    rows = [
        f"  - {{name: changing, label: '{what}{end}', what: '{what}', raises: {str(raises).lower()}, samples: 20, "
        "beta: [0.1, 0.2]}\n"
        for what in CHANGES
        for end, raises in (("", False), ("-raised", True))
    ]
    try:
        with pytest.warns(RuntimeWarning, match="cells failed"):
            results = run(SUITE + "".join(rows), folder / "out", folder / "cache")
    finally:
        PERTURBATIONS.clear()
        PERTURBATIONS.update(before)
    assert len(results.errors) >= len(CHANGES)
    return results.samples


@pytest.mark.parametrize("end", ["", "-raised"])
@pytest.mark.parametrize("what", CHANGES)
def test_the_other_cells_of_a_sweep_have_the_bits_of_a_clean_run(what: str, end: str, table: pd.DataFrame) -> None:
    columns = ["beta", "sample", "label", "prediction", "linf", "l2"]
    attacked = table[table["beta"] > 0.15]
    clean = attacked.loc[attacked["perturbation"] == "nothing", columns].reset_index(drop=True)
    after = attacked.loc[attacked["perturbation"] == what + end, columns].reset_index(drop=True)
    assert len(clean) == 20 and clean["l2"].min() > 0
    pd.testing.assert_frame_equal(after, clean, check_exact=True)
