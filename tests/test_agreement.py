"""The package's attacks equal those of the three attack libraries to 1e-9 in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.agreement import CASES, SEEDS, agree
from torch import Tensor, nn

from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS


@pytest.mark.parametrize("library", ["art", "foolbox", "torchattacks"])
@pytest.mark.parametrize("case", list(CASES))
def test_attack_equals_library_attack_on_digits(
    case: str, library: str, network: nn.Module, digits: tuple[Tensor, Tensor], art_in_float64: None
) -> None:
    agree(network, (1, 8, 8), *digits, case, library)


def test_noise_equals_torchattacks_for_same_generator_state() -> None:
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
