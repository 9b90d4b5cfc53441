"""The grammar of suites: what is read, and the exact line for every way to get it wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
import yaml
from conftest import TINY

from gtn_bench import planner, suite
from gtn_bench.description import Mistake
from gtn_bench.schema import suite_schema

# What is replaced in the tiny suite, by what, and the message.
MISTAKES = {
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
    "keys that are no text": ("acceptance: 0.0", "1: 0.0", "line 13: expects keys to be text, got 1"),
    "wrong type": ("seeds: [0, 1]", "seeds: 3", "seeds: expects a list, got 3"),
    "text for a number": ("seeds: [0, 1]", "seeds: [zero]", "seeds[0]: expects an integer, got 'zero'"),
    "true for a number": ("epochs: 2", "epochs: true", "modes[2].epochs: 'vanilla' expects an integer, got True"),
    "two lengths": (
        "epochs: 2",
        "epochs: 2, steps: 10",
        "modes[2]: mode 'vanilla' takes epochs or steps, not both: got 2 and 10",
    ),
    "fraction for an integer": (
        "meta_steps: 2",
        "meta_steps: 2.5",
        "teachers[0].meta_steps: 'cgtn' expects an integer, got 2.5",
    ),
    "name that is no text": ("name: tiny", "name: 7", "name: expects a text, got 7"),
    "name with a slash": (
        "name: tiny",
        "name: a/b",
        "name: expects a letter or digit, then letters, digits, '.', '_', '+' or '-', got 'a/b'",
    ),
    "attack by its initials": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.PGD, beta: [0.1]}",
        "perturbations[0]: unknown attack 'art.PGD'; did you mean 'art.ProjectedGradientDescent'?",
    ),
    "attack in lower case": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: torchattacks.pgd, beta: [0.1]}",
        "perturbations[0]: unknown attack 'torchattacks.pgd'; did you mean 'torchattacks.PGD'?",
    ),
    "attack's parameter outside params": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.ProjectedGradientDescent, eps_step: 0.1, beta: [0.1]}",
        "perturbations[0].eps_step: is a parameter of the attack and belongs into params",
    ),
    "attack named twice": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.DeepFool, attack: PGD, beta: [0.1]}",
        "perturbations[0].attack: is said by name",
    ),
    "a part of whole pixels": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: art.PixelAttack, params: {max_iter: 5}, beta: [0.5]}",
        "perturbations[0]: attack 'art.PixelAttack': 'th' expects whole numbers, got 0.5",
    ),
    "norm in another spelling": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: torchattacks.AutoAttack, params: {norm: linf}, beta: [0.1]}",
        "perturbations[0]: attack 'torchattacks.AutoAttack': 'norm' expects 'Linf', got 'linf'",
    ),
    "beta in the plural": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, betas: [0.1]}",
        "perturbations[0].beta: needs this key, got 'betas'",
    ),
    "label that results use": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, label: worst, beta: [0.1]}",
        "perturbations[0]: results call something else 'worst'; give it another label",
    ),
    "label that figures use": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, label: noise-examples, beta: [0.1]}",
        "perturbations[0]: results call something else 'noise-examples'; give it another label",
    ),
    "label that a column has": (
        "  - {name: fgsm, steps: 2, samples: 20, beta: [0, 0.05]}",
        "  - {name: fgsm, label: mode, beta: [0.1]}",
        "perturbations[0]: results call something else 'mode'; give it another label",
    ),
    "mode that a column is called": (
        "  - gtn\n",
        "  - {name: gtn, label: teacher}\n",
        "modes[1]: results call something else 'teacher'; give it another label",
    ),
    "label too long for a file": (
        "  - gtn\n",
        f"  - {{name: gtn, label: {'a' * 101}}}\n",
        f"modes[1].label: expects at most 100 characters, got '{'a' * 101}'",
    ),
    "a date that is none": (
        "name: tiny",
        "name: tiny\ndescription: 2020-13-45",
        "is not YAML: month must be in 1..12",
    ),
    "a strength beyond floating point": (
        "beta: [0, 0.5]",
        f"beta: [{10**400}]",
        f"perturbations[2].beta: expects finite strengths of at least 0, got {10**400}",
    ),
    "label of pooled architectures": (
        "architectures: [linear]",
        "architectures: [{name: linear, label: accepted}]",
        "architectures[0]: results call something else 'accepted'; give it another label",
    ),
    "seed beyond integers": (
        "seeds: [0, 1]",
        f"seeds: [{2**70}]",
        f"seeds[0]: expects a number less than 9.22337e+18, got {2**70}",
    ),
    "no perturbation that is right": (
        TINY[TINY.index("perturbations:") :],
        "perturbations: [{name: noise, beta: [-0.1]}]",
        "perturbations[0].beta: expects finite strengths of at least 0, got -0.1",
    ),
    "seeds repeated": ("seeds: [0, 1]", "seeds: [0, 1, 0]", "seeds: expects each seed once, got 0 again"),
    "no seeds": ("seeds: [0, 1]", "seeds: []", "seeds: expects at least one entry, got none"),
    "no perturbations": (
        TINY[TINY.index("perturbations:") :],
        "perturbations: []",
        "perturbations: expects at least one entry, got none",
    ),
    "unknown data set": (
        "dataset: digits",
        "dataset: digit",
        "dataset.name: unknown dataset 'digit'; did you mean 'digits'?",
    ),
    "a label for the data set": (
        "dataset: digits",
        "dataset: {name: digits, label: d}",
        "dataset.label: 'digits' does not know this key",
    ),
    "unknown architecture": (
        "architectures: [linear]",
        "architectures: [linaer]",
        "architectures[0].name: unknown architecture 'linaer'; did you mean 'linear'?",
    ),
    "unknown mode": ("  - gtn\n", "  - gan\n", "modes[1].name: unknown mode 'gan'; did you mean 'gtn'?"),
    "unknown perturbation": (
        "name: fgsm",
        "name: fgms",
        "perturbations[0].name: unknown perturbation 'fgms'; did you mean 'fgsm'?",
    ),
    "unknown teacher": ("name: cgtn", "name: cgnt", "teachers[0].name: unknown teacher 'cgnt'; did you mean 'cgtn'?"),
    "unknown architecture of a teacher": (
        "architecture: linear",
        "architecture: lineal",
        "teachers[0].architecture: unknown architecture 'lineal'; did you mean 'linear'?",
    ),
    "unknown field": (
        "steps: 2, samples: 20, beta: [0, 0.05]",
        "step: 2, beta: [0]",
        "perturbations[0].step: 'fgsm' does not know this key; did you mean 'steps'?",
    ),
    "misspelt samples": (
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
    "word out of a list": (
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
    "beta that is no number": (
        "beta: [0, 0.5]",
        "beta: [.nan]",
        "perturbations[2].beta: expects finite strengths of at least 0, got nan",
    ),
    "beta of text": (
        "beta: [0, 0.5]",
        "beta: [strong]",
        "perturbations[2].beta: expects finite strengths of at least 0, got 'strong'",
    ),
    "beta repeated": (
        "beta: [0, 0.5]",
        "beta: [0.5, 0.5]",
        "perturbations[2].beta: expects each strength once, got 0.5 again",
    ),
    "beta alone": (
        "beta: [0, 0.5]",
        "beta: 0.5",
        "perturbations[2].beta: expects a list of strengths, or a linspace or geomspace, got 0.5",
    ),
    "unknown space": (
        "beta: [0, 0.5]",
        "beta: {linspaced: [0, 1, 3]}",
        "perturbations[2].beta: does not know the sweep 'linspaced'; did you mean 'linspace'?",
    ),
    "space of two numbers": (
        "beta: [0, 0.5]",
        "beta: {linspace: [0, 1]}",
        "perturbations[2].beta: expects linspace: [first, last, count], got [0, 1]",
    ),
    "ratios from zero": (
        "beta: [0, 0.5]",
        "beta: {geomspace: [0, 1, 3]}",
        "perturbations[2].beta: expects geomspace between strengths greater than 0, got [0, 1, 3]",
    ),
    "a penalty of infinite weight": (
        "beta: [1]",
        "beta: [0, 1]",
        "perturbations[1].beta: 'lbfgs-penalty' expects a number greater than 0, got 0.0",
    ),
    "label twice": (
        "name: noise,",
        "name: noise, label: fgsm,",
        "perturbations[2]: 'fgsm' is there already; give one of them a label of its own",
    ),
    "mode twice": (
        "label: 2_gtn",
        "label: gtn",
        "modes[1]: 'gtn' is there already; give one of them a label of its own",
    ),
    "control called like a mode": (
        "seeds: [0, 1]",
        "controls: [{name: adversarial, label: gtn}]\nseeds: [0, 1]",
        "controls[0]: 'gtn' is there already; give one of them a label of its own",
    ),
    "unknown control": (
        "seeds: [0, 1]",
        "controls: [random_labels]\nseeds: [0, 1]",
        "controls[0].name: unknown mode 'random_labels'; did you mean 'random-labels'?",
    ),
    "more images than there are": (
        "samples: 100",
        "samples: 1000",
        "perturbations[3].samples: data set 'digits' has 360 test images, got 1000",
    ),
    "impossible architecture": (
        "architectures: [linear]",
        "architectures: [{name: base, convolutions: [" + ", ".join(["{channels: 4, pool: true}"] * 4) + "]}]",
        "architectures[0]: architecture 'base' halves its images 4 times and so needs at least 16x16 pixels, data set 'digits' has 8x8",
    ),
    "field in a list of blocks": (
        "architectures: [linear]",
        "architectures: [{name: base, convolutions: [{channels: 4, kernel: 2}]}]",
        "architectures[0].convolutions[0].kernel: 'base' expects one of 1, 3, got 2; known: 1, 3",
    ),
    "more steps than the teacher has": (
        "inner_steps: 2}",
        "inner_steps: 9}",
        "modes[0]: mode 'gtn' trains for 9 inner steps, the teacher has 3",
    ),
    "no teacher": (
        TINY[TINY.index("teachers:") : TINY.index("architectures:")],
        "",
        "modes[0]: mode 'gtn' needs a teacher, the suite has none\nmine.yaml: modes[1]: mode 'gtn' needs a teacher, the suite has none",
    ),
    "an idle teacher": (
        TINY[TINY.index("modes:") : TINY.index("seeds:")],
        "modes: [vanilla]\n",
        "teachers: no mode of the suite learns from a teacher",
    ),
    "fewer images than classes": (
        "batch_size: 20",
        "batch_size: 5",
        "teachers[0]: teacher 'cgtn' needs a batch_size of at least one image per class (10), got 5",
    ),
    "normalised colours": (
        "dataset: digits",
        "dataset: cifar10\nunits: normalized",
        "units: 'normalized' needs images of one channel, data set 'cifar10' has 3",
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
    "a library without its attack": (
        "name: fgsm, steps: 2",
        "name: foolbox, drives: eps",
        "perturbations[0].name: expects the library's attack as 'foolbox.<class>', got 'foolbox'",
    ),
    "unknown library attack": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PDG, drives: eps",
        "perturbations[0]: unknown attack 'torchattacks.PDG'; did you mean 'torchattacks.PGD'?",
    ),
    "a name outside the attacks": (
        "name: fgsm, steps: 2",
        "name: torchattacks.MultiAttacker, drives: eps",
        "perturbations[0]: unknown attack 'torchattacks.MultiAttacker'; did you mean 'torchattacks.MultiAttack'?",
    ),
    "unknown library parameter": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, drives: eps, params: {alhpa: 0.1}",
        "perturbations[0]: attack 'torchattacks.PGD' has no parameter 'alhpa'; did you mean 'alpha'?",
    ),
    "unknown driven parameter": (
        "name: fgsm, steps: 2",
        "name: art.BasicIterativeMethod, drives: epsilon",
        "perturbations[0]: attack 'art.BasicIterativeMethod' has no parameter 'epsilon'; did you mean 'eps'?",
    ),
    "a list for a library parameter": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, drives: eps, params: {alpha: [1, 2]}",
        "perturbations[0]: attack 'torchattacks.PGD': 'alpha' expects a number, got [1, 2]",
    ),
    "a mapping for a library parameter": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, params: {alpha: {a: 1}}",
        "perturbations[0].params.alpha: 'torchattacks' expects a number, a text, true, false, null, or a list of these, got {'a': 1}",
    ),
    "text for a number of torchattacks": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, params: {steps: many}",
        "perturbations[0]: attack 'torchattacks.PGD': 'steps' expects a number, got 'many'",
    ),
    "a fraction for a count of foolbox": (
        "name: fgsm, steps: 2",
        "name: foolbox.LinfPGD, params: {steps: 2.5}",
        "perturbations[0]: attack 'foolbox.LinfPGD': 'steps' expects an integer, got 2.5",
    ),
    "a word that foolbox does not know": (
        "name: fgsm, steps: 2",
        "name: foolbox.L2DeepFoolAttack, params: {loss: logit}",
        "perturbations[0]: attack 'foolbox.L2DeepFoolAttack': 'loss' expects one of logits, crossentropy, got 'logit'; did you mean 'logits'?",
    ),
    "text for a number of ART": (
        "name: fgsm, steps: 2",
        "name: art.ProjectedGradientDescent, params: {max_iter: ten}",
        "perturbations[0]: attack 'art.ProjectedGradientDescent': 'max_iter' expects an integer, got 'ten'",
    ),
    "a number for a switch": (
        "name: fgsm, steps: 2",
        "name: foolbox.LinfPGD, params: {random_start: 1}",
        "perturbations[0]: attack 'foolbox.LinfPGD': 'random_start' expects true or false, got 1",
    ),
    "a negative step of torchattacks": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, params: {alpha: -0.1}",
        "perturbations[0]: attack 'torchattacks.PGD': 'alpha' expects a number of at least 0, got -0.1",
    ),
    "a negative step of ART": (
        "name: fgsm, steps: 2",
        "name: art.ProjectedGradientDescent, params: {eps_step: -0.1}",
        "perturbations[0]: attack 'art.ProjectedGradientDescent': 'eps_step' expects a number of at least 0, got -0.1",
    ),
    "a negative step of foolbox": (
        "name: fgsm, steps: 2",
        "name: foolbox.LinfPGD, params: {rel_stepsize: -0.1}",
        "perturbations[0]: attack 'foolbox.LinfPGD': 'rel_stepsize' expects a number of at least 0, got -0.1",
    ),
    "what ART itself refuses": (
        "name: fgsm, steps: 2",
        "name: art.SquareAttack, params: {max_iter: 10, p_init: 1.5}",
        "perturbations[0]: attack 'art.SquareAttack' refuses its parameters: ValueError: The argument p_init has to be either of type int or float and in range [0, 1].",
    ),
    "a black box of ART without a budget": (
        "name: fgsm, steps: 2",
        "name: art.SquareAttack",
        "perturbations[0]: attack 'art.SquareAttack' is a black-box attack: say in params what it may ask (by default max_iter: 100)",
    ),
    "a black box of foolbox without a budget": (
        "name: fgsm, steps: 2",
        "name: foolbox.BoundaryAttack",
        "perturbations[0]: attack 'foolbox.BoundaryAttack' is a black-box attack: say in params what it may ask (by default steps: 25000)",
    ),
    "a black box of torchattacks without a budget": (
        "name: fgsm, steps: 2",
        "name: torchattacks.Square",
        "perturbations[0]: attack 'torchattacks.Square' is a black-box attack: say in params what it may ask (by default n_queries: 5000)",
    ),
    "an attack on something else": (
        "name: fgsm, steps: 2",
        "name: art.DPatch",
        "perturbations[0]: attack 'art.DPatch' does not apply: it is for object detectors",
    ),
    "an attack on colours": (
        "name: fgsm, steps: 2",
        "name: torchattacks.TIFGSM",
        "perturbations[0]: attack 'torchattacks.TIFGSM' is for images of 3 channels, data set 'digits' has 1",
    ),
    "an attack that cannot aim": (
        "name: fgsm, steps: 2",
        "name: torchattacks.APGD, target: next",
        "perturbations[0]: attack 'torchattacks.APGD' cannot aim at a class; leave target out",
    ),
    "an attack that must aim": (
        "name: fgsm, steps: 2",
        "name: art.SaliencyMapMethod, target: any",
        "perturbations[0]: attack 'art.SaliencyMapMethod' must aim at a class; say target: next",
    ),
    "a parameter that must be given": (
        "name: fgsm, steps: 2",
        "name: foolbox.VirtualAdversarialAttack",
        "perturbations[0]: attack 'foolbox.VirtualAdversarialAttack' needs the parameter 'steps'",
    ),
    "a distance that is none": (
        "name: fgsm, steps: 2",
        "name: foolbox.InversionAttack, params: {distance: l3}",
        "perturbations[0]: attack 'foolbox.InversionAttack': 'distance' expects one of l0, l1, l2, linf, got 'l3'; did you mean 'l2'?",
    ),
    "fractions of a count": (
        "name: fgsm, steps: 2",
        "name: art.FastGradientMethod, drives: num_random_init",
        "perturbations[0]: attack 'art.FastGradientMethod': 'num_random_init' expects whole numbers, got 0.05",
    ),
    "a radius without a norm": (
        "name: fgsm, steps: 2",
        "name: torchattacks.GN, drives: radius",
        "perturbations[0]: attack 'torchattacks.GN': needs ball, the norm in which it looks for the smallest change",
    ),
    "a search in a search": (
        "name: fgsm, steps: 2",
        "name: foolbox.L2DeepFoolAttack, search: minimal",
        "perturbations[0]: search: 'foolbox.L2DeepFoolAttack' finds the smallest strength by itself; leave 'search' out",
    ),
    "driven and set": (
        "name: fgsm, steps: 2",
        "name: torchattacks.PGD, drives: eps, params: {eps: 0.1}",
        "perturbations[0]: attack 'torchattacks.PGD': 'eps' is driven by beta and cannot be set in params",
    ),
}


@pytest.mark.parametrize("old, new, message", MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_has_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in TINY
    path = tmp_path / "mine.yaml"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(Mistake) as caught:
        planner.plan(suite.load(path))
    assert str(caught.value) == f"mine.yaml: {message}"


def test_all_mistakes_are_told_at_once() -> None:
    text = TINY.replace("name: fgsm", "name: fgms").replace("name: blur", "name: blurr").replace("[linear]", "[lin]")
    with pytest.raises(Mistake) as caught:
        planner.plan(suite.parse(text))
    assert len(str(caught.value).splitlines()) == 3


def test_yaml_is_data() -> None:
    with pytest.raises(Mistake, match="could not determine a constructor for the tag"):
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
def test_sweeps(text: str, betas: tuple[float, ...]) -> None:
    assert suite.parse(TINY.replace("beta: [0, 0.5]", f"beta: {text}")).perturbations[2].beta == betas


def test_unknown_suites_and_files(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^unknown suite 'dmeo'; did you mean 'demo'\?$"):
        suite.load("dmeo")
    with pytest.raises(Mistake, match=r"nothing.yaml: no such file$"):
        suite.load(tmp_path / "nothing.yaml")
    with pytest.raises(Mistake, match=r"^aaa.*: expects a file or the name of a suite \(File name too long\)$"):
        suite.load("a" * 5000)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Mistake, match=r"^bytes.yaml: expects a text file in UTF-8$"):
        suite.load(tmp_path / "bytes.yaml")


@pytest.mark.parametrize("name", suite.suites())
def test_shipped_suites_plan_and_fit_the_schema(name: str) -> None:
    plan = planner.plan(suite.load(name))
    assert plan.cells and plan.suite.description
    jsonschema.validate(yaml.safe_load(suite.suites()[name].read_text()), suite_schema())


def test_the_schema_knows_what_the_planner_knows() -> None:
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


def test_the_resolved_suite_is_a_suite_with_the_same_plan() -> None:
    for text in (TINY, TINY + "  - {name: art.ProjectedGradientDescent, drives: eps, samples: 5, beta: [0.1]}\n"):
        plan = planner.plan(suite.parse(text))
        again = planner.plan(suite.parse(plan.suite.to_yaml()))
        assert again.suite.to_yaml() == plan.suite.to_yaml()
        keys = [[cell.key("cpu", cell.learner.key("cpu")) for cell in p.cells] for p in (plan, again)]
        assert keys[0] == keys[1]
        assert jsonschema.Draft202012Validator(suite_schema()).is_valid(yaml.safe_load(plan.suite.to_yaml()))
    assert math.isinf(again.suite.perturbations[-1].fields["params"]["norm"])
