from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gtn_bench import statistics
from gtn_bench.results import CURVE_COLUMNS, SUMMARY_COLUMNS


def summary(rows: list[tuple[str, str, str, int, float, float, float]]) -> pd.DataFrame:
    """From (teacher, architecture, mode, seed, beta, clean accuracy, accuracy)."""
    names = ["teacher", "architecture", "mode", "seed", "beta", "clean_accuracy", "accuracy"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(dataset="d", perturbation="p", n=10, status="done").reindex(columns=SUMMARY_COLUMNS)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_intervals_are_students(n: int) -> None:
    values = np.random.default_rng(0).uniform(0.3, 0.6, n)
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert statistics.interval(values) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-12)
    assert np.isnan(statistics.interval(values[:1])).all()


def test_intervals_cover_their_mean() -> None:
    draw = np.random.default_rng(0)
    runs = [statistics.interval(draw.normal(0.5, 0.05, 5)) for _ in range(2000)]
    assert 0.93 < np.mean([low <= 0.5 <= high for low, high in runs]) < 0.97


def test_areas_are_integrals() -> None:
    beta = np.linspace(0, 2, 2001)
    assert statistics.area(beta, np.exp(-beta)) == pytest.approx((1 - np.exp(-2)) / 2, abs=1e-6)
    assert statistics.area(np.array([1.0, 4.0]), np.array([0.8, 0.2])) == pytest.approx(0.5)
    assert statistics.area(np.array([3.0]), np.array([0.7])) == 0.7


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
    accepted = statistics.acceptance(TWO_TEACHERS, 0.7).set_index(["teacher", "architecture"])["accepted"]
    assert accepted.to_dict() == {("t1", "a"): True, ("t1", "b"): False, ("t2", "a"): True, ("t2", "b"): True}
    assert not statistics.acceptance(TWO_TEACHERS, 0.9)["accepted"].any()  # 0.9 does not exceed 0.9


def test_curves_have_a_row_for_each_point_and_pool_the_accepted() -> None:
    curves = statistics.curves(TWO_TEACHERS, 0.7)
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
    point = statistics.curves(broken, 0.7).set_index(["teacher", "architecture", "mode", "beta"])
    assert point.loc[("t1", "a", "gtn", 0.1), "n_seeds"] == 1
    assert np.isnan(point.loc[("t1", "a", "gtn", 0.1), "ci_low"])
    assert (
        point.loc[("t2", "accepted", "gtn", 0.1), "n_seeds"] == 1
    )  # the seed without `a` does not count with `b` alone

    gone = TWO_TEACHERS.copy()
    gone.loc[gone["mode"] == "vanilla", "status"] = "error"
    assert not statistics.acceptance(gone, 0.5)["accepted"].any()


def test_overview_is_over_the_accepted_alone() -> None:
    overview = statistics.overview(TWO_TEACHERS, 0.7).set_index(["teacher", "mode"])
    assert (overview["architecture"] == "accepted").all()
    assert overview.loc[("t1", "gtn"), "clean accuracy"] == pytest.approx(0.9)
    assert overview.loc[("t1", "gtn"), "p"] == pytest.approx(0.9 - 0.05 - 0.005)
    alone = statistics.overview(TWO_TEACHERS, 0.99)
    assert set(alone["architecture"]) == {"a", "b"} and len(alone) == 8
    assert alone["clean accuracy"].notna().all()
