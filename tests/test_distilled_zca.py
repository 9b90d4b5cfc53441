"""ZCA whitening, against the identity, against kornia, and in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distilled import Y
from torch import nn
from torch.nn import functional as F

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Split
from gtn_bench.data.digits import Digits
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.modes.distillation import zca
from gtn_bench.modes.distilled import Distilled

SPLITS = Digits()()


def colors(count: int = 3000) -> Split:
    """Return images of three channels with correlated pixels, in bytes."""
    mixing = torch.randn(90, 90, generator=torch.Generator().manual_seed(1)) / 12
    values = torch.randn(count, 90, generator=torch.Generator().manual_seed(2)) @ mixing
    levels = ((values + 0.5).clamp(0, 1) * 255).byte().view(count, 3, 5, 6)
    return Split(levels, torch.zeros(count, dtype=torch.int64), 255)


def whiten(x: torch.Tensor, transform: zca.Transform) -> torch.Tensor:
    return ((x.flatten(1).double() - transform.mean) @ transform.matrix.double()).view(x.shape)


def covariance(x: torch.Tensor) -> torch.Tensor:
    return torch.cov(x.flatten(1).double().T)


def test_the_covariance_of_whitened_training_images_is_the_identity() -> None:
    split = colors()
    x = split[:][0]
    whitened = whiten(x, zca.fit(split, 1e-9, (1.0, 1.0, 1.0)))
    assert torch.allclose(covariance(whitened), torch.eye(90, dtype=torch.float64), atol=1e-4)
    assert whitened.mean(0).abs().max() < 1e-5
    values = torch.linalg.eigvalsh(covariance(x))
    expected = values / (values + 0.1)  # what the regularization leaves
    found = torch.linalg.eigvalsh(covariance(whiten(x, zca.fit(split, 0.1, (1.0, 1.0, 1.0)))))
    assert torch.allclose(found, expected, atol=1e-5)


def test_whitening_changes_images_least_among_all_that_have_this_covariance() -> None:
    """The matrix of ZCA is the symmetric one, and commutes with the covariance."""
    split = colors()
    matrix = zca.fit(split, 0.1, (1.0, 1.0, 1.0)).matrix.double()
    assert torch.allclose(matrix, matrix.T, atol=1e-6)
    s = covariance(split[:][0])
    assert torch.allclose(matrix @ s, s @ matrix, atol=1e-6)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def test_pixels_of_whitened_images_are_the_images() -> None:
    split = colors()
    x = split[:100][0]
    for std in ((1.0, 1.0, 1.0), (0.2, 0.3, 0.4)):
        transform = zca.fit(split, 0.1, std)
        assert torch.allclose(transform.pixels(whiten(x, transform).float()), x, atol=1e-5)


def test_images_that_are_floats_are_whitened_like_the_same_bytes() -> None:
    split = colors()
    floats = Split(split[:][0], split.labels, 1)
    for one, other in zip(zca.fit(split, 0.1, (1.0,) * 3), zca.fit(floats, 0.1, (1.0,) * 3), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_divisor_acts_before_whitening() -> None:
    split = colors()
    x, std = split[:][0].double(), torch.tensor([0.2, 0.3, 0.4], dtype=torch.float64).view(-1, 1, 1)
    scaled = x / std
    values, vectors = torch.linalg.eigh(covariance(scaled))
    expected = (scaled - scaled.mean(0)).flatten(1) @ (vectors / (values + 0.1).sqrt()) @ vectors.T
    found = whiten(x, zca.fit(split, 0.1, (0.2, 0.3, 0.4)))
    assert torch.allclose(found.flatten(1), expected, atol=1e-5)


def test_whitening_agrees_with_kornia() -> None:
    kornia = pytest.importorskip("kornia", reason="kornia is not installed")
    for split in (colors(), SPLITS["train"]):
        x = split[:][0].double()
        fitted = kornia.enhance.ZCAWhitening(eps=0.1, compute_inv=True).fit(x)
        transform = zca.fit(split, 0.1, (1.0,) * x.shape[1])
        others = SPLITS["test"][:][0].double() if split is SPLITS["train"] else x[:50]
        whitened = fitted(others)
        assert torch.allclose(whiten(others, transform), whitened, atol=1e-5)
        assert torch.allclose(transform.pixels(whitened.float()), others.float(), atol=1e-5)


PLAIN = [name for name in ("linear", "base_larger4", "mlp", "lenet") if name in ARCHITECTURES]


class Small(Digits):
    """Digits as large as the networks need."""

    name = "small"
    input_shape = (1, 16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_whitening_takes_the_place_of_the_normalization(name: str) -> None:
    """The network sees what it would see behind a normalization that does nothing."""

    class Unchanged(Small):
        name = "unchanged"
        mean, std = (0.0,), (1.0,)

    architecture: Architecture = ARCHITECTURES[name]()
    levels = torch.randint(0, 17, (300, 1, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    split = Split(levels, torch.zeros(300, dtype=torch.int64), 16)
    transform = zca.fit(split, 0.1, (1.0,))
    network = zca.whitened(architecture, Small(), 5)
    assert network.eval()(split[:2][0]).isnan().all()  # it cannot be used before it is fitted
    zca.set_whitening(network, transform)
    x = split[:10][0]
    with torch.no_grad():
        expected = architecture(Unchanged(), 5).eval()(whiten(x, transform).float())
    assert torch.allclose(network(x), expected, atol=1e-4)
    folded = Classifier(network, (1, 16, 16), 10)
    assert torch.allclose(folded(x), expected, atol=1e-4)
    lower = Classifier(network, (1, 16, 16), 10, "bfloat16")
    assert torch.allclose(lower(x), expected, atol=0.1 * float(expected.abs().max()))


def test_learners_see_whitened_images_in_training_and_test(tmp_path: Path) -> None:
    """The plain loop: whiten everything first, then train and test a network without normalization."""
    train, test = SPLITS["train"], SPLITS["test"]
    transform = zca.fit(train, 0.1, (1.0,))
    whitened = whiten(train[:50][0], transform).float()
    labels = train[:50][1]
    torch.save(whitened, tmp_path / "images_best.pt")
    torch.save(labels, tmp_path / "labels_best.pt")
    mode = Distilled(
        file=tmp_path / "images_best.pt", labels=tmp_path / "labels_best.pt", units="zca", steps=20, lr=0.02
    )
    mode.check(Digits(), None)
    architecture = ARCHITECTURES["linear"]()
    network = mode.network(architecture, Digits(), 0).train()
    state = mode(network, Digits(), train, None, seed=3)

    body = nn.Sequential(*list(architecture(Digits(), 0))[1:]).train()
    sgd = torch.optim.SGD(body.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        chosen = torch.randperm(50, generator=generator)
        sgd.zero_grad()
        F.cross_entropy(body(whitened[chosen]), labels[chosen]).backward()
        sgd.step()
    for (name, found), (_, expected) in zip(network.named_parameters(), body.named_parameters(), strict=True):
        assert torch.allclose(found, expected, atol=1e-5), name

    loaded = mode.network(architecture, Digits(), 7)  # as an evaluation builds it, without any fit
    loaded.load_state_dict(state)
    x, y = test[:]
    accuracy = float((loaded.eval()(x).argmax(1) == y).float().mean())
    assert accuracy > 0.6
    whole = nn.Sequential(zca.Whitening(64), *list(loaded)[1:]).eval()
    zca.set_whitening(whole, transform)
    assert torch.equal(loaded(x), whole(x))


def test_augmentation_acts_on_whitened_images(tmp_path: Path) -> None:
    """Zeros that a crop fills in are zeros behind the whitening, not in front of it."""
    train = SPLITS["train"]
    transform = zca.fit(train, 0.1, (1.0,))
    images = whiten(train[:20][0], transform).float()
    torch.save([images, Y], tmp_path / "set.pt")
    seen = []

    class Recording(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(whiten(x.detach(), transform))
            logits: torch.Tensor = super().forward(x)
            return logits

    mode = Distilled(file=tmp_path / "set.pt", units="zca", steps=1, augment="cutout", statistics="teaching")
    network = Recording(*mode.network(ARCHITECTURES["linear"](), Digits(), 0)).train()
    mode(network, Digits(), train, None, seed=0)
    zeros = (seen[0].abs() < 1e-5).float().mean()
    assert 0.05 < float(zeros) < 0.3  # a part of a square of half the side


def test_the_fit_is_shared_by_the_learners_of_a_process_and_deterministic() -> None:
    one, other = colors(), colors()
    first = zca.fit(one, 0.1, (1.0, 1.0, 1.0))
    assert zca.fit(one, 0.1, (1.0, 1.0, 1.0)) is first
    again = zca.fit(other, 0.1, (1.0, 1.0, 1.0))
    assert again is not first and torch.equal(again.matrix, first.matrix)
    backwards = Split(one.levels.flip(0), one.labels, one.white)  # whose sums are the same
    assert all(map(torch.equal, zca.fit(backwards, 0.1, (1.0, 1.0, 1.0)), first))


def _scaled(x: torch.Tensor) -> torch.Tensor:
    return (x - Digits.mean[0]) / Digits.std[0]


def _class_means(x: torch.Tensor) -> torch.Tensor:
    y = SPLITS["train"][:][1]
    return torch.stack([x[y == label].mean(0) for label in range(10)])


@pytest.mark.parametrize("summary", [lambda x: x[:100], _class_means], ids=["images", "class means"])
def test_normalized_images_are_not_taken_for_whitened_ones(tmp_path: Path, summary: Any) -> None:
    train, digits = SPLITS["train"], Digits()
    x = train[:][0]
    whitened = whiten(x, zca.fit(train, 1.0, (1.0,))).float()
    mode = {"units": "zca", "zca_epsilon": 1.0, "steps": 1, "images_per_class": 10}
    for images, is_right in ((whitened, True), (1.2 * whitened, True), (_scaled(x), False)):
        found = summary(images)
        torch.save(found, tmp_path / "set.pt")
        distilled = Distilled(**{**mode, "file": tmp_path / "set.pt", "images_per_class": len(found) // 10})
        network = distilled.network(ARCHITECTURES["linear"](), digits, 0)
        if is_right:
            assert distilled(network, digits, train, None, seed=0)
            continue
        with pytest.raises(ConfigError, match=r"set.pt holds numbers that are not 'zca': .*; did you mean 'units: nor"):
            distilled(network, digits, train, None, seed=0)
