from __future__ import annotations

import pandas as pd
import pytest

from gtn_bench.analysis import leaderboard
from gtn_bench.analysis.tables import SUMMARY_COLUMNS


def test_metrics_match_values_computed_by_hand() -> None:
    """Clean accuracy 80 %; two attacks reduce it to 60 % and 20 %, a mean drop of 40 points."""
    assert leaderboard.robustness_ratio(0.8, [0.6, 0.2]) == pytest.approx(100 * (1 - 40 / 60))
    assert leaderboard.improved_robustness_ratio(0.8, [0.6, 0.2]) == pytest.approx(100 * (1 - 0.4 * 0.6 / 0.64))
    assert leaderboard.attack_efficiency(1, [11, 21]) == pytest.approx(75)
    assert leaderboard.crei(30, 70) == 50 and leaderboard.crei(30, 70, alpha=1) == 30


def test_metrics_of_degenerate_accuracies() -> None:
    assert leaderboard.robustness_ratio(0.9, [0.1, 0.1]) == pytest.approx(0)  # all attacks equally strong
    assert leaderboard.robustness_ratio(0.9, [0.9, 0.9, 0.9, 0.0]) == pytest.approx(75)  # one attack always succeeds
    assert leaderboard.robustness_ratio(0.1, [0.11, 0.12]) == 0  # nothing lost
    assert leaderboard.improved_robustness_ratio(0.0, [0.0, 0.0]) == 0  # nothing to lose
    assert leaderboard.robustness_ratio(0.9, [0.9]) == 0 and leaderboard.attack_efficiency(1, [1, 1]) == 0


def test_leaderboard_counts_perturbations_that_query_the_learner_and_skips_failed_modes() -> None:
    names = ["mode", "seed", "perturbation", "beta", "accuracy", "forwards"]
    rows = [
        (mode, seed, *cell)
        for mode, seed in (("gtn", 0), ("gtn", 1), ("vanilla", 0))
        for cell in [("fgsm", 0.0, 0.8, 30), ("fgsm", 0.1, 0.6, 30), ("fgsm", 0.2, 0.2, 30), ("noise", 0.5, 0.1, 0)]
    ]
    table = pd.DataFrame(rows, columns=names)
    table["teacher"] = table["mode"].map({"gtn": "t", "vanilla": "none"})
    table = table.assign(
        dataset="d", architecture="a", clean_accuracy=0.8, n=10, backwards=table["forwards"], status="done"
    )
    found = leaderboard.leaderboard(table.reindex(columns=SUMMARY_COLUMNS)).set_index("mode")
    assert found.loc["gtn", "RR"] == pytest.approx(leaderboard.robustness_ratio(0.8, [0.6, 0.2]))
    assert found.loc["vanilla", "teacher"] == "t" and found.loc["vanilla", "AE"] == 100

    own = table.assign(clean_accuracy=table["beta"].map({0.0: 0.8, 0.1: 0.9, 0.2: 0.5, 0.5: 0.8}))  # own images each
    ratio = leaderboard.leaderboard(own.reindex(columns=SUMMARY_COLUMNS)).set_index("mode").loc["gtn", "RR"]
    assert ratio == pytest.approx(leaderboard.robustness_ratio([0.9, 0.5], [0.6, 0.2])) == pytest.approx(0)
    everywhere = table.assign(status=table["perturbation"].map({"fgsm": "done", "noise": "error"}))
    # Whether the failed perturbation queries the learner is unknown.
    assert leaderboard.leaderboard(everywhere.reindex(columns=SUMMARY_COLUMNS)).empty

    one_seed = table.assign(status=["done"] * 2 + ["error"] + ["done"] * 9).reindex(columns=SUMMARY_COLUMNS)
    assert leaderboard.leaderboard(one_seed)["mode"].tolist() == ["vanilla"]  # not the mean of the remaining seed
    broken = table.assign(status=["done"] * 2 + ["error"] + ["done"] * 9).reindex(columns=SUMMARY_COLUMNS)
    broken.loc[broken["mode"] == "gtn", "status"] = "error"
    assert leaderboard.leaderboard(broken)["mode"].tolist() == ["vanilla"]
