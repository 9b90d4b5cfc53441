"""Models that exist once: duplicates that count once, comparisons over images, and what reports say about them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq

from gtn_bench.analysis import contrasts
from gtn_bench.analysis.acceptance import AcceptanceRule, acceptance, clean_accuracies
from gtn_bench.analysis.comparisons import compare, comparisons
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.leaderboard import leaderboard
from gtn_bench.analysis.measures import measures, overview
from gtn_bench.analysis.records import CellRecord, Summary, summarize
from gtn_bench.analysis.significance import permutation_test
from gtn_bench.analysis.tables import IDENTITY, MEASURED
from gtn_bench.config.suite import parse
from gtn_bench.reporting.learners import data_set, duplicates, findings, learner_count, single_learners
from gtn_bench.reporting.sentences import Family, sentence
from gtn_bench.reporting.training import training_differences

RULE = AcceptanceRule(0.0)


# Duplicates


def record(mode: str, seed: int, beta: float, correct: np.ndarray, original: int | None = None) -> CellRecord:
    """Return the record of a cell; that of a duplicate if `original` is given."""
    identity = dict(zip(IDENTITY, ("digits", "none", "linear", mode, seed, "fgsm", beta), strict=True))
    if original is not None:
        return CellRecord(identity, len(correct), "duplicate", clean_accuracy=1.0, duplicate_of=original)
    samples = {**dict.fromkeys(MEASURED, np.zeros(len(correct))), "prediction": (~correct).astype(int)}
    samples["zero_gradient"] = np.zeros(len(correct), bool)
    cost = {"forwards": 1.0, "backwards": 1.0, "seconds": 0.1}
    return CellRecord(identity, len(correct), "done", samples=samples, cost=cost)


def summary_of(models: dict[str, list[np.ndarray]], copies: dict[str, int]) -> Summary:
    """Return the summary of modes with some learners, given by their areas (2, N), and copies of the first learner."""
    records = []
    for mode, learners in models.items():
        rows: list[tuple[int, np.ndarray, int | None]] = [
            (seed, learner, None) for seed, learner in enumerate(learners)
        ]
        rows += [(len(learners) + extra, learners[0], 0) for extra in range(copies.get(mode, 0))]
        for (seed, learner, original), (place, beta) in itertools.product(rows, enumerate((0.0, 0.1))):
            records.append(record(mode, seed, beta, learner[place], original))
    return summarize(records)


def drawn(generator: np.random.Generator, chance: float, images: int = 200) -> np.ndarray:
    """Return masks (2, N) of a learner whose accuracy falls from about 1 to `chance`."""
    return generator.random((2, images)) < np.array([[0.98], [chance]])


def test_copies_of_a_learner_change_no_number() -> None:
    generator = np.random.default_rng(0)
    models = {mode: [drawn(generator, chance)] for mode, chance in (("mine", 0.6), ("theirs", 0.5))}
    once, copied = summary_of(models, {}), summary_of(models, {"mine": 7, "theirs": 7})
    assert len(copied.table) == 8 * len(once.table) and copied.errors == []
    rows = copied.table[copied.table["status"] == "duplicate"]
    assert len(rows) == 28 and (rows["duplicate_of"] == 0).all() and (rows["grade"] == "unknown").all()
    assert rows[["accuracy", "mean_l2", "forwards", "flags"]].isna().all(axis=None)
    assert (rows["clean_accuracy"] == 1).all() and (rows["n"] == 200).all()
    for table in (once.table, copied.table):
        assert clean_accuracies(table)["seed"].tolist() == [0, 0]
    same = [
        lambda found: curves(found.table, RULE, found.correct),
        lambda found: measures(found.table, RULE, found.correct, curves(found.table, RULE, found.correct)),
        lambda found: comparisons(found.table, RULE, found.correct),
        lambda found: acceptance(found.table, RULE),
        lambda found: overview(found.table, RULE),
        lambda found: leaderboard(found.table),
    ]
    for table_of in same:
        pd.testing.assert_frame_equal(table_of(once), table_of(copied))
    compared = comparisons(copied.table, RULE, copied.correct).iloc[0]
    assert compared[["over", "n_seeds", "other_n_seeds", "n_images"]].tolist() == ["images", 1, 1, 200]
    assert len(leaderboard(copied.table)) == 2


def test_reports_say_which_seeds_count_once() -> None:
    generator = np.random.default_rng(0)
    models = {"a": [drawn(generator, 0.5)], "b": [drawn(generator, 0.5)] * 3, "c": [drawn(generator, 0.5)]}
    table = summary_of(models, {"a": 7, "b": 1}).table
    assert duplicates(table) == [
        "Seeds 1 to 7 of mode `a` have the weights of seed 0, and all of them count once.",
        "Seed 3 of mode `b` has the weights of seed 0, and both count once.",
    ]
    suite = parse(SUITE)
    assert learner_count(suite, table) == "1 to 3 learners per mode"
    assert learner_count(suite, table[table["mode"] == "b"]) == "3 learners"
    assert learner_count(suite, table[table["mode"] == "a"]) == "one learner"
    again = pd.concat([table, table.assign(architecture="other")], ignore_index=True)
    assert duplicates(again)[2] == (
        "Seeds 1 to 7 of mode `a`, architecture `other`, have the weights of seed 0, and all of them count once."
    )
    assert duplicates(again[again["status"] == "done"]) == []


# Comparisons


@pytest.mark.parametrize("better, worse, equal", [(12, 3, 85), (0, 0, 50), (1, 0, 9), (40, 41, 0), (600, 500, 8900)])
def test_the_test_over_images_is_mcnemars_for_a_single_strength(better: int, worse: int, equal: int) -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [better, worse, equal])
    exact = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert permutation_test(differences) == pytest.approx(exact, rel=1e-9)
    found = contrasts.of_models(np.random.default_rng(0).permutation(differences))
    assert found.p == pytest.approx(exact, rel=1e-9) and found.over == "images"
    assert found.difference == pytest.approx((better - worse) / len(differences))
    assert found.low < found.difference < found.high


def test_the_test_over_images_enumerates_or_draws_sign_flips() -> None:
    differences = np.array([0.1, 0.1, 0.3, -0.2, 0.4, 0.0])
    signs = np.array(list(itertools.product((1, -1), repeat=6)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert permutation_test(differences) == pytest.approx(exact)
    many = np.random.default_rng(0).normal(0.1, 1, 500)
    assert permutation_test(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.01)
    assert permutation_test(np.append(many, np.zeros(500))) == permutation_test(many)


@pytest.mark.parametrize("images, better, worse", [(60, 0.2, 0.2), (200, 0.02, 0.02), (300, 0.1, 0.03)])
def test_intervals_and_tests_of_two_models_hold_over_all_images(images: int, better: float, worse: float) -> None:
    """Coverage of 600 runs is at least 93 %; at most 6.5 % of the runs without a difference are significant."""
    generator = np.random.default_rng(0)
    covered = rejected = 0
    for _ in range(600):
        differences = generator.choice([1.0, -1.0, 0.0], images, p=[better, worse, 1 - better - worse])
        found = contrasts.of_models(differences)
        covered += found.low <= better - worse <= found.high
        rejected += found.p <= 0.05
    assert covered / 600 >= 0.93
    assert rejected / 600 <= 0.065 if better == worse else rejected / 600 > 0.8


def mean_chance(spread: float, shift: float = 0.0) -> float:
    """Return the mean of a normal chance around 0.7, clipped to [0, 1]."""
    grid = np.linspace(-8, 8, 20_001)
    return float(np.trapezoid(np.clip(0.7 + shift + spread * grid, 0, 1) * stats.norm.pdf(grid), grid))


@pytest.mark.parametrize("learners, images, deviation", [(2, 200, 0.03), (3, 500, 0.03), (5, 200, 0.0), (8, 500, 0.05)])
def test_a_model_and_learners_of_the_same_mean_accuracy_rarely_differ(
    learners: int, images: int, deviation: float
) -> None:
    """Learners and images are drawn; the model is as accurate as the mean of all learners over all images.

    In 500 runs, the interval covers the true difference 0 in at least 93 %, and the test is significant in at most
    7 %. A sign-flip test over learners would be significant in up to 40 %.
    """
    generator, truth = np.random.default_rng(0), mean_chance(float(np.hypot(deviation, 0.25)))
    shift = brentq(lambda shift: mean_chance(0.25, shift) - truth, -0.1, 0.1)
    covered = rejected = 0
    for _ in range(500):
        hardness = generator.normal(0, 0.25, images)
        model = generator.random(images) < 0.7 + shift + hardness
        theirs = generator.random((learners, images)) < 0.7 + generator.normal(0, deviation, (learners, 1)) + hardness
        found = contrasts.of_model_and_learners(model.astype(float) - theirs)
        covered += found.low <= 0 <= found.high
        rejected += found.p <= 0.05
        assert (found.p > 0.05) == (found.low < 0 < found.high)  # the test inverts the interval
    assert covered / 500 >= 0.93 and rejected / 500 <= 0.07


def test_a_model_and_learners_equal_welchs_limits() -> None:
    """Where only learners vary, or only images, the interval is Student's t with their degrees of freedom."""
    generator = np.random.default_rng(0)
    accuracy = generator.normal(0.1, 0.05, 6)
    found = contrasts.of_model_and_learners(np.repeat(accuracy[:, None], 100_000, axis=1))
    student = stats.ttest_1samp(accuracy, 0)
    assert (found.low, found.high) == pytest.approx(tuple(student.confidence_interval(0.95)), abs=1e-3)
    assert found.p == pytest.approx(student.pvalue, rel=0.02)
    easy = generator.normal(0.01, 0.1, 2000)
    found = contrasts.of_model_and_learners(np.repeat(easy[None], 4, axis=0))
    student = stats.ttest_1samp(easy, 0)
    assert (found.low, found.high) == pytest.approx(tuple(student.confidence_interval(0.95)), abs=2e-3)


