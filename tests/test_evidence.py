"""What speaks against a cell is seen where it is, and nowhere else."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_perturbations import EXAMPLES
from test_runner import run

import gtn_bench
from gtn_bench.evidence import TOLERANCE, flags, missed
from gtn_bench.perturbations import FGSM, PERTURBATIONS
from gtn_bench.results import FLAGS

SUITE = """
name: feeble
dataset: digits
architectures: [linear]
modes: [{name: vanilla, epochs: 2}]
seeds: [0, 1]
acceptance: 0.0
perturbations:
  - {name: pgd, label: strong, samples: 100, beta: [0.05, 0.2]}
  - {name: fgsm, label: feeble, steps: 1, epsilon: 0.2, samples: 120, beta: [0.2]}
  - {name: fgsm, label: little, steps: 1, epsilon: 0.2, samples: 120, beta: [0.001]}
  - {name: noise, samples: 80, beta: [0, 0.1]}
  - {name: lbfgs-penalty, samples: 100, beta: [1]}
"""


def cell(**columns: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Five images of class 0, all classified correctly and left where they are, but for the given columns."""
    still = {"label": 0, "clean_prediction": 0, "prediction": 0, "linf": 0.0, "l2": 0.0, "zero_gradient": False}
    return {name: np.array(columns.get(name, [value] * 5)) for name, value in still.items()}


def test_a_learner_whose_boundary_is_known() -> None:
    """Of a half-space at these distances, an attack must find what lies nearer than its radius."""
    distance = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    exact = cell(prediction=[1] * 5, l2=distance, linf=distance)
    for radius in (0.05, 0.25, 0.6):
        perfect = cell(prediction=(distance <= radius).astype(int))
        assert not np.any(missed(perfect, ("l2", radius), [exact, perfect]))
        found = missed(cell(), ("l2", radius), [exact])
        assert found is not None and (found == (distance <= radius)).all()


def test_what_counts_as_missed() -> None:
    other = cell(prediction=[1, 1, 0, 1, 1], linf=[0.1, 0.3, 0.1, 0.1, 0.1], l2=[1.0, 1.0, 1.0, 3.0, 1.0])
    for ball, expected in ((("linf", 0.1), [1, 0, 0, 1, 1]), (("l2", 2.0), [1, 1, 0, 0, 1]), (("linf", 0.0), [0] * 5)):
        found = missed(cell(), ball, [other])
        assert found is not None and found.tolist() == expected
        known = missed(cell(prediction=[1, 0, 0, 0, 0]), ball, [other])  # the first it found itself
        assert known is not None and known.tolist() == [0, *expected[1:]]
    wrong = missed(cell(clean_prediction=[0, 0, 1, 0, 0]), ("linf", 0.0), [])
    assert wrong is not None and wrong.tolist() == [0, 0, 1, 0, 0]  # made correct, when the image itself was wrong
    few = {name: values[:1] for name, values in other.items()}
    found = missed(cell(), ("linf", 0.1), [few])
    assert found is not None and found.tolist() == [1, 0, 0, 0, 0]
    assert missed(cell(), None, [other]) is None and missed(cell(), ("l1", 9.0), [other]) is None


def test_what_is_flagged() -> None:
    assert list(flags(cell(), None, True)) == [] == list(flags(cell(), np.zeros(5, dtype=bool), True))
    assert list(flags(cell(), np.arange(5) == 1, False)) == ["missed"]
    flat = cell(zero_gradient=[True] * 5)
    assert list(flags(flat, None, True)) == ["no gradient"] and list(flags(flat, None, False)) == []
    assert list(flags(flat | {"prediction": np.ones(5)}, None, True)) == []  # it found them all the same
    many = np.zeros(100, dtype=bool)
    many[: round(100 * TOLERANCE)] = True
    assert list(flags({name: np.resize(values, 100) for name, values in cell().items()}, many, True)) == []


def test_what_looks_for_any_image_that_fools_and_what_needs_a_slope() -> None:
    for perturbation in EXAMPLES:
        assert perturbation.claim in (None, perturbation.promise)
        assert perturbation.uses_gradient or not perturbation.needs_slope
    assert PERTURBATIONS["lbfgs"](beta=1.0).claim == ("l2", 1.0)
    assert PERTURBATIONS["lbfgs"](beta=1.0, target="next").claim is None
    foolbox = functools.partial(PERTURBATIONS["foolbox"], drives="epsilon", beta=0.1)
    assert foolbox(attack="LinfPGD").claim == ("linf", 0.1)
    assert foolbox(attack="LinfPGD", target="next").claim is None
    assert foolbox(attack="LinfAdditiveUniformNoiseAttack").claim is None
    assert not PERTURBATIONS["pgd"](beta=0.1, loss="margin").needs_slope and PERTURBATIONS["pgd"](beta=0.1).needs_slope


@pytest.mark.parametrize(
    "fields, radius",
    [({}, 0.06), ({"epsilon": 0.1}, 0.06), ({"epsilon": 0.05}, 0.05), ({"epsilon": 0.1, "random_start": True}, 0.1)],
)
def test_sign_steps_promise_no_more_than_they_reach(fields: dict[str, Any], radius: float) -> None:
    norm, promised = FGSM(beta=0.02, steps=3, **fields).promise
    assert norm == "linf" and promised == pytest.approx(radius)


def test_a_feeble_attack_in_a_run(tmp_path: Path) -> None:
    """Beside a strong one in the same ball its cells are suspect; what can do little promises little."""
    results = run(SUITE, tmp_path / "out", tmp_path / "store")
    table = results.summary.set_index(["seed", "perturbation", "beta"])
    for seed in (0, 1):
        strong = results.select(seed=seed, perturbation="strong", beta=0.2).reset_index()
        feeble = results.select(seed=seed, perturbation="feeble").reset_index()[:100]
        survived, fell = feeble["prediction"] == feeble["label"], strong["prediction"] != strong["label"]
        row = table.loc[seed, "feeble", 0.2]
        assert row["missed"] * 120 >= (survived & fell).sum() > 2
        assert row["flags"] == "missed" and row["grade"] == "suspect"
        assert table.loc[(seed, "little", 0.001), "missed"] <= TOLERANCE
        assert table.loc[seed, "strong", 0.2]["grade"] == table.loc[seed, "noise", 0.1]["grade"] == "unknown"
    assert (
        table["missed"].isna() == table.index.get_level_values("perturbation").isin(["noise", "lbfgs-penalty"])
    ).all()
    page = gtn_bench.report(results.folder).read_text()
    assert FLAGS["missed"] in page and "10 cells" not in page and "8 cells whose perturbation looked in a ball" in page
