"""Plans restricted to some of their cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.suites import TINY

from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.planning import planner
from gtn_bench.planning.cells import Plan
from gtn_bench.planning.keys import keys_of

LARGER = TINY.replace("architectures: [linear]", "architectures: [linear, base_larger]") + (
    "  - {name: pgd, samples: 20, beta: [0.01, 0.1]}\ncertify: [interval]\n"
)


@pytest.fixture(scope="module")
def whole() -> Plan:
    return planner.plan(suite.parse(LARGER))


CHOICES = {
    "one perturbation": {"perturbation": ["fgsm"]},
    "two perturbations": {"perturbation": ["noise", "fgsm"]},
    "a mode and a perturbation": {"mode": ["gtn"], "perturbation": ["blur"]},
    "an architecture": {"architecture": ["base_larger"]},
    "a teacher": {"teacher": ["t"]},
    "no teacher": {"teacher": ["none"]},
    "a seed": {"seed": ["1"]},
    "strengths": {"beta": ["0.50", "1/10"]},
    "all kinds": {
        **{"perturbation": ["pgd"], "beta": ["0.1"], "mode": ["2_gtn"]},
        **{"architecture": ["linear"], "teacher": ["t"], "seed": ["0"]},
    },
}


@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES)
def test_a_restricted_plan_is_that_of_its_restricted_suite(chosen: dict[str, list[str]], whole: Plan) -> None:
    """The suite that is written out leads to the same cells, with the same keys as in the whole plan."""
    part = whole.only(chosen)
    again = planner.plan(suite.parse(part.suite.to_yaml()))
    assert 0 < len(part.cells) < len(whole.cells)
    assert part.cells == again.cells and part.certifications == again.certifications
    assert part.cells == tuple(cell for cell in whole.cells if cell in set(part.cells))
    assert keys_of(part, "cpu") == keys_of(again, "cpu")
    assert {key for key, *_ in keys_of(part, "cpu").cells} < {key for key, *_ in keys_of(whole, "cpu").cells}


def test_what_the_cells_need_stays(whole: Plan) -> None:
    taught, untaught = whole.only({"mode": ["gtn"]}), whole.only({"mode": ["vanilla"]})
    assert [each.label for each in taught.teachers] == ["t"] and len(taught.learners) == 4
    assert untaught.teachers == () == untaught.suite.teachers and len(untaught.learners) == 4
    assert [entry.title for entry in whole.only({"perturbation": ["noise"]}).suite.perturbations] == ["noise"]
    assert whole.only({"perturbation": ["noise"]}).certifications == ()
    assert len(whole.only({"perturbation": ["pgd"], "beta": ["0.1"]}).certifications[0].balls) == 1
    assert whole.only({}).cells == whole.cells


def test_controls_that_remain_alone_are_modes() -> None:
    text = TINY.replace("  - {name: vanilla, epochs: 2}\n", "") + "controls: [{name: vanilla, epochs: 2}]\n"
    part = planner.plan(suite.parse(text)).only({"mode": ["vanilla"]})
    assert [entry.title for entry in part.suite.modes] == ["vanilla"] and part.suite.controls == ()
    assert planner.plan(suite.parse(part.suite.to_yaml())).cells == part.cells


def test_existing_weights_keep_their_seeds(tmp_path: Path) -> None:
    import torch

    from gtn_bench.data.digits import Digits
    from gtn_bench.models import ARCHITECTURES

    files = [str(tmp_path / f"{seed}.pt") for seed in range(2)]
    for seed, file in enumerate(files):
        torch.save(ARCHITECTURES["linear"]()(Digits(), seed).state_dict(), file)
    data = {
        **{"name": "weights", "dataset": "digits", "architectures": ["linear"], "seeds": [3, 4]},
        **{"modes": [{"name": "checkpoint", "files": files}], "perturbations": [{"name": "noise", "beta": [0.1]}]},
    }
    whole = planner.plan(planner.load(data))
    part = whole.only({"seed": ["4"]})
    assert part.cells == whole.cells[1:] and part.suite.seeds == (3, 4)


ERRORS = {
    "kind": ({"modes": ["gtn"]}, "only: does not know the kind 'modes'; did you mean 'mode'?"),
    "perturbation": (
        {"perturbation": ["fgsn"]},
        "only: the suite has no perturbation 'fgsn'; did you mean 'fgsm'?",
    ),
    "two": (
        {"mode": ["gnt"], "seed": ["7"]},
        "only: the suite has no mode 'gnt'; did you mean 'gtn'?\nonly: the suite has no seed '7'; known: 0, 1",
    ),
    "number": ({"beta": ["x"]}, "only: the suite has no beta 'x'; known: 0, 0.01, 0.05, 0.1, 0.5, 1"),
    "none left": (
        {"mode": ["vanilla"], "teacher": ["t"]},
        "only: no cell of the suite has mode vanilla and teacher t",
    ),
}


@pytest.mark.parametrize("chosen, message", ERRORS.values(), ids=ERRORS)
def test_unknown_labels_are_named_with_the_nearest(chosen: dict[str, list[str]], message: str, whole: Plan) -> None:
    with pytest.raises(ConfigError) as caught:
        whole.only(chosen)
    assert str(caught.value) == message


def test_places_in_messages_are_those_of_the_file(whole: Plan) -> None:
    assert whole.only({"perturbation": ["noise", "pgd"]}).suite.places("perturbations") == (
        "perturbations[2]",
        "perturbations[4]",
    )