def test_the_minimum_detectable_effect_over_images_is_detected_in_four_of_five_runs() -> None:
    generator = np.random.default_rng(0)

    def run(difference: float) -> contrasts.Contrast:
        chances = [0.1 + difference / 2, 0.1 - difference / 2, 0.8]
        return contrasts.of_models(generator.choice([1.0, -1.0, 0.0], 400, p=chances))

    effect = float(np.mean([run(0.0).minimum_detectable_effect for _ in range(100)]))
    found = [run(effect) for _ in range(300)]
    assert 0.7 <= np.mean([not run.low <= 0 <= run.high for run in found]) <= 0.9


def areas(seeds: list[int], architectures: int = 1, images: int = 50) -> dict[int, np.ndarray]:
    """Return areas (A, N) by seed."""
    generator = np.random.default_rng(seeds)
    return {seed: generator.random((architectures, images)) for seed in seeds}


@pytest.mark.parametrize(
    "seeds, others, expected",
    [
        ([0, 1, 2], [0, 1, 2], ("learners", 3, 3, 3)),
        ([0, 1, 2, 3], [1, 3], ("learners", 2, 2, 2)),  # pairs of the shared seeds
        ([0], [0], ("images", 1, 1, 1)),
        ([0], [5], ("images", 1, 1, 1)),
        ([0], [0, 1, 2], ("learners", 1, 3, 3)),
        ([0, 1, 2], [7], ("learners", 3, 1, 3)),
        ([0, 1], [1, 2], ("images", 1, 1, 1)),  # the learners of the shared seed
        ([0, 1], [2, 3], None),
        ([], [0, 1], None),
        ([], [], None),
    ],
)
def test_what_is_compared_depends_on_the_learners_of_the_modes(
    seeds: list[int], others: list[int], expected: tuple[Any, ...] | None
) -> None:
    found = compare(areas(seeds), areas(others))
    assert (found and (found.contrast.over, found.n_seeds, found.other_n_seeds, found.n_pairs)) == expected
    if found:
        swapped = compare(areas(others), areas(seeds))
        assert swapped and swapped.contrast.difference == pytest.approx(-found.contrast.difference)
        assert swapped.contrast.p == pytest.approx(found.contrast.p)
        assert found.contrast.difference == pytest.approx(found.area - found.other_area)
        assert found.contrast.low < found.contrast.difference < found.contrast.high


