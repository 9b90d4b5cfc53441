"""The binarization test."""

from __future__ import annotations

import pytest
import torch
from helpers.oracles import Line
from scipy.optimize import minimize
from test_probes import Returned, Rounding, pgd, situation, small, small_classifier
from torch import Tensor, nn

from gtn_bench.checks.attacks.binarization import binarization
from gtn_bench.checks.attacks.binary import fit
from gtn_bench.checks.attacks.points import boundary_points, inner_points, random_points
from gtn_bench.checks.attacks.readout import features_of, find_readout, replaced
from gtn_bench.checks.attacks.separation import RIDGE, separate
from gtn_bench.config.threat import Threat
from gtn_bench.data.digits import Digits
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.random_classifier import RandomClassifier
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.perturbations.base import lp_norm

SHAPE = (1, 8, 8)


def images(count: int) -> tuple[Tensor, Tensor]:
    x, y = Digits()()["test"][:count]
    return x, y


def linear() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), SHAPE, 10)


@pytest.mark.parametrize(
    "attack",
    [
        pgd(beta=0.1),
        pgd(beta=0.8, norm="l2"),
        PERTURBATIONS["fgsm"](beta=0.1, steps=1),  # exact on a linear network
        PERTURBATIONS["apgd"](beta=0.1, steps=10, loss="dlr"),
        PERTURBATIONS["torchattacks"](
            attack="PGD", beta_parameter="eps", beta=0.1, params={"alpha": 0.02, "steps": 20}
        ),
    ],
    ids=lambda attack: f"{attack.title}-{attack.threat_model.norm}",
)
def test_attacks_that_are_exact_on_a_linear_network_pass(attack: Perturbation) -> None:
    outcome = binarization(situation(attack, linear(), images(40)))["binarization"]
    assert outcome.count == 0 and outcome.n >= 35
    assert outcome.forwards > 40 * 80 and outcome.backwards > 0


@pytest.mark.parametrize(
    ("attack", "before"),
    [
        (Returned(beta=0.1), nn.Identity()),
        (pgd(beta=0.1), Rounding()),
        (pgd(beta=0.1, steps=1, relative_step_size=0.1, random_start=False), nn.Identity()),
        (
            PERTURBATIONS["foolbox"](attack="LinfPGD", beta_parameter="epsilon", beta=0.1, params={"steps": 5}),
            Rounding(),
        ),
    ],
    ids=["returns its input", "no gradient", "one small step", "foolbox without a gradient"],
)
def test_attacks_that_cannot_find_anything_fail(attack: Perturbation, before: nn.Module) -> None:
    classifier = Classifier(nn.Sequential(before, *small()), SHAPE, 10)
    outcome = binarization(situation(attack, classifier, images(40)))["binarization"]
    assert outcome.count == outcome.n >= 20


def test_a_third_without_gradient_is_missed() -> None:
    x, y = images(48)

    def partly(queried: Tensor) -> Tensor:
        near = torch.cdist(queried.flatten(1).detach(), x.flatten(1)).argmin(dim=1)
        return torch.where((near % 3 == 0).view(-1, 1, 1, 1), queried.detach(), queried)

    class Partly(nn.Module):
        def forward(self, queried: Tensor) -> Tensor:
            return partly(queried)

    classifier = Classifier(nn.Sequential(Partly(), *small()), SHAPE, 10)
    outcome = binarization(situation(pgd(beta=0.1), classifier, (x, y)))["binarization"]
    assert 0.2 < outcome.count / outcome.n < 0.45


