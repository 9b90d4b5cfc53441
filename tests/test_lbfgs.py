"""Box-constrained L-BFGS compared with SciPy, with exact distances and with minimal-norm attacks of the libraries."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from helpers.oracles import Line, line
from scipy import optimize
from torch import Tensor, nn

from gtn_bench.data import DATASETS
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.views import as_foolbox
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.modes.training import train
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.lbfgs import BoundarySearch
from gtn_bench.perturbations.optim.lbfgsb import Objective, minimize
from gtn_bench.perturbations.targets import TargetName

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


@pytest.fixture(scope="module")
def narrow_network() -> nn.Module:
    """Return the layers of `base_larger` with an eighth of its widths, trained on digits; SciPy evaluates it fast."""
    dataset = DATASETS["digits"]()
    network = ARCHITECTURES["base_larger"]().widened(0.125)(dataset, seed=0)
    (state,) = train([Vanilla(epochs=4)], network, dataset, dataset()["train"], None, seed=0)
    network.load_state_dict(state)
    return network.eval()


def test_minimizers_of_convex_quadratics_satisfy_kkt_conditions() -> None:
    """Five quadratics of 12 variables, whose minimizers are partly on the bounds of the box."""
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(5, 12, 12, generator=draw, dtype=torch.float64)
    curvature = root @ root.mT + 0.1 * torch.eye(12)
    center = 2 * torch.rand(5, 12, generator=draw, dtype=torch.float64) - 0.5

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        change = x - center[rows]
        grad = (curvature[rows] @ change[:, :, None]).squeeze(2)
        return (change * grad).sum(1) / 2, grad

    x = minimize(objective, torch.full((5, 12), 0.5, dtype=torch.float64), steps=300, tolerance=0, gradient_tolerance=0)
    grad = objective(x, torch.arange(5))[1]
    assert ((x - grad).clamp(0, 1) - x).abs().max() < 1e-6
    assert ((x == 0) | (x == 1)).any() and ((x > 0) & (x < 1)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_minimization_with_fewer_variables_than_history(size: int, dtype: torch.dtype) -> None:
    """The matrices of the model are singular, and still flat minima and minima on a bound are found."""
    center = torch.tensor([0.3, 0.5, -0.2], dtype=dtype)[:, None]

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        change = x - center[rows]
        return (change**4 + 0.1 * change**2).sum(1), 4 * change**3 + 0.2 * change

    found = minimize(objective, torch.full((3, size), 0.9, dtype=dtype), tolerance=0, gradient_tolerance=1e-6)
    assert torch.allclose(found, center.clamp_min(0).expand(3, size), atol=1e-3)


def test_minimization_evaluates_the_same_points_as_scipy() -> None:
    """On six non-convex problems at once."""
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(6, 20, 20, generator=draw, dtype=torch.float64)
    center, start = torch.rand(2, 6, 20, generator=draw, dtype=torch.float64)
    evaluated: list[list[Tensor]] = [[] for _ in start]

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        for row, point in zip(rows.tolist(), x, strict=True):
            evaluated[row].append(point.clone())
        change = x - 2 * center[rows] + 0.5
        grad = ((root @ root.mT)[rows] @ change[:, :, None]).squeeze(2)
        return (change * grad).sum(1) / 2 + 3 * (5 * x).sin().sum(1), grad + 15 * (5 * x).cos()

    minimize(objective, start)
    for row, ours in enumerate([list(points) for points in evaluated]):
        theirs = _scipy(objective, start, row)[1]
        assert len(ours) == len(theirs)
        assert torch.allclose(torch.stack(ours), theirs, atol=1e-9)
    assert len({len(points) for points in evaluated}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["untargeted", "next"])
@pytest.mark.parametrize("start, factor", [("clean", 10), ("clean", 1), ("clean", 0.1), ("nearest", 1)])
def test_minima_of_the_attack_objective_equal_those_of_scipy(
    target: TargetName, start: str, factor: float, narrow_network: nn.Module, digits: Digits
) -> None:
    """The objective of a learner is not smooth, which amplifies rounding: sometimes SciPy ends lower, sometimes higher.

    Starts are the clean image, where the attack starts, and the nearest adversarial image, where it ends. Constants
    are around the one of the linearized classifier.
    """
    x, y = digits[0][:20].double(), digits[1][:20]
    classifier = Classifier(copy.deepcopy(narrow_network).double(), (1, 8, 8), 10)
    search = BoundarySearch(classifier, x, y if target == "untargeted" else (y + 1) % 10, target)
    objective = search.objective(factor * search.first_constant())
    points = search.x
    if start == "nearest":
        attack = PERTURBATIONS["lbfgs"](beta=9.0, target=target)
        points = attack.nearest(classifier, x, y, SEEDS[:20]).x_adv.flatten(1)
    rows = torch.arange(len(x))
    ours = objective(minimize(objective, points, steps=2000), rows)[0].numpy()
    theirs = np.array([_scipy(objective, points, row)[0] for row in range(len(x))])
    excess = ours / theirs - 1
    assert (excess < 1e-3).mean() >= 0.85
    assert excess.mean() < 1e-3 and excess.max() < 0.05


def _scipy(objective: Objective, start: Tensor, row: int) -> tuple[float, Tensor]:
    """Return the final value of SciPy's L-BFGS-B and all points (n, D) that it evaluates."""
    evaluated = []

    def scalar(point: np.ndarray) -> tuple[float, np.ndarray]:
        evaluated.append(torch.from_numpy(point.copy()))
        value, grad = objective(evaluated[-1][None], torch.tensor([row]))
        return float(value), grad[0].numpy()

    bounds = [(0, 1)] * start.shape[1]
    end = optimize.minimize(
        scalar, start[row].numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000}
    )
    return end.fun, torch.stack(evaluated)


