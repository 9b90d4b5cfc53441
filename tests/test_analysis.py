from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gtn_bench import analysis
from gtn_bench.analysis import Rule
from gtn_bench.results import COMPARISON_COLUMNS, CURVE_COLUMNS, MEASURE_COLUMNS, SUMMARY_COLUMNS


def summary(rows: list[tuple[str, str, str, int, float, float, float]]) -> pd.DataFrame:
    """From (teacher, architecture, mode, seed, beta, clean accuracy, accuracy)."""
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


def test_acceptance_is_the_minimum_over_modes_for_each_teacher() -> None:
    accepted = analysis.acceptance(TWO_TEACHERS, Rule(0.7)).set_index(["teacher", "architecture"])["accepted"]
    assert accepted.to_dict() == {("t1", "a"): True, ("t1", "b"): False, ("t2", "a"): True, ("t2", "b"): True}
    assert not analysis.acceptance(TWO_TEACHERS, Rule(0.9))["accepted"].any()  # 0.9 does not exceed 0.9
    failed = TWO_TEACHERS.copy()
    failed.loc[failed["architecture"] == "a", ["status", "clean_accuracy"]] = "error", np.nan
    shown = analysis.acceptance(failed, Rule(0.7)).set_index(["teacher", "architecture"])
    assert shown["accepted"].to_dict() == accepted.to_dict() | {("t1", "a"): False, ("t2", "a"): False}
    assert shown.loc[("t1", "a"), ["gtn", "vanilla"]].isna().all()


def test_curves_have_a_row_for_each_point_and_pool_the_accepted() -> None:
    curves = analysis.curves(TWO_TEACHERS, Rule(0.7))
    assert list(curves.columns) == CURVE_COLUMNS
    assert (curves["n_seeds"] == 2).all()
    point = curves.set_index(["teacher", "architecture", "mode", "beta"])["accuracy"]
    assert point["t1", "a", "gtn", 0.1] == pytest.approx(0.795)
    assert point["t1", "accepted", "vanilla", 0.0] == pytest.approx(0.945)  # of a alone
    assert point["t2", "accepted", "vanilla", 0.0] == pytest.approx((0.95 + 0.9) / 2 - 0.005)
    assert point["t2", "accepted", "gtn", 0.0] == pytest.approx((0.8 + 0.85) / 2 - 0.005)
    assert ("none", "accepted", "vanilla", 0.0) not in point.index


def test_failed_cells_are_missing_never_good() -> None:
    broken = TWO_TEACHERS.copy()
    failed = (broken["architecture"] == "a") & (broken["seed"] == 1) & (broken["beta"] == 0.1)
    broken.loc[failed, ["accuracy", "clean_accuracy"]] = np.nan
    broken.loc[failed, "status"] = "error"
    curves = analysis.curves(broken, Rule(0.7), images(TWO_TEACHERS))
    point = curves.set_index(["teacher", "architecture", "mode", "beta"])
    assert point.loc[("t1", "a", "gtn", 0.1), "n_seeds"] == 1
    assert np.isnan(point.loc[("t1", "a", "gtn", 0.1), "ci_low"])
    assert (
        point.loc[("t2", "accepted", "gtn", 0.1), "n_seeds"] == 1
    )  # the seed without `a` does not count with `b` alone

    gone = TWO_TEACHERS.copy()
    gone.loc[gone["mode"] == "vanilla", "status"] = "error"
    assert not analysis.acceptance(gone, Rule(0.5))["accepted"].any()


def test_overview_is_over_the_accepted_alone() -> None:
    overview = analysis.overview(TWO_TEACHERS, Rule(0.7)).set_index(["teacher", "mode"])
    assert (overview["architecture"] == "accepted").all()
    assert overview.loc[("t1", "gtn"), "clean accuracy"] == pytest.approx(0.9)
    assert overview.loc[("t1", "gtn"), "p"] == pytest.approx(0.9 - 0.05 - 0.005)
    alone = analysis.overview(TWO_TEACHERS, Rule(0.99))
    assert set(alone["architecture"]) == {"a", "b"} and len(alone) == 8
    assert alone["clean accuracy"].notna().all()


