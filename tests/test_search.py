"""The smallest successful strength, against exact distances and the sweep itself."""

from __future__ import annotations

import pytest
import torch
from oracles import line
from torch import Tensor

from gtn_bench.classifiers import Classifier
from gtn_bench.description import Mistake, build
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.perturbations.library import Radius
from gtn_bench.perturbations.search import Search

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


def test_the_smallest_step_across_a_line_is_exact() -> None:
    """Ten sign steps cross the boundary when they span the exact L-inf distance."""
    classifier, x, y, distance = line(torch.float32)
    grid = tuple(float(beta) for beta in torch.linspace(0, float(distance.max()) / 9, 8))
    search = Search(of=PERTURBATIONS["fgsm"](beta=0.0, steps=10), grid=grid, halvings=8, beta=0.0)
    found = search.nearest(classifier, x, y, SEEDS[:40])
    assert torch.allclose(found.strength * 10, distance, atol=10 * grid[1] / 2**8)
    assert (classifier.predict(found.x_adv) != y).all()


@pytest.mark.parametrize(
    "of",
    [
        PERTURBATIONS["noise"](beta=0.0),
        PERTURBATIONS["rotation"](beta=0.0),
        PERTURBATIONS["foolbox"](attack="LinfFastGradientAttack", drives="epsilon", beta=0.0),
    ],
    ids=lambda of: of.name,
)
def test_what_is_found_holds_and_is_no_weaker_than_the_grid_says(
    of: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    grid = (0.0, 0.2, 0.6) if of.name != "rotation" else (0.0, 30.0, 90.0)
    search = Search(of=of, grid=grid, halvings=3, beta=grid[1])
    found = search.nearest(classifier, x, y, SEEDS)
    wrong = classifier.predict(x) != y
    assert (found.strength[wrong] == 0).all()
    assert torch.equal(classifier.predict(found.x_adv) != y, found.strength.isfinite())
    for row in (found.strength.isfinite() & ~wrong).nonzero()[:5, 0].tolist():
        one = slice(row, row + 1)
        again = search._at(float(found.strength[row]))(classifier, x[one], y[one], SEEDS[one]).clamp(0, 1)
        assert (classifier.predict(again) != y[one]).all()
    first = search._at(grid[1])(classifier, x, y, SEEDS).clamp(0, 1)
    assert (found.strength[classifier.predict(first) != y] <= grid[1]).all()


def test_it_scales_with_its_perturbation_and_draws_what_it_draws() -> None:
    noise = PERTURBATIONS["noise"](beta=1.0)
    search = Search(of=noise, grid=(0.5, 1.0), beta=1.0)
    scaled = search.in_pixels(0.5)
    assert (scaled.beta, scaled.grid, scaled.draws()) == (0.5, (0.25, 0.5), noise.draws())
    rotation = Search(of=PERTURBATIONS["rotation"](beta=1.0), grid=(1.0,), beta=1.0)
    assert rotation.in_pixels(0.5) == rotation


def test_it_rests_on_the_packages_of_its_perturbation() -> None:
    """So that their versions are part of its key."""
    for of in (PERTURBATIONS["blur"](beta=1.0), PERTURBATIONS["foolbox"](attack="LinfPGD", drives="epsilon", beta=0.1)):
        assert Search(of=of, grid=(1.0,), beta=1.0).packages == of.packages
    deepfool = PERTURBATIONS["foolbox"](attack="L2DeepFoolAttack", beta=1.0)
    assert Radius(of=deepfool, beta=1.0).packages == ("foolbox",)


def test_what_cannot_be_searched_is_said() -> None:
    with pytest.raises(Mistake, match="'lbfgs' finds the smallest strength by itself"):
        build(Search, {"of": PERTURBATIONS["lbfgs"](beta=1.0), "grid": (1.0,), "beta": 1.0}, "")
    with pytest.raises(Mistake, match="single images, got 'lbfgs-penalty' on whole batches"):
        build(
            Search, {"of": PERTURBATIONS["lbfgs-penalty"](beta=1.0, penalty="batch"), "grid": (1.0,), "beta": 1.0}, ""
        )
    pixels = PERTURBATIONS["art"](attack="PixelAttack", beta=1.0, drives="th", params={"max_iter": 2})
    with pytest.raises(Mistake, match=r"beta that can be halved, that of 'art\.PixelAttack' counts"):
        build(Search, {"of": pixels, "grid": (1.0,), "beta": 1.0}, "")
    with pytest.raises(Mistake, match="expects a larger beta to be stronger, that of 'lbfgs-penalty' is weaker"):
        build(
            Search, {"of": PERTURBATIONS["lbfgs-penalty"](beta=1.0, beta_is="weight"), "grid": (1.0,), "beta": 1.0}, ""
        )
