"""AutoPGD against exact distances, the iterates of torchattacks, and the accuracy of the libraries."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.oracles import Line, line
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.arrays import from_arrays
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.losses import LOSSES
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.adaptive import ascend_adaptively
from gtn_bench.perturbations.ascent import NORMS

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)
both = pytest.mark.parametrize("norm", ["linf", "l2"])


def apgd(**fields: Any) -> Any:
    return PERTURBATIONS["apgd"](**fields)


def accuracy(attack: Any, classifier: Classifier, x: Tensor, y: Tensor) -> float:
    return float((classifier.predict(attack(classifier, x, y, SEEDS[: len(x)]).clamp(0, 1)) == y).float().mean())


@both
@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_a_linear_classifier_is_fooled_from_the_exact_distance_on(norm: Any, loss: Any) -> None:
    classifier, x, y, distance = line()
    assert isinstance(classifier.network, Line)
    distance = classifier.network.l2_distance(x).detach() if norm == "l2" else distance
    for image in distance.argsort()[10:16].tolist():
        one = slice(image, image + 1)
        for factor, fooled in ((0.99, False), (1.01, True)):
            attack = apgd(beta=factor * float(distance[image]), norm=norm, loss=loss, steps=30)
            assert accuracy(attack, classifier, x[one], y[one]) == (not fooled)


@both
@pytest.mark.parametrize("steps", [3, 10, 40])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_iterates_equal_those_of_torchattacks(
    norm: Any, steps: int, loss: str, network: nn.Module, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same start, in float64: the same images are fooled, and the others have the same best iterate."""
    from torchattacks import APGD

    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    correct = classifier.predict(digits[0].double()) == digits[1]
    x, y = digits[0].double()[correct], digits[1][correct]
    epsilon = {"linf": 0.05, "l2": 0.3}[norm]
    theirs = APGD(classifier, norm=norm.capitalize(), eps=epsilon, steps=steps, loss=loss)
    theirs.device = torch.device("cpu")
    # It compares the first loss with zero instead of that of the start: with a positive loss, both have increased.
    theirs.dlr_loss = lambda logits, label: 10 + LOSSES["dlr"](logits, label)
    drawn = torch.rand(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch, "rand", lambda *_: drawn)
    monkeypatch.setattr(torch, "randn", lambda *_: drawn)
    best, unfooled, _, _ = theirs.attack_single_run(x, y)
    monkeypatch.undo()
    if norm == "linf":
        change = 2 * drawn - 1
        change = change / change.flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1)
    else:
        change = drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    chosen = LOSSES["cross-entropy" if loss == "ce" else "dlr"]
    ours = ascend_adaptively(
        classifier,
        x,
        start=x + epsilon * change,
        objective=lambda logits, rows: chosen(logits, y[rows]),
        reached=lambda logits, rows: logits.argmax(dim=1) != y[rows],
        steps=steps,
        norm=NORMS[norm],
        epsilon=epsilon,
    )
    assert torch.equal(ours.found, ~unfooled) and 0.02 < ours.found.float().mean() < 0.9
    apart = (ours.x_adv - best)[unfooled].flatten(1).abs().amax(dim=1)
    assert (apart > 1e-6).float().mean() <= 0.1  # its step sizes are float32, and a first step may lower a loss


