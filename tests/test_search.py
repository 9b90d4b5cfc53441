"""Search for the smallest successful strength, compared with exact distances and with the sweep itself."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.oracles import line
from torch import Tensor, nn

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.search import Bisection, Brackets, Search

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


def test_smallest_step_across_a_linear_boundary_is_exact() -> None:
    """Ten sign steps cross the boundary if their sum exceeds the exact L-inf distance."""
    classifier, x, y, distance = line(torch.float32)
    grid = tuple(float(beta) for beta in torch.linspace(0, float(distance.max()) / 9, 8))
    search = Search(of=PERTURBATIONS["fgsm"](beta=0.0, steps=10), grid=grid, binary_search_steps=8, beta=0.0)
    found = search.nearest(classifier, x, y, SEEDS[:40])
    assert torch.allclose(found.strength * 10, distance, atol=10 * grid[1] / 2**8)
    assert (classifier.predict(found.x_adv) != y).all()


@pytest.mark.parametrize(
    "of",
    [
        PERTURBATIONS["noise"](beta=0.0),
        PERTURBATIONS["rotation"](beta=0.0),
        PERTURBATIONS["foolbox"](attack="LinfFastGradientAttack", beta_parameter="epsilon", beta=0.0),
    ],
    ids=lambda of: of.name,
)
def test_found_strengths_are_successful_and_not_above_the_grid(
    of: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    grid = (0.0, 0.2, 0.6) if of.name != "rotation" else (0.0, 30.0, 90.0)
    search = Search(of=of, grid=grid, binary_search_steps=3, beta=grid[1])
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


AT_EACH: list[tuple[str, dict[str, object]]] = [
    ("pgd", {"steps": 5}),
    ("pgd", {"steps": 5, "norm": "l2", "keep": "best"}),
    ("pgd", {"steps": 5, "target": 3, "random_start": False}),
    ("fgsm", {"steps": 5, "keep": "best"}),
    ("fgsm", {"steps": 5, "epsilon": 0.1, "random_start": True}),
    ("fgsm", {"steps": 5, "target": "least-likely"}),
    ("noise", {}),
    ("rotation", {}),
]


@pytest.mark.parametrize("name, fields", AT_EACH)
def test_one_call_perturbs_each_image_with_its_own_strength(name: str, fields: dict[str, object]) -> None:
    """The oracle calls the perturbation once for each image."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).double()
    classifier, x = Classifier(network, (1, 8, 8), 10), torch.rand(24, 1, 8, 8, dtype=torch.float64)
    y = classifier.predict(x)
    of = PERTURBATIONS[name].model_validate({"beta": 0.5, **fields})
    strengths = torch.tensor([0.01, 0.3, 0.05, 0.3], dtype=torch.float64).repeat(6)
    together = of.at_each(classifier, x, y, SEEDS[:24], strengths)
    for row in range(24):
        one = of.model_copy(update={"beta": strengths[row].item()})
        part = slice(row, row + 1)
        alone = one(classifier, x[part], y[part], SEEDS[part])
        assert torch.allclose(together[part], alone, atol=1e-12, rtol=0)
    assert not torch.equal(together[0], x[0])


def test_an_attack_with_a_call_of_its_own_is_searched_with_it(classifier: Classifier, digits: Digits) -> None:
    class Black(PERTURBATIONS["pgd"]):  # type: ignore[misc]
        """Black images."""

        def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
            return torch.zeros_like(x)

    x, y = digits
    strengths = torch.full((len(x),), 0.1, dtype=torch.float64)
    assert (Black(beta=0.1).at_each(classifier, x, y, SEEDS, strengths) == 0).all()


@pytest.mark.parametrize("keep", ["last", "best"])
def test_bisection_finds_the_smallest_strength_of_a_sweep(keep: str, classifier: Classifier, digits: Digits) -> None:
    """The oracle attacks at every strength. Images that a larger strength does not fool may differ."""
    x, y = digits
    grid = tuple(0.03 * k for k in range(1, 11))
    of = PERTURBATIONS["pgd"](beta=0.0, keep=keep, steps=10)
    search = Bisection(of=of, grid=grid, beta=grid[0])
    found = search.nearest(classifier, x, y, SEEDS)
    fooled = torch.stack([classifier.predict(search._at(beta)(classifier, x, y, SEEDS)) != y for beta in grid])
    fooled[:, classifier.predict(x) != y] = True
    monotone = (fooled.long().diff(dim=0) >= 0).all(dim=0)
    smallest = torch.tensor([*grid, torch.inf])[len(grid) - fooled.sum(dim=0)]
    smallest[classifier.predict(x) != y] = 0
    assert monotone.float().mean() > 0.9
    assert torch.equal(found.strength[monotone], smallest[monotone])
    assert found.strength.unique().numel() >= 5
    assert torch.equal(classifier.predict(found.x_adv) != y, found.strength.isfinite())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 10])
