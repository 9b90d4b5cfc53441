"""Certifiers on networks: against attacks, on public weights, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.oracles import Line
from torch import Tensor, nn

from gtn_bench.certification import CERTIFIERS, UnsupportedLayerError
from gtn_bench.certification.balls import balls
from gtn_bench.certification.refutation import refuted
from gtn_bench.certification.smoothing import radius
from gtn_bench.certification.tracing import trace
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Threat
from gtn_bench.data import DATASETS
from gtn_bench.data.torchvision import data_folder
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.layers import BatchStatistics
from gtn_bench.perturbations import PERTURBATIONS

STUDY = [name for name in ARCHITECTURES if name.startswith(("base", "linear"))]
DIGITS = DATASETS["digits"]()
TRAIN, TEST = (DIGITS()[split][:] for split in ("train", "test"))
PUBLIC = data_folder() / "models" / "convex_adversarial-mnist.pth"


def taught(network: nn.Module, steps: int = 40) -> nn.Module:
    """Return a network after a few steps on digits."""
    x, y = TRAIN
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    draw = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        chosen = torch.randint(len(x), (128,), generator=draw)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
        optimizer.step()
    for module in network.modules():
        if isinstance(module, BatchStatistics):
            module.train()
    with torch.no_grad():
        network(x[:500])
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY)
def test_no_attack_fools_a_certified_image(name: str) -> None:
    network = taught(ARCHITECTURES[name]().widened(1 / 16)(DIGITS, 0))
    x, y = TEST[0][:12], TEST[1][:12]
    seeds, classifier = torch.arange(12), Classifier(network, DIGITS.input_shape, 10)
    for norm, radii in (("linf", (0.003, 0.02)), ("l2", (0.02, 0.1))):
        threats = [Threat(norm, epsilon) for epsilon in radii]  # type: ignore[arg-type]
        masks = {cls: CERTIFIERS[cls]()(network, x, y, threats, seeds) for cls in ("interval", "crown")}
        assert masks["crown"][0].any()
        assert (masks["crown"][0] >= masks["crown"][1]).all() and (masks["interval"][0] >= masks["interval"][1]).all()
        for k, threat in enumerate(threats):
            assert (masks["crown"][k] >= masks["interval"][k]).all()
            attack = PERTURBATIONS["pgd"](beta=threat.epsilon, norm=norm, steps=20)
            for loss in ("cross-entropy", "margin"):
                found = attack.model_copy(update={"loss": loss})(classifier, x, y, seeds).clamp(0, 1)
                assert (classifier.predict(found)[masks["crown"][k]] == y[masks["crown"][k]]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_search_finds_only_misclassified_images_in_the_ball(norm: str) -> None:
    """What it finds is exact for a linear classifier, and it leaves out no image that is robust."""
    w = torch.randn(16, generator=torch.Generator().manual_seed(0))
    x = 0.4 + 0.2 * torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    line = Line(w, -float(x.flatten(1).mean(0) @ w))
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    module[1].weight.data, module[1].bias.data = torch.stack([-w, w]), torch.tensor([-line.b, line.b])
    y = line(x).argmax(dim=1)
    exact = {"linf": line.linf_distance, "l2": line.l2_distance}[norm](x).detach()
    for epsilon in exact.quantile(torch.tensor([0.2, 0.5, 0.8])).tolist():
        found = refuted(trace(module, x), balls(x.double(), Threat(norm, epsilon)), y)  # type: ignore[arg-type]
        assert not found[exact > 1.001 * epsilon].any() and found[exact < 0.999 * epsilon].all()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("convnet", {"norm": "batch", "width": 4, "depth": 2}),
        ("resnet18", {"norm": "batch", "width": 1}),
        ("convnet", {"norm": "none", "activation": "leakyrelu", "pooling": "max", "width": 4, "depth": 2}),
        ("mlp", {"width": 8}),
    ],
)
def test_networks_of_dataset_distillation_have_bounds(name: str, fields: dict[str, Any]) -> None:
    """The residual networks among them add two values."""
    network = ARCHITECTURES[name](**fields)(DIGITS, 0).eval()
    x = TEST[0][:3]
    y = network(x).argmax(dim=1)
    inside, outside = CERTIFIERS["crown"]()(network, x, y, [Threat("l2", 1e-4), Threat("l2", 9.0)], torch.arange(3))
    assert inside.all() and not outside.any()


class Functional(nn.Module):
    """A network that normalizes, calls functions and reshapes in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.3]).view(1, 1, 1, 1))
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.classifier = nn.Linear(4 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.features((x - self.mean) / 0.4)
        h = h + torch.relu(self.conv(h))
        h = nn.functional.max_pool2d(h, 2)
        out: Tensor = self.classifier(nn.functional.dropout(h.view(h.size(0), -1), 0.5, self.training))
        return out


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Joining(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1), x.flatten(1)], dim=1)


class Hidden(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * (2.0 if x.shape[0] else 1.0)).flatten(1).sigmoid()


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    network[1].register_forward_hook(lambda *_: None)
    return network


