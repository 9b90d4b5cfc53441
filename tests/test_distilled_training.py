"""Training on distilled images equals plain loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distilled import LOGITS, MEAN, STD, X, Y, Z
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.data.digits import Digits
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.distillation.augmentation import augment
from gtn_bench.modes.distillation.training import loss
from gtn_bench.modes.distilled import Distilled

SPLIT = Digits()()["train"]


def fresh() -> nn.Module:
    return ARCHITECTURES["linear"]()(Digits(), 0).train()


def trained(mode: Distilled, seed: int = 3) -> dict[str, Tensor]:
    network = mode.network(ARCHITECTURES["linear"](), Digits(), 0).train()
    return mode(network, Digits(), SPLIT, None, seed=seed)


def parameters(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.named_parameters()}


def assert_equal(state: dict[str, Tensor], expected: nn.Module, *, atol: float = 0.0) -> None:
    start = parameters(fresh())
    for name, value in parameters(expected).items():
        assert torch.allclose(state[name], value, rtol=0, atol=atol), name
        assert not torch.equal(value, start[name]) or "bias" in name, name


LOSSES: dict[str, tuple[Tensor, dict[str, Any], Any]] = {
    "classes": (Y, {}, lambda out, y: F.cross_entropy(out, torch.eye(10)[y])),
    "probabilities": (LOGITS.softmax(1), {}, lambda out, y: -(y * out.log_softmax(1)).sum(1).mean()),
    "logits": (LOGITS, {"soften": True}, lambda out, y: -(y.softmax(1) * out.log_softmax(1)).sum(1).mean()),
    "cross-entropy at a temperature": (
        LOGITS,
        {"soften": True, "temperature": 4.0},
        lambda out, y: -((y / 4).softmax(1) * (out / 4).log_softmax(1)).sum(1).mean(),
    ),
    "divergence at a temperature": (
        LOGITS,
        {"soften": True, "temperature": 20.0, "loss": "kl"},
        lambda out, y: nn.KLDivLoss(reduction="batchmean")(F.log_softmax(out / 20, dim=1), F.softmax(y / 20, dim=1)),
    ),
    "squared differences": (LOGITS, {"loss": "mse"}, lambda out, y: ((out - y) ** 2).mean()),
    "squared differences of centered labels": (
        torch.eye(10)[Y] - 0.1,
        {"loss": "mse"},
        lambda out, y: ((out - y) ** 2).sum(1).mean() / 10,
    ),
    "squared differences of classes": (
        Y,
        {"loss": "mse"},
        lambda out, y: ((out - torch.eye(10)[y]) ** 2).mean(),
    ),
    "numbers as they are": (
        LOGITS,
        {"soften": False},
        lambda out, y: -(y * out.log_softmax(1)).sum(1).mean(),
    ),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_training_equals_a_plain_loop(kind: str, tmp_path: Path) -> None:
    labels, fields, formula = LOSSES[kind]
    torch.save({"data": [[Z, labels]], "accs_all_exps": {}}, tmp_path / "set.pt")
    state = trained(Distilled(file=tmp_path / "set.pt", steps=7, batch_size=8, lr=0.02, **fields))
    network, generator = fresh(), torch.Generator().manual_seed(3)
    sgd = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    done = 0
    while done < 7:
        order = torch.randperm(20, generator=generator)
        for start in range(0, 20, 8):  # the last batch has 4 images
            if done < 7:
                chosen = order[start : start + 8]
                sgd.zero_grad()
                formula(network((Z * STD + MEAN)[chosen]), labels[chosen]).backward()
                sgd.step()
                done += 1
    assert_equal(state, network, atol=0.0 if kind == "classes" else 1e-6)


def test_cross_entropy_and_divergence_have_the_same_gradient_and_differ_by_the_entropy() -> None:
    out = torch.randn(20, 10, requires_grad=True)
    y = LOGITS.softmax(1)
    one, other = (loss(out, y, kind, 3.0) for kind in ("cross-entropy", "kl"))  # type: ignore[arg-type]
    assert torch.allclose(one - other, -(y * y.log()).sum(1).mean(), atol=1e-5)
    assert torch.allclose(*(torch.autograd.grad(value, out)[0] for value in (one, other)), atol=1e-7)


def test_a_file_of_steps_is_followed_in_its_order_with_its_rates_and_without_momentum(tmp_path: Path) -> None:
    """The loop of dataset distillation: each step subtracts the gradient times the rate of the step."""
    rates = [0.3, 0.05, 0.1, 0.2]
    sets = [(Z[:10], Y[:10]), (Z[10:], Y[10:])] * 2  # two steps, two epochs
    steps = [(x, y, torch.tensor([rate])) for (x, y), rate in zip(sets, rates, strict=True)]
    torch.save(steps, tmp_path / "results.pth")
    network = fresh()
    for index in range(6):
        x, y, rate = steps[index % 4]
        values = list(network.parameters())
        gradients = torch.autograd.grad(F.cross_entropy(network(x * STD + MEAN), y), values)
        with torch.no_grad():
            for value, gradient in zip(values, gradients, strict=True):
                value -= rate * gradient
        if index == 3:
            assert_equal(trained(Distilled(file=tmp_path / "results.pth")), network, atol=1e-6)
    assert_equal(trained(Distilled(file=tmp_path / "results.pth", steps=6)), network, atol=1e-6)
    assert_equal(trained(Distilled(file=tmp_path / "results.pth", steps=6), seed=4), network, atol=1e-6)


@pytest.mark.parametrize("rates", [[0.02], [0.02, 0.01, 0.03]], ids=["one", "per step"])
def test_learned_rates_apply_in_their_order(rates: list[float], tmp_path: Path) -> None:
    torch.save(Z, tmp_path / "images_best.pt")
    torch.save(Y, tmp_path / "labels_best.pt")
    torch.save(torch.tensor(rates if len(rates) > 1 else rates[0]), tmp_path / "lr_best.pt")
    names = {"file": "images_best.pt", "labels": "labels_best.pt", "lr_file": "lr_best.pt"}
    state = trained(Distilled(**{key: tmp_path / name for key, name in names.items()}, steps=5, weight_decay=0.0))
    network, generator = fresh(), torch.Generator().manual_seed(3)
    momentum = [torch.zeros_like(value) for value in network.parameters()]
    for step in range(5):
        chosen = torch.randperm(20, generator=generator)
        values = list(network.parameters())
        gradients = torch.autograd.grad(F.cross_entropy(network((Z * STD + MEAN)[chosen]), Y[chosen]), values)
        with torch.no_grad():
            for value, gradient, velocity in zip(values, gradients, momentum, strict=True):
                velocity.mul_(0.9).add_(gradient)
                value -= rates[step % len(rates)] * velocity
    assert_equal(state, network, atol=1e-6)


def test_the_rate_drops_and_the_momentum_starts_again_as_in_dataset_condensation(tmp_path: Path) -> None:
    torch.save([Z, Y], tmp_path / "set.pt")
    state = trained(Distilled(file=tmp_path / "set.pt", epochs=5, batch_size=10, lr=0.05, lr_drop=0.4))
    network, generator = fresh(), torch.Generator().manual_seed(3)
    lr = 0.05
    sgd = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(5):
        if epoch == 2:
            lr *= 0.1
            sgd = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        for chosen in torch.randperm(20, generator=generator).split(10):
            sgd.zero_grad()
            F.cross_entropy(network((Z * STD + MEAN)[chosen]), torch.eye(10)[Y[chosen]]).backward()
            sgd.step()
    assert_equal(state, network, atol=1e-7)


@pytest.mark.parametrize("units", ["normalized", "pixel", "levels"])
def test_augmentation_acts_on_normalized_images(units: str, tmp_path: Path) -> None:
    images = {"normalized": Z, "pixel": X, "levels": (X * 255).round().byte()}[units]
    torch.save([images, Y], tmp_path / "set.pt")
    state = trained(Distilled(file=tmp_path / "set.pt", units=units, steps=6, augment="dsa", lr=0.02))
    pixels = images.float() / 255 if units == "levels" else X
    network, generator = fresh(), torch.Generator().manual_seed(3)
    sgd = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    parts = ("color", "crop", "cutout", "flip", "scale", "rotate")
    for _ in range(6):
        chosen = torch.randperm(20, generator=generator)
        changed = augment(((pixels - MEAN) / STD)[chosen], parts, generator)
        sgd.zero_grad()
        F.cross_entropy(network(changed * STD + MEAN), Y[chosen]).backward()
        sgd.step()
    assert_equal(state, network, atol=1e-6)


def test_parts_of_the_augmentation_have_one_order(tmp_path: Path) -> None:
    torch.save([Z, Y], tmp_path / "set.pt")
    one, other = (Distilled(file=tmp_path / "set.pt", augment=parts) for parts in (["flip", "crop"], ["crop", "flip"]))
    assert one == other and one.augment == ("crop", "flip")
    assert Distilled(file=tmp_path / "set.pt", augment="crop").augment == ("crop",)
    assert Distilled(file=tmp_path / "set.pt", augment="dsa").augment[0] == "color"


def test_learners_from_distilled_images_are_deterministic_and_accurate(tmp_path: Path) -> None:
    x, y = SPLIT[:200]
    torch.save({"images": (x - MEAN) / STD, "labels": y}, tmp_path / "set.pt")
    mode = Distilled(file=tmp_path / "set.pt", steps=60, batch_size=50, lr=0.05)
    first, again, other = (trained(mode, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    network = fresh()
    network.load_state_dict(first)
    test_x, test_y = Digits()()["test"][:]
    accuracy = float((network.eval()(test_x).argmax(1) == test_y).float().mean())
    assert accuracy > 0.75 and math.isfinite(accuracy)