def test_pooled_architectures_of_a_model_are_averaged() -> None:
    first, second = areas([0], architectures=3), areas([1], architectures=3)
    found = compare(first, second)
    assert found and (found.n_pairs, found.n_images) == (3, 50)
    assert found.contrast == contrasts.of_models((first[0] - second[1]).mean(0))
    mixed = compare(first, areas([1, 2], architectures=3))
    assert mixed and (mixed.n_pairs, mixed.n_seeds, mixed.other_n_seeds) == (6, 1, 2)


def test_one_image_gives_no_interval() -> None:
    for others in ([0], [0, 1]):
        found = compare(areas([0], images=1), areas(others, images=1))
        assert found and np.isnan([found.contrast.low, found.contrast.minimum_detectable_effect]).all()
        assert found.contrast.p == 1


# Reports


MODELS = {"mode": "ours", "other": "theirs", "perturbation": "pgd", "area": 0.41, "other_area": 0.379}
MODELS |= {"difference": 0.031, "ci_low": 0.012, "ci_high": 0.05, "p": 0.001, "p_holm": 0.002, "n_images": 1000}
MODELS |= {"minimum_detectable_effect": 0.03, "over": "images", "n_seeds": 1, "other_n_seeds": 1, "n_pairs": 1}
FOUND = "area 0.410 vs. 0.379, difference +0.031 [+0.012, +0.050]"


