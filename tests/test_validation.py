"""Validation reports every problem of a suite at once, and refuses fields that have no effect."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.messages import OWN
from helpers.suites import TINY

from gtn_bench import cli
from gtn_bench.config.description import Description, build
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits
from gtn_bench.execution.teach import load_teacher
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.models.architectures import ConvNet
from gtn_bench.modes import MODES
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.planning import planner
from gtn_bench.teaching import TEACHERS


def problems(source: Any, **options: Any) -> list[str]:
    """Return the lines of the error of loading and planning a suite; none if it is valid."""
    try:
        planner.plan(planner.load(source), **options)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def edited(*edits: tuple[str, str]) -> dict[str, Any]:
    """Return the content of the tiny suite after some replacements."""
    text = TINY
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return yaml.safe_load(text)


BAD = """
nmae: bad
dataset: digits
acceptence: 0.5
seeds: [0, zero]
seeds: [0]
architectures: [linaer, {name: base, convolutions: [{channels: 4, stride: 2, pool: true},
                                                    {channels: 4, stride: 2, pool: true}]}]
modes:
  - {name: vanilla, epoch: 2}
  - {name: vanilla, epochs: x, label: more}
  - gan
  - {epochs: 3}
  - {name: vanilla, label: vanilla}
  - {name: vanilla, label: a b, epochs: 0}
controls: [{name: adversarial, label: more}]
perturbations:
  - {name: fgms, beta: [0.1]}
  - {step: 2, name: fgsm, beta: [-1]}
  - {name: noise, betas: [0.5]}
  - {name: blur, label: worst, beta: [1], samples: 1000}
  - {name: contrast, beta: [0.1, 3]}
  - {name: foolbox.LinfPGD, steps: 3, attack: x, params: {stepsize: 1}, beta: [0.1]}
