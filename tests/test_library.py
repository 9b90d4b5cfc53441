"""Library attacks: targets, minimal-norm attacks, sanity checks, and errors that become rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.flags import flags
from helpers.oracles import Line, line
from helpers.perturbations import check_and_try
from torch import Tensor

import gtn_bench
from gtn_bench.analysis.checks import CHECKS
from gtn_bench.config import suite
from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Threat
from gtn_bench.data.digits import Digits as Digits8
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.libraries.rng import isolated

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


def attack(name: str, **fields: Any) -> Any:
    library, _, cls = name.partition(".")
    return PERTURBATIONS[library](attack=cls, **fields)


@pytest.mark.parametrize(
    "search",
    [
        attack("foolbox.L2DeepFoolAttack", beta=1.0),
        attack("art.DeepFool", beta=1.0, params={"epsilon": 0.02}),
        attack("torchattacks.DeepFool", beta=1.0),
        attack("foolbox.DDNAttack", beta=1.0),
    ],
    ids=lambda search: search.title,
)
def test_radius_is_the_distance_of_the_adversarial_image(search: LibraryAttack) -> None:
    """The distance to a linear boundary is known; minimal-norm attacks end slightly beyond it."""
    classifier, x, y, _ = line(torch.float32)
    assert isinstance(classifier.network, Line)
    exact = classifier.network.l2_distance(x).detach()
    found = Radius(of=search, beta=1.0).nearest(classifier, x, y, SEEDS[:40])
    assert (classifier.predict(found.x_adv) != y).all()
    assert (found.strength >= exact * 0.999).all() and (found.strength < exact * 1.1 + 0.01).all()
    clean = evaluate_clean(classifier, x, y)
    for radius in (0.5, 1.0, 2.0):
        sweep = [Radius(of=search, beta=radius * exact.median().item())]
        result = evaluate_sweep(sweep, classifier, clean, x, y, SEEDS[:40])[0]
        survivors = (found.strength > sweep[0].beta).float().mean()
        assert (result.prediction == y).float().mean() == survivors and flags(result) == []


def test_misclassified_images_need_no_strength_and_do_not_change(classifier: Classifier, digits: Digits) -> None:
    x, y = digits[0], (digits[1] + (torch.arange(60) < 10)) % 10
    found = Radius(of=attack("foolbox.L2DeepFoolAttack", beta=1.0), beta=1.0).nearest(classifier, x, y, SEEDS)
    wrong = classifier.predict(x) != y
    assert wrong[:10].all() and (found.strength[wrong] == 0).all() and torch.equal(found.x_adv[wrong], x[wrong])
    assert (found.strength[~wrong] > 0).all()


@pytest.mark.parametrize(
    "targeted",
    [
        attack("art.ProjectedGradientDescent", beta=0.5, target="next", params={"eps_step": 0.05, "max_iter": 40}),
        attack("foolbox.LinfPGD", beta=0.5, target="next"),
        attack("torchattacks.PGD", beta=0.5, target="next", params={"alpha": 0.05, "steps": 40}),
    ],
    ids=lambda targeted: targeted.title,
)
def test_targeted_attacks_reach_the_next_class(targeted: LibraryAttack, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    x_adv = targeted(classifier, x, y, SEEDS)
    assert (classifier.predict(x_adv) == (y + 1) % 10).float().mean() > 0.9


@pytest.mark.parametrize("library", ["art.FastGradientMethod", "foolbox.LinfPGD", "torchattacks.PGD"])
def test_radius_zero_is_the_identity(library: str, classifier: Classifier, digits: Digits) -> None:
    assert torch.equal(attack(library, beta=0.0)(classifier, *digits, SEEDS), digits[0])


def test_table_of_attacks_fills_in_omitted_fields() -> None:
    one = attack("art.ProjectedGradientDescent", beta=0.1, params={"norm": 2})
    assert (one.beta_parameter, one.norm, one.threat_model) == ("eps", "l2", Threat("l2", 0.1))
    assert attack("art.AutoProjectedGradientDescent", beta=0.1, params={"norm": 1}).norm == "l1"
    assert attack("torchattacks.APGD", beta=0.1, params={"norm": "L2"}).norm == "l2"
    other = attack("torchattacks.PGD", beta=0.02, beta_parameter="alpha", params={"eps": 0.3})
    assert other.threat_model == Threat("linf", 0.3)
    assert attack("foolbox.GenAttack", beta=0.1, params={"steps": 5}).target == "next"
    assert attack("torchattacks.Pixle", beta=2.0, params={"max_iterations": 3}).params["x_dimensions"] == [2, 10]


def test_norm_that_the_attack_does_not_support_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^attack 'torchattacks\.APGD': 'norm' expects one of Linf, L2, got 'L1'"):
        build(PERTURBATIONS["torchattacks"], {"attack": "APGD", "beta": 0.1, "params": {"norm": "L1"}}, "")


class Faulty(LibraryAttack):
    """A library attack with one of the faults that the sanity checks detect."""

    name = "faulty"
    namespace = "torchattacks"
    base_class = "torchattacks.attack:Attack"
    handled = ("model",)
    known = PERTURBATIONS["torchattacks"].known  # type: ignore[attr-defined]
    others = {}
    how: str

    def run(self, classifier: Classifier, x: Tensor, label: Tensor, seeds: Tensor) -> Tensor:
        if self.how == "raises" or (self.how == "raises for some" and (label == 5).any()):
            raise RuntimeError("an error of the library")
        if self.how == "too far":
            return (x - 2 * self.beta).where(x > 0.5, x + 2 * self.beta)
        if self.how == "half":
            return x.where((torch.arange(len(x)) % 3 > 0).view(-1, 1, 1, 1), x + 0.001)
        return x


def test_missing_radius_is_refused() -> None:
    for fields in ({"beta_parameter": "steps"}, {"beta_parameter": "radius", "norm": "linf"}):
        with pytest.raises(ConfigError, match=r"^attack 'foolbox\.LinfPGD' needs the parameter 'epsilon'$"):
            check_and_try(attack("foolbox.LinfPGD", beta=1.0, **fields), Digits8())
    check_and_try(attack("foolbox.LinfPGD", beta=1.0, beta_parameter="steps", params={"epsilon": 0.1}), Digits8())


def test_unseeded_numpy_generators_depend_on_the_seeds() -> None:
    """ART constructs generators without a seed."""

    def drawn(seeds: Tensor) -> list[float]:
        with isolated(seeds):
            generators = [np.random.RandomState(), np.random.RandomState(3), np.random.RandomState()]
            assert all(isinstance(generator, np.random.RandomState) for generator in generators)
            return [float(generator.rand()) for generator in generators]

    one, two = drawn(SEEDS), drawn(SEEDS + 1)
    assert one == drawn(SEEDS) and one[1] == two[1] == np.random.RandomState(3).rand()
    assert len({*one, *two}) == 5
    assert type(np.random.RandomState()) is np.random.RandomState


@pytest.mark.parametrize(
    ("how", "expected"), [("nothing", ["unchanged"]), ("half", ["unchanged"]), ("too far", ["outside_ball"])]
)
def test_faulty_attacks_fail_sanity_checks(
    how: str, expected: list[str], classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    clean = evaluate_clean(classifier, x, y)
    result = evaluate(Faulty(attack="PGD", beta=0.05, how=how), classifier, clean, x, y, SEEDS)
    assert flags(result) == expected
    assert set(result.shares) <= set(CHECKS)


def test_table_of_checks_contains_every_flag() -> None:
    names = {"unchanged", "attack_error", "attack_failed", "outside_ball", "missed_adversarial", "zero_gradient"}
    assert names <= set(CHECKS)


def test_minimal_norm_attack_without_success_fails_its_check(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    sweep = [Radius(of=Faulty(attack="CW", beta=beta, how="nothing"), beta=beta) for beta in (0.5, 5.0)]
    results = evaluate_sweep(sweep, classifier, evaluate_clean(classifier, x, y), x, y, SEEDS)
    assert [flags(result) for result in results] == [["attack_failed"]] * 2
    assert all(set(result.shares) <= set(CHECKS) for result in results)


@pytest.mark.slow
def test_errors_and_flags_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors and flags appear in the tables and on the page; the other cells are not affected.

    All learners are far better than chance, so no check of a model adds a flag.
    """
    monkeypatch.setitem(PERTURBATIONS, "faulty", Faulty)
    text = """name: faults
dataset: digits
architectures: [linear]
modes: [{name: vanilla, epochs: 4}, {name: vanilla, label: longer, epochs: 8}, {name: vanilla, label: more, epochs: 12}]
seeds: [0]
perturbations:
  - {name: noise, samples: 20, beta: [0.1]}
  - {name: faulty.PGD, label: idle, how: nothing, samples: 20, beta: [0, 0.1]}
  - {name: faulty.PGD, label: broken, how: raises, samples: 20, beta: [0.1]}
  - {name: faulty.CW, label: broken-search, how: raises, samples: 20, beta: [0.1, 0.2]}
  - {name: faulty.PGD, label: partly-broken, how: raises for some, samples: 20, beta: [0]}
  - {name: faulty.CW, label: partly-broken-search, how: raises for some, samples: 20, beta: [0.1, 0.2]}
"""
    monkeypatch.setattr(Faulty, "try_out", lambda self, dataset: None)
    plan = gtn_bench.plan(suite.parse(text))
    with pytest.warns(RuntimeWarning, match="^9 of 27 cells failed; first: RuntimeError: an error of the library"):
        results = gtn_bench.run(plan, tmp_path / "out", cache=tmp_path / "cache", workers=1, device="cpu")
    rows = results.summary.groupby("perturbation", sort=False)
    status, flagged, grade = (
        {name: list(part[column]) for name, part in rows} for column in ("status", "flags", "grade")
    )
    assert status["noise"] == ["done"] * 3 and flagged["noise"] == [""] * 3
    assert flagged["idle"] == ["", "unchanged"] * 3 and grade["idle"] == ["n/a", "suspect"] * 3
    assert status["broken"] == ["error"] * 3 and status["broken-search"] == ["error"] * 6
    errors = pd.DataFrame(results.provenance["errors"])
    assert len(errors) == 9 and errors["traceback"].str.contains("an error of the library").all()
    assert status["partly-broken"] == ["done"] * 3 and flagged["partly-broken"] == ["attack_error"] * 3
    assert flagged["partly-broken-search"] == ["attack_error; attack_failed"] * 6
    failing = int((results.select(perturbation="partly-broken", seed=0, mode="vanilla")["label"] == 5).sum())
    partly = pd.DataFrame(results.provenance["attack_errors"])
    assert len(partly) == 9 and 0 < failing < 20
    assert set(partly["error"]) == {f"{failing} of 20 images: RuntimeError: an error of the library"}
    page = gtn_bench.report(tmp_path / "out").read_text()
    assert "`unchanged`" in page and CHECKS["unchanged"].action in page and "9 of" in page
    assert CHECKS["attack_error"].action in page