@pytest.mark.parametrize(
    "more, expected",
    [
        (
            {},
            f"ours is more robust than theirs under pgd: {FOUND}, p = 0.002 after Holm correction (2 comparisons, "
            "1000 images); this concerns these two models, not how they were trained",
        ),
        (
            {"p_holm": 0.2},
            f"ours is more robust than theirs under pgd: {FOUND}, p = 0.20 after Holm correction (2 comparisons, "
            "1000 images): not significant; this concerns these two models, not how they were trained",
        ),
        (
            {"ci_low": -0.01, "p_holm": 0.4, "n_pairs": 3},
            "no difference seen between ours and theirs under pgd: area 0.410 vs. 0.379, difference +0.031 "
            "[-0.010, +0.050], p = 0.40 after Holm correction (2 comparisons, 1000 images), minimum detectable effect "
            "0.030; this concerns these models, not how they were trained",
        ),
        (
            {"over": "learners", "other_n_seeds": 5, "n_pairs": 5},
            f"ours is more robust than theirs under pgd: {FOUND}, p = 0.002 after Holm correction (2 comparisons, "
            "5 pairs); this concerns the one model of ours, not how it was trained",
        ),
        (
            {"over": "learners", "n_seeds": 5, "n_pairs": 10},
            f"ours is more robust than theirs under pgd: {FOUND}, p = 0.002 after Holm correction (2 comparisons, "
            "10 pairs); this concerns the models of theirs, not how they were trained",
        ),
        (
            {"ci_low": np.nan},
            "ours and theirs under pgd: area 0.410 vs. 0.379; no confidence interval with one image",
        ),
    ],
)
def test_sentences_about_models_are_not_about_training(more: dict[str, Any], expected: str) -> None:
    assert sentence({**MODELS, **more}, Family(2, 0)) == expected


SUITE = """
name: s
dataset: digits
architectures: [linear]
seeds: [0]
perturbations: [{name: noise, beta: [0.1]}]
modes: [{name: vanilla, lr: 0.005, epochs: 1, steps: null, batch_size: 128, statistics: real}]
"""
GTN = "{name: gtn, statistics: real, statistics_samples: null, inner_steps: null, lr_factor: 1.0}"
TEN = "{name: 10_gtn, statistics: teaching, statistics_samples: null, inner_steps: 10, lr_factor: 1.0}"
DISTILLED = "{name: distilled, statistics: real, steps: 1000, batch_size: 128, lr: 0.01}"