@pytest.mark.parametrize("dtype, rtol, atol", [(torch.float64, 0.003, 0.0), (torch.float32, 0.003, 3e-5)])
def test_distances_to_a_linear_boundary_are_exact(dtype: torch.dtype, rtol: float, atol: float) -> None:
    """Distances in float32 are exact up to rounding, which matters for an image at distance 0.0009."""
    classifier, x, y, _ = line(dtype)
    assert isinstance(classifier.network, Line)
    exact = classifier.network.l2_distance(x).detach()
    found = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, SEEDS[:40])
    assert (classifier.predict(found.x_adv) != y).all()
    assert torch.allclose(found.strength, exact, rtol, atol)
    assert torch.allclose((found.x_adv - x).flatten(1).norm(dim=1), found.strength)


def test_adversarial_images_are_nearer_than_those_of_ddn_and_carlini_wagner(
    classifier: Classifier, digits: Digits
) -> None:
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


@pytest.mark.slow
def test_targeted_attack_reaches_its_target(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    found = PERTURBATIONS["lbfgs"](beta=9.0, target="next").nearest(classifier, x, y, SEEDS)
    assert found.strength.isfinite().float().mean() > 0.95
    reached = classifier.predict(found.x_adv) == (y + 1) % 10
    assert torch.equal(reached, found.strength.isfinite())
    nearer = PERTURBATIONS["lbfgs"](beta=9.0).nearest(classifier, x, y, SEEDS).strength
    assert nearer.mean() < found.strength[reached].mean()


@pytest.mark.slow
def test_one_search_gives_the_result_at_every_radius(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    clean = evaluate_clean(classifier, x, y)
    sweep = [PERTURBATIONS["lbfgs"](beta=beta) for beta in (0.0, 0.3, 0.5, 5.0)]
    together = evaluate_sweep(sweep, classifier, clean, x, y, SEEDS)
    for one, result in zip(sweep, together, strict=True):
        alone = evaluate(one, classifier, clean, x, y, SEEDS)
        assert torch.equal(alone.prediction, result.prediction) and torch.equal(alone.l2, result.l2)
    found = sweep[0].nearest(classifier, x, y, SEEDS)
    for one, result in zip(sweep, together, strict=True):
        survivors = (found.strength > one.beta).float().mean()
        assert (result.prediction == y).float().mean() == survivors
