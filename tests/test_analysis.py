from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gtn_bench.analysis.acceptance import AcceptanceRule, acceptance, pooled_or_all
from gtn_bench.analysis.comparisons import comparisons
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.measures import measures, overview
from gtn_bench.analysis.tables import COMPARISON_COLUMNS, CURVE_COLUMNS, MEASURE_COLUMNS, SUMMARY_COLUMNS
from gtn_bench.reporting.sentences import Family, sentence


def summary(rows: list[tuple[str, str, str, int, float, float, float]]) -> pd.DataFrame:
    """Return a summary of rows (teacher, architecture, mode, seed, beta, clean accuracy, accuracy)."""
    names = ["teacher", "architecture", "mode", "seed", "beta", "clean_accuracy", "accuracy"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(dataset="d", perturbation="p", n=10, status="done").reindex(columns=SUMMARY_COLUMNS)


TWO_TEACHERS = summary(
    [
        (teacher, architecture, mode, seed, beta, clean, clean - beta - 0.01 * seed)
        for teacher, architecture, mode, clean in [
            ("t1", "a", "gtn", 0.9),
            ("t1", "b", "gtn", 0.6),
            ("t2", "a", "gtn", 0.8),
            ("t2", "b", "gtn", 0.85),
            ("none", "a", "vanilla", 0.95),
            ("none", "b", "vanilla", 0.9),
        ]
        for seed in (0, 1)
        for beta in (0.0, 0.1)
    ]
)


def test_acceptance_requires_every_mode_of_a_teacher_above_the_threshold() -> None:
    accepted = acceptance(TWO_TEACHERS, AcceptanceRule(0.7)).set_index(["teacher", "architecture"])["accepted"]
    assert accepted.to_dict() == {("t1", "a"): True, ("t1", "b"): False, ("t2", "a"): True, ("t2", "b"): True}
    assert not acceptance(TWO_TEACHERS, AcceptanceRule(0.9))["accepted"].any()  # 0.9 does not exceed 0.9
    failed = TWO_TEACHERS.copy()
    failed.loc[failed["architecture"] == "a", ["status", "clean_accuracy"]] = "error", np.nan
    shown = acceptance(failed, AcceptanceRule(0.7)).set_index(["teacher", "architecture"])
    assert shown["accepted"].to_dict() == accepted.to_dict() | {("t1", "a"): False, ("t2", "a"): False}
    assert shown.loc[("t1", "a"), ["gtn", "vanilla"]].isna().all()


def test_curves_have_one_row_per_point_and_pool_accepted_architectures() -> None:
    points = curves(TWO_TEACHERS, AcceptanceRule(0.7))
    assert list(points.columns) == CURVE_COLUMNS
    assert (points["n_seeds"] == 2).all()
    point = points.set_index(["teacher", "architecture", "mode", "beta"])["accuracy"]
    assert point["t1", "a", "gtn", 0.1] == pytest.approx(0.795)
    assert point["t1", "accepted", "vanilla", 0.0] == pytest.approx(0.945)  # of a alone
    assert point["t2", "accepted", "vanilla", 0.0] == pytest.approx((0.95 + 0.9) / 2 - 0.005)
    assert point["t2", "accepted", "gtn", 0.0] == pytest.approx((0.8 + 0.85) / 2 - 0.005)
    assert ("none", "accepted", "vanilla", 0.0) not in point.index


def test_failed_cells_are_missing_from_curves_and_acceptance() -> None:
    broken = TWO_TEACHERS.copy()
    failed = (broken["architecture"] == "a") & (broken["seed"] == 1) & (broken["beta"] == 0.1)
    broken.loc[failed, ["accuracy", "clean_accuracy"]] = np.nan
    broken.loc[failed, "status"] = "error"
    points = curves(broken, AcceptanceRule(0.7), images(TWO_TEACHERS))
    point = points.set_index(["teacher", "architecture", "mode", "beta"])
    assert point.loc[("t1", "a", "gtn", 0.1), "n_seeds"] == 1
    kept = point.loc[("t1", "a", "gtn", 0.1), ["ci_low", "ci_high"]].tolist()  # of the learner that is left
    assert kept == pytest.approx(stats.binomtest(800, 1000).proportion_ci(method="exact"))
    assert (
        point.loc[("t2", "accepted", "gtn", 0.1), "n_seeds"] == 1
    )  # the seed without `a` does not count with `b` alone

    gone = TWO_TEACHERS.copy()
    gone.loc[gone["mode"] == "vanilla", "status"] = "error"
    assert not acceptance(gone, AcceptanceRule(0.5))["accepted"].any()


def test_overview_pools_accepted_architectures() -> None:
    table = overview(TWO_TEACHERS, AcceptanceRule(0.7)).set_index(["teacher", "mode"])
    assert (table["architecture"] == "accepted").all()
    assert table.loc[("t1", "gtn"), "clean accuracy"] == pytest.approx(0.9)
    assert table.loc[("t1", "gtn"), "p"] == pytest.approx(0.9 - 0.05 - 0.005)
    alone = overview(TWO_TEACHERS, AcceptanceRule(0.99))
    assert set(alone["architecture"]) == {"a", "b"} and len(alone) == 8
    assert alone["clean accuracy"].notna().all()


def test_overview_leaves_out_seeds_without_every_strength() -> None:
    """The other cells of a seed that lost its strongest cell do not count."""
    rows = [
        ("none", "a", "vanilla", seed, beta, 0.9, accuracy)
        for seed, accuracies in enumerate([(0.9, 0.8, 0.7), (0.9, 0.3, 0.1)])
        for beta, accuracy in zip((0.0, 0.5, 1.0), accuracies, strict=True)
    ]
    table = summary(rows)
    assert overview(table, AcceptanceRule(0.7))["p"].tolist() == pytest.approx([(0.8 + 0.4) / 2])
    table.loc[5, ["status", "accuracy"]] = "error", np.nan
    alone = overview(table, AcceptanceRule(0.7))["p"].tolist()
    measured = measures(table, AcceptanceRule(0.7), images(table.fillna(0)), curves(table, AcceptanceRule(0.7)))
    assert alone == pytest.approx([0.8]) == measured["area"].tolist()[-1:]


def test_tables_list_all_architectures_of_a_teacher_without_accepted_ones() -> None:
    table = TWO_TEACHERS.copy()
    table.loc[(table["teacher"] == "t2"), "clean_accuracy"] = 0.3
    found = overview(table, AcceptanceRule(0.7)).groupby("teacher", sort=False)["architecture"].agg(set).to_dict()
    assert found == {"t1": {"accepted"}, "t2": {"a", "b"}}
    compared = pooled_or_all(comparisons(table, AcceptanceRule(0.7), images(table)))
    assert compared.groupby("teacher")["architecture"].agg(set).to_dict() == found


def images(summary: pd.DataFrame) -> dict[int, np.ndarray]:
    """Return masks of correct images, 1000 for every row of a summary, that match its accuracy."""
    return {row: np.arange(1000) < round(1000 * accuracy) for row, accuracy in summary["accuracy"].items()}


def test_curves_have_intervals_given_several_seeds_and_images() -> None:
    points = curves(TWO_TEACHERS, AcceptanceRule(0.7), images(TWO_TEACHERS))
    assert (points["ci_low"] < points["accuracy"]).all() and (points["accuracy"] < points["ci_high"]).all()
    assert points["ci_high"].max() <= 1
    assert curves(TWO_TEACHERS, AcceptanceRule(0.7))["ci_low"].isna().all()


def test_intervals_of_a_single_learner_are_the_exact_ones_of_the_images() -> None:
    one = TWO_TEACHERS[(TWO_TEACHERS["seed"] == 0) & (TWO_TEACHERS["architecture"] == "a")]
    points = curves(one, AcceptanceRule(0.99), images(one))
    for point in points.to_dict("records"):
        exact = stats.binomtest(round(1000 * point["accuracy"]), 1000).proportion_ci(method="exact")
        assert (point["ci_low"], point["ci_high"]) == pytest.approx(tuple(exact), abs=1e-9)
        assert point["band_low"] <= point["ci_low"] < point["ci_high"] <= point["band_high"]
    assert (points["n_seeds"] == 1).all() and points["std"].isna().all()
    alone = curves(one, AcceptanceRule(0.99), {row: mask[:1] for row, mask in images(one).items()})
    assert alone["ci_low"].isna().all()  # one image alone


def test_comparisons_pair_modes_by_seed_and_image() -> None:
    found = comparisons(TWO_TEACHERS, AcceptanceRule(0.7), images(TWO_TEACHERS))
    assert list(found.columns) == COMPARISON_COLUMNS
    by = found.set_index(["teacher", "architecture"])
    assert by.loc[("t1", "a"), "difference"] == pytest.approx(-0.05, abs=1e-6)
    assert by.loc[("t2", "accepted"), "difference"] == pytest.approx(-0.1, abs=1e-6)
    assert set(by.index) == {(t, a) for t in ("t1", "t2") for a in ("a", "b", "accepted")}
    assert (found["n_seeds"] == 2).all()
    assert found["p_holm"].tolist() == [1, 1, 0.5, 1, 1, 0.25]  # two in each family
    assert (found["p"] == 2.0 ** (1 - found["n_pairs"])).all()  # all pairs agree
    assert by["n_pairs"].to_dict() == {**dict.fromkeys(by.index, 2), ("t2", "accepted"): 4}  # two architectures

    broken = TWO_TEACHERS.copy()  # a seed without one of its strengths is no pair
    lost = (broken["mode"] == "vanilla") & (broken["seed"] == 1) & (broken["beta"] == 0.1)
    broken.loc[lost, "status"] = "error"
    alone = comparisons(broken, AcceptanceRule(0.7), images(TWO_TEACHERS))
    assert (alone["n_seeds"] == 2).all() and (alone["other_n_seeds"] == 1).all()  # which is a model by itself
    assert (found["over"] == "learners").all() and (found["n_images"] == 1000).all()


def test_controls_do_not_decide_acceptance_and_are_not_compared_with_each_other() -> None:
    assert acceptance(TWO_TEACHERS, AcceptanceRule(0.92, ("gtn",)))["accepted"].tolist() == [True, False] * 2
    both = comparisons(TWO_TEACHERS, AcceptanceRule(0.5, ("vanilla", "gtn")), images(TWO_TEACHERS))
    assert both.empty  # two controls are not compared


def test_modes_without_a_teacher_are_compared_once() -> None:
    again = TWO_TEACHERS[TWO_TEACHERS["mode"] == "vanilla"].assign(mode="other")
    both = pd.concat([TWO_TEACHERS, again], ignore_index=True)
    found = comparisons(both, AcceptanceRule(0.99), images(both))
    pairs = found[(found["mode"] == "vanilla") & (found["other"] == "other")]
    assert sorted(pairs["architecture"]) == ["a", "b"]
    assert len(found) == 2 + 2 * 4  # and two modes with each of the teachers' for two architectures


def test_a_mode_with_a_failed_strength_has_no_area() -> None:
    """Without the strongest perturbation, the area under the curve is not comparable."""
    rows = [
        (teacher, "a", mode, seed, beta, 0.9, 0.9 - beta)
        for teacher, mode in (("t", "gtn"), ("none", "vanilla"))
        for seed in (0, 1)
        for beta in (0.0, 0.4, 0.8)
    ]
    broken = summary(rows)
    broken["accuracy_given_correct"] = broken["accuracy"]
    broken.loc[(broken["mode"] == "gtn") & (broken["beta"] == 0.8), "status"] = "error"
    rule, correct = AcceptanceRule(0.5), images(broken)
    points = curves(broken, rule, correct)
    assert comparisons(broken, rule, correct).empty
    measured = measures(broken, rule, correct, points).set_index(["mode", "architecture"])
    assert measured.loc[("gtn", "a"), ["area", "area_given_correct", "half_strength"]].isna().all(axis=None)
    assert measured.loc[("vanilla", "a"), "area"] == pytest.approx(0.5)
    assert overview(broken, rule).set_index("mode")["p"].isna().to_dict() == {"gtn": True, "vanilla": False}


def test_half_strength_requires_a_perturbation_that_grows_with_beta() -> None:
    rows = [
        ("none", "a", "vanilla", 0, beta, 0.9, accuracy) for beta, accuracy in ((1.0, 0.1), (10.0, 0.5), (100.0, 0.9))
    ]
    weights = summary(rows).assign(mean_l2=[3.0, 2.0, 1.0])
    for table, expected in (
        (weights, np.nan),
        (weights.assign(accuracy=[0.9, 0.5, 0.1], mean_l2=[1.0, 2.0, 3.0]), 21.25),
    ):
        correct = images(table)
        points = curves(table, AcceptanceRule(0.5), correct)
        found = measures(table, AcceptanceRule(0.5), correct, points).set_index("architecture").loc["a"]
        assert found["half_strength"] == pytest.approx(expected, nan_ok=True)
        assert np.isnan(found["half_ci_low"]) == np.isnan(expected)
        assert found["ci_low"] < found["area"] < found["ci_high"]


def test_simultaneous_bands_require_the_same_seeds_at_every_strength() -> None:
    points = curves(TWO_TEACHERS, AcceptanceRule(0.7), images(TWO_TEACHERS))
    assert (points["band_low"] <= points["ci_low"] + 1e-12).all() and (
        points["band_high"] >= points["ci_high"] - 1e-12
    ).all()
    crossed = TWO_TEACHERS.copy()
    lost = (crossed["seed"] == 0) & (crossed["beta"] == 0.0) | (crossed["seed"] == 1) & (crossed["beta"] == 0.1)
    crossed.loc[lost, "status"] = "error"
    points = curves(crossed, AcceptanceRule(0.7), images(crossed))
    assert points["band_low"].isna().all()
    measured = measures(crossed, AcceptanceRule(0.7), images(crossed), points)  # no seed has every strength
    assert measured[["area", "area_given_correct", "half_strength"]].isna().all(axis=None)


def test_a_single_accepted_architecture_has_all_pairs_pooled() -> None:
    alone = TWO_TEACHERS[TWO_TEACHERS["architecture"] == "a"]
    table = pd.concat([alone, alone[alone["mode"] == "vanilla"].assign(mode="other")], ignore_index=True)
    found = comparisons(table, AcceptanceRule(0.7), images(table))
    pairs = found.groupby("architecture")[["mode", "other"]].apply(lambda part: len(part.drop_duplicates()))
    assert pairs.to_dict() == {"a": 3, "accepted": 3}


def test_measures_match_values_computed_by_hand() -> None:
    """Two perturbations fool different halves of the images; together they fool all."""
    rows = [("none", "a", "vanilla", seed, beta, 1.0, 0.0) for seed in (0, 1) for beta in (0.0, 1.0)]
    one = summary(rows)
    table = pd.concat([one, one.assign(perturbation="q")], ignore_index=True)
    even = np.arange(100) % 2 == 0
    kept = {("p", 0.0): np.ones(100, bool), ("p", 1.0): even, ("q", 0.0): np.ones(100, bool), ("q", 1.0): ~even}
    correct = {row: kept[cell["perturbation"], cell["beta"]] for row, cell in table.iterrows()}
    table["accuracy"] = [correct[row].mean() for row in table.index]
    table["accuracy_given_correct"] = table["accuracy"]
    found = measures(table, AcceptanceRule(0.5), correct, curves(table, AcceptanceRule(0.5), correct))
    assert list(found.columns) == MEASURE_COLUMNS
    by = found[found["architecture"] == "a"].set_index("perturbation")
    assert by.loc[["p", "q"], "area"].tolist() == [0.75, 0.75]  # 1 falls to 0.5 over the sweep
    assert by.loc["worst", "area"] == 0.5  # each image is lost by one of the two at the end of its sweep
    assert by.loc["p", "half_strength"] == 1.0 and by.loc["p", "area_given_correct"] == 0.75
    assert np.isnan(by.loc["worst", "half_strength"])


ROW = {"mode": "gtn", "other": "vanilla", "perturbation": "fgsm", "area": 0.41, "other_area": 0.52, "difference": -0.11}
ROW |= {"over": "learners", "other_n_seeds": 9}


def test_intervals_at_zero_accuracy_depend_on_the_number_of_images() -> None:
    fooled = TWO_TEACHERS.assign(accuracy=0.0)
    none = images(fooled)
    point = curves(fooled, AcceptanceRule(0.7), none).iloc[0]
    assert (point["ci_low"], point["ci_high"]) == (0, pytest.approx(1 - 0.025 ** (1 / len(none[0]))))
    compared = comparisons(fooled, AcceptanceRule(0.7), none).iloc[0]
    assert compared["ci_low"] == -compared["minimum_detectable_effect"] == pytest.approx(-point["ci_high"])
    assert sentence(compared, Family(1, 1)).startswith("no difference seen")
