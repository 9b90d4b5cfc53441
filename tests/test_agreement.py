"""In float64, our attacks and those of the three libraries are the same to 1e-9."""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gtn_bench.classifiers import Classifier
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

SEEDS = torch.arange(1000)
STEPS = 30

# Ours, and the same in each library: the attack, what beta drives, the factor on beta, the other parameters.
FGSM = {
    "art": ("BasicIterativeMethod", "eps", {"eps_step": 0.01, "max_iter": STEPS}),
    "foolbox": ("LinfBasicIterativeAttack", "epsilon", {"abs_stepsize": 0.01, "steps": STEPS}),
    "torchattacks": ("BIM", "eps", {"alpha": 0.01, "steps": STEPS}),
}
LINF = {
    "art": ("ProjectedGradientDescentPyTorch", "eps", {"eps_step": 0.01, "max_iter": STEPS}),
    "foolbox": ("LinfPGD", "epsilon", {"abs_stepsize": 0.01, "steps": STEPS, "random_start": False}),
    "torchattacks": ("PGD", "eps", {"alpha": 0.01, "steps": STEPS, "random_start": False}),
}
L2 = {
    "art": ("ProjectedGradientDescentPyTorch", "eps", {"eps_step": 0.1, "max_iter": STEPS, "norm": 2}),
    "foolbox": ("L2PGD", "epsilon", {"abs_stepsize": 0.1, "steps": STEPS, "random_start": False}),
    "torchattacks": ("PGDL2", "eps", {"alpha": 0.1, "steps": STEPS, "random_start": False, "eps_for_division": 0.0}),
}
CASES: dict[str, tuple[Perturbation, float, dict[str, tuple[str, str, dict[str, Any]]]]] = {
    "fgsm": (PERTURBATIONS["fgsm"](beta=0.01, steps=STEPS), STEPS * 0.01, FGSM),
    "pgd linf": (PERTURBATIONS["pgd"](beta=0.1, steps=STEPS, relative_step=0.1, random_start=False), 0.1, LINF),
    "pgd l2": (PERTURBATIONS["pgd"](beta=1.0, ball="l2", steps=STEPS, relative_step=0.1, random_start=False), 1.0, L2),
}


@pytest.fixture
def art_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """ART rounds everything to a type that each of its modules has imported by name."""

    for name, module in list(sys.modules.items()):
        if name.startswith("art.") and hasattr(module, "ART_NUMPY_DTYPE"):
            monkeypatch.setattr(module, "ART_NUMPY_DTYPE", np.float64)


def agree(network: nn.Module, shape: tuple[int, int, int], x: Tensor, y: Tensor, case: str, library: str) -> None:
    """Ours and the library's: equal to 1e-9, but for images of which rounding decides.

    Where a gradient is zero but for rounding, or an activation lies on a kink, the order of additions
    sets the way. In such images our own result jumps when the pixels are moved by 1e-15, too.
    """
    classifier = Classifier(copy.deepcopy(network).double(), shape, 10)
    x, seeds = x.double(), SEEDS[: len(x)]
    ours, radius, theirs = CASES[case]
    attack, drives, params = theirs[library]
    found = ours(classifier, x, y, seeds)
    same = PERTURBATIONS[library](attack=attack, drives=drives, beta=radius, params=params)(classifier, x, y, seeds)
    assert found.dtype == same.dtype == torch.float64
    if (case, library) == ("pgd l2", "art"):  # which adds a constant to the gradient's length
        accuracy = [(classifier.predict(images) == y).double().mean() for images in (found, same)]
        assert abs(accuracy[0] - accuracy[1]) <= 0.01
        return

    def apart(one: Tensor, two: Tensor) -> Tensor:
        return (one - two).abs().flatten(1).amax(dim=1) > 1e-9

    differing = apart(found, same)
    assert differing.double().mean() < 0.05, (case, library, int(differing.sum()))
    rounding = torch.zeros_like(differing)
    draw = torch.Generator().manual_seed(0)
    for _ in range(8):
        moved = x + 1e-15 * torch.randn(x.shape, generator=draw, dtype=x.dtype)
        rounding |= apart(ours(classifier, moved.clamp(0, 1), y, seeds), found)
    assert rounding[differing].all(), (case, library, int((differing & ~rounding).sum()))


@pytest.mark.parametrize("library", ["art", "foolbox", "torchattacks"])
@pytest.mark.parametrize("case", list(CASES))
def test_on_digits(
    case: str, library: str, network: nn.Module, digits: tuple[Tensor, Tensor], art_in_float64: None
) -> None:
    agree(network, (1, 8, 8), *digits, case, library)


def test_noise_is_that_of_torchattacks() -> None:
    """For the same state of the generator, image by image."""
    from torchattacks import GN

    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(5, dtype=torch.int64)
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8), 10)
    ours = PERTURBATIONS["noise"](beta=0.2)(classifier, x, y, SEEDS[:5]).clamp(0, 1)
    with torch.random.fork_rng():
        for row in range(5):
            torch.manual_seed(int(SEEDS[row]))
            theirs = GN(classifier, std=0.2)(x[row : row + 1], y[row : row + 1])
            assert torch.equal(ours[row : row + 1], theirs)