def test_overview_is_over_the_seeds_with_every_strength() -> None:
    """A weak seed that has lost its strongest cell does not lend its others to the mean."""
    rows = [
        ("none", "a", "vanilla", seed, beta, 0.9, accuracy)
        for seed, accuracies in enumerate([(0.9, 0.8, 0.7), (0.9, 0.3, 0.1)])
        for beta, accuracy in zip((0.0, 0.5, 1.0), accuracies, strict=True)
    ]
    table = summary(rows)
    assert analysis.overview(table, Rule(0.7))["p"].tolist() == pytest.approx([(0.8 + 0.4) / 2])
    table.loc[5, ["status", "accuracy"]] = "error", np.nan
    alone = analysis.overview(table, Rule(0.7))["p"].tolist()
    measured = analysis.measures(table, Rule(0.7), images(table.fillna(0)), analysis.curves(table, Rule(0.7)))
    assert alone == pytest.approx([0.8]) == measured["area"].tolist()[-1:]


def test_a_teacher_without_accepted_architectures_is_shown_by_architecture() -> None:
    table = TWO_TEACHERS.copy()
    table.loc[(table["teacher"] == "t2"), "clean_accuracy"] = 0.3
    found = analysis.overview(table, Rule(0.7)).groupby("teacher", sort=False)["architecture"].agg(set).to_dict()
    assert found == {"t1": {"accepted"}, "t2": {"a", "b"}}
    compared = analysis.pooled_or_all(analysis.comparisons(table, Rule(0.7), images(table)))
    assert compared.groupby("teacher")["architecture"].agg(set).to_dict() == found


def images(summary: pd.DataFrame) -> dict[int, np.ndarray]:
    """Some images for every row of a summary, as many correct as its accuracy says."""
    return {row: np.arange(1000) < round(1000 * accuracy) for row, accuracy in summary["accuracy"].items()}


def test_curves_have_intervals_where_there_are_seeds_and_images() -> None:
    curves = analysis.curves(TWO_TEACHERS, Rule(0.7), images(TWO_TEACHERS))
    assert (curves["ci_low"] < curves["accuracy"]).all() and (curves["accuracy"] < curves["ci_high"]).all()
    assert curves["ci_high"].max() <= 1
    assert analysis.curves(TWO_TEACHERS, Rule(0.7))["ci_low"].isna().all()
    one = TWO_TEACHERS[TWO_TEACHERS["seed"] == 0]
    assert analysis.curves(one, Rule(0.7), images(one))["ci_low"].isna().all()


def test_comparisons_pair_modes_by_seed_and_image() -> None:
    found = analysis.comparisons(TWO_TEACHERS, Rule(0.7), images(TWO_TEACHERS))
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
    alone = analysis.comparisons(broken, Rule(0.7), images(TWO_TEACHERS))
    assert (alone["n_seeds"] == 1).all() and alone["ci_low"].isna().all()


def test_controls_are_compared_with_modes_and_do_not_decide() -> None:
    assert analysis.acceptance(TWO_TEACHERS, Rule(0.92, ("gtn",)))["accepted"].tolist() == [True, False] * 2
    both = analysis.comparisons(TWO_TEACHERS, Rule(0.5, ("vanilla", "gtn")), images(TWO_TEACHERS))
    assert both.empty  # two controls are not compared


def test_a_pair_without_teachers_is_one_comparison() -> None:
    again = TWO_TEACHERS[TWO_TEACHERS["mode"] == "vanilla"].assign(mode="other")
    both = pd.concat([TWO_TEACHERS, again], ignore_index=True)
    found = analysis.comparisons(both, Rule(0.99), images(both))
    pairs = found[(found["mode"] == "vanilla") & (found["other"] == "other")]
    assert sorted(pairs["architecture"]) == ["a", "b"]
    assert len(found) == 2 + 2 * 4  # and two modes with each of the teachers' for two architectures


