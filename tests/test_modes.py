from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gtn_bench.datasets import Digits
from gtn_bench.learners import LEARNERS
from gtn_bench.modes import GTN, TenStepGTN, Vanilla
from gtn_bench.teaching.lessons import Curriculum, Lesson
from gtn_bench.teaching.optimizers import SGD
from gtn_bench.teaching.teaching_set import TeachingSet


@pytest.fixture(scope="module")
def taught() -> TeachingSet:
    torch.manual_seed(0)
    made = Curriculum(Digits(), inner_steps=12, batch_size=10, latent_size=4, lr=0.02, momentum=0.5)
    return TeachingSet(Lesson(*(part.detach() for part in made(slice(None)))), SGD(), {})


def test_vanilla_is_adam_on_shuffled_batches() -> None:
    split = Digits()()["train"]
    state = Vanilla(epochs=1, statistics="teaching")(
        LEARNERS["linear"]()(Digits(), 5).train(), Digits(), split, None, seed=7
    )
    network = LEARNERS["linear"]()(Digits(), 5).train()
    adam = torch.optim.Adam(network.parameters(), lr=0.005)
    for index in torch.randperm(len(split), generator=torch.Generator().manual_seed(7)).split(128):
        x, y = split[index]
        adam.zero_grad()
        F.cross_entropy(network(x), y).backward()
        adam.step()
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_vanilla_learns() -> None:
    splits = Digits()()
    network = LEARNERS["base_larger"]()(Digits(), 0).train()
    network.load_state_dict(Vanilla(epochs=3)(network, Digits(), splits["train"], None, seed=0))
    x, y = splits["test"][:]
    assert (network.eval()(x).argmax(1) == y).float().mean() > 0.9


def test_ten_steps_are_the_beginning_of_all_steps(taught: TeachingSet) -> None:
    split = Digits()()["train"]
    states = {}
    for name, mode in {
        "10_gtn": TenStepGTN(),
        "ten": GTN(inner_steps=10),
        "all": GTN(),
        "twelve": GTN(inner_steps=12),
    }.items():
        states[name] = mode(LEARNERS["linear"]()(Digits(), 0).train(), Digits(), split, taught, seed=0)
    assert all(torch.equal(states["10_gtn"][name], states["ten"][name]) for name in states["ten"])
    assert all(torch.equal(states["all"][name], states["twelve"][name]) for name in states["all"])
    assert not torch.equal(states["10_gtn"]["2.weight"], states["all"]["2.weight"])


def test_statistics_real_changes_the_statistics_alone(taught: TeachingSet) -> None:
    split = Digits()()["train"]
    real, teaching = (
        GTN(statistics=statistics)(LEARNERS["linear"]()(Digits(), 0).train(), Digits(), split, taught, seed=0)
        for statistics in ("real", "teaching")
    )
    changed = {name for name in real if not torch.equal(real[name], teaching[name])}
    assert changed == {name for name in real if "running" in name}
    assert not any(value.requires_grad for value in real.values())