@pytest.mark.parametrize(
    "modes, expected",
    [
        ([], ""),
        (["{name: vanilla, label: b, lr: 0.005, epochs: 1, batch_size: 128, statistics: real}"], ""),
        (
            ["{name: vanilla, label: b, lr: 0.01, epochs: 1, batch_size: 128, statistics: real}"],
            "Beside the data, the modes differ in the optimizer (Adam at 0.005 for `vanilla`; Adam at 0.01 for `b`).",
        ),
        (
            [DISTILLED],
            "Beside the data, the modes differ in the optimizer (Adam at 0.005 for `vanilla`; SGD at 0.01 for "
            "`distilled`) and the number of steps (1 epoch for `vanilla`; 1000 for `distilled`).",
        ),
        (
            ["{name: distilled, lr: 0.01, lr_drop: 0.5, batch_size: 128, epochs: 1, loss: kl, augment: [flip, crop]}"],
            "Beside the data, the modes differ in the optimizer (Adam at 0.005 for `vanilla`; SGD at 0.01, a tenth of "
            "it after 50 % of the steps for `distilled`), the loss (cross-entropy for `vanilla`; kl for `distilled`) "
            "and the augmentation (none for `vanilla`; flip and crop for `distilled`).",
        ),
        (
            ["{name: distilled, lr: null, steps: null, epochs: null, batch_size: null, augment: []}"],
            "Beside the data, the modes differ in the optimizer (Adam at 0.005 for `vanilla`; SGD at the default rate "
            "or those of the files for `distilled`), the number of steps (1 epoch for `vanilla`; the default or that "
            "of the files for `distilled`) and the batch size (128 for `vanilla`; the default or that of the files for "
            "`distilled`).",
        ),
        (
            [GTN, TEN],
            "Beside the data, the modes differ in the optimizer (Adam at 0.005 for `vanilla`; the teacher's for `gtn` "
            "and `10_gtn`), the number of steps (1 epoch for `vanilla`; all that the teacher has for `gtn`; 10 for "
            "`10_gtn`), the batch size (128 for `vanilla`; the teacher's for `gtn` and `10_gtn`) and the images that "
            "batch-norm statistics are estimated on (real images for `vanilla` and `gtn`; the last training batch for "
            "`10_gtn`).",
        ),
        (
            ["{name: checkpoint, label: mine}"],
            "`mine` was trained outside of this run, and can differ in any part of the training.",
        ),
        (["{name: own-mode, lr: 1.0}"], ""),  # of which nothing is known
    ],
)
def test_headers_say_what_modes_differ_in_beside_the_data(modes: list[str], expected: str) -> None:
    suite = parse(SUITE.rstrip().removesuffix("]") + "".join(f", {mode}" for mode in modes) + "]\n")
    assert training_differences(suite) == expected


def test_headers_say_that_all_models_come_from_outside() -> None:
    suite = parse(SUITE.replace("{name: vanilla,", "{name: given, label: a}, {name: given, label: b,"))
    expected = "All models were trained outside of this run. They can differ in any part of their training."
    assert training_differences(suite) == expected


def test_findings_of_models_are_listed_once_for_all_their_seeds() -> None:
    models = [
        {"architecture": "a", "mode": "mine", "seed": seed, "findings": ["Its outputs | are probabilities."]}
        for seed in (0, 1, 2, 5)
    ]
    models.append({"architecture": "a", "mode": "theirs", "seed": 0, "findings": ["One.", "Two."]})
    assert findings(models) == [
        r"`mine`, seeds 0 to 2 and 5: Its outputs \| are probabilities.",
        "`theirs`, seed 0: One.",
        "`theirs`, seed 0: Two.",
    ]
    assert findings([{**models[0], "architecture": "b"}, models[1]])[0].startswith("`mine`, `b`, seed 0:")
    assert findings([]) == []


@pytest.mark.parametrize(
    "dataset, expected",
    [
        ("digits", "Data set `digits`"),
        ("{name: files, test: '/data/my cats.npz#sha256=0', train: null}", "Data set `my cats.npz`"),
        ("{name: files, test: {images: a/x.npy, labels: a/y.npy}}", "Data set `x.npy`"),
        (f"{{name: files, test: /cache/data/arrays-{'0a' * 16}.safetensors}}", "Data set from memory"),
    ],
)
def test_headers_name_the_data_set(dataset: str, expected: str) -> None:
    assert data_set(parse(SUITE.replace("dataset: digits", f"dataset: {dataset}"))) == expected


def test_curves_of_single_learners_are_named() -> None:
    table = pd.DataFrame({"mode": ["a", "a", "b"], "n_seeds": [1, 1, 3]})
    assert single_learners(table) == "`a`"
    assert single_learners(table[:2]) == "all" and single_learners(table[2:]) == ""
