"""Comparison of the package's attacks with those of the attack libraries, in float64."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, Perturbation

SEEDS = torch.arange(1000)
STEPS = 30

# The same attack in each library: its class, the parameter that beta sets, the other parameters.
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
# The package's attack, its radius, and the same attack in each library.
CASES: dict[str, tuple[Perturbation, float, dict[str, tuple[str, str, dict[str, Any]]]]] = {
    "fgsm": (PERTURBATIONS["fgsm"](beta=0.01, steps=STEPS), STEPS * 0.01, FGSM),
    "pgd linf": (
        PERTURBATIONS["pgd"](beta=0.1, steps=STEPS, relative_step_size=0.1, random_start=False),
        0.1,
        LINF,
    ),
    "pgd l2": (
        PERTURBATIONS["pgd"](beta=1.0, norm="l2", steps=STEPS, relative_step_size=0.1, random_start=False),
        1.0,
        L2,
    ),
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
    """Assert that an attack of the package equals the one of a library to 1e-9, except where rounding decides.

    Where a gradient is zero up to rounding, or an activation is at a kink, the order of additions sets the direction.
    On such images the package's own result changes too if the pixels change by 1e-15.

    Args:
        network: the network under attack.
        shape: shape (C, H, W) of its images.
        x: images (N, C, H, W).
        y: labels (N,).
        case: key of `CASES`.
        library: name of the library.
        undecided: the largest share of images on which rounding may decide.
    """
    classifier = Classifier(copy.deepcopy(network).double(), shape, 10)
    x, seeds = x.double(), SEEDS[: len(x)]
    ours, radius, theirs = CASES[case]
    attack, beta_parameter, params = theirs[library]
    library_attack = PERTURBATIONS[library](attack=attack, beta_parameter=beta_parameter, beta=radius, params=params)
    found = ours(classifier, x, y, seeds)
    same = library_attack(classifier, x, y, seeds)
    assert found.dtype == same.dtype == torch.float64
    if (case, library) == ("pgd l2", "art"):  # ART clips to [0, 1] before it projects
        accuracy = [(classifier.predict(images) == y).double().mean() for images in (found, same)]
        assert abs(accuracy[0] - accuracy[1]) <= 0.01
        return

    def differ(one: Tensor, two: Tensor) -> Tensor:
        """Compare images (N, C, H, W) pixel by pixel: mask (N,) of those that differ by more than 1e-9."""
        return (one - two).abs().flatten(1).amax(dim=1) > 1e-9

    differing = differ(found, same)
    assert differing.double().mean() <= undecided, (case, library, int(differing.sum()))
    rounding = torch.zeros_like(differing)
    draw = torch.Generator().manual_seed(0)
    for _ in range(8 if differing.any() else 0):
        moved = x + 1e-15 * torch.randn(x.shape, generator=draw, dtype=x.dtype)
        rounding |= differ(ours(classifier, moved.clamp(0, 1), y, seeds), found)
    assert rounding[differing].all(), (case, library, int((differing & ~rounding).sum()))
