"""Sanity checks: each fails where it should, and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.perturbations import EXAMPLES
from helpers.runs import run

import gtn_bench
from gtn_bench.analysis.checks import (
    CHECKS,
    Samples,
    failed_checks,
    grade,
    missed_adversarial,
    zero_gradient_share,
)
from gtn_bench.analysis.records import CellRecord, summarize
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.perturbations import FGSM, PERTURBATIONS, Perturbation

SUITE = """
name: weak
dataset: digits
architectures: [linear]
modes: [{name: vanilla, epochs: 2}]
seeds: [0, 1]
acceptance: 0.0
perturbations:
  - {name: pgd, label: strong, samples: 100, beta: [0.05, 0.2]}
  - {name: fgsm, label: weak, steps: 1, epsilon: 0.2, samples: 120, beta: [0.2]}
  - {name: fgsm, label: small, steps: 1, epsilon: 0.2, samples: 120, beta: [0.001]}
  - {name: noise, samples: 80, beta: [0, 0.1]}
  - {name: lbfgs-penalty, samples: 100, beta: [1]}
"""


def cell(n: int = 5, **columns: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return samples of n images of class 0 that move by 0.01 and stay correct, except for the given columns."""
    harmless = {"label": 0, "clean_prediction": 0, "prediction": 0, "linf": 0.01, "l2": 0.01, "zero_gradient": False}
    return {name: np.array(columns.get(name, [value] * n)) for name, value in harmless.items()}


def flags(
    samples: Samples,
    region: Threat | None = None,
    others: Iterable[Samples] = (),
    *,
    beta: float = 0.5,
    needs_ce_gradient: bool = True,
    shares: dict[str, float] | None = None,
) -> list[str]:
    """Return the flags of a cell in a summary. The other cells of its learner have no search region and no flags."""
    names = {"dataset": "d", "teacher": "none", "architecture": "a", "mode": "m", "seed": 0, "perturbation": "p"}

    def record(beta: float, content: Samples, **more: Any) -> CellRecord:
        return CellRecord({**names, "beta": beta}, len(content["label"]), "done", samples=content, **more)

    first = record(beta, samples, shares=shares or {}, search_region=region, needs_ce_gradient=needs_ce_gradient)
    rest = [record(1.0 + place, other) for place, other in enumerate(others)]
    table = summarize([first, *rest]).table
    assert (table["flags"][1:] == "").all() and (table["grade"][1:] == "unknown").all()
    text, said = table.loc[0, ["flags", "grade"]]
    assert said == ("suspect" if text else "unknown")
    return text.split("; ") if text else []


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_formula_a_threshold_and_texts(name: str) -> None:
    check = CHECKS[name]
    assert check.name == name and name.isidentifier()  # flags are joined with "; "
    assert 0 <= check.threshold < 1
    for text in (check.formula, check.cost, check.source, check.text, check.action):
        assert text and text == text.strip() and "\n" not in text
    assert check.source.startswith("https://")
    assert check.text.endswith(".") and check.action.endswith(".") and check.formula.startswith("share of ")