def test_a_failed_strength_takes_its_mode_out_of_areas() -> None:
    """The strongest perturbation failed for one mode: the rest of its sweep is no area to compare."""
    rows = [
        (teacher, "a", mode, seed, beta, 0.9, 0.9 - beta)
        for teacher, mode in (("t", "gtn"), ("none", "vanilla"))
        for seed in (0, 1)
        for beta in (0.0, 0.4, 0.8)
    ]
    broken = summary(rows)
    broken["accuracy_given_correct"] = broken["accuracy"]
    broken.loc[(broken["mode"] == "gtn") & (broken["beta"] == 0.8), "status"] = "error"
    rule, correct = Rule(0.5), images(broken)
    curves = analysis.curves(broken, rule, correct)
    assert analysis.comparisons(broken, rule, correct).empty
    measured = analysis.measures(broken, rule, correct, curves).set_index(["mode", "architecture"])
    assert measured.loc[("gtn", "a"), ["area", "area_given_correct", "half_strength"]].isna().all(axis=None)
    assert measured.loc[("vanilla", "a"), "area"] == pytest.approx(0.5)
    assert analysis.overview(broken, rule).set_index("mode")["p"].isna().to_dict() == {"gtn": True, "vanilla": False}


def test_half_strength_needs_strength_to_grow_with_beta_and_seeds_for_an_interval() -> None:
    rows = [
        ("none", "a", "vanilla", 0, beta, 0.9, accuracy) for beta, accuracy in ((1.0, 0.1), (10.0, 0.5), (100.0, 0.9))
    ]
    weights = summary(rows).assign(mean_l2=[3.0, 2.0, 1.0])
    for table, expected in (
        (weights, np.nan),
        (weights.assign(accuracy=[0.9, 0.5, 0.1], mean_l2=[1.0, 2.0, 3.0]), 21.25),
    ):
        correct = images(table)
        curves = analysis.curves(table, Rule(0.5), correct)
        found = analysis.measures(table, Rule(0.5), correct, curves).set_index("architecture").loc["a"]
        assert found["half_strength"] == pytest.approx(expected, nan_ok=True)
        assert np.isnan(found["half_ci_low"]) and np.isnan(found["ci_low"])


def test_bands_are_of_the_same_seeds() -> None:
    curves = analysis.curves(TWO_TEACHERS, Rule(0.7), images(TWO_TEACHERS))
    assert (curves["band_low"] <= curves["ci_low"] + 1e-12).all() and (
        curves["band_high"] >= curves["ci_high"] - 1e-12
    ).all()
    crossed = TWO_TEACHERS.copy()
    lost = (crossed["seed"] == 0) & (crossed["beta"] == 0.0) | (crossed["seed"] == 1) & (crossed["beta"] == 0.1)
    crossed.loc[lost, "status"] = "error"
    curves = analysis.curves(crossed, Rule(0.7), images(crossed))
    assert curves["band_low"].isna().all()
    measured = analysis.measures(crossed, Rule(0.7), images(crossed), curves)  # no seed has every strength
    assert measured[["area", "area_given_correct", "half_strength"]].isna().all(axis=None)


def test_a_lone_accepted_architecture_has_all_its_pairs_pooled_too() -> None:
    alone = TWO_TEACHERS[TWO_TEACHERS["architecture"] == "a"]
    table = pd.concat([alone, alone[alone["mode"] == "vanilla"].assign(mode="other")], ignore_index=True)
    found = analysis.comparisons(table, Rule(0.7), images(table))
    pairs = found.groupby("architecture")[["mode", "other"]].apply(lambda part: len(part.drop_duplicates()))
    assert pairs.to_dict() == {"a": 3, "accepted": 3}


