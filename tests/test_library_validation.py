"""Validation of library attacks before training: spellings of parameters, requirements, and trial runs."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.perturbations import check_and_try
from helpers.suites import TINY
from torch import Tensor, nn

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError, ViewMismatchError
from gtn_bench.config.threat import Threat
from gtn_bench.data.digits import Digits as Digits8
from gtn_bench.inference import views
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import LIBRARIES, PERTURBATIONS, LibraryAttack
from gtn_bench.perturbations.libraries import trial as trials
from gtn_bench.perturbations.libraries.known import RADIUS, Known
from gtn_bench.perturbations.libraries.signatures import parse_norm

ATTACKS = [(library, name) for library in LIBRARIES for name in library.known]
TITLES = [f"{library.name}.{name}" for library, name in ATTACKS]
STRENGTHS = {"l0": 30.0, "l1": 8.0, "l2": 1.5, "linf": 0.2, None: 0.2}
OTHER_STRENGTHS = {  # of parameters that are no distances
    "art.PixelAttack": 5.0,
    "art.ThresholdAttack": 64.0,
    "art.SpatialTransformation": 30.0,
    "foolbox.SpatialAttack": 30.0,
    "torchattacks.OnePixel": 3.0,
    "torchattacks.Pixle": 5.0,
}
PARAMS: dict[str, dict[str, Any]] = {
    "art.GeoDA": {"max_iter": 1000},
    "foolbox.VirtualAdversarialAttack": {"steps": 5},
}


def attack(title: str, **fields: Any) -> Any:
    """Return an attack as a suite builds it, so that messages are those of a suite."""
    library, _, name = title.partition(".")
    return build(PERTURBATIONS[library], {"attack": name, "beta": 0.1, **fields}, "")


def example(library: type[LibraryAttack], name: str, **params: Any) -> Any:
    """Return an attack with a strength and parameters that it accepts."""
    known, title = library.known[name], f"{library.name}.{name}"
    beta = OTHER_STRENGTHS.get(title, STRENGTHS[known.norm])
    budget = {parameter: 20 for parameter in known.budget[:1] if parameter != known.beta_parameter}
    return attack(title, beta=beta, params={**budget, **PARAMS.get(title, {}), **params})


def images(channels: int = 1, height: int = 8, width: int = 8, classes: int = 10) -> Digits8:
    """Return a data set of another shape. Validation reads its facts and not its images."""
    facts = {"name": "toy", "input_shape": (channels, height, width), "num_classes": classes}
    dataset: Digits8 = type("Toy", (Digits8,), facts)()
    return dataset


def message(title: str, dataset: Digits8 | None = None, **fields: Any) -> str:
    """Return the message with which validation refuses an attack, without the attack."""
    with pytest.raises(ConfigError) as refused:
        check_and_try(attack(title, **fields), dataset or images())
    text = str(refused.value)
    who = f"attack '{title}'"
    assert who in text and "\n" not in text
    return text[text.index(who) + len(who) :].removeprefix(":").strip()


SPELLINGS: list[tuple[str, dict[str, Any], str, list[Any], Any]] = [  # title, params, parameter, spellings, canonical
    ("art.FastGradientMethod", {}, "norm", ["inf", "Inf", "np.inf", ".inf", "Linf", "infinity", math.inf], math.inf),
    ("art.FastGradientMethod", {}, "norm", [2, 2.0, "2", "l2", "L2"], 2),
    ("art.ProjectedGradientDescent", {}, "norm", [1, 1.0, "1", "L1"], 1),
    ("art.ProjectedGradientDescent", {}, "norm", [1.5], 1.5),
    ("art.AutoProjectedGradientDescent", {}, "norm", ["inf", "np.inf", math.inf], math.inf),
    ("art.HopSkipJump", {"max_iter": 2}, "norm", ["inf", "np.inf", math.inf], math.inf),
    ("art.BrendelBethgeAttack", {}, "norm", [0, "0", "L0"], 0),
    ("art.Wasserstein", {}, "norm", ["inf", math.inf, "Inf"], "inf"),
    ("art.Wasserstein", {}, "ball", [2, "2", "L2"], "2"),
    ("art.AutoProjectedGradientDescent", {}, "loss_type", [None, "None"], None),
    ("art.AutoProjectedGradientDescent", {}, "loss_type", ["cross-entropy", "Cross_Entropy"], "cross_entropy"),
    ("art.ElasticNet", {}, "decision_rule", ["EN", "en"], "EN"),
    ("art.ElasticNet", {}, "decision_rule", ["L1", "l1", 1], "L1"),
    ("torchattacks.APGD", {}, "norm", ["Linf", "linf", "inf", "np.inf", math.inf], "Linf"),
    ("torchattacks.Square", {"n_queries": 2}, "norm", ["L2", "l2", 2, "2"], "L2"),
    ("torchattacks.APGD", {}, "loss", ["dlr", "DLR"], "dlr"),
    ("torchattacks.AutoAttack", {}, "version", ["standard", "Standard"], "standard"),
    ("torchattacks.Pixle", {"max_iterations": 2}, "pixel_mapping", ["similarity-random"], "similarity_random"),
    ("torchattacks.PGD", {}, "alpha", ["2/255", "2 / 255", 2 / 255], 2 / 255),
    ("foolbox.InversionAttack", {}, "distance", ["linf", "Linf", "inf", "foolbox.distances.linf"], "linf"),
    ("foolbox.InversionAttack", {}, "distance", ["l2", 2, "distances.l2"], "l2"),
    ("foolbox.HopSkipJumpAttack", {"steps": 2}, "constraint", ["l2", "L2", 2], "l2"),
    ("art.ProjectedGradientDescent", {}, "decay", ["1/2", " 1 / 2 ", 0.5], 0.5),  # without a type in the signature
    ("torchattacks.Pixle", {"max_iterations": 2}, "x_dimensions", [["1/8", "1/4"], [0.125, 0.25]], [0.125, 0.25]),
    ("foolbox.L2PGD", {}, "abs_stepsize", [None, "None"], None),
    ("foolbox.L2PGD", {}, "abs_stepsize", ["1/10", 0.1], 0.1),
    ("foolbox.L2DeepFoolAttack", {}, "loss", ["crossentropy", "CrossEntropy"], "crossentropy"),
]


@pytest.mark.parametrize(
    "title, params, parameter, spellings, canonical",
    SPELLINGS,
    ids=[f"{row[0]}-{row[2]}-{row[4]}" for row in SPELLINGS],
)
def test_documented_spellings_have_one_identity(
    title: str, params: dict[str, Any], parameter: str, spellings: list[Any], canonical: Any
) -> None:
    built = [attack(title, params={**params, parameter: spelling}) for spelling in spellings]
    for one in built:
        assert one.params[parameter] == canonical and type(one.params[parameter]) is type(canonical)
        assert one.identity() == built[0].identity()


@pytest.mark.parametrize(
    "title, params, norm",
    [
        ("art.FastGradientMethod", {"norm": "inf"}, "linf"),
        ("art.FastGradientMethod", {"norm": "2"}, "l2"),
        ("torchattacks.APGD", {"norm": 2}, "l2"),
        ("art.HopSkipJump", {"norm": "np.inf", "max_iter": 2}, "linf"),
        ("art.BrendelBethgeAttack", {}, "linf"),
        ("foolbox.HopSkipJumpAttack", {"constraint": "linf", "steps": 2}, "linf"),
        ("foolbox.InversionAttack", {"distance": "Linf"}, "linf"),
        ("art.Wasserstein", {"norm": 2}, None),  # the norm of its steps, not of its ball
    ],
)
def test_parameters_set_the_norm(title: str, params: dict[str, Any], norm: str | None) -> None:
    assert attack(title, params=params).norm == norm


@pytest.mark.parametrize("norm", ["linf", "Linf", "inf", math.inf])
def test_norm_of_an_entry_is_read_in_any_spelling(norm: Any) -> None:
    assert attack("torchattacks.PGD", norm=norm).threat_model == Threat("linf", 0.1)


def test_norm_that_contradicts_a_parameter_is_refused() -> None:
    assert message("art.ProjectedGradientDescent", norm="l2") == (
        "norm 'l2' contradicts its parameter 'norm', which is inf; leave norm out and set 'norm' in params"
    )
    assert message("foolbox.HopSkipJumpAttack", norm="linf", params={"steps": 2}) == (
        "norm 'linf' contradicts its parameter 'constraint', which is l2; leave norm out and set 'constraint' in params"
    )
    assert attack("art.ProjectedGradientDescent", norm="l2", params={"norm": 2}).norm == "l2"
    assert attack("foolbox.InversionAttack", norm="linf").params["distance"] == "linf"


def test_spelling_does_not_change_results(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    x, y = (part[:8] for part in digits)
    for title, parameter, spellings in [
        ("art.FastGradientMethod", "norm", ["inf", math.inf]),
        ("torchattacks.APGD", "norm", [math.inf, "Linf"]),
        ("torchattacks.PGD", "alpha", ["2/255", 2 / 255]),
    ]:
        one, other = (
            attack(title, params={parameter: spelling})(classifier, x.clone(), y.clone(), torch.arange(8))
            for spelling in spellings
        )
        assert torch.equal(one, other) and not torch.equal(one, x)


def test_resolved_suite_contains_the_canonical_spelling() -> None:
    def resolved(entry: str) -> str:
        text = TINY[: TINY.index("perturbations:")] + f"perturbations:\n  - {entry}\n"
        return str(gtn_bench.plan(suite.parse(text)).suite.perturbations[0].model_dump())

    for unquoted in ("inf", "Inf", ".inf", "np.inf", "'inf'"):
        entry = f"{{name: art.FastGradientMethod, params: {{norm: {unquoted}}}, beta: [0.1]}}"
        assert resolved(entry) == resolved(entry.replace(unquoted, ".inf"))
        assert "'norm': inf" in resolved(entry)


@pytest.mark.parametrize(
    "title, params, expected",
    [
        ("art.HopSkipJump", {"norm": 1, "max_iter": 2}, "'norm' expects one of 2, inf, got 1"),
        ("art.SquareAttack", {"norm": 1, "max_iter": 2}, "'norm' expects one of 2, inf, got 1"),
        ("art.ProjectedGradientDescent", {"norm": "max"}, "'norm' expects 1, 2 or inf, got 'max'"),
        ("art.Wasserstein", {"ball": 3}, "'ball' expects one of inf, 1, 2, wasserstein, got 3"),
        (
            "art.AutoConjugateGradient",
            {"loss_type": "dlr"},
            "'loss_type' expects one of null, cross_entropy, difference_logits_ratio, got 'dlr'",
        ),
        (
            "art.SimBA",
            {"attack": "pix", "max_iter": 2},
            "'attack' expects one of px, dct, got 'pix'; did you mean 'px'?",
        ),
        ("art.ThresholdAttack", {"es": 2, "max_iter": 2}, "'es' expects one of 0, 1, got 2"),
        (
            "art.TargetedUniversalPerturbation",
            {"attacker": "simba"},
            "'attacker' expects fgsm, got 'simba'",
        ),
        ("torchattacks.APGD", {"norm": "L1"}, "'norm' expects one of Linf, L2, got 'L1'; did you mean 'L2'?"),
        ("torchattacks.FAB", {"norm": "L1"}, "'norm' expects one of Linf, L2, got 'L1'; did you mean 'L2'?"),
        ("torchattacks.APGD", {"loss": "foo"}, "'loss' expects one of ce, dlr, got 'foo'"),
        ("torchattacks.UPGD", {"loss": "cw"}, "'loss' expects one of ce, margin, dlr, got 'cw'; did you mean 'ce'?"),
        (
            "torchattacks.PGDRS",
            {"noise_type": "gaussian"},
            "'noise_type' expects one of guassian, uniform, got 'gaussian'; did you mean 'guassian'?",
        ),
        ("torchattacks.PGD", {"steps": 1e1}, "'steps' expects an integer, got 10.0"),
        ("torchattacks.PGD", {"random_start": "True"}, "'random_start' expects true or false, got 'True'"),
        ("torchattacks.PGD", {"alpha": "a/b"}, "'alpha' expects a number, got 'a/b'"),
        ("torchattacks.PGD", {"alpha": "1/0"}, "'alpha' expects a number, got '1/0'"),
        (
            "torchattacks.Pixle",
            {"x_dimensions": "(2, 10)", "max_iterations": 2},
            "'x_dimensions' expects a number or a list, got '(2, 10)'",
        ),
        ("art.ProjectedGradientDescent", {"max_iter": 1e1}, "'max_iter' expects an integer, got 10.0"),
        ("art.CarliniL0Method", {"mask": "circle"}, "'mask' expects null, got 'circle'"),
        ("foolbox.L2PGD", {"steps": 1e1}, "'steps' expects an integer, got 10.0"),
        ("foolbox.L2PGD", {"abs_stepsize": "auto"}, "'abs_stepsize' expects a number or null, got 'auto'"),
        (
            "foolbox.GaussianBlurAttack",
            {"channel_axis": 1.5, "steps": 2},
            "'channel_axis' expects an integer or null, got 1.5",
        ),
        (
            "foolbox.InversionAttack",
            {"distance": "euclidean"},
            "'distance' expects one of l0, l1, l2, linf, got 'euclidean'",
        ),
        ("foolbox.HopSkipJumpAttack", {"tensorboard": "runs", "steps": 2}, "'tensorboard' expects false, got 'runs'"),
        (
            "foolbox.HopSkipJumpAttack",
            {"init_attack": "SaltAndPepper", "steps": 2},
            "'init_attack' expects null, got 'SaltAndPepper'",
        ),
        (
            "art.ProjectedGradientDescent",
            {"targeted": True},
            "has no parameter 'targeted'; set target: next, beside params",
        ),
        ("art.ProjectedGradientDescent", {"batch_size": 5}, "has no parameter 'batch_size'; set it beside params"),
        ("torchattacks.APGD", {"seed": 5}, "has no parameter 'seed'; gtn-bench sets it"),
    ],
)
def test_wrong_values_are_refused_with_the_right_ones(title: str, params: dict[str, Any], expected: str) -> None:
    assert message(title, params=params) == expected


@pytest.mark.parametrize("library, name", ATTACKS, ids=TITLES)
def test_table_agrees_with_the_defaults_of_the_library(library: type[LibraryAttack], name: str) -> None:
    """Every parameter with a text as default is an enumeration; the table or the signature lists it."""
    known = library.known[name]
    parameters = library.model_construct(attack=name, norm=known.norm).parameters()
    assert set(known.choices) <= set(parameters)
    for parameter in parameters.values():
        choices = known.choices.get(parameter.name, ())
        if choices:
            assert parameter.default in choices
        elif isinstance(parameter.default, str):
            assert "Literal" in str(parameter.annotation), f"{parameter.name} of {name} is not in the table"
    stated = parse_norm(parameters[known.norm_parameter].default) if known.norm_parameter in parameters else None
    assert stated in (None, known.norm)
    if isinstance(known.square, str):
        assert isinstance(parameters[known.square].default, bool)


@pytest.mark.parametrize("library, name", ATTACKS, ids=TITLES)
def test_every_attack_passes_validation(library: type[LibraryAttack], name: str) -> None:
    if name == "GeoDA" and not hasattr(np, "mat"):
        pytest.skip("this release of ART calls numpy.mat, which NumPy 2 does not have")
    channels = library.known[name].channels or 1
    check_and_try(example(library, name), images(channels))


REQUIREMENTS: list[tuple[str, dict[str, Any], dict[str, int], str]] = [  # title, fields, shape of the data, message
    (
        "art.AutoAttack",
        {"params": {"eps_step": 0.1}},
        {"classes": 2},
        "requires at least 3 classes, data set 'toy' has 2",
    ),
    (
        "art.PixelAttack",
        {"params": {"max_iter": 2}, "beta": 5.0},
        {"classes": 2},
        "requires at least 3 classes, data set 'toy' has 2",
    ),
    (
        "art.SignOPTAttack",
        {"params": {"query_limit": 9}},
        {"classes": 2},
        "requires at least 3 classes, data set 'toy' has 2",
    ),
    (
        "art.AutoProjectedGradientDescent",
        {"params": {"loss_type": "difference_logits_ratio", "eps_step": 0.1}},
        {"classes": 2},
        "with loss_type: difference_logits_ratio requires at least 3 classes, data set 'toy' has 2",
    ),
    ("torchattacks.APGDT", {}, {"classes": 3}, "requires at least 4 classes, data set 'toy' has 3"),
    (
        "torchattacks.APGD",
        {"params": {"loss": "dlr"}},
        {"classes": 2},
        "with loss: dlr requires at least 3 classes, data set 'toy' has 2",
    ),
    (
        "torchattacks.UPGD",
        {"params": {"loss": "DLR"}},
        {"classes": 2},
        "with loss: dlr requires at least 3 classes, data set 'toy' has 2",
    ),
    (
        "torchattacks.AutoAttack",
        {},
        {"classes": 2},
        "with version: standard requires at least 4 classes, data set 'toy' has 2",
    ),
    (
        "torchattacks.AutoAttack",
        {"params": {"version": "rand"}},
        {"classes": 2},
        "with version: rand requires at least 3 classes, data set 'toy' has 2",
    ),
    (
        "torchattacks.JSMA",
        {},
        {"classes": 4},
        "with target: untargeted requires at least 10 classes, data set 'toy' has 4",
    ),
    ("torchattacks.PIFGSM", {}, {"channels": 1}, "requires images of 3 channels, data set 'toy' has 1"),
    ("torchattacks.TIFGSM", {}, {"channels": 2}, "requires images of 3 channels, data set 'toy' has 2"),
    (
        "torchattacks.TIFGSM",
        {"params": {"diversity_prob": 1.0}},
        {"channels": 3, "width": 12},
        "requires square images, those of data set 'toy' are 8 x 12",
    ),
    (
        "torchattacks.DIFGSM",
        {"params": {"diversity_prob": 1.0}},
        {"height": 6},
        "requires square images, those of data set 'toy' are 6 x 8",
    ),
    (
        "torchattacks.Pixle",
        {"params": {"max_iterations": 2}, "beta": 2.0},
        {"width": 12},
        "requires square images, those of data set 'toy' are 8 x 12",
    ),
    (
        "art.ZooAttack",
        {"params": {"max_iter": 2}},
        {"channels": 3, "width": 12},
        "with use_resize: true requires square images, those of data set 'toy' are 8 x 12",
    ),
]


@pytest.mark.parametrize(
    "title, fields, shape, expected", REQUIREMENTS, ids=[f"{row[0]}-{row[2]}" for row in REQUIREMENTS]
)
def test_requirements_are_checked_and_necessary(
    title: str, fields: dict[str, Any], shape: dict[str, int], expected: str
) -> None:
    """The library fails where the table refuses."""
    assert message(title, images(**shape), **fields) == expected
    dataset = images(**shape)
    with pytest.raises(ConfigError, match=r"fails on two trial images: \w+: .*; it works "):
        trials.run_trial(trials.Trial(title, dataset.input_shape, dataset.num_classes, attack(title, **fields)))


@pytest.mark.parametrize(
    "title, fields, shape",
    [
        ("art.AutoAttack", {"params": {"eps_step": 0.1}}, {"classes": 3}),
        ("art.PixelAttack", {"params": {"max_iter": 2}, "beta": 5.0}, {"classes": 3}),
        ("torchattacks.APGDT", {}, {"classes": 4}),
        ("torchattacks.AutoAttack", {}, {"classes": 4}),
        ("torchattacks.AutoAttack", {"params": {"version": "rand"}}, {"classes": 3}),
        ("torchattacks.APGD", {"params": {"loss": "dlr"}}, {"classes": 3}),
        ("torchattacks.APGD", {}, {"classes": 2}),
        ("torchattacks.FAB", {}, {"classes": 2}),
        ("torchattacks.JSMA", {"target": "next"}, {"classes": 2}),
        ("torchattacks.PIFGSM", {}, {"channels": 3, "width": 12}),
        ("art.ZooAttack", {"params": {"max_iter": 2, "use_resize": False}}, {"channels": 3, "width": 12}),
        ("art.SquareAttack", {"params": {"max_iter": 2}}, {"height": 28, "width": 30}),
        ("foolbox.SpatialAttack", {"params": {"num_rotations": 2}, "beta": 30.0}, {"channels": 2, "width": 12}),
    ],
)
def test_requirements_are_not_stricter_than_the_library(
    title: str, fields: dict[str, Any], shape: dict[str, int]
) -> None:
    check_and_try(attack(title, **fields), images(**shape))


FAILURES: list[tuple[str, dict[str, Any], dict[str, int], str]] = [
    ("torchattacks.EADEN", {"params": {"max_iterations": 5}}, {}, "ZeroDivisionError: integer modulo by zero"),
    (
        "torchattacks.PIFGSM",
        {"params": {"num_iter_set": 1e1}},
        {"channels": 3},
        "TypeError: 'float' object cannot be interpreted as an integer",
    ),
    (
        "torchattacks.Pixle",
        {"params": {"max_iterations": 2, "update_each_iteration": True}, "beta": 2.0},
        {},
        "AssertionError: in 'len(images.shape) == 4 and images.size(0) == 1'; it works with batch_size: 1",
    ),
    (
        "torchattacks.UPGD",
        {"params": {"loss": "dlr"}, "target": "next"},
        {"classes": 3},
        "IndexError: index -4 is out of bounds for dimension 1 with size 3; it works with 10 classes, not with 3",
    ),
    (
        "art.SquareAttack",
        {"params": {"max_iter": 10}},
        {"width": 12},
        "ValueError: high <= 0; it works on square images, not on 8 x 12",
    ),
    (
        "art.UniversalPerturbation",
        {"params": {"attacker": "fgsm", "norm": 0}},
        {},
        "AssertionError: in 'assert norm > 0'",
    ),
]


@pytest.mark.parametrize(
    "title, fields, shape, reason", FAILURES, ids=[f"{row[0]}-{row[1].get('params')}" for row in FAILURES]
)
def test_attacks_that_would_fail_in_the_run_are_refused(
    title: str, fields: dict[str, Any], shape: dict[str, int], reason: str
) -> None:
    assert message(title, images(**shape), **fields) == f"fails on two trial images: {reason}"


@pytest.mark.parametrize(
    "title, params, package",
    [
        ("art.AutoAttack", {"eps_step": 0.05}, "multiprocess"),
        ("art.ThresholdAttack", {"max_iter": 2}, "cma"),
        ("art.PixelAttack", {"max_iter": 2, "es": 0}, "cma"),
    ],
)
def test_missing_package_is_named(
    title: str, params: dict[str, Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials.run_trial.cache_clear()
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    text = message(title, params=params, beta=64.0 if package == "cma" else 0.1)
    assert text.startswith("fails on two trial images: ModuleNotFoundError: ")
    assert package in text and text.endswith(f"; install it with: pip install {package}")


def test_attack_that_needs_an_absent_package_is_not_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from gtn_bench.perturbations.libraries import named

    found = named.attack_parameters(PERTURBATIONS["art"])  # type: ignore[arg-type]
    without = {name: parameters for name, parameters in found.items() if name != "BrendelBethgeAttack"}
    monkeypatch.setattr(named, "attack_parameters", lambda library: without)
    assert message("art.BrendelBethgeAttack") == "needs the package 'numba'; install it with: pip install numba"


@pytest.mark.parametrize(
    "title", ["foolbox.FGSM", "foolbox.L2FastGradientAttack", "foolbox.NewtonFoolAttack", "torchattacks.APGD"]
)
def test_targets_of_untargeted_attacks_are_refused(title: str) -> None:
    assert message(title, target="next") == "has no targeted mode; leave target out"


def test_sign_opt_is_untargeted() -> None:
    """Its targeted mode requires an image of the target class."""
    text = message("art.SignOPTAttack", target="next", params={"query_limit": 50})
    assert text == "has no targeted mode; leave target out"


class Stub(LibraryAttack):
    """A library attack whose call is replaced by a test."""

    name = "stub"
    namespace = "torchattacks"
    base_class = "torchattacks.attack:Attack"
    handled = ("model",)
    known = {"PGD": Known("eps", "linf"), "CW": Known(RADIUS, "l2")}
    others = {}

    def make(self, classifier: Classifier, seed: int) -> Any:
        return self


def test_attacks_that_differ_in_strength_alone_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def generate(self: Stub, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        calls.append((self.beta, len(x)))
        return x

    monkeypatch.setattr(Stub, "generate", generate)
    for beta in (0.0, 0.1, 0.2, 0.3):  # radius zero is the identity
        check_and_try(Stub(attack="PGD", beta=beta), images())
    assert calls == [(0.1, 2)]
    check_and_try(Stub(attack="PGD", beta=0.2, params={"steps": 3}), images())
    check_and_try(Stub(attack="PGD", beta=0.2), images(classes=3))
    check_and_try(Stub(attack="PGD", beta=0.2, batch_size=1), images())
    assert calls[1:] == [(0.2, 2), (0.2, 2), (0.2, 1), (0.2, 1)]


def test_trial_images_have_different_classes_and_the_largest_label(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def generate(self: Stub, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        seen.append((x, label.tolist(), classifier.predict(x).tolist()))
        return x

    monkeypatch.setattr(Stub, "generate", generate)
    for shape in ({"classes": 2}, {"classes": 10, "channels": 3, "width": 40}):
        check_and_try(Stub(attack="CW", beta=0.5), images(**shape))
        x, label, prediction = seen.pop()
        assert label == prediction == [shape["classes"] - 1, 0]
        assert x.shape == (2, *images(**shape).input_shape) and x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize(
    "error, reason",
    [
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (KeyError("missing"), "KeyError: 'missing'"),
        (ImportError("no backend"), "ImportError: no backend"),
    ],
)
def test_exceptions_become_one_line(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(self: Stub, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        raise error

    monkeypatch.setattr(Stub, "generate", generate)
    with pytest.raises(ConfigError) as refused:
        check_and_try(Stub(attack="PGD", beta=0.1, params={"alpha": 0.123}), images())
    assert str(refused.value) == f"attack 'stub.PGD' fails on two trial images: {reason}"


def test_budget_is_restored_for_attacks_that_require_a_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        steps = 10

    def generate(self: Stub, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        budgets.append(made.steps)
        return x if made.steps > 5 else torch.ones(0)[1]

    budgets: list[int] = []
    monkeypatch.setattr(Stub, "trial_budget", {"steps": 2})
    monkeypatch.setattr(Stub, "make", lambda self, classifier, seed: Made())
    monkeypatch.setattr(Stub, "generate", generate)
    check_and_try(Stub(attack="PGD", beta=0.1, params={"alpha": 0.2}), images())
    assert budgets == [2, 10]


@pytest.mark.parametrize("title", ["art.SimBA", "art.PixelAttack", "foolbox.HopSkipJumpAttack", "torchattacks.Square"])
def test_validation_leaves_no_trace(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Random generators, files and the terminal; a warning would fail the test."""
    library, _, name = title.partition(".")
    trials.run_trial.cache_clear()
    trials.trial_classifier.cache_clear()
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    check_and_try(example(PERTURBATIONS[library], name), images())  # type: ignore[arg-type]
    assert torch.equal(before[0], torch.get_rng_state()) and before[2] == random.getstate()
    assert (before[1] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert torch.get_num_threads() == threads
    assert [*tmp_path.iterdir()] == [] and capfd.readouterr() == ("", "")


def test_geoda_writes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ART saves its basis of cosines in the working folder."""
    if not hasattr(np, "mat"):
        monkeypatch.setattr(np, "mat", np.asmatrix, raising=False)
    monkeypatch.chdir(tmp_path)
    trials.run_trial.cache_clear()
    check_and_try(attack("art.GeoDA", beta=1.0, params={"max_iter": 1000, "sub_dim": 4}), images())
    assert Path.cwd() == tmp_path and [*tmp_path.iterdir()] == []
    trials.run_trial.cache_clear()


def confident(scale: float) -> Classifier:
    """Return a classifier whose smallest probabilities underflow if the scale is large."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with torch.no_grad():
        network[3].weight *= scale
    return Classifier(network, (1, 8, 8), 10)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e4])
def test_view_of_probabilities_accepts_confident_learners(scale: float) -> None:
    classifier = confident(scale)
    view = views.as_art(classifier, probabilities=True)
    x = torch.rand(3, 1, 8, 8)
    outputs = torch.from_numpy(view.predict(x.numpy()))
    assert torch.allclose(outputs, classifier(x).softmax(dim=1), atol=1e-6)
    assert (outputs.min() == 0) == (scale > 1)


@pytest.mark.parametrize("fault", ["softmax twice", "small probabilities"])
def test_view_of_probabilities_that_differs_is_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(nn.Softmax):
        def forward(self, x: Tensor) -> Tensor:
            probabilities = super().forward(x)
            return super().forward(probabilities) if fault == "softmax twice" else probabilities + 1e-7

    classifier = confident(100.0)
    monkeypatch.setattr(views.nn, "Softmax", Faulty)
    with pytest.raises(ViewMismatchError, match=r"^ART PyTorchClassifier: its log-probabilities differ from the "):
        views.as_art(classifier, probabilities=True)
