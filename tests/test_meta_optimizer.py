"""The optimizer of a curriculum equals torch's Adam, and Muon of the inner loop for the weights of a generator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from gtn_bench.teaching.meta_optimizer import meta_optimizer
from gtn_bench.teaching.optimizers import Muon


class Module(nn.Module):
    """A generator with a wide and a tall weight, a kernel, a gain and biases, and something else to learn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(9, 4), nn.Linear(4, 7, bias=False), nn.Conv2d(1, 3, 3))
        self.latents = nn.Parameter(torch.randn(2, 5, 9))


def gradients(module: Module) -> Iterator[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(5):
        yield {name: torch.randn(value.shape, generator=draw) for name, value in module.named_parameters()}


def descend(module: Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    for grads in gradients(module):
        for name, value in module.named_parameters():
            value.grad = grads[name].clone()
        optimizer.step()
    return {name: value.detach() for name, value in module.named_parameters()}


def test_adam_has_two_learning_rates() -> None:
    module, other = Module(), Module()
    found = descend(module, meta_optimizer(module, "adam", lr=0.03, curriculum_lr=0.1))
    groups = [
        {"params": list(other.generator.parameters()), "lr": 0.03},
        {"params": [other.latents], "lr": 0.1},
    ]
    expected = descend(other, torch.optim.Adam(groups))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_muon_is_that_of_the_inner_loop_for_weights_and_adam_for_the_rest() -> None:
    module, other = Module(), Module()
    optimizer = meta_optimizer(module, "muon", lr=0.03, curriculum_lr=0.1)
    found = descend(module, optimizer)
    expected = descend(other, torch.optim.Adam(other.parameters(), lr=0.003))
    latents = Module()
    expected["latents"] = descend(latents, torch.optim.Adam(latents.parameters(), lr=0.1))["latents"]

    muon, start = Muon(), Module()
    weights = {name: value.detach() for name, value in start.generator.named_parameters() if value.ndim > 1}
    memory = muon.start(weights)
    for grads in gradients(start):
        mine = {name: grads[f"generator.{name}"] for name in weights}
        weights, memory = muon(weights, memory, mine, torch.tensor(0.03), torch.tensor(0.9))
    expected |= {f"generator.{name}": value for name, value in weights.items()}
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name


def test_a_weight_without_a_gradient_stays() -> None:
    module = Module()
    before = module.generator[0].weight.detach().clone()
    meta_optimizer(module, "muon", lr=0.03, curriculum_lr=0.1).step()
    assert torch.equal(module.generator[0].weight, before)


@pytest.mark.parametrize("generator_optimizer", ["adam", "muon"])
def test_groups_know_their_first_learning_rates(generator_optimizer: str) -> None:
    optimizer = meta_optimizer(Module(), generator_optimizer, lr=0.03, curriculum_lr=0.1)  # type: ignore[arg-type]
    assert all(group["lr"] == group["base_lr"] for group in optimizer.param_groups)
    assert {group["base_lr"] for group in optimizer.param_groups} >= {0.03, 0.1}
