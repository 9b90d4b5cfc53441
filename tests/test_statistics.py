from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gtn_bench.analysis import significance, statistics


def drawn(draw: np.random.Generator, seeds: int, images: int, deviation: float) -> np.ndarray:
    """Draw correctness (S, N): learners differ by `deviation`, images by 0.25."""
    chance = 0.7 + draw.normal(0, deviation, (seeds, 1)) + draw.normal(0, 0.25, images)
    return draw.random((seeds, images)) < chance


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds, images, deviation", [(2, 300, 0.03), (5, 300, 0.0), (5, 300, 0.02), (5, 300, 0.05), (10, 100, 0.03)]
)
def test_intervals_cover_the_mean_over_all_learners_and_images(seeds: int, images: int, deviation: float) -> None:
    """The coverage of 1000 runs is 93 to 97 %, whether learners or images vary more."""
    truth = _truth(deviation)
    draw = np.random.default_rng(2)
    runs = [statistics.interval(drawn(draw, seeds, images, deviation)) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= truth <= high for low, high in runs]) <= 0.97


def _truth(deviation: float) -> float:
    """Return the exact mean of the clipped normal chance."""
    spread = float(np.hypot(deviation, 0.25))
    grid = np.linspace(-8, 8, 200_001)
    return float(np.trapezoid(np.clip(0.7 + spread * grid, 0, 1) * stats.norm.pdf(grid), grid))


def test_interval_equals_student_t_if_images_do_not_differ() -> None:
    accuracy = np.random.default_rng(0).uniform(0.3, 0.6, (5, 1))
    values = np.repeat(accuracy, 4, axis=1)
    low, high = statistics.interval(values)
    student = stats.t.interval(0.95, 4, accuracy.mean(), stats.sem(accuracy[:, 0]))
    assert high - low == pytest.approx(student[1] - student[0], rel=1e-6)
    assert low < accuracy.mean() < high
    assert np.isnan(statistics.interval(values[:, :1])).all()
    assert statistics.interval(np.ones((3, 5))) == (1, 1)


def test_interval_of_identical_values_is_the_exact_binomial_interval_of_the_images() -> None:
    none = statistics.interval(np.zeros((5, 100)), ends=(0, 1))
    assert none == pytest.approx(stats.binomtest(0, 100).proportion_ci(method="exact"), abs=1e-12)
    all_right = statistics.interval(np.ones((5, 100)), 0.99, ends=(0, 1))
    assert all_right == pytest.approx(stats.binomtest(100, 100).proportion_ci(0.99, "exact"), abs=1e-12)
    low, high = statistics.interval(np.zeros((5, 100)), ends=(-1, 1))
    assert -low == pytest.approx(high) == statistics.minimum_detectable_effect(np.zeros((5, 100))) > 0.03
    assert statistics.interval(np.zeros((1, 100)), ends=(0, 1)) == pytest.approx(none)
    assert np.isnan(statistics.minimum_detectable_effect(np.zeros((3, 1))))


