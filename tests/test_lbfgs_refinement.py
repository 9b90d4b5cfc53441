"""The last steps of `lbfgs` compared with exact distances, with the search without them, and with DDN."""

from __future__ import annotations

import warnings
from unittest.mock import patch

import pytest
import torch
from helpers.linear import boundary_rounding, exact_distances, linear_classifier
from torch import Tensor

from gtn_bench.data import DATASETS
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.views import as_foolbox
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.perturbations import PERTURBATIONS, lbfgs
from gtn_bench.perturbations.base import Nearest
from gtn_bench.perturbations.optim.halfspace import shortest_change
from gtn_bench.perturbations.refinement import refinement_passes
from gtn_bench.perturbations.targets import TargetName

Learner = tuple[Classifier, Tensor, Tensor]
SEEDS = torch.arange(60)


@pytest.fixture(scope="module")
def learners() -> dict[str, Learner]:
    """Return narrow learners of digits by architecture, with 40 test images and their labels."""
    dataset, found = DATASETS["digits"](), {}
    splits = dataset()
    for name, width in (("base_larger", 0.125), ("mlp", 0.5)):
        network = ARCHITECTURES[name]().widened(width)(dataset, seed=0).train()
        network.load_state_dict(Vanilla(epochs=4)(network, dataset, splits["train"], None, seed=0))
        found[name] = Classifier(network.eval(), dataset.input_shape, 10), *splits["test"][:40]
    return found


def nearest(classifier: Classifier, x: Tensor, y: Tensor, target: TargetName = "untargeted", **fields: int) -> Nearest:
    """Return what the attack finds."""
    attack = PERTURBATIONS["lbfgs"](beta=9.0, target=target, **fields)
    return attack.nearest(classifier, x, y, SEEDS[: len(x)])


