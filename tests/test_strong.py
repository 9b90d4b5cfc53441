"""The ensemble `strong` against exact distances, its own parts, and the declared number of passes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.oracles import Line, line
from torch import Tensor, nn

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Threat
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.base import lp_norm

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)
BETAS = {"linf": 0.06, "l2": 0.4}
both = pytest.mark.parametrize("norm", ["linf", "l2"])


def strong(**fields: Any) -> Any:
    return PERTURBATIONS["strong"](**fields)


def unfooled(attack: Any, classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    return classifier.predict(attack(classifier, x, y, SEEDS[: len(x)])) == y


@both
def test_linear_classifier_is_fooled_exactly_inside_the_distance(norm: Any) -> None:
    """The robust images are those whose margin, divided by the dual norm of the weights, exceeds the radius."""
    classifier, x, y, distance = line()
    assert isinstance(classifier.network, Line)
    distance = classifier.network.l2_distance(x).detach() if norm == "l2" else distance
    for radius in distance.quantile(torch.tensor([0.2, 0.5, 0.8], dtype=distance.dtype)).tolist():
        robust = unfooled(strong(beta=radius, norm=norm, queries=50), classifier, x, y)
        clear = (distance / radius - 1).abs() > 0.002
        assert torch.equal(robust[clear], distance[clear] > radius) and clear.sum() >= 38


@both
def test_without_ascents_that_succeed_square_finds_them(norm: Any) -> None:
    """A network whose gradient is zero hides its margin from all ascents."""
    classifier, x, y, distance = line(torch.float32)
    network = classifier.network
    assert isinstance(network, Line)
    distance = network.l2_distance(x).detach() if norm == "l2" else distance

    def masked_logits(images: Tensor) -> Tensor:
        return network(images).detach() + 0 * images.flatten(1).sum(dim=1, keepdim=True)  # type: ignore[no-any-return]

    masked = Classifier(masked_logits, (1, 4, 4), 2)
    factor = {"linf": 1.1, "l2": 2.0}[norm]
    one = distance.argsort()[10:11]
    attack = strong(beta=factor * float(distance[one]), norm=norm, queries=1000)
    assert not unfooled(attack, masked, x[one], y[one]).any()
    assert unfooled(attack.variant(queries=0), masked, x[one], y[one]).all()
    assert (attack.needs_gradient, attack.variant(queries=0).needs_gradient) == (False, True)


@both
def test_images_stay_in_ball_and_box(norm: Any, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    attack = strong(beta=BETAS[norm], norm=norm, queries=60, runs=4)
    x_adv = attack(classifier, x, y, SEEDS)
    assert (lp_norm(x_adv - x, norm) <= BETAS[norm] * (1 + 1e-5)).all()
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert attack.threat_model == attack.search_region == Threat(norm, BETAS[norm])
    wrong = classifier.predict(x) != y
    assert wrong.any() and torch.equal(x_adv[wrong], x[wrong])


@both
def test_results_do_not_depend_on_other_images(norm: Any, digits: Digits, network: nn.Module) -> None:
    x, y = digits[0].double(), digits[1]
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    attack = strong(beta=BETAS[norm], norm=norm, queries=100, runs=4, steps=6)
    whole = attack(classifier, x, y, SEEDS)
    assert torch.equal(attack(classifier, x, y, SEEDS), whole)
    order = torch.randperm(60)
    for size in (16, 60):
        parts = [attack(classifier, x[rows], y[rows], SEEDS[rows]) for rows in order.split(size)]
        assert ((torch.cat(parts) - whole[order]).flatten(1).abs().amax(dim=1) > 1e-6).float().mean() <= 0.05
    assert not torch.equal(attack(classifier, x, y, SEEDS + 60), whole)


@both
def test_passes_are_at_most_the_declared_ones(norm: Any, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    for fields in ({"runs": 1, "queries": 0}, {"runs": 5, "queries": 30}, {"runs": 10, "steps": 3, "queries": 100}):
        attack = strong(beta=BETAS[norm], norm=norm, **fields)
        before = classifier.forwards + classifier.backwards
        attack(classifier, x, y, SEEDS)
        spent = classifier.forwards + classifier.backwards - before
        assert 60 < spent < 60 * attack.passes
    flat = Classifier(lambda images: torch.tensor([1.0, 0.0]) + 0 * images.flatten(1)[:, :2], (1, 8, 8), 2)
    strong(beta=0.1, norm=norm, runs=5, steps=3, queries=100)(flat, x, torch.zeros_like(y), SEEDS)
    # It never comes near another class: three ascents with four iterates, and a twentieth of the queries.
    assert (flat.forwards, flat.backwards) == (60 * (1 + 3 * (4 + 1) + 5 + 1), 60 * 3 * 3)


@both
def test_no_part_fools_an_image_that_the_whole_does_not(norm: Any, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    fields: dict[str, Any] = {"beta": BETAS[norm], "norm": norm, "steps": 6}
    robust = [unfooled(strong(**fields, runs=runs, queries=0), classifier, x, y) for runs in (1, 2, 3)]
    robust.append(unfooled(strong(**fields, runs=3, queries=200), classifier, x, y))
    for more, fewer in zip(robust[1:], robust, strict=False):
        assert (fewer | ~more).all()
    assert 0.02 < robust[-1].float().mean() < robust[0].float().mean() < 0.98


@pytest.mark.slow
@both
def test_robust_accuracy_is_not_above_that_of_the_other_attacks(
    norm: Any, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits[0][:30], digits[1][:30]
    attack = strong(beta=BETAS[norm], norm=norm, queries=500)
    ours = unfooled(attack, classifier, x, y)
    assert classifier.forwards + classifier.backwards < 0.5 * 30 * attack.passes
    others: list[tuple[str, dict[str, Any]]] = [
        ("apgd", {"norm": norm, "steps": 50, "loss": "margin", "targets": 3}),
        ("square", {"norm": norm, "queries": 500}),
        ("torchattacks", {"attack": "AutoAttack", "params": {"norm": norm.capitalize()}}),
    ]
    assert 0.02 < ours.float().mean() < 0.9
    for name, fields in others:
        assert ours.sum() <= unfooled(PERTURBATIONS[name](beta=BETAS[norm], **fields), classifier, x, y).sum(), name


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes(classes: int) -> None:
    """The ratio and the ranks of other classes take what there is."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes)).eval()
    x = torch.rand(12, 1, 8, 8)
    classifier = Classifier(network, (1, 8, 8), classes)
    y = classifier.predict(x)
    robust = unfooled(strong(beta=0.05, runs=18, steps=4, queries=20), classifier, x, y)
    nearest = PERTURBATIONS["apgd"](beta=0.05, loss="margin", targets=3, steps=50)
    assert torch.equal(robust, unfooled(nearest, classifier, x, y)) and not robust.all()