def test_measures_by_hand() -> None:
    """Two perturbations that lose different images: each leaves half of them, together they leave none."""
    rows = [("none", "a", "vanilla", seed, beta, 1.0, 0.0) for seed in (0, 1) for beta in (0.0, 1.0)]
    one = summary(rows)
    table = pd.concat([one, one.assign(perturbation="q")], ignore_index=True)
    even = np.arange(100) % 2 == 0
    kept = {("p", 0.0): np.ones(100, bool), ("p", 1.0): even, ("q", 0.0): np.ones(100, bool), ("q", 1.0): ~even}
    correct = {row: kept[cell["perturbation"], cell["beta"]] for row, cell in table.iterrows()}
    table["accuracy"] = [correct[row].mean() for row in table.index]
    table["accuracy_given_correct"] = table["accuracy"]
    found = analysis.measures(table, Rule(0.5), correct, analysis.curves(table, Rule(0.5), correct))
    assert list(found.columns) == MEASURE_COLUMNS
    by = found[found["architecture"] == "a"].set_index("perturbation")
    assert by.loc[["p", "q"], "area"].tolist() == [0.75, 0.75]  # 1 falls to 0.5 over the sweep
    assert by.loc["worst", "area"] == 0.5  # each image is lost by one of the two at the end of its sweep
    assert by.loc["p", "half_strength"] == 1.0 and by.loc["p", "area_given_correct"] == 0.75
    assert np.isnan(by.loc["worst", "half_strength"])


ROW = {"mode": "gtn", "other": "vanilla", "perturbation": "fgsm", "area": 0.41, "other_area": 0.52, "difference": -0.11}


@pytest.mark.parametrize(
    "more, said",
    [
        (
            {"ci_low": -0.14, "ci_high": -0.08, "p_holm": 0.008, "n_seeds": 9, "n_pairs": 9},
            "gtn falls below vanilla under fgsm: "
            "area 0.410 against 0.520, difference -0.110 [-0.140, -0.080], p = 0.008",
        ),
        (
            {"ci_low": -0.14, "ci_high": -0.08, "p": 0.25, "p_holm": 0.75, "n_seeds": 3, "n_pairs": 3},
            "gtn seems to fall below vanilla under fgsm: "
            "area 0.410 against 0.520, difference -0.110 [-0.140, -0.080], p = 0.75; "
            "the test does not carry it (with 3 pairs of learners p cannot fall below 0.25)",
        ),
        (
            {"ci_low": -0.14, "ci_high": -0.08, "p": 0.012, "p_holm": 0.2, "n_seeds": 5, "n_pairs": 25},
            "gtn seems to fall below vanilla under fgsm: "
            "area 0.410 against 0.520, difference -0.110 [-0.140, -0.080], p = 0.2; "
            "the test does not carry it (0.012 before correction)",
        ),
        (
            {"ci_low": -0.24, "ci_high": 0.02, "p_holm": 1.0, "n_seeds": 3, "n_pairs": 3},
            "gtn and vanilla under fgsm: no difference seen (smallest detectable 0.030); "
            "area 0.410 against 0.520, difference -0.110 [-0.240, +0.020]",
        ),
        (
            {"ci_low": np.nan, "ci_high": np.nan, "p_holm": 1.0, "n_seeds": 1, "n_pairs": 1},
            "gtn and vanilla under fgsm: area 0.410 against 0.520; one seed says nothing about others",
        ),
        (
            {"ci_low": np.nan, "ci_high": np.nan, "p_holm": 1.0, "n_seeds": 5, "n_pairs": 5},
            "gtn and vanilla under fgsm: area 0.410 against 0.520; one image says nothing about others",
        ),
    ],
)
def test_sentences_say_no_more_than_was_found(more: dict[str, float], said: str) -> None:
    assert analysis.sentence({**ROW, "detectable": 0.03, **more}) == said


def test_where_nothing_is_classified_the_number_of_images_says_how_sure_that_is() -> None:
    fooled = TWO_TEACHERS.assign(accuracy=0.0)
    none = images(fooled)
    point = analysis.curves(fooled, Rule(0.7), none).iloc[0]
    assert (point["ci_low"], point["ci_high"]) == (0, pytest.approx(1 - 0.025 ** (1 / len(none[0]))))
    compared = analysis.comparisons(fooled, Rule(0.7), none).iloc[0]
    assert compared["ci_low"] == -compared["detectable"] == pytest.approx(-point["ci_high"])
    assert "no difference seen" in analysis.sentence(compared)