def test_forward_with_functions_is_traced_and_keeps_its_train_mode() -> None:
    network = Functional().train()
    x = TEST[0][:6]
    y = network.eval()(x).argmax(dim=1)
    network.train()
    inside, outside = CERTIFIERS["crown"]()(network, x, y, [Threat("linf", 1e-4), Threat("linf", 1.0)], torch.arange(6))
    assert inside.all() and not outside.any() and network.training


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda: ARCHITECTURES["convnet"](width=4)(DIGITS, 0),
            "layer 'network.features.1' (GroupNorm) has no certified bounds; supported: ",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Sigmoid()),
            "layer '2' (Sigmoid) has no certified bounds; supported: ",
        ),
        (
            lambda: nn.Sequential(nn.LeakyReLU(2.0), nn.Flatten()),
            "layer '0' (LeakyReLU) has no certified bounds with negative_slope=2.0",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding="same"), nn.Flatten()),
            "layer '0' (Conv2d) has no certified bounds with padding='same'",
        ),
        (
            lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten()),
            "layer '0' (AdaptiveAvgPool2d) has no certified bounds with output_size=3 on maps of 8x8",
        ),
        (hooked, "layer '1' (Linear) has no certified bounds with hooks"),
        (Branching, "network Branching cannot be traced for certified bounds (TraceError: "),
        (Joining, "network Joining has no certified bounds for the function 'cat' in its forward"),
        (Hidden, "network Hidden cannot be traced for certified bounds (TraceError: "),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 3)),
            "network Sequential returns the shape (3, 2, 6, 6), expected (images, classes)",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(63, 10)),
            "network Sequential cannot be traced for certified bounds (RuntimeError: ",
        ),
    ],
)
@pytest.mark.parametrize("name", ["interval", "crown"])
def test_unsupported_networks_are_refused_in_one_line(name: str, network: Any, message: str) -> None:
    with pytest.raises(UnsupportedLayerError) as error:
        CERTIFIERS[name]()(network(), TEST[0][:2], TEST[1][:2], [Threat("linf", 0.1)], torch.arange(2))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "pixels", "threat", "message"),
    [
        ("crown", 0.5, Threat("l1", 0.1), "certifier 'crown' expects one of the norms linf, l2, got 'l1'"),
        ("smoothing", 0.5, Threat("linf", 0.1), "certifier 'smoothing' expects one of the norms l2, got 'linf'"),
        ("interval", 1.5, Threat("l2", 0.1), "certifier 'interval' expects pixels in [0, 1]"),
        ("interval", math.nan, Threat("l2", 0.1), "certifier 'interval' expects pixels in [0, 1]"),
    ],
)
def test_wrong_input_is_refused(name: str, pixels: float, threat: Threat, message: str) -> None:
    certifier = CERTIFIERS[name](**({"sigma": 0.1} if name == "smoothing" else {}))
    x, y = torch.full((1, 1, 8, 8), pixels), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ConfigError) as error:
        certifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), x, y, [threat], torch.arange(1))
    assert str(error.value) == message


@pytest.mark.parametrize("name", sorted(CERTIFIERS))
def test_results_do_not_depend_on_the_other_images_and_wrong_images_are_never_certified(name: str) -> None:
    network = taught(ARCHITECTURES["base_fc"]().widened(1 / 16)(DIGITS, 0))
    x, y = TEST[0][:10], TEST[1][:10]
    certifier = CERTIFIERS[name](**({"sigma": 0.2, "n": 200} if name == "smoothing" else {}))
    threats, seeds = [Threat("l2", 0.002), Threat("l2", 0.1)], torch.arange(10)
    whole = torch.stack(certifier(network, x, y, threats, seeds), dim=1)
    for i in range(10):
        part = slice(i, i + 1)
        assert torch.equal(torch.stack(certifier(network, x[part], y[part], threats, seeds[part]), dim=1), whole[part])
    assert whole.any()
    assert not torch.stack(certifier(network, x, (y + 1) % 10, threats, seeds))[:, whole.any(dim=1)].any()
    assert certifier(network, x[:0], y[:0], threats, seeds[:0])[1].shape == (0,)


def test_radius_equals_the_closed_form() -> None:
    """If all copies agree, the Clopper-Pearson bound is the n-th root of alpha."""
    quantile = float(torch.special.ndtri(torch.tensor(0.001 ** (1 / 1000), dtype=torch.float64)))
    assert radius(1000, 1000, 0.001, 0.25) == pytest.approx(0.25 * quantile, rel=1e-9)
    assert radius(500, 1000, 0.001, 0.25) == 0.0 and radius(0, 1000, 0.001, 0.25) == 0.0


def test_smoothing_covers_the_exact_radius_of_a_linear_classifier() -> None:
    """The radius of the smoothed model is the distance to the boundary. Its bound exceeds it at a rate of alpha."""
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(16, generator=draw)
    x = 0.4 + 0.2 * torch.rand(200, 1, 4, 4, generator=draw)
    module = Line(w, -float(x.flatten(1).mean(0) @ w))
    exact = module.l2_distance(x).detach()
    smoothing = CERTIFIERS["smoothing"](sigma=0.1, n=1000, alpha=0.05)
    classes, radii = smoothing.radii(module, x, torch.arange(200))  # type: ignore[attr-defined]
    decided = radii > 0
    assert decided.double().mean() > 0.8
    assert torch.equal(classes[decided], module(x).argmax(dim=1)[decided])
    assert (radii > exact).sum() <= 20  # 10 are expected, more than 20 in one of a thousand tries
    near = decided & (exact < 0.2)
    assert (radii[near] > exact[near] - 0.03).all() and near.sum() > 50


@pytest.mark.skipif(
    not (PUBLIC.exists() and (data_folder() / "MNIST" / "raw").exists()),
    reason=f"MNIST and the public models are not in {data_folder()}; set GTN_BENCH_DATA to their folder",
)
def test_crown_certifies_a_network_that_was_trained_for_it() -> None:
    """Its authors certify 94.2 % of the 10 000 test images at linf 0.1, and PGD leaves 95.9 %."""
    layers = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10))
    network.load_state_dict(torch.load(PUBLIC, weights_only=True, map_location="cpu"))
    x, y = DATASETS["mnist"]()()["test"][:200]
    (mask,) = CERTIFIERS["crown"]()(network, x, y, [Threat("linf", 0.1)], torch.arange(200))
    assert mask.double().mean() >= 0.935
    assert len(trace(network, x)) == 9