def test_large_logits_hide_the_gradient_of_the_cross_entropy() -> None:
    class Scaled(nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return 1e4 * logits

    classifier = Classifier(nn.Sequential(*small(), Scaled()), SHAPE, 10)
    by_loss = {
        loss: binarization(situation(pgd(beta=0.1, loss=loss, random_start=False), classifier, images(40)))[
            "binarization"
        ]
        for loss in ("cross-entropy", "margin")
    }
    assert by_loss["margin"].count <= 1 and by_loss["cross-entropy"].count > 0.9 * by_loss["cross-entropy"].n > 18


def test_square_solves_it_in_batches_of_any_composition() -> None:
    outcome = binarization(situation(PERTURBATIONS["square"](beta=0.1, queries=400), small_classifier(), images(30)))
    assert outcome["binarization"].count <= 0.1 * outcome["binarization"].n


def test_the_adversarial_example_exists_and_the_clean_image_is_none() -> None:
    given = situation(pgd(beta=0.1), small_classifier(), images(30))
    readout = find_readout(given.classifier, given.x)
    assert readout is not None
    binary, solvable = fit(given, readout, 12, 30)
    assert solvable.sum() >= 25
    outer = boundary_points(given.ball, given.x, given.seeds)[:, 0]
    for row in solvable.nonzero().flatten().tolist():
        rows = torch.tensor([row])

        def outputs(queried: Tensor, features: Tensor, rows: Tensor = rows) -> Tensor:
            return binary.outputs(features, rows.expand(len(features)), 10)

        with replaced(given.classifier, readout, outputs) as changed:
            inner = inner_points(given.ball, given.x[rows], given.seeds[rows], 12)[0]
            assert (changed.predict(inner) == 0).all() and changed.predict(outer[rows]) == 1
            logits = changed(given.x[rows])
            assert logits.shape == (1, 10) and logits[0, 2:].max() < logits[0, :2].min()
    assert torch.equal(given.classifier.predict(given.x), small_classifier().predict(given.x))
    assert not readout._forward_hooks


def test_results_depend_on_content_alone() -> None:
    given = situation(pgd(beta=0.1), small_classifier(), images(40))
    first = binarization(given)
    assert binarization(given) == first
    few = situation(pgd(beta=0.1), given.classifier, images(30))
    readout = find_readout(given.classifier, given.x)
    assert readout is not None
    one, other = (fit(each, readout, 12, 30)[0].separation.weight for each in (given, few))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_separation_is_logistic_regression() -> None:
    """The weights minimize the penalized loss, and the boundary is 0.001 of the gap away from the last point."""
    points = torch.randn(3, 9, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = separate(points)
    assert found.found.all()
    scores = torch.stack([found.scores(each, torch.full((9,), row)) for row, each in enumerate(points)])
    assert (scores[:, -1] > 0).all() and (scores[:, :-1] < 0).all()
    gap = scores[:, -1] - scores[:, :-1].amax(dim=1)
    torch.testing.assert_close(scores[:, -1], 0.001 * gap)
    torch.testing.assert_close(found.gap, gap)
    for row, each in enumerate(points):
        centered = each - each.mean(dim=0)
        scale = centered.square().mean().sqrt()
        normal = centered / scale / 20**0.5
        signs = torch.tensor([-1.0] * 8 + [1.0], dtype=torch.float64)
        importance = torch.tensor([1 / 16] * 8 + [1 / 2], dtype=torch.float64)

        def objective(v: object, normal: Tensor = normal) -> float:
            weight = torch.as_tensor(v)
            values = normal @ weight[:-1] + 10 * weight[-1]
            loss = importance * nn.functional.softplus(-signs * values)  # noqa: B023
            return float(loss.sum() + RIDGE / 2 * weight.square().sum())

        best = minimize(
            objective,
            torch.zeros(21, dtype=torch.float64).numpy(),
            method="L-BFGS-B",
            options={"maxfun": 20000, "ftol": 1e-12},
        )
        direction = torch.as_tensor(best.x[:-1])
        assert torch.cosine_similarity(direction, found.weight[row], dim=0) > 0.999


def test_equal_points_cannot_be_separated() -> None:
    points = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    points[0, -1] = points[0, 0]
    points[1] = 0.5
    assert separate(points).found.tolist() == [False, False]


@pytest.mark.parametrize("ball", [Threat("linf", 0.1), Threat("l2", 1.0)])
def test_points_lie_in_the_box_at_their_distance(ball: Threat) -> None:
    x, _ = images(10)
    seeds = torch.arange(10)
    inner, outer, tried = (
        inner_points(ball, x, seeds, 8),
        boundary_points(ball, x, seeds),
        random_points(ball, x, seeds, 8),
    )
    assert (
        torch.equal(inner[:, 0], x) and inner.shape == tried.shape == (10, 8, *SHAPE) and outer.shape == (10, 1, *SHAPE)
    )
    for points, most in ((inner, 0.95 * ball.epsilon), (tried, ball.epsilon), (outer, ball.epsilon)):
        assert points.min() >= 0 and points.max() <= 1
        distances = lp_norm((points - x[:, None]).flatten(0, 1), ball.norm)
        assert (distances <= most * (1 + 1e-5)).all()
    torch.testing.assert_close(lp_norm((outer[:, 0] - x), ball.norm), torch.full((10,), ball.epsilon))
    assert torch.equal(boundary_points(ball, x[3:4], seeds[3:4]), outer[3:4])
    assert not torch.equal(boundary_points(ball, x, seeds + 1), outer)


def test_readout_is_the_last_linear_layer() -> None:
    x, _ = images(3)
    layers = small()
    found = find_readout(small_classifier(), x)
    assert found is not None and torch.equal(found.weight, layers[-1].weight)  # type: ignore[index]

    class Softened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layers

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).log_softmax(dim=1)

    softened = Classifier(Softened(), SHAPE, 10)
    assert find_readout(softened, x) is not None
    called = Classifier(lambda x: layers(2 * x), SHAPE, 10)
    assert find_readout(called, x) is layers[-1]  # type: ignore[index]
    noisy = RandomClassifier(lambda x: layers(x + 0.1 * torch.randn_like(x)), SHAPE, 10, samples=3)
    readout = find_readout(noisy, x)
    assert readout is not None
    features, outputs = features_of(noisy, readout, x)
    noisy.restart()
    torch.testing.assert_close(outputs, noisy(x).detach())
    torch.testing.assert_close(readout(features), outputs)


@pytest.mark.parametrize(
    ("network", "note"),
    [
        (nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), "the last layer of the network is not linear"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 10)),
            "the last layer has only 3 inputs",
        ),
        (Line(torch.ones(64), -20.0), "the last layer of the network is not linear"),
    ],
    ids=["convolution", "few features", "no layer"],
)
def test_networks_without_a_readout_are_not_tested(network: nn.Module, note: str) -> None:
    x, y = images(24)
    classes = 2 if isinstance(network, Line) else 10
    given = situation(pgd(beta=0.1), Classifier(network, SHAPE, classes), (x, y % classes))
    assert binarization(given)["binarization"] == (0, 0, 0, 0, note)


def test_few_images_are_not_judged() -> None:
    outcome = binarization(situation(pgd(beta=0.1), small_classifier(), images(8)))["binarization"]
    assert outcome.n == outcome.count == 0 and outcome.note.startswith("too few images to tell: random points solve")