def test_bisection_tries_few_strengths(size: int) -> None:
    """Each image is attacked at most `attempts` times, whatever its smallest successful strength."""
    classifier, x, y, distance = line(torch.float64)
    grid = tuple(float(beta) for beta in torch.linspace(0, float(distance.max()), size + 1)[1:] / 10)
    of = PERTURBATIONS["fgsm"](beta=0.0, steps=10)
    search = Bisection(of=of, grid=grid, beta=grid[0])
    assert search.attempts == math.ceil(math.log2(size + 1))
    calls = torch.zeros(len(x))
    brackets = Brackets(of, classifier, x, y, SEEDS[: len(x)])
    attempt = brackets.attempt

    def counted(mask: Tensor, strengths: Tensor | float) -> Tensor:
        calls[mask] += 1
        return attempt(mask, strengths)

    brackets.attempt = counted  # type: ignore[method-assign]
    search.narrow(brackets)
    assert calls.max() == search.attempts
    exact = torch.tensor(grid)[(distance.view(-1, 1) / 10 > torch.tensor(grid) + 1e-9).sum(dim=1).clamp_max(size - 1)]
    assert torch.allclose(brackets.result().strength, exact.to(distance))


def test_search_scales_with_its_perturbation_and_draws_the_same_numbers() -> None:
    noise = PERTURBATIONS["noise"](beta=1.0)
    search = Search(of=noise, grid=(0.5, 1.0), beta=1.0)
    scaled = search.in_pixels(0.5)
    assert (scaled.beta, scaled.grid, scaled.rng_identity()) == (0.5, (0.25, 0.5), noise.rng_identity())
    rotation = Search(of=PERTURBATIONS["rotation"](beta=1.0), grid=(1.0,), beta=1.0)
    assert rotation.in_pixels(0.5) == rotation


def test_search_depends_on_the_packages_of_its_perturbation() -> None:
    """The versions of these packages are part of cache keys."""
    for of in (
        PERTURBATIONS["blur"](beta=1.0),
        PERTURBATIONS["foolbox"](attack="LinfPGD", beta_parameter="epsilon", beta=0.1),
    ):
        assert Search(of=of, grid=(1.0,), beta=1.0).packages == of.packages
    deepfool = PERTURBATIONS["foolbox"](attack="L2DeepFoolAttack", beta=1.0)
    assert Radius(of=deepfool, beta=1.0).packages == ("foolbox",)


def test_search_refuses_perturbations_that_it_does_not_apply_to() -> None:
    with pytest.raises(ConfigError, match="'lbfgs' finds the smallest strength by itself"):
        build(Search, {"of": PERTURBATIONS["lbfgs"](beta=1.0), "grid": (1.0,), "beta": 1.0}, "")
    with pytest.raises(
        ConfigError, match="requires a perturbation of independent images, 'lbfgs-penalty' perturbs a whole batch"
    ):
        build(
            Search, {"of": PERTURBATIONS["lbfgs-penalty"](beta=1.0, penalty="batch"), "grid": (1.0,), "beta": 1.0}, ""
        )
    pixels = PERTURBATIONS["art"](attack="PixelAttack", beta=1.0, beta_parameter="th", params={"max_iter": 2})
    with pytest.raises(ConfigError, match=r"minimal requires a continuous beta; 'art\.PixelAttack' takes an integer"):
        build(Search, {"of": pixels, "grid": (1.0,), "beta": 1.0}, "")
    assert build(Bisection, {"of": pixels, "grid": (1.0,), "beta": 1.0}, "").attempts == 1
    with pytest.raises(ConfigError, match="requires a larger beta to be stronger; that of 'lbfgs-penalty' is weaker"):
        build(
            Search,
            {"of": PERTURBATIONS["lbfgs-penalty"](beta=1.0, beta_parameter="weight"), "grid": (1.0,), "beta": 1.0},
            "",
        )
