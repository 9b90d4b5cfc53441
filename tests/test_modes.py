from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gtn_bench.data.digits import Digits
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.gtn import GTN, TenStepGTN
from gtn_bench.modes.real_data import Adversarial, RandomLabels, Vanilla
from gtn_bench.teaching.curricula import Curriculum, LatentCurriculum
from gtn_bench.teaching.optimizers import SGD
from gtn_bench.teaching.teaching_set import TeachingSet


@pytest.fixture(scope="module")
def taught() -> TeachingSet:
    torch.manual_seed(0)
    module = LatentCurriculum(Digits(), inner_steps=12, batch_size=10, latent_size=4, lr=0.02, momentum=0.5)
    return TeachingSet(Curriculum(*(part.detach() for part in module(slice(None)))), SGD(), {})


def test_vanilla_is_adam_on_shuffled_batches() -> None:
    split = Digits()()["train"]
    state = Vanilla(epochs=1, statistics="teaching")(
        ARCHITECTURES["linear"]()(Digits(), 5).train(), Digits(), split, None, seed=7
    )
    network = ARCHITECTURES["linear"]()(Digits(), 5).train()
    adam = torch.optim.Adam(network.parameters(), lr=0.005)
    for index in torch.randperm(len(split), generator=torch.Generator().manual_seed(7)).split(128):
        x, y = split[index]
        adam.zero_grad()
        F.cross_entropy(network(x), y).backward()
        adam.step()
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_vanilla_learner_exceeds_90_percent_accuracy() -> None:
    splits = Digits()()
    network = ARCHITECTURES["base_larger"]()(Digits(), 0).train()
    network.load_state_dict(Vanilla(epochs=3)(network, Digits(), splits["train"], None, seed=0))
    x, y = splits["test"][:]
    assert (network.eval()(x).argmax(1) == y).float().mean() > 0.9


def test_10_gtn_is_gtn_stopped_after_ten_inner_steps(taught: TeachingSet) -> None:
    split = Digits()()["train"]
    states = {}
    for name, mode in {
        "10_gtn": TenStepGTN(),
        "ten": GTN(inner_steps=10),
        "all": GTN(),
        "twelve": GTN(inner_steps=12),
    }.items():
        states[name] = mode(ARCHITECTURES["linear"]()(Digits(), 0).train(), Digits(), split, taught, seed=0)
    assert all(torch.equal(states["10_gtn"][name], states["ten"][name]) for name in states["ten"])
    assert all(torch.equal(states["all"][name], states["twelve"][name]) for name in states["all"])
    assert not torch.equal(states["10_gtn"]["2.weight"], states["all"]["2.weight"])


def test_lr_factor_equals_a_teacher_with_scaled_learning_rates(taught: TeachingSet) -> None:
    split = Digits()()["train"]
    slower = TeachingSet(taught.curriculum._replace(lr=taught.curriculum.lr / 2), taught.optimizer, {})
    halved, as_taught, of_slower = (
        mode(ARCHITECTURES["linear"]()(Digits(), 0).train(), Digits(), split, teacher, seed=0)
        for mode, teacher in ((GTN(lr_factor=0.5), taught), (GTN(), taught), (GTN(), slower))
    )
    assert all(torch.equal(halved[name], of_slower[name]) for name in halved)
    assert not torch.equal(halved["2.weight"], as_taught["2.weight"])


def test_real_statistics_change_only_the_batch_norm_statistics(taught: TeachingSet) -> None:
    split = Digits()()["train"]
    real, teaching = (
        GTN(statistics=statistics)(ARCHITECTURES["linear"]()(Digits(), 0).train(), Digits(), split, taught, seed=0)
        for statistics in ("real", "teaching")
    )
    changed = {name for name in real if not torch.equal(real[name], teaching[name])}
    assert changed == {name for name in real if "running" in name}
    assert not any(value.requires_grad for value in real.values())


def test_vanilla_steps_count_batches_within_and_across_epochs() -> None:
    split = Digits()()["train"]
    whole_epoch = -(-len(split) // 128)
    states = [
        mode(ARCHITECTURES["linear"]()(Digits(), 5).train(), Digits(), split, None, seed=7)
        for mode in (
            Vanilla(),
            Vanilla(steps=whole_epoch),
            Vanilla(steps=4),
            Vanilla(epochs=2),
            Vanilla(steps=2 * whole_epoch),
        )
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["2.weight"], states[2]["2.weight"])
    assert all(torch.equal(states[3][name], states[4][name]) for name in states[0])


def test_adversarial_batches_stay_in_the_ball_and_raise_the_loss() -> None:
    network = ARCHITECTURES["linear"]()(Digits(), 0).train()
    x, y = Digits()()["train"][:128]
    moved = Adversarial(epsilon=0.2).prepare_batch(network, x, y, torch.Generator().manual_seed(0))
    assert (moved - x).abs().max() <= 0.2 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert F.cross_entropy(network(moved), y) > 1.5 * F.cross_entropy(network(x), y)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.slow
def test_adversarial_training_is_more_robust_than_vanilla_and_random_labels_teach_nothing() -> None:
    splits = Digits()()
    x, y = splits["test"][:]
    accuracies = {}
    for mode in (Vanilla(epochs=6), Adversarial(epochs=6, epsilon=0.15), RandomLabels(epochs=6)):
        network = ARCHITECTURES["base_larger"]()(Digits(), 0).train()
        network.load_state_dict(mode(network, Digits(), splits["train"], None, seed=0))
        attacker = Adversarial(epsilon=0.15, attack_steps=20)
        x_adv = attacker.prepare_batch(network.eval(), x, y, torch.Generator().manual_seed(1))
        accuracies[mode.name] = [(network(images).argmax(1) == y).float().mean().item() for images in (x, x_adv)]
    assert accuracies["vanilla"][0] > 0.95 and accuracies["adversarial"][0] > 0.9
    assert accuracies["adversarial"][1] > accuracies["vanilla"][1] + 0.2
    assert accuracies["random-labels"][0] < 0.3