@both
@pytest.mark.parametrize(
    # The ratio of ART divides each margin by the gaps of all images of a batch, which makes it another loss.
    "library, loss",
    [("torchattacks", "cross-entropy"), ("torchattacks", "dlr"), ("art", "cross-entropy")],
)
def test_robust_accuracy_is_not_above_that_of_the_libraries(
    library: str, loss: str, norm: Any, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    beta = {"linf": 0.06, "l2": 0.4}[norm]
    theirs: dict[str, dict[str, Any]] = {
        "torchattacks": {
            "attack": "APGD",
            "params": {"norm": norm, "steps": 20, "loss": {"cross-entropy": "ce", "dlr": "dlr"}[loss]},
        },
        "art": {
            "attack": "AutoProjectedGradientDescent",
            "params": {
                "norm": norm,
                "max_iter": 20,
                "eps_step": 2 * beta,
                "nb_random_init": 1,
                "loss_type": "cross_entropy",
            },
        },
    }
    ours = accuracy(apgd(beta=beta, norm=norm, steps=20, loss=loss), classifier, x, y)
    assert 0.1 < ours <= accuracy(PERTURBATIONS[library](beta=beta, **theirs[library]), classifier, x, y) + 1.5 / 60


@both
def test_targets_are_at_least_as_strong_as_those_of_torchattacks(
    norm: Any, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    beta = {"linf": 0.06, "l2": 0.4}[norm]
    theirs = PERTURBATIONS["torchattacks"](attack="APGDT", beta=beta, params={"norm": norm, "steps": 10})
    for loss in ("margin", "dlr"):
        ours = accuracy(apgd(beta=beta, norm=norm, steps=10, loss=loss, targets=9), classifier, x, y)
        assert 0.1 < ours <= accuracy(theirs, classifier, x, y) + 1.5 / 60
        assert ours <= accuracy(apgd(beta=beta, norm=norm, steps=10, loss=loss), classifier, x, y)


def test_a_saturated_softmax_stops_the_cross_entropy_alone(network: nn.Module, digits: Digits) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network)

        def forward(self, x: Tensor) -> Tensor:
            return 1e4 * self.network(x)

    x, y = digits
    plain, scaled = (Classifier(each, (1, 8, 8), 10) for each in (network, Scaled()))
    for attack in (apgd(beta=0.1, steps=20, loss="margin"), apgd(beta=0.1, steps=20, loss="dlr")):
        assert accuracy(attack, scaled, x, y) == pytest.approx(accuracy(attack, plain, x, y), abs=0.05)
    masked = apgd(beta=0.1, steps=20)
    assert accuracy(masked, scaled, x, y) > accuracy(masked, plain, x, y) + 0.1
    aided = apgd(beta=0.1, steps=20, targets=3)
    assert accuracy(aided, scaled, x, y) < accuracy(masked, scaled, x, y) - 0.1
    assert (masked.needs_ce_gradient, aided.needs_ce_gradient) == (True, False)


@both
@pytest.mark.parametrize("targets", [0, 2])
def test_restarts_attack_what_is_left(norm: Any, targets: int, classifier: Classifier, digits: Digits) -> None:
    """Images that the first runs fool are returned as they were; restarts fool at least as many of the others."""
    x, y = digits
    fields = {"beta": 0.08 if norm == "linf" else 0.5, "norm": norm, "loss": "margin", "targets": targets, "steps": 3}
    once, often = apgd(**fields), apgd(**fields, restarts=4)
    first, result = (attack(classifier, x, y, SEEDS[: len(x)]) for attack in (once, often))
    fooled = classifier.predict(first) != y
    assert 0 < fooled.float().mean() < 1
    assert torch.equal(result[fooled], first[fooled])
    assert (classifier.predict(result) != y)[fooled].all()
    assert often.passes == 1 + 4 * (once.passes - 1)


def test_a_restart_finds_what_a_bad_start_misses() -> None:
    """The loss has two hills. Only the starts on the side of the higher one lead to a misclassification."""

    class Hills(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            value = x.flatten(1).mean(dim=1) - 0.5
            margin = torch.where(value > 0, value - 0.15, -value - 0.5)
            return torch.stack([torch.zeros_like(margin), margin], dim=1)

    classifier = Classifier(Hills(), (1, 1, 1), 2)
    x, y = torch.full((64, 1, 1, 1), 0.5), torch.zeros(64, dtype=torch.int64)
    shares = [
        float((classifier.predict(attack(classifier, x, y, torch.arange(64))) != y).float().mean())
        for attack in (apgd(beta=0.2, steps=10, restarts=number) for number in (1, 2, 8))
    ]
    assert 0.3 < shares[0] < 0.7 and shares[0] < shares[1] < shares[2] and shares[2] > 0.95


def test_there_are_no_more_targets_than_other_classes() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
    x = torch.rand(12, 1, 8, 8)
    results, passes = [], []
    for targets in (2, 9):
        classifier = Classifier(network, (1, 8, 8), 3)
        results.append(apgd(beta=0.002, steps=5, targets=targets)(classifier, x, classifier.predict(x), SEEDS[:12]))
        passes.append((classifier.forwards, classifier.backwards))
    assert torch.equal(*results) and passes[0] == passes[1]


@both
@pytest.mark.parametrize("targets", [0, 3])
def test_images_stop_at_success(norm: Any, targets: int, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    attack = apgd(beta={"linf": 0.1, "l2": 0.8}[norm], norm=norm, steps=10, targets=targets)
    x_adv = attack(classifier, x, y, SEEDS)
    assert 60 * 2 < classifier.forwards + classifier.backwards < 0.8 * 60 * attack.passes
    wrong = classifier.predict(x) != y
    assert torch.equal(x_adv[wrong], x[wrong])
    robust = apgd(beta=1e-6, norm=norm, steps=10, targets=targets)
    before = classifier.forwards + classifier.backwards
    robust(classifier, x[~wrong], y[~wrong], SEEDS[~wrong])
    assert classifier.forwards + classifier.backwards - before == robust.passes * int((~wrong).sum())


def test_a_classifier_without_gradients_returns_its_start() -> None:
    classifier = Classifier(lambda x: F.one_hot((x.flatten(1).sum(1) > 1e9).long(), 3).float(), (1, 4, 4), 3)
    x, y = torch.full((5, 1, 4, 4), 0.5), torch.zeros(5, dtype=torch.int64)
    x_adv = apgd(beta=0.1, steps=4)(classifier, x, y, SEEDS[:5])
    assert x_adv.isfinite().all() and ((x_adv - x).abs() <= 0.1 + 1e-6).all() and not torch.equal(x_adv, x)


def test_random_starts_differ_between_runs_and_images(digits: Digits) -> None:
    """The clean image, then the start of each run, where the steps have size zero."""
    seen: list[Tensor] = []

    def logits(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return torch.tensor([3.0, 2.0, 1.0, 0.0]).expand(len(x), 4) + 0 * x.flatten(1).sum(1, keepdim=True)

    x, y = digits[0][:4] * 0 + 0.5, torch.zeros(4, dtype=torch.int64)
    apgd(beta=0.1, steps=1, targets=2, loss="margin")(Classifier(logits, (1, 8, 8), 4), x, y, SEEDS[:4])
    starts = [images for images in seen if len(images) == 4 and not torch.equal(images, x)][::2]
    assert len(starts) == 3
    flat = torch.cat(starts).flatten(1)
    assert (torch.cdist(flat, flat) + 9 * torch.eye(12) > 0.1).all()


CHECKS: list[tuple[dict[str, Any], int, str]] = [
    ({"loss": "dlr"}, 2, "'apgd' with loss: dlr requires at least 3 classes, data set 'files' has 2; set loss: margin"),
    (
        {"loss": "dlr", "targets": 2},
        3,
        "'apgd' with loss: dlr and targets requires at least 4 classes, data set 'files' has 3; set loss: margin",
    ),
    ({"target": 3}, 3, "'apgd' expects a target from 0 to 2, the classes of data set 'files', got 3"),
]


@pytest.mark.parametrize("fields, classes, message", CHECKS, ids=[row[2] for row in CHECKS])
def test_too_few_classes(fields: dict[str, Any], classes: int, message: str) -> None:
    dataset = from_arrays((torch.rand(6, 1, 8, 8).numpy(), (torch.arange(6) % classes).numpy()))
    with pytest.raises(ConfigError) as refused:
        apgd(beta=0.1, **fields).check(dataset)
    assert str(refused.value) == message
    apgd(beta=0.1, loss="margin").check(dataset)


@pytest.mark.parametrize("name, fields", [("fgsm", {"steps": 2}), ("pgd", {})])
def test_two_classes_have_no_ratio(name: str, fields: dict[str, Any]) -> None:
    dataset = from_arrays((torch.rand(6, 1, 8, 8).numpy(), (torch.arange(6) % 2).numpy()))
    message = f"'{name}' with loss: dlr requires at least 3 classes, data set 'files' has 2; set loss: margin"
    with pytest.raises(ConfigError) as refused:
        PERTURBATIONS[name](beta=0.1, loss="dlr", **fields).check(dataset)
    assert str(refused.value) == message


BAD: list[tuple[dict[str, Any], str]] = [
    ({"norm": "l0"}, "norm: 'apgd' expects one of linf, l2, got 'l0'; did you mean 'l2'?"),
    ({"steps": 0}, "steps: 'apgd' expects a number greater than 0, got 0"),
    ({"targets": -1}, "targets: 'apgd' expects a number at least 0, got -1"),
    (
        {"loss": "ce"},
        "loss: 'apgd' expects one of cross-entropy, margin, dlr, got 'ce'; known: cross-entropy, dlr, margin",
    ),
    ({"target": "next", "targets": 2}, "'apgd' does not use 'targets': target leads to one class; leave it out"),
    (
        {"target": "next", "loss": "dlr"},
        "'apgd' with loss: dlr does not lead to a target; set loss: margin, or leave target out",
    ),
]


@pytest.mark.parametrize("fields, message", BAD, ids=[row[1] for row in BAD])
def test_invalid_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(PERTURBATIONS["apgd"], {"beta": 0.1, **fields}, "")
    assert str(refused.value) == message