@pytest.mark.parametrize("right, images", [(0, 10), (10, 10), (1, 10), (37, 50), (999, 1000), (5000, 10000)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_interval_of_one_learner_is_the_exact_binomial_interval(right: int, images: int, level: float) -> None:
    values = np.arange(images) < right
    exact = stats.binomtest(right, images).proportion_ci(level, "exact")
    assert statistics.interval(values[None], level, (0, 1)) == pytest.approx(tuple(exact), abs=1e-12)


def test_intervals_of_one_learner_cover_its_area_over_all_images() -> None:
    """The bootstrap interval of 1000 runs over 100 images covers 93 to 97 %."""
    draw, strengths = np.random.default_rng(0), np.linspace(0, 1, 6)
    weights = np.array([0.5, 1, 1, 1, 1, 0.5]) / 5
    truth = weights @ (1 - strengths**2)  # an image is lost at the square root of a uniform strength
    runs = []
    for _ in range(1000):
        lost = np.sqrt(draw.random(100))
        areas = weights @ (lost > strengths[:, None])
        runs.append(statistics.interval(areas[None], 0.95, (0, 1)))
    assert 0.93 <= np.mean([low <= truth <= high for low, high in runs]) <= 0.97


def test_interval_has_positive_width_if_values_differ_but_means_do_not() -> None:
    """Every learner and every image has the same mean."""
    low, high = statistics.interval(np.eye(2), ends=(0, 1))
    assert low < 0.5 < high and statistics.minimum_detectable_effect(np.eye(2)) > 0


@pytest.mark.parametrize("alike", [False, True], ids=["independent learners", "learners that agree"])
def test_intervals_cover_accuracies_near_zero(alike: bool) -> None:
    """A third of the runs contain no correct answer."""
    draw = np.random.default_rng(0)
    chance = 0.005 if alike else 0.001
    runs = []
    for _ in range(1000):
        correct = draw.random((1, 200) if alike else (5, 200)) < chance
        runs.append(statistics.interval(np.repeat(correct, 5 if alike else 1, axis=0), ends=(0, 1)))
    assert np.mean([low <= chance <= high for low, high in runs]) >= 0.95


def test_simultaneous_level_ignores_points_without_spread() -> None:
    values = drawn(np.random.default_rng(0), 3, 597, 0.02).astype(np.float32)
    alone = statistics.simultaneous_level(values[None])
    assert statistics.simultaneous_level(np.stack([values, np.ones_like(values)])) == alone


def test_intervals_of_accuracies_are_within_0_and_1() -> None:
    values = drawn(np.random.default_rng(1), 2, 10, 0.2)
    low, high = statistics.interval(values, ends=(0, 1))
    assert statistics.interval(values)[1] > high == 1 > low >= 0


def test_permutation_test_keeps_its_level_and_gains_power_with_seeds() -> None:
    draw = np.random.default_rng(0)

    def rejected(seeds: int, shift: float, runs: int) -> float:
        return float(
            np.mean([significance.permutation_test(draw.normal(shift, 1, seeds)) <= 0.05 for _ in range(runs)])
        )

    assert 0.04 <= rejected(8, 0.0, 4000) <= 0.06
    assert rejected(6, 1.0, 500) < rejected(10, 1.0, 500)
    assert significance.permutation_test(np.array([0.1, 0.2, 0.3])) == 2 / 2**3
    assert significance.permutation_test(np.array([0.1, -0.1])) == 1
    many = draw.normal(0.2, 1, 40)  # too many exchanges to enumerate
    assert significance.permutation_test(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.02)


def test_holm_matches_values_computed_by_hand() -> None:
    assert significance.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm(np.array([0.5, 0.9])) == pytest.approx([1, 1])


def test_minimum_detectable_effect_is_detected_in_four_of_five_runs() -> None:
    draw = np.random.default_rng(0)
    needed = np.mean(
        [
            statistics.minimum_detectable_effect(draw.normal(0, 1, (6, 1)) + draw.normal(0, 1, (6, 50)))
            for _ in range(400)
        ]
    )
    found = 0
    for _ in range(400):
        low, high = statistics.interval(needed + draw.normal(0, 1, (6, 1)) + draw.normal(0, 1, (6, 50)))
        found += not low <= 0 <= high
    assert 0.7 < found / 400 < 0.9


def test_area_is_the_mean_integral() -> None:
    beta = np.linspace(0, 2, 2001)
    assert statistics.area(beta, np.exp(-beta)) == pytest.approx((1 - np.exp(-2)) / 2, abs=1e-6)
    assert statistics.area(np.array([1.0, 4.0]), np.array([0.8, 0.2])) == pytest.approx(0.5)
    assert statistics.area(np.array([3.0]), np.array([0.7])) == 0.7


@pytest.mark.slow
@pytest.mark.parametrize("seeds, images", [(4, 200), (8, 100)])
def test_simultaneous_bands_cover_whole_curves(seeds: int, images: int) -> None:
    """Bands cover at least 92 % of 300 runs; intervals for each point cover far fewer."""
    draw = np.random.default_rng(0)
    truth = np.linspace(0.9, 0.3, 8)
    pointwise = together = 0
    for _ in range(300):
        chance = truth[:, None, None] + draw.normal(0, 0.05, (8, seeds, 1)) + draw.normal(0, 0.25, images)
        curve = (draw.random((8, seeds, images)) < chance).astype(float)
        level = statistics.simultaneous_level(curve)
        assert level >= 0.95
        expected = _clipped(truth)
        pointwise += _covered(curve, expected, 0.95)
        together += _covered(curve, expected, level)
    assert pointwise / 300 < 0.85
    assert together / 300 > 0.92


def _clipped(truth: np.ndarray) -> np.ndarray:
    """Return the mean of chances around `truth`, clipped to [0, 1]."""
    spread = stats.norm(0, np.hypot(0.05, 0.25))
    grid = np.linspace(-1.5, 1.5, 6001)
    return np.array([np.trapezoid(np.clip(mean + grid, 0, 1) * spread.pdf(grid), grid) for mean in truth])


def _covered(curve: np.ndarray, truth: np.ndarray, level: float) -> bool:
    ends = [statistics.interval(values, level) for values in curve]
    return all(low <= mean <= high for (low, high), mean in zip(ends, truth, strict=True))


def test_falls_to_interpolates_the_strength_at_the_target() -> None:
    beta, accuracy = np.array([1.0, 2.0, 3.0]), np.array([0.8, 0.4, 0.4])
    assert statistics.falls_to(beta, accuracy, 0.9, 0.6) == pytest.approx(1.5)
    assert statistics.falls_to(beta, accuracy, 0.9, 0.85) == pytest.approx(0.5)  # between no change and the first
    assert statistics.falls_to(beta, accuracy, 0.9, 0.4) == pytest.approx(2.0)
    assert statistics.falls_to(beta, accuracy, 0.9, 0.3) == np.inf
    assert statistics.falls_to(np.array([0.0, 1.0]), np.array([0.2, 0.1]), 0.9, 0.45) == 0.0
