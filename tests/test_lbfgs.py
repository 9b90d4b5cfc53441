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
from gtn_bench.perturbations.box_lbfgs import Objective, minimise
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

    x = minimise(objective, torch.full((5, 12), 0.5, dtype=torch.float64), steps=300, tolerance=0, flatness=0)
    grad = objective(x, torch.arange(5))[1]
    assert ((x - grad).clamp(0, 1) - x).abs().max() < 1e-6
    assert ((x == 0) | (x == 1)).any() and ((x > 0) & (x < 1)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_fewer_variables_than_memory(size: int, dtype: torch.dtype) -> None:
    """The model's matrices are singular then; minima are found all the same, flat ones and ones at a bound."""
    centre = torch.tensor([0.3, 0.5, -0.2], dtype=dtype)[:, None]

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        change = x - centre[rows]
        return (change**4 + 0.1 * change**2).sum(1), 4 * change**3 + 0.2 * change

    found = minimise(objective, torch.full((3, size), 0.9, dtype=dtype), tolerance=0, flatness=1e-6)
    assert torch.allclose(found, centre.clamp_min(0).expand(3, size), atol=1e-3)


def test_every_evaluation_is_that_of_scipy() -> None:
    """Six wavy problems at once: every point that is asked for is the one that SciPy asks for."""
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(6, 20, 20, generator=draw, dtype=torch.float64)
    centre, start = torch.rand(2, 6, 20, generator=draw, dtype=torch.float64)
    asked: list[list[Tensor]] = [[] for _ in start]

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        for row, point in zip(rows.tolist(), x, strict=True):
            asked[row].append(point.clone())
        change = x - 2 * centre[rows] + 0.5
        grad = ((root @ root.mT)[rows] @ change[:, :, None]).squeeze(2)
        return (change * grad).sum(1) / 2 + 3 * (5 * x).sin().sum(1), grad + 15 * (5 * x).cos()

    minimise(objective, start)
    for row, ours in enumerate([list(points) for points in asked]):
        theirs = _scipy(objective, start, row)[1]
        assert len(ours) == len(theirs)
        assert torch.allclose(torch.stack(ours), theirs, atol=1e-9)
    assert len({len(points) for points in asked}) > 1


@pytest.mark.parametrize("target", ["any", "next"])
@pytest.mark.parametrize("start, factor", [("clean", 10), ("clean", 1), ("clean", 0.1), ("nearest", 1)])
def test_minima_are_those_of_scipy(
    target: Target, start: str, factor: float, network: nn.Module, digits: Digits
) -> None:
    """On a learner, whose kinks magnify rounding: from the clean image, where the attack begins, and from the nearest
    hit, where it ends, with constants around the one of the linearised classifier.
    """
    x, y = digits[0][:20].double(), digits[1][:20]
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    hunt = Hunt(classifier, x, y if target == "any" else (y + 1) % 10, target)
    objective = hunt.objective(factor * hunt.first_constant())
    points = hunt.x
    if start == "nearest":
        search = PERTURBATIONS["lbfgs"](beta=9.0, target=target)
        points = search.nearest(classifier, x, y, SEEDS[:20]).x_adv.flatten(1)
    rows = torch.arange(len(x))
    ours = objective(minimise(objective, points, steps=2000), rows)[0].numpy()
    theirs = np.array([_scipy(objective, points, row)[0] for row in range(len(x))])
    excess = ours / theirs - 1
    assert (excess < 1e-3).mean() >= 0.95
    assert excess.max() < 0.05


def _scipy(objective: Objective, start: Tensor, row: int) -> tuple[float, Tensor]:
    """The value that SciPy's L-BFGS-B ends with, and all points that it asked for."""
    asked = []

    def scalar(point: np.ndarray) -> tuple[float, np.ndarray]:
        asked.append(torch.from_numpy(point.copy()))
        value, grad = objective(asked[-1][None], torch.tensor([row]))
        return float(value), grad[0].numpy()

    bounds = [(0, 1)] * start.shape[1]
    end = minimize(scalar, start[row].numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
    return end.fun, torch.stack(asked)


@pytest.mark.parametrize("dtype, rtol, atol", [(torch.float64, 0.003, 0.0), (torch.float32, 0.003, 3e-5)])
def test_distances_to_a_line_are_exact(dtype: torch.dtype, rtol: float, atol: float) -> None:
    """In float32 but for what rounding hides of an image that is 0.0009 away."""
    classifier, x, y, _ = line(dtype)
    assert isinstance(classifier.network, Line)
    exact = classifier.network.l2_distance(x).detach()
    found = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, SEEDS[:40])
    assert (classifier.predict(found.x_adv) != y).all()
    assert torch.allclose(found.strength, exact, rtol, atol)
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