def test_texts_of_checks_are_distinct() -> None:
    for field in ("name", "formula", "text"):
        assert len({getattr(check, field) for check in CHECKS.values()}) == len(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_above_its_threshold_only(name: str) -> None:
    threshold = CHECKS[name].threshold
    assert failed_checks({name: threshold}) == [] == failed_checks({name: 0.0}) == failed_checks({name: float("nan")})
    assert failed_checks({name: np.nextafter(threshold, 1)}) == [name] == failed_checks({name: 1.0})


def test_failed_checks_are_listed_in_the_order_of_the_table() -> None:
    assert failed_checks({name: 1.0 for name in reversed(CHECKS)}) == list(CHECKS)
    assert failed_checks({}) == []
    assert grade([]) == "unknown" and grade(list(CHECKS)) == "suspect"


def test_missed_adversarial_examples_of_a_learner_with_a_known_boundary() -> None:
    """The distances to the boundary are known: an attack must succeed on the images nearer than its radius."""
    distance = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    exact = cell(prediction=[1] * 5, l2=distance, linf=distance)
    for radius in (0.05, 0.25, 0.6):
        perfect = cell(prediction=(distance <= radius).astype(int))
        assert not np.any(missed_adversarial(perfect, Threat("l2", radius), [exact, perfect]))
        found = missed_adversarial(cell(), Threat("l2", radius), [exact])
        assert found is not None and (found == (distance <= radius)).all()


@pytest.mark.parametrize(
    "norm, epsilon, expected", [("linf", 0.1, [1, 0, 0, 1, 1]), ("l2", 2.0, [1, 1, 0, 0, 1]), ("linf", 0.0, [0] * 5)]
)
def test_adversarial_examples_of_other_perturbations_within_the_ball_are_missed(
    norm: Norm, epsilon: float, expected: list[int]
) -> None:
    other = cell(prediction=[1, 1, 0, 1, 1], linf=[0.1, 0.3, 0.1, 0.1, 0.1], l2=[1.0, 1.0, 1.0, 3.0, 1.0])
    found = missed_adversarial(cell(), Threat(norm, epsilon), [other])
    assert found is not None and found.tolist() == expected
    found = missed_adversarial(cell(prediction=[1, 0, 0, 0, 0]), Threat(norm, epsilon), [other])  # fooled the first
    assert found is not None and found.tolist() == [0, *expected[1:]]


def test_misclassified_clean_images_are_missed_if_the_attack_corrects_them() -> None:
    wrong = missed_adversarial(cell(clean_prediction=[0, 0, 1, 0, 0]), Threat("linf", 0.0), [])
    assert wrong is not None and wrong.tolist() == [0, 0, 1, 0, 0]


def test_other_perturbations_may_have_fewer_images() -> None:
    few = cell(1, prediction=[1], linf=[0.1], l2=[1.0])
    found = missed_adversarial(cell(), Threat("linf", 0.1), [few])
    assert found is not None and found.tolist() == [1, 0, 0, 0, 0]


def test_missed_adversarial_does_not_apply_without_a_measured_search_region() -> None:
    other = cell(prediction=[1, 1, 0, 1, 1], linf=[0.1, 0.3, 0.1, 0.1, 0.1], l2=[1.0, 1.0, 1.0, 3.0, 1.0])
    assert missed_adversarial(cell(), None, [other]) is None
    assert missed_adversarial(cell(), Threat("l1", 9.0), [other]) is None


def test_flags_of_missed_adversarial_examples() -> None:
    region = Threat("linf", 0.1)
    assert flags(cell()) == [] == flags(cell(), region)
    second = cell(prediction=(np.arange(5) == 1).astype(int))
    assert flags(cell(), region, [second], needs_ce_gradient=False) == ["missed_adversarial"]
    assert flags(cell(), None, [second], needs_ce_gradient=False) == []
    tolerated = round(100 * CHECKS["missed_adversarial"].threshold)
    many = cell(100, prediction=(np.arange(100) < tolerated).astype(int))
    assert flags(cell(100), region, [many]) == []
    more = cell(100, prediction=(np.arange(100) < tolerated + 1).astype(int))
    assert flags(cell(100), region, [more]) == ["missed_adversarial"]


def test_flags_of_zero_gradients() -> None:
    flat = cell(zero_gradient=[True] * 5)
    assert zero_gradient_share(flat) == 1.0
    assert flags(flat) == ["zero_gradient"] and flags(flat, needs_ce_gradient=False) == []
    fooled = flat | {"prediction": np.ones(5)}
    assert zero_gradient_share(fooled) == 0.0 and flags(fooled) == []


def test_flags_of_measured_shares_precede_those_of_the_samples() -> None:
    shares = {"unchanged": 0.6, "attack_failed": 0.5, "outside_ball": 0.1}
    assert flags(cell(zero_gradient=[True] * 5), shares=shares) == ["unchanged", "outside_ball", "zero_gradient"]


@pytest.mark.parametrize("perturbation", EXAMPLES, ids=lambda perturbation: perturbation.title)
def test_search_region_is_the_threat_model_or_none(perturbation: Perturbation) -> None:
    assert perturbation.search_region in (None, perturbation.threat_model)
    assert perturbation.uses_gradient or not perturbation.needs_ce_gradient


def test_targeted_attacks_and_noise_have_no_search_region() -> None:
    assert PERTURBATIONS["lbfgs"](beta=1.0).search_region == Threat("l2", 1.0)
    assert PERTURBATIONS["lbfgs"](beta=1.0, target="next").search_region is None
    foolbox = functools.partial(PERTURBATIONS["foolbox"], beta_parameter="epsilon", beta=0.1)
    assert foolbox(attack="LinfPGD").search_region == Threat("linf", 0.1)
    assert foolbox(attack="LinfPGD", target="next").search_region is None
    assert foolbox(attack="LinfAdditiveUniformNoiseAttack").search_region is None


def test_only_attacks_on_the_cross_entropy_need_its_gradient() -> None:
    assert not PERTURBATIONS["pgd"](beta=0.1, loss="margin").needs_ce_gradient
    assert PERTURBATIONS["pgd"](beta=0.1).needs_ce_gradient


@pytest.mark.parametrize(
    "fields, radius",
    [({}, 0.06), ({"epsilon": 0.1}, 0.06), ({"epsilon": 0.05}, 0.05), ({"epsilon": 0.1, "random_start": True}, 0.1)],
)
def test_the_threat_model_of_fgsm_is_the_ball_that_its_steps_reach(fields: dict[str, Any], radius: float) -> None:
    norm, epsilon = FGSM(beta=0.02, steps=3, **fields).threat_model
    assert norm == "linf" and epsilon == pytest.approx(radius)


def test_a_weak_attack_beside_a_strong_one_is_suspect(tmp_path: Path) -> None:
    """The balls of both are equal. An attack with a small step has a small ball and is not suspect."""
    results = run(SUITE, tmp_path / "out", tmp_path / "store")
    table = results.summary.set_index(["seed", "perturbation", "beta"])
    for seed in (0, 1):
        strong = results.select(seed=seed, perturbation="strong", beta=0.2).reset_index()
        weak = results.select(seed=seed, perturbation="weak").reset_index()[:100]
        survived, fooled = weak["prediction"] == weak["label"], strong["prediction"] != strong["label"]
        row = table.loc[seed, "weak", 0.2]
        assert row["missed_adversarial"] * 120 >= (survived & fooled).sum() > 2
        assert row["flags"] == "missed_adversarial" and row["grade"] == "suspect"
        assert table.loc[(seed, "small", 0.001), "missed_adversarial"] <= CHECKS["missed_adversarial"].threshold
        assert table.loc[seed, "strong", 0.2]["grade"] == table.loc[seed, "noise", 0.1]["grade"] == "unknown"
    without_ball = table.index.get_level_values("perturbation").isin(["noise", "lbfgs-penalty"])
    assert (table["missed_adversarial"].isna() == without_ball).all()
    page = gtn_bench.report(results.folder).read_text()
    assert CHECKS["missed_adversarial"].text in page
    assert "10 cells" not in page and "This applies to 8 cells." in page
