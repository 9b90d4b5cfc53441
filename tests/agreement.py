"""Our attacks beside those of the libraries, in float64."""

from __future__ import annotations

import copy
from typing import Any

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


def agree(
    network: nn.Module,
    shape: tuple[int, int, int],
    x: Tensor,
    y: Tensor,
    case: str,
    library: str,
    *,
    undecided: float = 0.05,
) -> None:
    """Ours and the library's: equal to 1e-9, but for images of which rounding decides.

    Where a gradient is zero but for rounding, or an activation lies on a kink, the order of additions
    sets the way. In such images, at most a share of `undecided`, our own result jumps when the pixels
    are moved by 1e-15, too.
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
    assert differing.double().mean() <= undecided, (case, library, int(differing.sum()))
    rounding = torch.zeros_like(differing)
    draw = torch.Generator().manual_seed(0)
    for _ in range(8 if differing.any() else 0):
        moved = x + 1e-15 * torch.randn(x.shape, generator=draw, dtype=x.dtype)
        rounding |= apart(ours(classifier, moved.clamp(0, 1), y, seeds), found)
    assert rounding[differing].all(), (case, library, int((differing & ~rounding).sum()))