def test_a_strength_of_zero_is_the_identity(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    assert torch.equal(strong(beta=0.0)(classifier, x, y, SEEDS), x) and classifier.forwards == 0


def test_the_checks_have_stronger_variants() -> None:
    attack = strong(beta=0.1)
    doubled = attack.with_steps(2)
    assert (doubled.steps, doubled.queries, doubled.threat_model) == (50, 6000, attack.threat_model)
    assert attack.with_restart() is attack and attack.with_loss("margin") is None
    assert attack.passes == 1 + 12 * 52 + 202 + 3000


BAD: list[tuple[dict[str, Any], str]] = [
    ({"norm": "l1"}, "norm: 'strong' expects one of linf, l2, got 'l1'; did you mean 'l2'?"),
    ({"runs": 0}, "runs: 'strong' expects a number greater than 0, got 0"),
    ({"steps": 0}, "steps: 'strong' expects a number greater than 0, got 0"),
    ({"queries": -1}, "queries: 'strong' expects a number at least 0, got -1"),
    ({"loss": "dlr"}, "loss: 'strong' does not know this key; known: beta, norm, queries, runs, steps"),
]


@pytest.mark.parametrize("fields, message", BAD, ids=[row[1] for row in BAD])
def test_invalid_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(PERTURBATIONS["strong"], {"beta": 0.1, **fields}, "")
    assert str(refused.value) == message