def without_refinement(classifier: Classifier, x: Tensor, y: Tensor, target: TargetName = "untargeted") -> Nearest:
    """Return what the attack finds without its last steps."""
    with patch.object(lbfgs, "refine", lambda search, steps: None):
        return nearest(classifier, x, y, target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shortest_change_satisfies_kkt_conditions(dtype: torch.dtype) -> None:
    """A change is ``clip(multiplier * normal)`` with one multiplier, and has exactly the required gain."""
    draw = torch.Generator().manual_seed(0)
    x = (1.6 * torch.rand(50, 300, generator=draw, dtype=dtype) - 0.3).clamp(0, 1)
    normal = torch.randn(50, 300, generator=draw, dtype=dtype)
    most = (normal.abs() * (1 - x).where(normal > 0, x)).sum(1)
    gain = most * torch.linspace(-0.1, 0.95, 50, dtype=dtype)
    change, reachable = shortest_change(x, normal, gain)
    eps = torch.finfo(dtype).eps
    assert reachable.all() and (x + change >= -eps).all() and (x + change <= 1 + eps).all()
    assert (change[gain <= 0] == 0).all()
    needed = gain > 0
    assert torch.allclose((normal * change).sum(1)[needed], gain[needed], rtol=50 * eps)
    inside = (x + change > eps) & (x + change < 1 - eps)
    ratio = change / normal
    for row in needed.nonzero().squeeze(1).tolist():
        multiplier = ratio[row][inside[row]]
        assert torch.allclose(multiplier, multiplier.median(), rtol=1e-2 if dtype == torch.float32 else 1e-6)
        assert (ratio[row] <= multiplier.median() * 1.01).all()  # a variable on its bound would move farther
    assert ((x + change).sub(x.round()).abs() < eps).any()


def test_shortest_change_that_cannot_suffice_goes_as_far_as_it_can() -> None:
    x = torch.tensor([[0.25, 0.5], [0.25, 0.5], [1.0, 0.0]])
    normal = torch.tensor([[1.0, -2.0], [0.0, 0.0], [1.0, -1.0]])
    change, reachable = shortest_change(x, normal, torch.tensor([9.0, 1.0, 1.0]))
    assert not reachable.any()
    assert change.tolist() == [[0.75, -0.5], [0, 0], [0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "classes, size, scale, common",
    [
        (10, 4, 1, 0),
        (10, 8, 0.1, 0),
        (10, 8, 0.01, 0),
        (10, 8, 0.02, 1),
        (10, 8, 20, 0),
        (10, 28, 0.02, 0),
        (2, 8, 1, 0),
        (100, 8, 0.1, 0),
    ],
)
@pytest.mark.parametrize("at_bounds, dtype", [(False, torch.float32), (True, torch.float32), (True, torch.float64)])
def test_distances_of_linear_classifiers_are_exact_to_a_percent(
    classes: int, size: int, scale: float, common: float, at_bounds: bool, dtype: torch.dtype
) -> None:
    """Small weights and a large common part make logits close. With pixels on bounds, the box is active.

    Rounded logits move the boundary. An image that is almost on it can differ by more than a percent.
    """
    classifier, x, y = linear_classifier(classes, size, scale, common, at_bounds, dtype)
    exact, is_box_active = exact_distances(classifier, x, y)
    assert exact.isfinite().all()
    assert is_box_active.float().mean() > 0.9 or not at_bounds
    found = nearest(classifier, x, y)
    distance = found.strength.double()
    assert (classifier.predict(found.x_adv) != y).all()
    assert (distance / exact).mean() < 1.003
    rounding = boundary_rounding(classifier, torch.cat([x, found.x_adv]))
    assert (distance < 1.01 * exact + rounding).all()
    assert (distance > exact * (1 - torch.finfo(dtype).eps ** 0.5) - rounding).all()


def test_search_without_last_steps_is_far_from_exact_for_close_logits() -> None:
    classifier, x, y = linear_classifier(10, 8, 0.1, 0, False, torch.float32)
    exact, _ = exact_distances(classifier, x, y)
    assert (without_refinement(classifier, x, y).strength / exact).mean() > 1.2


@pytest.mark.slow
@pytest.mark.parametrize("target", ["untargeted", "next", "least-likely"])
def test_last_steps_never_move_the_nearest_image_away(target: TargetName, learners: dict[str, Learner]) -> None:
    """Up to the thousandth of the distance beyond the boundary."""
    classifier, x, y = learners["base_larger"]
    before, after = without_refinement(classifier, x, y, target), nearest(classifier, x, y, target)
    assert (after.strength <= before.strength * (1 + 2e-3)).all()
    assert after.strength.sum() < before.strength.sum() or target != "untargeted"
    assert torch.allclose((after.x_adv - x).flatten(1).norm(dim=1), after.strength.where(after.strength.isfinite(), 0))
    attack = PERTURBATIONS["lbfgs"](beta=9.0, target=target)
    wanted = attack.labels(classifier, x, y, SEEDS[: len(x)])
    reached = (classifier.predict(after.x_adv) == wanted) == (target != "untargeted")
    assert torch.equal(reached, after.strength.isfinite())


@pytest.mark.parametrize("architecture", ["base_larger", "mlp"])
def test_distances_are_not_above_those_of_ddn(architecture: str, learners: dict[str, Learner]) -> None:
    """The mean is not above, and the worst image is less far behind than the worst image of DDN.

    Which image is the worst, and how far it is behind, depends on rounding in the training of the learner.
    """
    from foolbox.attacks import DDNAttack

    classifier, x, y = learners[architecture]
    right = classifier.predict(x) == y
    x, y = x[right], y[right]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, theirs, fooled = DDNAttack(steps=200)(as_foolbox(classifier), x, y, epsilons=None)
    assert fooled.all()
    ratio = nearest(classifier, x, y).strength / (theirs - x).flatten(1).norm(dim=1)
    assert ratio.mean() < 1
    assert ratio.max() < min(1.1, float((1 / ratio).max()))


@pytest.mark.parametrize("target", ["untargeted", "least-likely"])
@pytest.mark.parametrize("steps, binary_search_steps", [(40, 8), (1, 1), (5, 3)])
def test_passes_are_at_most_those_declared(
    steps: int, binary_search_steps: int, target: TargetName, learners: dict[str, Learner]
) -> None:
    classifier, x, y = learners["mlp"]
    attack = PERTURBATIONS["lbfgs"](beta=9.0, steps=steps, binary_search_steps=binary_search_steps, target=target)
    classifier.forwards = classifier.backwards = 0
    attack.nearest(classifier, x, y, SEEDS[: len(x)])
    assert attack.passes is not None
    assert classifier.forwards + classifier.backwards <= attack.passes * len(x)


def test_last_steps_take_the_declared_passes(learners: dict[str, Learner]) -> None:
    """They add at most a quarter to the search, and a little more with more classes."""
    classifier, x, y = learners["mlp"]
    counts = []
    for run in (nearest, without_refinement):
        classifier.forwards = classifier.backwards = 0
        run(classifier, x, y)
        counts.append((classifier.forwards + classifier.backwards) / len(x))
    assert counts[0] - counts[1] == pytest.approx(160) and refinement_passes(steps=40) == 160 + 36
    whole = PERTURBATIONS["lbfgs"](beta=9.0).passes
    assert whole is not None and whole - 36 <= 1.25 * (whole - refinement_passes(steps=40))


@pytest.mark.parametrize("classes", [11, 30, 60])
def test_passes_with_many_classes_are_at_most_those_declared(classes: int) -> None:
    classifier, x, y = linear_classifier(classes, 8, 0.1, 0, False, torch.float32)
    counts = []
    for run in (nearest, without_refinement):
        classifier.forwards = classifier.backwards = 0
        run(classifier, x, y)
        counts.append((classifier.forwards + classifier.backwards) // len(x))
    assert counts[0] - counts[1] == 151 + min(classes - 1, 29) + (16 if classes > 30 else 0)
    assert counts[0] - counts[1] <= refinement_passes(steps=40)


@pytest.mark.slow
@pytest.mark.parametrize(
    "classes, spread, at_bounds", [(30, 1, False), (30, 1, True), (100, 0.5, False), (100, 2, False)]
)
def test_distances_are_exact_to_a_percent_where_norms_of_weights_differ(
    classes: int, spread: float, at_bounds: bool
) -> None:
    """The nearest class is then often none of the most likely ones."""
    classifier, x, y = linear_classifier(classes, 8, 0.1, 0, at_bounds, torch.float32, spread=spread)
    exact, _ = exact_distances(classifier, x, y)
    found = nearest(classifier, x, y).strength.double()
    assert (found < 1.01 * exact + boundary_rounding(classifier, x)).all()


def test_results_are_deterministic_and_independent_of_the_batch() -> None:
    classifier, x, y = linear_classifier(10, 8, 0.1, 0, True, torch.float64)
    first, second = nearest(classifier, x, y), nearest(classifier, x, y)
    assert torch.equal(first.x_adv, second.x_adv) and torch.equal(first.strength, second.strength)
    part = nearest(classifier, x[5:8], y[5:8])
    assert torch.allclose(part.strength, first.strength[5:8], rtol=1e-6)


def test_images_without_adversarial_images_stay_as_they_are() -> None:
    """A classifier with constant logits has no gradient, and one with a large offset is constant in the box."""
    classifier, x, label = linear_classifier(10, 8, 0.0, 0, False, torch.float32)
    found = nearest(classifier, x, label)
    assert found.strength.isinf().all() and torch.equal(found.x_adv, x)
    wrong = nearest(classifier, x, (label + 1) % 10)
    assert (wrong.strength == 0).all() and torch.equal(wrong.x_adv, x)
    classifier, x, _ = linear_classifier(10, 8, 0.01, 0, False, torch.float32, offset=50.0)
    found = nearest(classifier, x, torch.zeros(len(x), dtype=torch.long))
    assert found.strength.isinf().all() and torch.equal(found.x_adv, x)
