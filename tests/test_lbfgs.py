"""L-BFGS in a box against SciPy's, against exact distances, and against the nearest attacks of the libraries."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from oracles import Line, line
from scipy.optimize import minimize
from torch import Tensor, nn

from gtn_bench.classifiers import Classifier, as_foolbox
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.base import Target
from gtn_bench.perturbations.box_lbfgs import minimise
from gtn_bench.perturbations.lbfgs import Hunt
from gtn_bench.perturbations.referee import judge, judge_sweep, look_at

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


def test_convex_quadratics_in_the_box_end_at_their_minimum() -> None:
    """Five quadratics of 12 variables whose minima lie partly on the box; KKT conditions hold at each."""
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(5, 12, 12, generator=draw, dtype=torch.float64)
    curvature = root @ root.mT + 0.1 * torch.eye(12)
    centre = 2 * torch.rand(5, 12, generator=draw, dtype=torch.float64) - 0.5

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        change = x - centre[rows]
        grad = (curvature[rows] @ change[:, :, None]).squeeze(2)
        return (change * grad).sum(1) / 2, grad

    x = minimise(objective, torch.full((5, 12), 0.5, dtype=torch.float64), steps=300, tolerance=0.0)
    grad = objective(x, torch.arange(5))[1]
    assert ((x - grad).clamp(0, 1) - x).abs().max() < 1e-6
    assert ((x == 0) | (x == 1)).any() and ((x > 0) & (x < 1)).any()


@pytest.mark.parametrize("target, start, factor", [("any", "clean", 10), ("next", "clean", 10), ("any", "nearest", 1)])
def test_minima_are_those_of_scipy(
    target: Target, start: str, factor: float, network: nn.Module, digits: Digits
) -> None:
    """Both find the same minimum of the attack's objective: from the clean image where the penalty rules, and with
    the attack's first constant from the nearest hit, where all its searches but the first begin.

    From the clean image with that constant they often end in different minima, neither being better on the whole.
    """
    x, y = digits[0][:20].double(), digits[1][:20]
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    hunt = Hunt(classifier, x, y if target == "any" else (y + 1) % 10, target)
    objective = hunt.objective(factor * hunt.first_constant())
    points = hunt.x
    if start == "nearest":
        search = PERTURBATIONS["lbfgs"](beta=9.0, target=target)
        points = search.nearest(classifier, x, y, SEEDS[:20]).x_adv.flatten(1)

    def scalar(point: np.ndarray, row: Tensor) -> tuple[float, np.ndarray]:
        value, grad = objective(torch.from_numpy(point)[None], row)
        return float(value), grad[0].numpy()

    rows = torch.arange(len(x))
    ours = objective(minimise(objective, points, steps=300), rows)[0].numpy()
    bounds = [(0, 1)] * 64
    theirs = [
        minimize(scalar, points[row].numpy(), row[None], jac=True, method="L-BFGS-B", bounds=bounds).fun for row in rows
    ]
    excess = ours / np.array(theirs) - 1
    assert (excess < 1e-3).mean() >= 0.95
    assert excess.max() < 0.05


def test_distances_to_a_line_are_exact() -> None:
    classifier, x, y, _ = line(torch.float32)
    assert isinstance(classifier.network, Line)
    exact = classifier.network.l2_distance(x).detach()
    found = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, SEEDS[:40])
    assert (classifier.predict(found.x_adv) != y).all()
    assert torch.allclose(found.strength, exact, rtol=0.01)
    assert torch.allclose((found.x_adv - x).flatten(1).norm(dim=1), found.strength)


def test_it_comes_nearer_than_ddn_and_carlini_wagner(classifier: Classifier, digits: Digits) -> None:
    from foolbox.attacks import DDNAttack, L2CarliniWagnerAttack

    x, y = digits
    right = classifier.predict(x) == y
    found = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, SEEDS)
    assert (classifier.predict(found.x_adv) != y).all()
    assert (found.strength[~right] == 0).all() and (found.x_adv[~right] == x[~right]).all()
    for attack in (DDNAttack(steps=100), L2CarliniWagnerAttack(binary_search_steps=5, steps=100)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, theirs, fooled = attack(as_foolbox(classifier), x, y, epsilons=None)
        both = right & fooled
        distance = (theirs - x).flatten(1).norm(dim=1)
        assert found.strength[both].mean() <= 1.01 * distance[both].mean(), attack


def test_targets_are_reached(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    found = PERTURBATIONS["lbfgs"](beta=9.0, target="next").nearest(classifier, x, y, SEEDS)
    assert found.strength.isfinite().float().mean() > 0.95
    reached = classifier.predict(found.x_adv) == (y + 1) % 10
    assert torch.equal(reached, found.strength.isfinite())
    nearer = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, SEEDS).strength
    assert nearer.mean() < found.strength[reached].mean()


def test_one_search_answers_for_every_radius(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    clean = look_at(classifier, x, y)
    sweep = [PERTURBATIONS["lbfgs"](beta=beta) for beta in (0.0, 0.3, 0.5, 5.0)]
    together = judge_sweep(sweep, classifier, clean, x, y, SEEDS)
    for one, outcome in zip(sweep, together, strict=True):
        alone = judge(one, classifier, clean, x, y, SEEDS)
        assert torch.equal(alone.prediction, outcome.prediction) and torch.equal(alone.l2, outcome.l2)
    found = sweep[0].nearest(classifier, x, y, SEEDS)
    for one, outcome in zip(sweep, together, strict=True):
        survivors = (found.strength > one.beta).float().mean()
        assert (outcome.prediction == y).float().mean() == survivors
