"""The grammar of suites: what is read, and the exact message for each kind of error."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers.messages import OWN
from helpers.suites import TINY

from gtn_bench.config import renamed, suite
from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.shipped import suites
from gtn_bench.planning import planner
from gtn_bench.planning.catalog import TABLES
from gtn_bench.planning.schema import suite_schema

# Text of the tiny suite, what it is replaced by, and the message.
ERRORS = {
    "unknown key": (
        "acceptance: 0.0",
        "acceptence: 0.0",
        "acceptence: does not know this key; did you mean 'acceptance'?",
    ),
    "missing key": ("dataset: digits\n", "", "dataset: needs this key"),
    "duplicate key": ("acceptance: 0.0", "name: again", "line 13: key 'name' occurs twice"),
    "duplicate key in an entry": ("epochs: 2", "epochs: 2, epochs: 3", "line 11: key 'epochs' occurs twice"),
    "not YAML": ("seeds: [0, 1]", "seeds: [0, 1", "line 13: expected ',' or ']', but got ':'"),
    "not a mapping": (TINY, "- fgsm\n", "expects a mapping with the keys of a suite, got list"),
    "empty file": (TINY, "", "expects a mapping with the keys of a suite, got NoneType"),
    "integer as a key": ("acceptance: 0.0", "1: 0.0", "line 13: expects keys to be text, got 1"),
    "wrong type": ("seeds: [0, 1]", "seeds: 3", "seeds: expects a list, got 3"),
    "text for a number": ("seeds: [0, 1]", "seeds: [zero]", "seeds[0]: expects an integer, got 'zero'"),
    "true for a number": ("epochs: 2", "epochs: true", "modes[2].epochs: 'vanilla' expects an integer, got True"),
    "epochs beside steps": (
        "epochs: 2",
        "epochs: 2, steps: 10",
        "modes[2]: mode 'vanilla' takes epochs or steps, not both: got 2 and 10",
    ),
    "fraction for an integer": (
        "meta_steps: 2",
        "meta_steps: 2.5",
        "teachers[0].meta_steps: 'cgtn' expects an integer, got 2.5",
    ),
    "integer as a name": ("name: tiny", "name: 7", "name: expects a text, got 7"),
    "name with a slash": (
        "name: tiny",
        "name: a/b",
        "name: expects a letter or digit, then letters, digits, '.', '_', '+' or '-', got 'a/b'",
    ),
    "abbreviated attack": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.PGD, beta: [0.1]}",
        "perturbations[0]: unknown attack 'art.PGD'; did you mean 'art.ProjectedGradientDescent'?",
    ),
    "attack in lower case": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: torchattacks.pgd, beta: [0.1]}",
        "perturbations[0]: unknown attack 'torchattacks.pgd'; did you mean 'torchattacks.PGD'?",
    ),
    "parameter of an attack outside params": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.ProjectedGradientDescent, eps_step: 0.1, beta: [0.1]}",
        "perturbations[0].eps_step: is a parameter of the attack; move it to params",
    ),
    "attack set twice": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.DeepFool, attack: PGD, beta: [0.1]}",
        "perturbations[0].attack: set the attack through 'name'",
    ),
    "fraction for an integer that beta sets": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.PixelAttack, params: {max_iter: 5}, beta: [0.5]}",
        "perturbations[0]: attack 'art.PixelAttack': 'th' expects integers, got 0.5",
    ),
    "unknown norm": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: torchattacks.AutoAttack, params: {norm: l3}, beta: [0.1]}",
        "perturbations[0]: attack 'torchattacks.AutoAttack': 'norm' expects one of Linf, L2, got 'l3'; did you mean 'L2'?",
    ),
    "beta in the plural": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, steps: 2, betas: [0.1]}",
        "perturbations[0].beta: needs this key, got 'betas'",
    ),
    "reserved label": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, steps: 2, label: worst, beta: [0.1]}",
        "perturbations[0]: label 'worst' is reserved; choose another label",
    ),
    "reserved label of figures": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, steps: 2, label: noise-examples, beta: [0.1]}",
        "perturbations[0]: label 'noise-examples' is reserved; choose another label",
    ),
    "reserved label of a column": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, steps: 2, label: mode, beta: [0.1]}",
        "perturbations[0]: label 'mode' is reserved; choose another label",
    ),
    "reserved label for a mode": (
        "  - gtn\n",
        "  - {name: gtn, label: teacher}\n",
        "modes[1]: label 'teacher' is reserved; choose another label",
    ),
    "label that is too long": (
        "  - gtn\n",
        f"  - {{name: gtn, label: {'a' * 101}}}\n",
        f"modes[1].label: expects at most 100 characters, got '{'a' * 101}'",
    ),
    "character that YAML does not allow": (
        TINY,
        "name: \a",
        'is not YAML: unacceptable character #x0007: special characters are not allowed in "<unicode string>", position 6',
    ),
    "strength beyond floating point": (
        "beta: [0, 0.5]",
        f"beta: [{10**400}]",
        f"perturbations[2].beta: expects finite strengths of at least 0, got {10**400}",
    ),
    "reserved label for an architecture": (
        "architectures: [linear]",
        "architectures: [{name: linear, label: accepted}]",
        "architectures[0]: label 'accepted' is reserved; choose another label",
    ),
    "seed beyond 64 bits": (
        "seeds: [0, 1]",
        f"seeds: [{2**70}]",
        f"seeds[0]: expects a number less than 9.22337e+18, got {2**70}",
    ),
    "only invalid perturbations": (
        TINY[TINY.index("perturbations:") :],
        "perturbations: [{name: noise, beta: [-0.1]}]",
        "perturbations[0].beta: expects finite strengths of at least 0, got -0.1",
    ),
    "repeated seed": ("seeds: [0, 1]", "seeds: [0, 1, 0]", "seeds: expects each seed once, got 0 again"),
    "no seeds": ("seeds: [0, 1]", "seeds: []", "seeds: expects at least one entry, got none"),
    "no perturbations": (
        TINY[TINY.index("perturbations:") :],
        "perturbations: []",
        "perturbations: expects at least one entry, got none",
    ),
    "unknown data set": (
        "dataset: digits",
        "dataset: digit",
        "dataset.name: unknown dataset 'digit'; did you mean 'digits'?" + OWN["dataset"],
    ),
    "label for the data set": (
        "dataset: digits",
        "dataset: {name: digits, label: d}",
        "dataset.label: 'digits' does not know this key",
    ),
    "unknown architecture": (
        "architectures: [linear]",
        "architectures: [linaer]",
        "architectures[0].name: unknown architecture 'linaer'; did you mean 'linear'?" + OWN["architecture"],
    ),
    "unknown mode": ("  - gtn\n", "  - gan\n", "modes[1].name: unknown mode 'gan'; did you mean 'gtn'?" + OWN["mode"]),
    "unknown perturbation": (
        "name: fgsm",
        "name: fgms",
        "perturbations[0].name: unknown perturbation 'fgms'; did you mean 'fgsm'?" + OWN["perturbation"],
    ),
    "unknown teacher": ("name: cgtn", "name: cgnt", "teachers[0].name: unknown teacher 'cgnt'; did you mean 'cgtn'?"),
    "unknown architecture of a teacher": (
        "architecture: linear",
        "architecture: lineal",
        "teachers[0].architecture: unknown architecture 'lineal'; did you mean 'linear'?" + OWN["architecture"],
    ),
    "unknown field": (
        "steps: 2, samples: 20, beta: [0, 0.05]",
        "steps: 2, epsilom: 0.1, beta: [0]",
        "perturbations[0].epsilom: 'fgsm' does not know this key; did you mean 'epsilon'?",
    ),
    "required field in the singular": (
        "steps: 2, samples: 20, beta: [0, 0.05]",
        "step: 2, beta: [0]",
        "perturbations[0].steps: 'fgsm' needs this key, got 'step'",
    ),
    "misspelled samples": (
        "samples: 100",
        "sample: 100",
        "perturbations[3].sample: 'blur' does not know this key; did you mean 'samples'?",
    ),
    "missing field": ("architecture: linear, ", "", "teachers[0].architecture: 'cgtn' needs this key"),
    "missing beta": (", beta: [0, 0.5]", "", "perturbations[2].beta: needs this key"),
    "negative steps": (
        "steps: 2, samples: 20, beta: [0, 0.05]",
        "steps: -3, beta: [0]",
        "perturbations[0].steps: 'fgsm' expects a number greater than 0, got -3",
    ),
    "unknown choice": (
        "lbfgs-penalty, ",
        "lbfgs-penalty, step: sgn, ",
        "perturbations[1].step: 'lbfgs-penalty' expects one of sign, gradient, got 'sgn'; did you mean 'sign'?",
    ),
    "empty sweep": (
        "beta: [0, 0.5]",
        "beta: []",
        "perturbations[2].beta: expects at least one strength, got an empty sweep",
    ),
    "negative beta": (
        "beta: [0, 0.5]",
        "beta: [0, -0.5]",
        "perturbations[2].beta: expects finite strengths of at least 0, got -0.5",
    ),
    "infinite beta": (
        "beta: [0, 0.5]",
        "beta: [.inf]",
        "perturbations[2].beta: expects finite strengths of at least 0, got inf",
    ),
    "nan as beta": (
        "beta: [0, 0.5]",
        "beta: [.nan]",
        "perturbations[2].beta: expects finite strengths of at least 0, got nan",
    ),
    "text as beta": (
        "beta: [0, 0.5]",
        "beta: [strong]",
        "perturbations[2].beta: expects finite strengths of at least 0, got 'strong'",
    ),
    "repeated beta": (
        "beta: [0, 0.5]",
        "beta: [0.5, 0.5]",
        "perturbations[2].beta: expects each strength once, got 0.5 again",
    ),
    "single number as beta": (
        "beta: [0, 0.5]",
        "beta: 0.5",
        "perturbations[2].beta: expects a list of strengths, or a linspace or geomspace, got 0.5",
    ),
    "unknown sweep": (
        "beta: [0, 0.5]",
        "beta: {linspaced: [0, 1, 3]}",
        "perturbations[2].beta: does not know the sweep 'linspaced'; did you mean 'linspace'?",
    ),
    "sweep of two numbers": (
        "beta: [0, 0.5]",
        "beta: {linspace: [0, 1]}",
        "perturbations[2].beta: expects linspace: [first, last, count], got [0, 1]",
    ),
    "geomspace from zero": (
        "beta: [0, 0.5]",
        "beta: {geomspace: [0, 1, 3]}",
        "perturbations[2].beta: expects geomspace between strengths greater than 0, got [0, 1, 3]",
    ),
    "weight of zero": (
        "beta: [1]",
        "beta: [0, 1]",
        "perturbations[1].beta: 'lbfgs-penalty' expects a number greater than 0, got 0.0",
    ),
    "duplicate label": (
        "name: noise,",
        "name: noise, label: fgsm,",
        "perturbations[2]: duplicate label 'fgsm'; give one of them another label",
    ),
    "duplicate mode": (
        "label: 2_gtn",
        "label: gtn",
        "modes[1]: duplicate label 'gtn'; give one of them another label",
    ),
    "control with the label of a mode": (
        "seeds: [0, 1]",
        "controls: [{name: adversarial, label: gtn}]\nseeds: [0, 1]",
        "controls[0]: duplicate label 'gtn'; give one of them another label",
    ),
    "unknown control": (
        "seeds: [0, 1]",
        "controls: [random_labels]\nseeds: [0, 1]",
        "controls[0].name: unknown mode 'random_labels'; did you mean 'random-labels'?" + OWN["mode"],
    ),
    "more samples than test images": (
        "samples: 100",
        "samples: 1000",
        "perturbations[3].samples: data set 'digits' has 360 test images, got 1000",
    ),
    "architecture for larger images": (
        "architectures: [linear]",
        "architectures: [{name: base, convolutions: [" + ", ".join(["{channels: 4, pool: true}"] * 4) + "]}]",
        "architectures[0]: architecture 'base' halves its images 4 times and so needs at least 16x16 pixels, data set 'digits' has 8x8",
    ),
    "field of a convolution": (
        "architectures: [linear]",
        "architectures: [{name: base, convolutions: [{channels: 4, kernel: 2}]}]",
        "architectures[0].convolutions[0].kernel: 'base' expects one of 1, 3, got 2; known: 1, 3",
    ),
    "more inner steps than the teacher has": (
        "inner_steps: 2}",
        "inner_steps: 9}",
        "modes[0]: mode 'gtn' trains for 9 inner steps, the teacher has 3",
    ),
    "mode without its teacher": (
        TINY[TINY.index("teachers:") : TINY.index("architectures:")],
        "",
        "modes[0]: mode 'gtn' needs a teacher, the suite has none\nmine.yaml: modes[1]: mode 'gtn' needs a teacher, the suite has none",
    ),
    "teacher that no mode uses": (
        TINY[TINY.index("modes:") : TINY.index("seeds:")],
        "modes: [vanilla]\n",
        "teachers: no mode of the suite learns from a teacher",
    ),
    "fewer images than classes": (
        "batch_size: 20",
        "batch_size: 5",
        "teachers[0]: teacher 'cgtn' needs a batch_size of at least one image per class (10), got 5",
    ),
    "unknown precision": (
        "dataset: digits",
        "dataset: digits\nprecision: bfloat8",
        "precision: expects one of float32, bfloat16, got 'bfloat8'; did you mean 'bfloat16'?",
    ),
    "unknown units": (
        "acceptance: 0.0",
        "units: normalised",
        "units: expects one of pixel, normalized, got 'normalised'; did you mean 'normalized'?",
    ),
    "acceptance in percent": ("acceptance: 0.0", "acceptance: 70", "acceptance: expects a number at most 1, got 70"),
    "library without an attack class": (
        "name: fgsm, steps: 2",
        "name: foolbox, beta_parameter: eps",
        "perturbations[0].name: expects an attack class as 'foolbox.<class>', got 'foolbox'",
    ),
    "unknown library attack": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PDG, beta_parameter: eps",
        "perturbations[0]: unknown attack 'torchattacks.PDG'; did you mean 'torchattacks.PGD'?",
    ),
    "class that is no attack": (
        "name: fgsm, steps: 2",
        "name: torchattacks.MultiAttacker, beta_parameter: eps",
        "perturbations[0]: unknown attack 'torchattacks.MultiAttacker'; did you mean 'torchattacks.MultiAttack'?",
    ),
    "unknown library parameter": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, beta_parameter: eps, params: {alhpa: 0.1}",
        "perturbations[0]: attack 'torchattacks.PGD' has no parameter 'alhpa'; did you mean 'alpha'?",
    ),
    "unknown parameter for beta": (
        "name: fgsm, steps: 2",
        "name: art.BasicIterativeMethod, beta_parameter: epsilon",
        "perturbations[0]: attack 'art.BasicIterativeMethod' has no parameter 'epsilon'; did you mean 'eps'?",
    ),
    "list for a library parameter": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, beta_parameter: eps, params: {alpha: [1, 2]}",
        "perturbations[0]: attack 'torchattacks.PGD': 'alpha' expects a number, got [1, 2]",
    ),
    "mapping for a library parameter": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, params: {alpha: {a: 1}}",
        "perturbations[0].params.alpha: 'torchattacks' expects a number, a text, true, false, null, or a list of these, got {'a': 1}",
    ),
    "text for a number of torchattacks": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, params: {steps: many}",
        "perturbations[0]: attack 'torchattacks.PGD': 'steps' expects an integer, got 'many'",
    ),
    "fraction for an integer of foolbox": (
        "name: fgsm, steps: 2",
        "name: foolbox.LinfPGD, params: {steps: 2.5}",
        "perturbations[0]: attack 'foolbox.LinfPGD': 'steps' expects an integer, got 2.5",
    ),
    "unknown choice of foolbox": (
        "name: fgsm, steps: 2",
        "name: foolbox.L2DeepFoolAttack, params: {loss: logit}",
        "perturbations[0]: attack 'foolbox.L2DeepFoolAttack': 'loss' expects one of logits, crossentropy, got 'logit'; did you mean 'logits'?",
    ),
    "text for a number of ART": (
        "name: fgsm, steps: 2",
        "name: art.ProjectedGradientDescent, params: {max_iter: ten}",
        "perturbations[0]: attack 'art.ProjectedGradientDescent': 'max_iter' expects an integer, got 'ten'",
    ),
    "integer for a Boolean": (
        "name: fgsm, steps: 2",
        "name: foolbox.LinfPGD, params: {random_start: 1}",
        "perturbations[0]: attack 'foolbox.LinfPGD': 'random_start' expects true or false, got 1",
    ),
    "negative step of torchattacks": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, params: {alpha: -0.1}",
        "perturbations[0]: attack 'torchattacks.PGD': 'alpha' expects a number of at least 0, got -0.1",
    ),
    "negative step of ART": (
        "name: fgsm, steps: 2",
        "name: art.ProjectedGradientDescent, params: {eps_step: -0.1}",
        "perturbations[0]: attack 'art.ProjectedGradientDescent': 'eps_step' expects a number of at least 0, got -0.1",
    ),
    "negative step of foolbox": (
        "name: fgsm, steps: 2",
        "name: foolbox.LinfPGD, params: {rel_stepsize: -0.1}",
        "perturbations[0]: attack 'foolbox.LinfPGD': 'rel_stepsize' expects a number of at least 0, got -0.1",
    ),
    "black-box attack of ART without a query budget": (
        "name: fgsm, steps: 2",
        "name: art.SquareAttack",
        "perturbations[0]: attack 'art.SquareAttack' is a black-box attack: set a query budget in params (by default max_iter: 100)",
    ),
    "black-box attack of foolbox without a query budget": (
        "name: fgsm, steps: 2",
        "name: foolbox.BoundaryAttack",
        "perturbations[0]: attack 'foolbox.BoundaryAttack' is a black-box attack: set a query budget in params (by default steps: 25000)",
    ),
    "black-box attack of torchattacks without a query budget": (
        "name: fgsm, steps: 2",
        "name: torchattacks.Square",
        "perturbations[0]: attack 'torchattacks.Square' is a black-box attack: set a query budget in params (by default n_queries: 5000)",
    ),
    "attack on object detectors": (
        "name: fgsm, steps: 2",
        "name: art.DPatch",
        "perturbations[0]: attack 'art.DPatch' does not apply: it is for object detectors",
    ),
    "attack on color images": (
        "name: fgsm, steps: 2",
        "name: torchattacks.TIFGSM",
        "perturbations[0]: attack 'torchattacks.TIFGSM' requires images of 3 channels, data set 'digits' has 1",
    ),
    "target of an untargeted attack": (
        "name: fgsm, steps: 2",
        "name: torchattacks.APGD, target: next",
        "perturbations[0]: attack 'torchattacks.APGD' has no targeted mode; leave target out",
    ),
    "untargeted use of a targeted attack": (
        "name: fgsm, steps: 2",
        "name: art.SaliencyMapMethod, target: untargeted",
        "perturbations[0]: attack 'art.SaliencyMapMethod' is always targeted; set target: next",
    ),
    "missing library parameter": (
        "name: fgsm, steps: 2",
        "name: foolbox.VirtualAdversarialAttack",
        "perturbations[0]: attack 'foolbox.VirtualAdversarialAttack' needs the parameter 'steps'",
    ),
    "unknown distance": (
        "name: fgsm, steps: 2",
        "name: foolbox.InversionAttack, params: {distance: l3}",
        "perturbations[0]: attack 'foolbox.InversionAttack': 'distance' expects one of l0, l1, l2, linf, got 'l3'; did you mean 'l2'?",
    ),
    "fractions for an integer parameter": (
        "name: fgsm, steps: 2",
        "name: art.FastGradientMethod, beta_parameter: num_random_init",
        "perturbations[0]: attack 'art.FastGradientMethod': 'num_random_init' expects integers, got 0.05",
    ),
    "radius without a norm": (
        "name: fgsm, steps: 2",
        "name: torchattacks.GN, beta_parameter: radius",
        "perturbations[0]: attack 'torchattacks.GN': needs norm, the norm that it minimizes",
    ),
    "search with a minimal-norm attack": (
        "name: fgsm, steps: 2",
        "name: foolbox.L2DeepFoolAttack, search: minimal",
        "perturbations[0]: search: 'foolbox.L2DeepFoolAttack' finds the smallest strength by itself; leave 'search' out",
    ),
    "parameter that beta sets in params": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, beta_parameter: eps, params: {eps: 0.1}",
        "perturbations[0]: attack 'torchattacks.PGD': 'eps' is set by beta and cannot be set in params",
    ),
}


@pytest.mark.parametrize("old, new, message", ERRORS.values(), ids=ERRORS)
def test_each_error_has_its_exact_message(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in TINY
    path = tmp_path / "mine.yaml"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        planner.plan(suite.load(path))
    assert str(caught.value) == f"mine.yaml: {message}"


RENAMED_KEYS = [
    (table, name, old)
    for table, (_, known) in TABLES.items()
    for name, cls in known.items()
    for old, new in renamed.KEYS.items()
    if new in cls.model_fields
]


def test_every_renamed_key_belongs_to_a_description() -> None:
    assert {old for _, _, old in RENAMED_KEYS} == set(renamed.KEYS)


@pytest.mark.parametrize(("table", "name", "old"), RENAMED_KEYS)
def test_former_keys_are_refused_with_their_current_name(table: str, name: str, old: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(TABLES[table][1][name], {"beta": 1.0, old: 1} if table == "perturbations" else {old: 1}, "here")
    lines = [line for line in str(caught.value).splitlines() if line.startswith(f"here.{old}: ")]
    assert lines == [f"here.{old}: '{name}' does not know this key; it is now called '{renamed.KEYS[old]}'"]


# Perturbations with a former key, value or name, and the message.
FORMER_NAMES = {
    "ball of pgd": ("{name: pgd, ball: l2, beta: [1]}", ".ball: 'pgd' does not know this key; it is now called 'norm'"),
    "relative_step": (
        "{name: pgd, relative_step: 0.1, beta: [1]}",
        ".relative_step: 'pgd' does not know this key; it is now called 'relative_step_size'",
    ),
    "searches": (
        "{name: lbfgs, searches: 3, beta: [1]}",
        ".searches: 'lbfgs' does not know this key; it is now called 'binary_search_steps'",
    ),
    "memory": (
        "{name: lbfgs, memory: 3, beta: [1]}",
        ".memory: 'lbfgs' does not know this key; it is now called 'history_size'",
    ),
    "beta_is": (
        "{name: lbfgs-penalty, beta_is: weight, beta: [1]}",
        ".beta_is: 'lbfgs-penalty' does not know this key; it is now called 'beta_parameter'",
    ),
    "drives": (
        "{name: torchattacks.PGD, drives: eps, beta: [1]}",
        ".drives: 'torchattacks' does not know this key; it is now called 'beta_parameter'",
    ),
    "ball of a library": (
        "{name: foolbox.L2PGD, ball: l2, beta: [1]}",
        ".ball: 'foolbox' does not know this key; it is now called 'norm'",
    ),
    "colour": (
        "{name: occlusion, colour: 1, beta: [1]}",
        ".colour: 'occlusion' does not know this key; it is now called 'color'",
    ),
    "target: any": (
        "{name: lbfgs, target: any, beta: [1]}",
        ".target: 'lbfgs' does not know 'any'; it is now called 'untargeted'",
    ),
    "target: any of a library": (
        "{name: art.ProjectedGradientDescent, target: any, beta: [1]}",
        ".target: 'art' does not know 'any'; it is now called 'untargeted'",
    ),
    "quantisation": (
        "{name: quantisation, beta: [1]}",
        ".name: unknown perturbation 'quantisation'; it is now called 'quantization'",
    ),
}


@pytest.mark.parametrize(("entry", "message"), FORMER_NAMES.values(), ids=FORMER_NAMES)
def test_suites_with_former_names_are_refused_with_the_current_ones(entry: str, message: str) -> None:
    text = TINY[: TINY.index("perturbations:")] + f"perturbations: [{entry}]\n"
    with pytest.raises(ConfigError) as caught:
        planner.plan(suite.parse(text))
    assert str(caught.value) == f"tiny: perturbations[0]{message}"


def test_suite_with_the_former_meta_batch_size_is_refused_with_the_current_one() -> None:
    with pytest.raises(ConfigError) as caught:
        planner.plan(suite.parse(TINY.replace("meta_batch_size", "exam_size")))
    line = "tiny: teachers[0].exam_size: 'cgtn' does not know this key; it is now called 'meta_batch_size'"
    assert str(caught.value) == line


def test_every_former_name_and_value_is_tested() -> None:
    entries = " ".join(entry for entry, _ in FORMER_NAMES.values())
    assert all(f"name: {old}," in entries for old in renamed.NAMES)
    assert all(f": {old}," in entries for old in renamed.VALUES)


def test_all_errors_are_reported_at_once() -> None:
    text = TINY.replace("name: fgsm", "name: fgms").replace("name: blur", "name: blurr").replace("[linear]", "[lin]")
    with pytest.raises(ConfigError) as caught:
        planner.plan(suite.parse(text))
    assert len(str(caught.value).splitlines()) == 3


def test_norms_of_a_library_are_accepted_in_lower_case() -> None:
    entry = "{name: torchattacks.AutoAttack, params: {norm: linf}, samples: 5, beta: [0.1]}"
    planned = planner.plan(suite.parse(TINY + f"  - {entry}\n"))
    assert planned.suite.perturbations[-1].fields["params"]["norm"] == "Linf"


def test_dates_are_text() -> None:
    assert suite.parse(TINY.replace("name: tiny", "name: tiny\ndescription: 2020-13-45")).description == "2020-13-45"


def test_yaml_tags_are_not_executed() -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor for the tag"):
        suite.parse("name: !!python/object/apply:os.system ['true']")


@pytest.mark.parametrize(
    "text, betas",
    [
        ("[0.5, 0, 1e-3]", (0.0, 0.001, 0.5)),
        ("{linspace: [0, 1.6, 5]}", (0.0, 0.4, 0.8, 1.2, 1.6)),
        ("{linspace: [0.001, 0.02, 6]}", (0.001, 0.0048, 0.0086, 0.0124, 0.0162, 0.02)),
        ("{geomspace: [0.1, 10, 3]}", (0.1, 1.0, 10.0)),
        ("[1]", (1.0,)),
    ],
)
def test_sweeps_are_sorted_and_spaced(text: str, betas: tuple[float, ...]) -> None:
    assert suite.parse(TINY.replace("beta: [0, 0.5]", f"beta: {text}")).perturbations[2].beta == betas


def test_unknown_suites_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^unknown suite 'dmeo'; did you mean 'demo'\?$"):
        suite.load("dmeo")
    with pytest.raises(ConfigError, match=r"nothing.yaml: no such file$"):
        suite.load(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match=r"^aaa.*: expects a file or the name of a suite \(File name too long\)$"):
        suite.load("a" * 5000)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"^bytes.yaml: expects a text file in UTF-8$"):
        suite.load(tmp_path / "bytes.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("name", suites())
def test_shipped_suites_plan_and_match_the_schema(name: str) -> None:
    if name.startswith("cifar10-jpeg") and not Path(os.environ.get("GTN_BENCH_DATA", ""), "cifar10-jpeg").is_dir():
        pytest.skip("cifar10-jpeg is not in GTN_BENCH_DATA")
    plan = planner.plan(suite.load(name))
    assert plan.cells and plan.suite.description
    jsonschema.validate(yaml.safe_load(suites()[name].read_text()), suite_schema())


def test_schema_refuses_what_the_planner_refuses() -> None:
    schema = suite_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(TINY))
    for wrong in (
        ("name: fgsm", "name: fgms"),
        ("epochs: 2", "epoch: 2"),
        ("beta: [1]", "beta: []"),
        ("[linear]", "[lin]"),
    ):
        assert not validator.is_valid(yaml.safe_load(TINY.replace(*wrong))), wrong
    assert json.dumps(schema)


def test_resolved_suite_has_the_same_plan_and_keys() -> None:
    for text in (
        TINY,
        TINY + "  - {name: art.ProjectedGradientDescent, beta_parameter: eps, samples: 5, beta: [0.1]}\n",
    ):
        plan = planner.plan(suite.parse(text))
        again = planner.plan(suite.parse(plan.suite.to_yaml()))
        assert again.suite.to_yaml() == plan.suite.to_yaml()
        keys = [[cell.key("cpu", cell.learner.key("cpu")) for cell in p.cells] for p in (plan, again)]
        assert keys[0] == keys[1]
        assert jsonschema.Draft202012Validator(suite_schema()).is_valid(yaml.safe_load(plan.suite.to_yaml()))
    assert math.isinf(again.suite.perturbations[-1].fields["params"]["norm"])