zzz: {deeply: [nested]}
"""


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    monkeypatch.setattr(sys, "argv", ["gtn-bench", "validate", str(tmp_path / "bad.yaml")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    lines = [line.removeprefix("error: bad.yaml: ") for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "line 6: key 'seeds' occurs twice",
        "name: needs this key, got 'nmae'",
        "acceptence: does not know this key; did you mean 'acceptance'?",
        "seeds[1]: expects an integer, got 'zero'",
        "architectures[0].name: unknown architecture 'linaer'; did you mean 'linear'?" + OWN["architecture"],
        "architectures[1]: architecture 'base' halves its images 4 times and so needs at least 16x16 pixels, "
        "data set 'digits' has 8x8",
        "modes[0].epoch: 'vanilla' does not know this key; did you mean 'epochs'?",
        "modes[1].epochs: 'vanilla' expects an integer, got 'x'",
        "modes[2].name: unknown mode 'gan'; did you mean 'gtn'?" + OWN["mode"],
        "modes[3].name: needs this key",
        "modes[4]: duplicate label 'vanilla'; give one of them another label",
        "modes[5].label: expects a letter or digit, then letters, digits, '.', '_', '+' or '-', got 'a b'",
        "modes[5].epochs: 'vanilla' expects a number greater than 0, got 0",
        "controls[0]: duplicate label 'more'; give one of them another label",
        "perturbations[0].name: unknown perturbation 'fgms'; did you mean 'fgsm'?" + OWN["perturbation"],
        "perturbations[1].steps: 'fgsm' needs this key, got 'step'",
        "perturbations[1].beta: expects finite strengths of at least 0, got -1",
        "perturbations[2].beta: needs this key, got 'betas'",
        "perturbations[3]: label 'worst' is reserved; choose another label",
        "perturbations[3].samples: data set 'digits' has 360 test images, got 1000",
        "perturbations[4].beta: 'contrast' expects a number at most 1, got 3.0",
        "perturbations[5]: attack 'foolbox.LinfPGD' has no parameter 'stepsize'; did you mean 'rel_stepsize'?",
        "perturbations[5].steps: is a parameter of the attack; move it to params",
        "perturbations[5].attack: set the attack through 'name'",
        "zzz: does not know this key",
    ]


# Edits of the tiny suite and all lines that they cause: no line follows from a part that is left out.
ALONE = {
    "misspelt teachers": ([("teachers:", "teacher:")], ["teacher: does not know this key; did you mean 'teachers'?"]),
    "misspelt required key": (
        [("perturbations:", "perturbation:")],
        ["perturbations: needs this key, got 'perturbation'"],
    ),
    "unknown mode beside vanilla": (
        [("  - {name: gtn, label: 2_gtn, inner_steps: 2}\n  - gtn\n", "  - gan\n")],
        ["modes[0].name: unknown mode 'gan'; did you mean 'gtn'?" + OWN["mode"]],
    ),
    "unknown data set": (
        [("dataset: digits", "dataset: digit"), ("samples: 100", "samples: 100000"), ("[linear]", "[base]")],
        ["dataset.name: unknown dataset 'digit'; did you mean 'digits'?" + OWN["dataset"]],
    ),
    "misspelt label": (
        [("label: 2_gtn", "labl: 2_gtn")],
        ["modes[0].labl: 'gtn' does not know this key; did you mean 'label'?"],
    ),
    "invalid label": (
        [("label: 2_gtn", "label: [2]")],
        ["modes[0].label: expects a text, got [2]"],
    ),
    "teacher of an unknown kind": (
        [("name: cgtn", "name: cgn")],
        ["teachers[0].name: unknown teacher 'cgn'; did you mean 'cgtn'?"],
    ),
    "invalid beta": (
        [("beta: [0, 0.5]", "beta: strong")],
        ["perturbations[2].beta: expects a list of strengths, or a linspace or geomspace, got 'strong'"],
    ),
    "invalid samples under the published protocol": (
        [
            ("acceptance: 0.0", "protocol: published"),
            ("lbfgs-penalty, steps: 2, samples: 20", "lbfgs-penalty, penalty: batch, steps: 2, samples: many"),
            ("label: 2_gtn", "label: x"),
        ],
        ["perturbations[1].samples: expects an integer, got 'many'"],
    ),
    "mode with a misspelt number of steps": (
        [("inner_steps: 2}", "inner_step: 2}"), ("- {name: gtn, label", "- {name: 10_gtn, label")],
        ["modes[0].inner_step: '10_gtn' does not know this key; did you mean 'inner_steps'?"],
    ),
    "missing required parameter outside params": (
        [("name: fgsm, steps: 2", "name: foolbox.VirtualAdversarialAttack, steps: 2")],
        ["perturbations[0].steps: is a parameter of the attack; move it to params"],
    ),
    "list in place of a mapping": (
        [("dataset: digits", "dataset: [digits]")],
        ["dataset: expects a mapping, got ['digits']"],
    ),
}


@pytest.mark.parametrize("edits, lines", ALONE.values(), ids=ALONE)
def test_no_line_follows_from_a_part_that_is_left_out(edits: list[tuple[str, str]], lines: list[str]) -> None:
    assert [line.removeprefix("tiny: ") for line in problems(edited(*edits))] == lines


def test_independent_problems_are_reported_together() -> None:
    together = [
        ("acceptance: 0.0", "acceptance: 7"),
        ("label: 2_gtn", "labl: 2_gtn"),
        ("name: cgtn", "name: cgn"),
        ("beta: [0, 0.5]", "beta: strong"),
    ]
    separately = [line for edit in together for line in problems(edited(edit))]
    assert sorted(problems(edited(*together))) == sorted(separately)


def test_names_of_several_lines_are_reported_in_one_line() -> None:
    data = edited()
    data["modes"][2]["two\nlines"] = 1
    data["modes"][1] = "g\nan"
    lines = problems(data)
    assert len(lines) == 2 and lines[0].startswith("tiny: modes[1].name: unknown mode 'g\\nan'")
    assert lines[1].startswith("tiny: modes[2].'two\\nlines': 'vanilla' does not know this key")


# A table, a name, fields, and the message.
IDLE: dict[str, tuple[Any, str, dict[str, Any], str]] = {
    "statistics of the last batch": (
        MODES,
        "vanilla",
        {"statistics": "teaching", "statistics_samples": 100},
        "'vanilla' does not use 'statistics_samples': 'statistics: teaching' keeps those of the last training batch; "
        "leave it out",
    ),
    "statistics of the last teaching batch": (
        MODES,
        "gtn",
        {"statistics": "teaching", "statistics_samples": 100},
        "'gtn' does not use 'statistics_samples': 'statistics: teaching' keeps those of the last training batch; "
        "leave it out",
    ),
    "epochs beside steps": (
        MODES,
        "vanilla",
        {"epochs": 2, "steps": 10},
        "mode 'vanilla' takes epochs or steps, not both: got 2 and 10",
    ),
    "start of no growth": (
        TEACHERS,
        "cgtn",
        {"architecture": "linear", "growth_from": 3},
        "'cgtn' does not use 'growth_from': growth is 0; leave it out",
    ),
    "power of no growth": (
        TEACHERS,
        "real-init-cgtn",
        {"architecture": "linear", "growth_power": 3.0},
        "'real-init-cgtn' does not use 'growth_power': growth is 0; leave it out",
    ),
    "end of no growth": (
        TEACHERS,
        "distillation",
        {"architecture": "linear", "growth_to": 20},
        "'distillation' does not use 'growth_to': growth is 0; leave it out",
    ),
    "decay beside a last rate": (
        TEACHERS,
        "cgtn",
        {"architecture": "linear", "inner_lr_last": 0.01, "inner_lr_decay": 0.9},
        "'cgtn' does not use 'inner_lr_decay': inner_lr_last is set; leave it out",
    ),
    "width of no narrow learners": (
        TEACHERS,
        "cgtn",
        {"architecture": "linear", "narrow_width": 0.25},
        "'cgtn' does not use 'narrow_width': narrow is 0; leave it out",
    ),
    "rates of a teaching set": (
        TEACHERS,
        "continued-cgtn",
        {"architecture": "base_larger", "start": "mnist-base_larger", "inner_lr_last": 0.01},
        "'continued-cgtn' does not use 'inner_lr_last': its learning rates start at those of the teaching set; "
        "leave it out",
    ),
    "decay of the rates of a teaching set": (
        TEACHERS,
        "continued-cgtn",
        {"architecture": "base_larger", "start": "mnist-base_larger", "inner_lr_decay": 0.9},
        "'continued-cgtn' does not use 'inner_lr_decay': its learning rates start at those of the teaching set; "
        "leave it out",
    ),
    "rate of no generator": (
        TEACHERS,
        "distillation",
        {"architecture": "linear", "lr": 0.1},
        "'distillation' does not use 'lr': it has no generator; leave it out",
    ),
    "rate of no generator for real images": (
        TEACHERS,
        "real-data",
        {"architecture": "linear", "lr": 0.1},
        "'real-data' does not use 'lr': it has no generator; leave it out",
    ),
    "batch norm of no layers": (
        ARCHITECTURES,
        "linear",
        {"hidden": [], "batch_norm": "full"},
        "'linear' does not use 'batch_norm': it has no blocks and no hidden layers; leave it out",
    ),
    "random start without a ball": (
        PERTURBATIONS,
        "fgsm",
        {"steps": 1, "beta": 0.1, "random_start": True},
        "'fgsm' expects an epsilon, the radius of its random start, got none",
    ),
}


@pytest.mark.parametrize("table, name, fields, message", IDLE.values(), ids=IDLE)
def test_fields_without_an_effect_are_refused(
    table: dict[str, type[Description]], name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(table[name], fields, "")
    assert str(caught.value) == message


def test_all_fields_without_an_effect_are_reported() -> None:
    entry = "{name: cgtn, label: t, growth_from: 2, growth_power: 2, architecture: linear"
    assert problems(edited(("{name: cgtn, label: t, architecture: linear", entry))) == [
        "tiny: teachers[0]: 'cgtn' does not use 'growth_from': growth is 0; leave it out",
        "tiny: teachers[0]: 'cgtn' does not use 'growth_power': growth is 0; leave it out",
    ]


def test_defaults_are_accepted_where_they_have_no_effect() -> None:
    """A resolved suite states every field."""
    resolved = planner.plan(planner.load(edited(("epochs: 2", "epochs: 2, statistics: teaching")))).suite
    assert "statistics_samples: null" in resolved.to_yaml() and "growth_from: 10" in resolved.to_yaml()
    assert problems(yaml.safe_load(resolved.to_yaml())) == []


NO_PIXELS = TINY[TINY.index("perturbations:") :], "perturbations: [{name: blur, beta: [1]}]\n"


@pytest.mark.parametrize(
    "old, new, expected",
    [
        (
            "acceptance: 0.0",
            "units: normalized",
            "units: no perturbation of the suite has strengths in 'normalized' units",
        ),
        (
            "acceptance: 0.0",
            "precision: bfloat16",
            "precision: no perturbation of the suite sees learners in 'bfloat16'",
        ),
    ],
)
def test_keys_without_an_effect_on_any_perturbation_are_refused(old: str, new: str, expected: str) -> None:
    (line,) = problems(edited((old, new), NO_PIXELS))
    assert line == f"tiny: {expected}; leave {new.split(':')[0]} out"
    assert problems(edited((old, new))) == []


@pytest.mark.parametrize("kind", ["minimal", "bisection"])
def test_units_scale_the_strengths_of_a_search(kind: str) -> None:
    search = f"perturbations: [{{name: noise, search: {kind}, beta: [1]}}]\n"
    assert problems(edited(("acceptance: 0.0", "units: normalized"), (NO_PIXELS[0], search))) == []


class Own(Architecture):
    """A network without parameters."""

    name = "own"

    def __call__(self, dataset: Any, seed: int) -> Any:
        raise NotImplementedError


def test_an_own_architecture_has_only_its_own_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "own", Own)
    assert Own.model_fields == {} and Own().identity() == {"name": "own"}
    assert problems(edited(("[linear]", "[own]"))) == []
    for field in ("hidden: [8]", "global_pooling: true", "convolutions: []", "batch_norm: full"):
        (line,) = problems(edited(("[linear]", f"[{{name: own, {field}}}]")))
        assert line.startswith(f"tiny: architectures[0].{field.split(':')[0]}: 'own' does not know this key")


def test_widths_need_an_architecture_that_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "own", Own)
    for architecture, option in itertools.product(("own", "[linear, own]"), ("widths: [0.5, 2]", "narrow: 1")):
        edit = ("architecture: linear,", f"architecture: {architecture}, {option},")
        expected = "tiny: teachers[0]: architecture 'own' has no widths to scale; leave 'widths' and 'narrow' out"
        assert problems(edited(edit)) == [expected]


def test_the_nine_architectures_keep_their_fields_in_order() -> None:
    """Seeds are hashes of the fields."""
    networks = {name: cls for name, cls in ARCHITECTURES.items() if issubclass(cls, ConvNet)}
    assert len(networks) >= 9
    for name, cls in networks.items():
        assert list(cls().identity()) == ["name", "convolutions", "hidden", "global_pooling", "batch_norm"]
        assert cls().identity()["name"] == name
        cls().check(Digits())


def test_a_specification_of_a_teacher_is_checked_alike(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: x\ndataset: digits\nteacher: {name: distillation, architecture: linear, lr: 010, growth_from: 3}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_teacher(path)
    assert str(caught.value).splitlines() == [
        "mine.yaml: teacher: 'distillation' does not use 'growth_from': growth is 0; leave it out",
        "mine.yaml: teacher: 'distillation' does not use 'lr': it has no generator; leave it out",
    ]
