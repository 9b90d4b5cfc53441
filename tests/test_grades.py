"""Grades of cells and curves: each rule on both sides of its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.graded import BALL, PASSED, N, graded_records, record
from scipy import stats

from gtn_bench.analysis.acceptance import AcceptanceRule
from gtn_bench.analysis.balls import strongest
from gtn_bench.analysis.checks import CHECKS, Evidence
from gtn_bench.analysis.crosschecks import above_chance, cross_checked, known_adversarial
from gtn_bench.analysis.curves import curves
from gtn_bench.analysis.grades import REASONS, REQUIRED, Graded, grade_learner, upper_bound, worst
from gtn_bench.analysis.records import CellRecord, summarize
from gtn_bench.analysis.tables import CHECK_COLUMNS, SUMMARY_COLUMNS
from gtn_bench.config.threat import Threat

LARGE = 1000


def grade_of(cell: CellRecord, *others: CellRecord) -> Graded:
    """Return the grade of the first of some cells of a learner."""
    return grade_learner([cell, *others])[0]


def with_evidence(**changed: Evidence | None) -> CellRecord:
    """Return a cell that is reliable but for some evidence; None leaves a check out."""
    evidence = {**PASSED, **changed}
    return record(evidence={name: found for name, found in evidence.items() if found is not None})


def share(count: int, n: int = LARGE) -> Evidence:
    return Evidence(count, n)


# The upper confidence bound


@pytest.mark.parametrize("count, n", [(0, 1), (0, 98), (0, 100), (1, 128), (5, 128), (127, 128), (128, 128), (3, 3)])
def test_the_upper_bound_is_that_of_scipy(count: int, n: int) -> None:
    exact = stats.beta.ppf(0.95, count + 1, n - count) if count < n else 1.0
    assert upper_bound(count, n) == pytest.approx(exact, rel=1e-12)
    two_sided = stats.binomtest(count, n).proportion_ci(0.9, method="exact").high
    assert upper_bound(count, n) == pytest.approx(two_sided, rel=1e-9)


def test_the_upper_bound_of_no_event_is_exact_and_needs_about_100_images() -> None:
    assert upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert upper_bound(0, 98) > 0.03 > upper_bound(0, 99)


# Each threshold


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.active])
def test_a_cell_is_suspect_above_the_threshold_of_an_active_check_only(name: str) -> None:
    check = CHECKS[name]
    at = round(check.threshold * LARGE)
    below, above = (grade_of(with_evidence(**{name: share(count)})) for count in (at, at + 1))
    assert below.flags == () and below.grade != "suspect"
    if check.withholds:
        assert above.flags == () and above.grade == "unknown" and above.missing == (name,)
        assert below.grade == "reliable"
    else:
        assert above.grade == "suspect" and above.flags == (name,) and above.missing == ()


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.tolerance is not None])
def test_a_cell_is_not_reliable_above_the_tolerance_of_a_check(name: str) -> None:
    tolerance = CHECKS[name].tolerance
    assert tolerance is not None
    at = round(tolerance * LARGE)
    assert grade_of(with_evidence(**{name: share(at)})).grade == "reliable"
    above = grade_of(with_evidence(**{name: share(at + 1)}))
    assert (above.grade, above.flags, above.missing) == ("unknown", (), (name,))
    (finding,) = (each for each in above.findings if each.check == name)
    assert finding.outcome == "withheld" and "The grade reliable requires at most" in finding.text


def test_more_steps_need_an_upper_bound_below_three_percent() -> None:
    assert grade_of(with_evidence(more_steps=Evidence(0, 100))).grade == "reliable"
    one = grade_of(with_evidence(more_steps=Evidence(1, 128)))
    assert stats.beta.ppf(0.95, 2, 127) > 0.03 and 1 / 128 < 0.03
    assert (one.grade, one.missing) == ("unknown", ("more_steps",))
    assert grade_of(with_evidence(more_steps=Evidence(1, 200))).grade == "reliable"  # the bound is 0.0235


@pytest.mark.parametrize("name", ["more_steps", "second_attack", "gradient_free"])
def test_evidence_needs_a_hundred_images(name: str) -> None:
    assert grade_of(with_evidence(**{name: Evidence(0, 100)})).grade == "reliable"
    few = grade_of(with_evidence(**{name: Evidence(0, 99)}))
    assert (few.grade, few.missing) == ("unknown", (name,))
    (finding,) = (each for each in few.findings if each.check == name)
    assert finding.text == "Only 99 images were checked, and the grade reliable requires 100."


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("left_out", [None, Evidence(0, 0, "the budget of passes is used up")])
def test_evidence_that_was_not_run_withholds_reliable(name: str, left_out: Evidence | None) -> None:
    found = grade_of(with_evidence(**{name: left_out}))
    assert (found.grade, found.flags, found.missing) == ("unknown", (), (name,))
    (finding,) = (each for each in found.findings if each.check == name)
    assert finding.outcome == "not run"
    assert finding.text == ("The budget of passes is used up." if left_out else "Not run.")


def test_checks_that_reliable_does_not_need_may_be_left_out() -> None:
    assert grade_of(with_evidence()).grade == "reliable" and grade_of(with_evidence()).missing == ()
    skipped = Evidence(0, 0, "does not apply")
    found = grade_of(with_evidence(path=skipped, rising=skipped, transfer=skipped, other_loss=skipped))
    assert found.grade == "reliable" and found.missing == ()


# The strongest attack of a ball


def test_only_the_strongest_white_box_attack_of_a_ball_is_reliable() -> None:
    strong, weak = record(3, evidence=PASSED), record(2, perturbation="fgsm", evidence=PASSED)
    assert grade_of(strong, weak).grade == "reliable"
    beside = grade_of(weak, strong)
    assert (beside.grade, beside.missing) == ("unknown", ("strongest",))
    elsewhere = record(2, perturbation="fgsm", beta=0.05, region=Threat("linf", 0.05), evidence=PASSED)
    assert grade_of(elsewhere, strong).grade == "reliable"
    assert grade_of(record(2, region=Threat("l2", 0.1), perturbation="l2", evidence=PASSED), strong).grade == "reliable"


def test_of_equal_attacks_the_first_of_the_suite_is_graded() -> None:
    first, second = record(3, evidence=PASSED), record(3, perturbation="apgd", evidence=PASSED)
    assert [each.grade for each in grade_learner([first, second])] == ["reliable", "unknown"]
    assert [each.grade for each in grade_learner([second, first])] == ["reliable", "unknown"]
    assert strongest(second, [first, second]) is first


def test_balls_are_equal_up_to_rounding() -> None:
    one = record(2, region=Threat("linf", 0.1 * 3), evidence=PASSED)
    other = record(3, region=Threat("linf", 0.3), perturbation="fgsm")
    assert grade_of(one, other).missing == ("strongest",)


def test_attacks_are_compared_on_the_images_that_both_have() -> None:
    """The second attack is stronger on its hundred images, and has a higher accuracy on all of them."""
    last = np.arange(200) >= 150
    many, few = record(last, n=200, evidence=PASSED), record(1, n=100, perturbation="fgsm")
    assert strongest(many, [many, few]) is few


def test_an_attack_that_leaves_its_ball_is_not_the_strongest() -> None:
    cheat = record(100, perturbation="cheat", moved=0.5, shares={"outside_ball": 1.0})
    found = grade_learner([record(2, evidence=PASSED), cheat])
    assert [each.grade for each in found] == ["reliable", "suspect"] and found[1].flags == ("outside_ball",)


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"region": None}, "search_region"),
        ({"region": Threat("l1", 1.0), "moved": 0.1}, "search_region"),
        ({"access": "black"}, "access"),
    ],
)
def test_other_perturbations_are_unknown_and_say_why(fields: dict[str, Any], reason: str) -> None:
    found = grade_of(record(evidence=PASSED, **fields))
    assert (found.grade, found.missing) == ("unknown", (reason,))
    assert found.findings[-1].text == REASONS[reason]


def test_a_weak_attack_beside_a_strong_one_is_suspect_and_the_strong_one_reliable() -> None:
    strong, weak = record(60, evidence=PASSED), record(20, perturbation="fgsm", evidence=PASSED)
    found = grade_learner([weak, strong])
    assert [each.grade for each in found] == ["suspect", "reliable"] and found[0].flags == ("missed_adversarial",)
    (finding,) = (each for each in found[0].findings if each.outcome == "failed")
    assert finding.measured == 40 / N and finding.n == N and finding.upper == pytest.approx(upper_bound(40, N))
    assert finding.text.startswith("For 31.2 % of the cross-checked images")


# Evidence from the other attacks of a run

ALONE = {name: PASSED[name] for name in ("more_steps", "binarization")}


def test_attacks_of_the_run_are_evidence() -> None:
    cell = record(50, evidence=ALONE)
    white, black = record(50, perturbation="apgd"), record(49, perturbation="square", access="black")
    assert grade_of(cell, white, black).grade == "reliable"
    assert grade_of(cell, white).missing == ("gradient_free",) and grade_of(cell, black).missing == ("second_attack",)
    (finding,) = (each for each in grade_of(cell, white, black).findings if each.check == "gradient_free")
    assert (finding.measured, finding.n, finding.text) == (0, N, "Square, of the run.")


@pytest.mark.parametrize(
    "other, missing",
    [
        ({"perturbation": "again", "attack": "pgd"}, "second_attack"),  # of the same class
        ({"perturbation": "apgd", "region": Threat("linf", 0.09)}, "second_attack"),
        ({"perturbation": "apgd", "region": Threat("l2", 0.1)}, "second_attack"),
        ({"perturbation": "apgd", "n": 99}, "second_attack"),
        ({"perturbation": "apgd", "model_flags": ("near_chance",)}, "second_attack"),  # suspect itself
        ({"perturbation": "square", "access": "black", "cost": {"forwards": 2.0}}, "gradient_free"),  # two queries
        ({"perturbation": "square", "access": "black", "shares": {"attack_error": 0.1}}, "gradient_free"),
        ({"perturbation": "noise", "access": "none"}, "gradient_free"),
    ],
)
def test_other_cells_of_the_run_are_no_evidence(other: dict[str, Any], missing: str) -> None:
    count = min(50, other.get("n", 50))
    cells = {
        "second_attack": record(50, perturbation="apgd"),
        "gradient_free": record(50, perturbation="square", access="black"),
    }
    del cells[missing]
    found = grade_of(record(50, evidence=ALONE), record(count, **other), *cells.values())
    assert (found.grade, found.missing) == ("unknown", (missing,))


def test_a_weak_black_box_attack_is_evidence_and_suspect_itself() -> None:
    cells = [
        record(50, evidence={**ALONE, "second_attack": PASSED["second_attack"]}),
        record(30, perturbation="square", access="black"),
    ]
    assert [each.grade for each in grade_learner(cells)] == ["reliable", "suspect"]


def test_evidence_of_a_probe_counts_before_that_of_the_run() -> None:
    stronger = with_evidence(gradient_free=share(25)).evidence  # above the tolerance
    found = grade_of(record(50, evidence=stronger), record(50, perturbation="square", access="black"))
    assert (found.grade, found.missing) == ("unknown", ("gradient_free",))
    few = {**PASSED, "gradient_free": Evidence(0, 50)}
    assert grade_of(record(50, evidence=few), record(50, perturbation="square", access="black")).grade == "reliable"


# Checks of samples


def test_not_monotone_compares_nested_balls_of_the_same_perturbation() -> None:
    """Two of a hundred images are tolerated. The distances are outside of both balls: nothing is missed."""
    small = Threat("linf", 0.05)
    for count, flags in ((2, ()), (3, ("not_monotone",))):
        inner = record(count, n=100, beta=0.05, region=small, moved=0.3)
        assert grade_of(record(n=100, moved=0.3), inner).flags == flags
        assert grade_of(record(n=100, moved=0.3, perturbation="other"), inner).flags == ()
        assert grade_of(record(n=100, moved=0.3, region=Threat("l2", 0.1)), inner).flags == ()
        assert grade_of(inner, record(n=100, moved=0.3)).flags == ()  # the smaller ball may fool more


def test_above_chance_in_a_ball_that_contains_every_image() -> None:
    """Half of the images are of either class; 2 % more correct ones are tolerated."""
    labels = np.arange(100) % 2
    for correct, flags in ((52, ()), (53, ("above_chance",))):
        prediction = np.where(np.arange(100) < correct, labels, 1 - labels)
        samples = {"label": labels, "clean_prediction": labels, "prediction": prediction}
        assert above_chance(samples) == pytest.approx((correct - 50) / 100)
        for region, pixels, applies in (
            (Threat("linf", 1.0), None, True),
            (Threat("linf", 0.99), None, False),
            (Threat("l2", 8.0), 64, True),
            (Threat("l2", 7.9), 64, False),
            (Threat("l2", 8.0), None, False),
        ):
            cell = record(n=100, region=region, moved=0.1, samples=samples, pixels=pixels)
            assert grade_of(cell).flags == (flags if applies else ())
    assert above_chance({"label": labels, "prediction": 1 - labels}) == 0


@pytest.mark.parametrize("name", ["batch_coupling", "non_finite_gradient"])
def test_checks_without_tolerance_fail_for_one_image(name: str) -> None:
    assert grade_of(with_evidence(**{name: Evidence(0, N)})).grade == "reliable"
    assert grade_of(with_evidence(**{name: Evidence(1, N)})).flags == (name,)


def test_the_published_protocol_is_suspect() -> None:
    """A learner in train mode has no ball; noise is suspect as well, because the predictions depend on the batch."""
    coupled = {"batch_coupling": Evidence(N, N)}
    for access in ("white", "none"):
        found = grade_of(record(region=None, access=access, evidence=coupled))
        assert (found.grade, found.flags) == ("suspect", ("batch_coupling",))
        (finding,) = (each for each in found.findings if each.check == "batch_coupling")
        assert finding.text.startswith("The logits of 100 % of the images depend on the other images")


def test_perturbations_that_ignore_the_model_have_nothing_to_grade() -> None:
    assert grade_of(record(region=None, access="none")).grade == "n/a"
    assert grade_of(record(region=None, access="none", shares={"attack_error": 0.1})).grade == "suspect"
    assert grade_of(record(region=Threat("linf", 0.0))).grade == "n/a"  # the ball has one image


def test_flags_of_the_model_make_its_cells_suspect() -> None:
    found = grade_of(record(evidence=PASSED, model_flags=("near_chance", "zero_gradient")))
    assert (found.grade, found.flags) == ("suspect", ("near_chance", "zero_gradient"))
    rows = {each.check: each for each in found.findings}
    assert rows["near_chance"].outcome == "failed" and "model" in rows["near_chance"].text
    flat = {"zero_gradient": np.ones(N, bool)}
    both = grade_of(record(samples=flat, model_flags=("zero_gradient",)))
    assert both.flags == ("zero_gradient",) and len([each for each in both.findings if each.outcome == "failed"]) == 1


# Cross-checked images


def test_missed_images_are_a_share_of_the_cross_checked_ones() -> None:
    """The other perturbation has 100 of 1000 images: four missed ones are 4 % of these, and 0.4 % of all."""
    weak = record(n=1000, beta=0.05, region=Threat("linf", 0.05), moved=0.05)
    for count, flags in ((3, ()), (4, ("missed_adversarial",))):
        few = record(count, n=100, perturbation="square", access="black")
        cell = record(n=1000)
        assert grade_of(cell, weak, few).flags == flags
        table = summarize([cell, weak, few]).table
        assert table.loc[0, "missed_adversarial"] == count / 100
        noise = record(n=1000, perturbation="noise", region=None, access="none")
        assert grade_of(cell, weak, few, noise).flags == flags  # a cross-check with more images hides nothing


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([], (5, 1000)),
        ([2000], (5, 1000)),
        ([50], (3, 50)),
        ([50, 40], (3, 50)),
        ([100], (5, 100)),
        ([100, 1000], (5, 100)),
        ([50, 1000], (5, 1000)),
    ],
)
def test_the_number_of_cross_checked_images(sizes: Sequence[int], expected: tuple[int, int]) -> None:
    missed = np.isin(np.arange(1000), (0, 1, 2, 60, 70))
    found = cross_checked(missed, sizes)
    assert (found.events, found.n) == expected and found.share == expected[0] / expected[1]


# Certificates


def test_a_point_is_proven_if_attack_and_certificate_agree() -> None:
    certified = np.arange(LARGE) >= 60
    for fooled, proven in ((60, True), (50, True), (49, False), (0, False)):
        table = summarize([record(fooled, n=LARGE, certified=certified)]).table
        assert bool(table.loc[0, "proven"]) == proven
        assert table.loc[0, "certified_accuracy"] == 0.94
        assert table.loc[0, "settled"] == pytest.approx(0.94 + fooled / LARGE)
    without = summarize([record(60, n=LARGE)]).table
    assert not without.loc[0, "proven"] and without.loc[0, ["certified_accuracy", "settled"]].isna().all()


def test_certificates_of_the_first_images_only() -> None:
    certified = np.arange(100) >= 40
    table = summarize([record(45, n=200, certified=certified)]).table
    assert table.loc[0, "certified_accuracy"] == 0.6 and not table.loc[0, "proven"]
    fooled = np.isin(np.arange(200), np.arange(40)) | (np.arange(200) >= 100)
    table = summarize([record(fooled, n=200, certified=certified)]).table
    assert table.loc[0, "proven"] and table.loc[0, "settled"] == 1.0


def test_a_violated_certificate_is_flagged_and_proves_nothing() -> None:
    certified = np.arange(N) >= 60
    assert grade_of(record(60, certified=certified, evidence=PASSED)).grade == "reliable"
    cell = record(61, certified=certified, evidence=PASSED)
    found = grade_of(cell)
    assert (found.grade, found.flags) == ("suspect", ("certificate_violated",))
    assert not summarize([cell]).table.loc[0, "proven"]
    outside = record(61, certified=certified, moved=0.1 * (1 + 1e-5))  # an adversarial example outside of the ball
    assert grade_of(outside).flags == ()
    by_noise = record(100, perturbation="noise", region=None, access="none", moved=0.05)
    assert "certificate_violated" in grade_of(record(60, certified=certified), by_noise).flags


def test_settled_images_are_fooled_by_any_perturbation_or_certified() -> None:
    certified = np.arange(N) >= 64
    other = record(32, perturbation="fgsm")
    table = summarize([record(16, certified=certified), other]).table
    assert table.loc[0, "settled"] == (32 + 64) / N
    known = known_adversarial(record(16).samples, BALL, [record(16).samples, other.samples])
    assert known.sum() == 32


# Tables


def test_the_worst_grade_of_some_cells() -> None:
    for grades, expected in (
        (["reliable", "suspect", "n/a"], "suspect"),
        (["reliable"] * 2, "reliable"),
        (["n/a"], "n/a"),
        (["reliable", "unknown"], "unknown"),
        (["reliable", "n/a"], "unknown"),
        ([np.nan], "unknown"),
    ):
        assert worst(grades) == expected


def test_points_of_curves_have_the_worst_grade_of_their_cells() -> None:
    cells = [record(60, seed=0, evidence=PASSED), record(60, seed=1, evidence=PASSED)]
    noise = [record(9, seed=seed, perturbation="noise", region=None, access="none") for seed in (0, 1)]
    certified = np.arange(N) >= 60

    def points(*changed: CellRecord) -> dict[tuple[str, str], tuple[str, bool]]:
        by_seed = sorted([*changed, *noise], key=lambda each: each.identity["seed"])
        summary = summarize(by_seed)
        table = curves(summary.table, AcceptanceRule(0.0), summary.correct)
        rows = table[["architecture", "perturbation", "grade", "proven"]].itertuples(index=False)
        return {tuple(row[:2]): tuple(row[2:]) for row in rows}

    for name in ("linear", "accepted"):
        assert points(*cells)[name, "pgd"] == ("reliable", False) and points(*cells)[name, "noise"] == ("n/a", False)
        assert points(cells[0], record(60, seed=1))[name, "pgd"] == ("unknown", False)
        flagged = record(60, seed=1, shares={"unchanged": 0.9})
        assert points(cells[0], flagged)[name, "pgd"] == ("suspect", False)
        proven = [record(60, seed=seed, certified=certified) for seed in (0, 1)]
        assert points(*proven)[name, "pgd"] == ("unknown", True)
        assert points(proven[0], record(50, seed=1, certified=certified))[name, "pgd"] == ("unknown", False)


def test_cells_that_are_not_finished_are_unknown_without_checks() -> None:
    cells: list[CellRecord] = [
        CellRecord({**record().identity, "beta": beta}, N, status)  # type: ignore[arg-type]
        for beta, status in enumerate(("error", "rejected", "duplicate"))
    ]
    summary = summarize([*cells, record(beta=9.0)])
    assert (summary.table["grade"] == "unknown").all() and not summary.table["proven"].any()
    assert list(summary.table.columns) == SUMMARY_COLUMNS and list(summary.checks.columns) == CHECK_COLUMNS
    assert set(summary.checks["beta"]) == {9.0}


def test_the_table_of_checks_has_a_row_for_each_cell_and_check() -> None:
    summary = summarize(graded_records({"m": 0.03}))
    rows = summary.checks
    names = [name for name in CHECK_COLUMNS if name not in ("measured", "upper", "threshold", "n", "outcome", "text")]
    assert not rows.duplicated(names).any()
    assert set(rows["outcome"]) == {"passed", "failed", "withheld", "not run"}
    failed = rows[rows["outcome"] == "failed"]
    assert (failed["measured"] > failed["threshold"]).all() and failed["text"].str.contains(" %").all()
    known = rows[rows["n"] > 0]
    pairs = zip(known["measured"].tolist(), known["n"].tolist(), strict=True)
    exact = [upper_bound(round(measured * n), int(n)) for measured, n in pairs]
    assert known["upper"].to_numpy() == pytest.approx(np.array(exact))
    by_cell = failed.groupby(["seed", "perturbation", "beta"])["check"].agg("; ".join)
    flagged = summary.table[summary.table["flags"].fillna("") != ""]
    pd.testing.assert_series_equal(
        by_cell, flagged.set_index(["seed", "perturbation", "beta"])["flags"].sort_index(), check_names=False
    )
