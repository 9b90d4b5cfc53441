"""What holds for every attack of a library: aims, searches for a radius, flags, and errors that become rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from oracles import Line, line
from torch import Tensor

import gtn_bench
from gtn_bench import suite
from gtn_bench.classifiers import Classifier
from gtn_bench.datasets import Digits as Digits8
from gtn_bench.description import Mistake
from gtn_bench.evidence import Doubt
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack
from gtn_bench.perturbations.library import Radius, isolated
from gtn_bench.perturbations.referee import Flag, judge, judge_sweep, look_at
from gtn_bench.results import FLAGS

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
def test_a_radius_is_the_distance_that_was_needed(search: LibraryAttack) -> None:
    """On a line the nearest boundary is known; a search ends a little behind it."""
    classifier, x, y, _ = line(torch.float32)
    assert isinstance(classifier.network, Line)
    exact = classifier.network.l2_distance(x).detach()
    found = Radius(of=search, beta=1.0).nearest(classifier, x, y, SEEDS[:40])
    assert (classifier.predict(found.x_adv) != y).all()
    assert (found.strength >= exact * 0.999).all() and (found.strength < exact * 1.1 + 0.01).all()
    clean = look_at(classifier, x, y)
    for radius in (0.5, 1.0, 2.0):
        sweep = [Radius(of=search, beta=radius * exact.median().item())]
        outcome = judge_sweep(sweep, classifier, clean, x, y, SEEDS[:40])[0]
        survivors = (found.strength > sweep[0].beta).float().mean()
        assert (outcome.prediction == y).float().mean() == survivors and outcome.flags == ()


def test_what_is_wrong_already_is_no_success(classifier: Classifier, digits: Digits) -> None:
    """An image that the learner gets wrong as it is needs no strength, and stays as it is."""
    x, y = digits[0], (digits[1] + (torch.arange(60) < 10)) % 10
    found = Radius(of=attack("foolbox.L2DeepFoolAttack", beta=1.0), beta=1.0).nearest(classifier, x, y, SEEDS)
    wrong = classifier.predict(x) != y
    assert wrong[:10].all() and (found.strength[wrong] == 0).all() and torch.equal(found.x_adv[wrong], x[wrong])
    assert (found.strength[~wrong] > 0).all()


@pytest.mark.parametrize(
    "aimed",
    [
        attack("art.ProjectedGradientDescent", beta=0.5, target="next", params={"eps_step": 0.05, "max_iter": 40}),
        attack("foolbox.LinfPGD", beta=0.5, target="next"),
        attack("torchattacks.PGD", beta=0.5, target="next", params={"alpha": 0.05, "steps": 40}),
    ],
    ids=lambda aimed: aimed.title,
)
def test_targets_are_the_next_class(aimed: LibraryAttack, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    x_adv = aimed(classifier, x, y, SEEDS)
    assert (classifier.predict(x_adv) == (y + 1) % 10).float().mean() > 0.9


@pytest.mark.parametrize("library", ["art.FastGradientMethod", "foolbox.LinfPGD", "torchattacks.PGD"])
def test_a_ball_of_no_size_is_the_identity(library: str, classifier: Classifier, digits: Digits) -> None:
    assert torch.equal(attack(library, beta=0.0)(classifier, *digits, SEEDS), digits[0])


def test_the_table_fills_what_a_suite_leaves_out() -> None:
    one = attack("art.ProjectedGradientDescent", beta=0.1, params={"norm": 2})
    assert (one.drives, one.ball, one.promise) == ("eps", "l2", ("l2", 0.1))
    assert attack("torchattacks.APGD", beta=0.1, params={"norm": "L1"}).ball == "l1"
    other = attack("torchattacks.PGD", beta=0.02, drives="alpha", params={"eps": 0.3})
    assert other.promise == ("linf", 0.3)
    assert attack("foolbox.GenAttack", beta=0.1, params={"steps": 5}).target == "next"
    assert attack("torchattacks.Pixle", beta=2.0, params={"max_iterations": 3}).params["x_dimensions"] == [2, 10]


class Lazy(LibraryAttack):
    """Stands for an attack of a library that does what `how` says."""

    name = "lazy"
    namespace = "torchattacks"
    base_class = "torchattacks.attack:Attack"
    handled = ("model",)
    known = PERTURBATIONS["torchattacks"].known  # type: ignore[attr-defined]
    others = {}
    how: str

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        if self.how == "raises":
            raise RuntimeError("a library's own mistake")
        if self.how == "too far":
            return (x - 2 * self.beta).where(x > 0.5, x + 2 * self.beta)
        if self.how == "half":
            return x.where((torch.arange(len(x)) % 3 > 0).view(-1, 1, 1, 1), x + 0.001)
        return x


def test_what_needs_a_size_is_told_so() -> None:
    for fields in ({"drives": "steps"}, {"drives": "radius", "ball": "linf"}):
        with pytest.raises(Mistake, match=r"^attack 'foolbox\.LinfPGD' needs the parameter 'epsilon'$"):
            attack("foolbox.LinfPGD", beta=1.0, **fields).check(Digits8())
    attack("foolbox.LinfPGD", beta=1.0, drives="steps", params={"epsilon": 0.1}).check(Digits8())


def test_numpys_own_generators_start_from_the_seeds() -> None:
    """ART makes some without a seed."""

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
    "how, flags", [("nothing", ("unchanged",)), ("half", ("unchanged",)), ("too far", ("left its ball",))]
)
def test_what_cannot_be_believed_is_flagged(
    how: str, flags: tuple[str, ...], classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    clean = look_at(classifier, x, y)
    assert judge(Lazy(attack="PGD", beta=0.05, how=how), classifier, clean, x, y, SEEDS).flags == flags
    assert set(FLAGS) == {*get_args(Flag), *get_args(Doubt)}


def test_a_search_that_finds_nothing_is_flagged(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    sweep = [Radius(of=Lazy(attack="CW", beta=beta, how="nothing"), beta=beta) for beta in (0.5, 5.0)]
    outcomes = judge_sweep(sweep, classifier, look_at(classifier, x, y), x, y, SEEDS)
    assert [outcome.flags for outcome in outcomes] == [("found nothing",)] * 2


def test_errors_and_flags_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the tables and on the page; the other cells are untouched."""
    monkeypatch.setitem(PERTURBATIONS, "lazy", Lazy)
    perturbations = """perturbations:
  - {name: noise, samples: 20, beta: [0.1]}
  - {name: lazy.PGD, label: idle, how: nothing, samples: 20, beta: [0, 0.1]}
  - {name: lazy.PGD, label: broken, how: raises, samples: 20, beta: [0.1]}
  - {name: lazy.CW, label: broken-search, how: raises, samples: 20, beta: [0.1, 0.2]}
"""
    text = TINY[: TINY.index("perturbations:")].replace("seeds: [0, 1]", "seeds: [0]") + perturbations
    monkeypatch.setattr(Lazy, "check", lambda self, dataset: None)
    plan = gtn_bench.plan(suite.parse(text))
    results = gtn_bench.run(plan, tmp_path / "out", cache=tmp_path / "cache", workers=1, device="cpu")
    rows = results.summary.groupby("perturbation", sort=False)
    status, flags, grade = (
        {name: list(part[column]) for name, part in rows} for column in ("status", "flags", "grade")
    )
    assert status["noise"] == ["done"] * 3 and flags["noise"] == [""] * 3
    assert flags["idle"] == ["", "unchanged"] * 3 and grade["idle"] == ["unknown", "suspect"] * 3
    assert status["broken"] == ["error"] * 3 and status["broken-search"] == ["error"] * 6
    errors = pd.DataFrame(results.provenance["errors"])
    assert len(errors) == 9 and errors["traceback"].str.contains("a library's own mistake").all()
    page = gtn_bench.report(tmp_path / "out").read_text()
    assert "`unchanged`" in page and FLAGS["unchanged"] in page and "9 of" in page
