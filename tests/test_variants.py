"""Variants of every perturbation: more steps, other step sizes, losses and starts, in the same ball."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest
import torch
from helpers.perturbations import EXAMPLES
from torch import Tensor

import gtn_bench
from gtn_bench.config.threat import Threat
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.losses import LOSSES
from gtn_bench.perturbations import LIBRARIES, PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.base import Corruption
from gtn_bench.perturbations.libraries.known import RADIUS
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.search import Search

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


def label(perturbation: Perturbation) -> str:
    return " ".join(str(value) for value in perturbation.identity().values() if isinstance(value, str))


def variants(perturbation: Perturbation) -> dict[str, Perturbation | None]:
    return {
        "steps": perturbation.with_steps(2),
        "twice the step": perturbation.with_step_size(2.0),
        "half the step": perturbation.with_step_size(0.5),
        **{loss: perturbation.with_loss(loss) for loss in LOSSES},
        "restart": perturbation.with_restart(),
    }


def default(library: type[LibraryAttack], attack: str) -> LibraryAttack:
    """Return an attack with the defaults of its library, and the query budget that a suite has to set."""
    known = library.known[attack]
    own = library.model_construct(attack=attack, norm=known.norm, params={}).parameters()
    required = {name: 3 for name, one in own.items() if one.default is one.empty and name != known.beta_parameter}
    budget = {name: own[name].default for name in known.budget if name != known.beta_parameter}
    beta = 3.0 if known.beta_parameter in ("pixels", "restarts", "th") else 0.1
    return library(attack=attack, beta=beta, params={**required, **budget})


@pytest.mark.parametrize("perturbation", EXAMPLES, ids=label)
def test_variants_have_the_same_ball_and_run(
    perturbation: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits[0][:2], digits[1][:2]
    for name, variant in variants(perturbation).items():
        if variant is None:
            continue
        regions = variant.threat_model, variant.search_region
        assert regions == (perturbation.threat_model, perturbation.search_region), name
        assert type(variant) is type(perturbation) and variant.access == perturbation.access
        assert type(variant)(**dict(variant)) == variant
        assert variant(classifier, x, y, SEEDS[:2]).shape == x.shape


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_variants_of_library_attacks_have_the_same_ball(library: type[LibraryAttack]) -> None:
    for attack in library.known:
        if library.known[attack].package:
            pytest.importorskip(library.known[attack].package)
        one = default(library, attack)
        for name, variant in variants(one).items():
            regions = variant and (variant.threat_model, variant.search_region)
            assert regions in (None, (one.threat_model, one.search_region)), (attack, name)
            assert variant is None or name == "restart" or variant != one or one.params == variant.params


STEPS: dict[str, set[str]] = {  # known attacks without a number of steps, iterations or queries
    "art": {"AutoAttack", "FastGradientMethod", "SaliencyMapMethod", "SpatialTransformation"},
    "foolbox": {
        *("BinarySearchContrastReductionAttack", "DatasetAttack", "FGM", "FGSM", "InversionAttack"),
        *("L1FastGradientAttack", "L2AdditiveGaussianNoiseAttack", "L2AdditiveUniformNoiseAttack"),
        *("L2ClippingAwareAdditiveGaussianNoiseAttack", "L2ClippingAwareAdditiveUniformNoiseAttack"),
        *("L2ContrastReductionAttack", "L2FastGradientAttack", "LinfAdditiveUniformNoiseAttack"),
        *("LinfFastGradientAttack", "PointwiseAttack", "SpatialAttack"),
    },
    "torchattacks": {"AutoAttack", "FFGSM", "FGSM", "GN", "JSMA"},
}


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_every_known_attack_with_steps_can_double_them(library: type[LibraryAttack]) -> None:
    without = set()
    for attack in library.known:
        one = default(library, attack)
        doubled = one.with_steps(2)
        if doubled is None:
            without.add(attack)
            continue
        (changed,) = (name for name, value in doubled.params.items() if value != one.params[name])
        assert doubled.params[changed] == 2 * one.params[changed]
    assert without == STEPS[library.name]


@pytest.mark.parametrize(
    "library, attack, params",
    [
        ("torchattacks", "PGD", {"steps": 2}),
        ("torchattacks", "Square", {"n_queries": 5}),
        ("foolbox", "L2PGD", {"steps": 2}),
        ("foolbox", "L2FMNAttack", {"steps": 2}),
        ("art", "ProjectedGradientDescentPyTorch", {"max_iter": 2}),
        ("art", "AutoProjectedGradientDescent", {"max_iter": 3, "nb_random_init": 1}),
    ],
)
def test_variants_of_library_attacks_run(
    library: str, attack: str, params: dict[str, Any], classifier: Classifier, digits: Digits
) -> None:
    x, y = digits[0][:2], digits[1][:2]
    one = PERTURBATIONS[library](attack=attack, beta=0.1, params=params)
    costs = {}
    for name, variant in {"itself": one, **variants(one)}.items():
        if variant is not None:
            before = classifier.forwards
            assert variant(classifier, x, y, SEEDS[:2]).shape == x.shape
            costs[name] = classifier.forwards - before
    assert costs["steps"] > costs["itself"]


LIBRARY_VARIANTS: list[
    tuple[str, str, str, Any, dict[str, Any] | None]
] = [  # library, attack, method, argument, params
    ("torchattacks", "APGD", "with_loss", "dlr", {"loss": "dlr"}),
    ("torchattacks", "APGD", "with_loss", "margin", None),
    ("torchattacks", "UPGD", "with_loss", "margin", {"loss": "margin"}),
    ("torchattacks", "PGD", "with_loss", "dlr", None),
    ("torchattacks", "PGD", "with_step_size", 0.5, {"alpha": 1 / 255}),
    ("torchattacks", "FAB", "with_step_size", 0.5, None),
    ("art", "AutoProjectedGradientDescent", "with_loss", "dlr", {"loss_type": "difference_logits_ratio"}),
    ("art", "ProjectedGradientDescent", "with_step_size", 2.0, {"eps_step": 0.2}),
    ("art", "FastGradientMethod", "with_step_size", 2.0, None),
    ("foolbox", "L2DeepFoolAttack", "with_loss", "cross-entropy", {"loss": "crossentropy"}),
    ("foolbox", "L2PGD", "with_step_size", 2.0, {"rel_stepsize": 0.05}),
]


@pytest.mark.parametrize("library, attack, method, argument, params", LIBRARY_VARIANTS)
def test_parameters_of_library_variants(
    library: str, attack: str, method: str, argument: Any, params: dict[str, Any] | None
) -> None:
    one = PERTURBATIONS[library](attack=attack, beta=0.1)
    variant = getattr(one, method)(argument)
    if params is None:
        assert variant is None
    else:
        assert variant.params == {**one.params, **params}  # type: ignore[attr-defined]


def test_restarts_of_library_attacks() -> None:
    attack = PERTURBATIONS["torchattacks"](attack="PGD", beta=0.1, params={"random_start": False})
    assert attack.with_restart().params["random_start"] is True  # type: ignore[union-attr]
    attack = PERTURBATIONS["art"](attack="ProjectedGradientDescent", beta=0.1)
    assert attack.with_restart().params["num_random_init"] == 1  # type: ignore[union-attr]
    assert PERTURBATIONS["torchattacks"](attack="BIM", beta=0.1).with_restart() is None
    apgd = PERTURBATIONS["torchattacks"](attack="APGD", beta=0.1)
    assert apgd.with_restart() == apgd


def test_once_leaves_one_restart_and_the_rest() -> None:
    attack = PERTURBATIONS["apgd"](beta=0.1, targets=3, restarts=4)
    assert attack.once() == PERTURBATIONS["apgd"](beta=0.1, targets=3)
    search = Search(of=attack, beta=0.1, grid=(0.05, 0.1))
    assert search.once() == Search(of=attack.once(), beta=0.1, grid=(0.05, 0.1))
    several = PERTURBATIONS["torchattacks"](attack="APGD", beta=0.1, params={"n_restarts": 5})
    assert several.once().params == {**several.params, "n_restarts": 1}  # type: ignore[attr-defined]
    assert PERTURBATIONS["pgd"](beta=0.1).once() == PERTURBATIONS["pgd"](beta=0.1)
    none = PERTURBATIONS["art"](attack="ProjectedGradientDescent", beta=0.1)
    assert none.once() is none  # zero random starts stay zero


def test_beta_stays_what_beta_sets() -> None:
    steps = PERTURBATIONS["torchattacks"](attack="PGD", beta=4, beta_parameter="steps", params={"eps": 0.1})
    assert steps.with_steps(2) is None and steps.with_step_size(2.0) is not None
    sizes = PERTURBATIONS["torchattacks"](attack="PGD", beta=0.1, beta_parameter="alpha", params={"eps": 0.1})
    assert sizes.with_step_size(2.0) is None and sizes.with_steps(2) is not None


def test_fgsm_keeps_the_ball_of_its_steps() -> None:
    study = PERTURBATIONS["fgsm"](beta=0.02, steps=30)
    ball = Threat("linf", 0.6)
    found: Any = study.with_steps(2), study.with_step_size(2.0), study.with_step_size(0.5), study.with_restart()
    assert all(one.threat_model == ball and one.epsilon == 0.6 for one in found)
    assert [(one.steps, one.beta) for one in found] == [(60, 0.02), (30, 0.04), (60, 0.01), (30, 0.02)]
    assert found[3].random_start and not found[0].random_start
    for beta in (0.013, 0.3, 1 / 255, 1e-9):
        for factor in (0.5, 1 / 3, 0.7, 2.0):
            one = PERTURBATIONS["fgsm"](beta=beta, steps=7)
            assert one.with_step_size(factor).threat_model == one.threat_model  # type: ignore[union-attr]
    nothing = PERTURBATIONS["fgsm"](beta=0.0, steps=7)
    assert nothing.with_steps(2).threat_model == Threat("linf", 0.0)  # type: ignore[union-attr]
    assert nothing.with_restart() is None


def test_ratio_of_a_target_is_no_variant() -> None:
    for name, fields in {"pgd": {}, "fgsm": {"steps": 2}, "apgd": {}}.items():
        one = PERTURBATIONS[name](beta=0.1, target="next", **fields)
        assert one.with_loss("dlr") is None and one.with_loss("margin").loss == "margin"  # type: ignore[union-attr]


def test_searches_wrap_the_variant_of_what_they_search() -> None:
    search = Search(of=PERTURBATIONS["pgd"](beta=0.1, steps=3), beta=0.1, grid=(0.05, 0.1))
    doubled = search.with_steps(2)
    assert isinstance(doubled, Search) and doubled.of == PERTURBATIONS["pgd"](beta=0.1, steps=6)
    assert (doubled.grid, doubled.beta, doubled.access) == (search.grid, search.beta, "white")
    assert search.passes == 1 + (2 + 6) * 7
    # The ball of every strength would be that of one of them.
    assert Search(of=PERTURBATIONS["fgsm"](beta=0.1, steps=3), beta=0.1, grid=(0.05, 0.1)).with_steps(2) is None
    assert Search(of=PERTURBATIONS["noise"](beta=0.1), beta=0.1, grid=(0.05, 0.1)).with_steps(2) is None
    radius = Radius(of=PERTURBATIONS["foolbox"](attack="L2FMNAttack", beta=0.1, params={"steps": 5}), beta=0.3)
    wrapped = radius.with_steps(3)
    assert isinstance(wrapped, Radius) and wrapped.of.params["steps"] == 15
    assert wrapped.threat_model == radius.threat_model == Threat("l2", 0.3) and radius.of.beta_parameter == RADIUS


def test_access_of_every_perturbation() -> None:
    access = {perturbation.name: perturbation.access for perturbation in EXAMPLES}
    corruptions = {name for name, cls in PERTURBATIONS.items() if issubclass(cls, Corruption)}
    assert {name for name, value in access.items() if value == "none"} == corruptions >= {"noise", "blur", "occlusion"}
    assert {name for name, value in access.items() if value == "black"} == {"square"}
    assert PERTURBATIONS["torchattacks"](attack="GN", beta=0.1).access == "none"
    assert default(PERTURBATIONS["art"], "HopSkipJump").access == "black"  # type: ignore[arg-type]
    assert PERTURBATIONS["torchattacks"](attack="PGD", beta=0.1).access == "white"


def test_parameters_of_functions_make_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(PERTURBATIONS)

    @gtn_bench.perturbation(name="walk", norm="linf")
    def walk(
        model: Any,
        x: Tensor,
        y: Tensor,
        beta: float,
        steps: int = 3,
        alpha: float = 0.1,
        loss: Literal["cross-entropy", "margin"] = "margin",
    ) -> Tensor:
        return x + beta * alpha * steps

    @gtn_bench.perturbation(name="still")
    def still(model: Any, x: Tensor, y: Tensor, beta: float, steps: bool = True, loss: str = "ce") -> Tensor:
        return x

    one: Any = PERTURBATIONS["walk"](beta=0.2)
    other = PERTURBATIONS["still"](beta=0.2)
    for name in set(PERTURBATIONS) - set(before):
        monkeypatch.delitem(PERTURBATIONS, name)
    assert one.with_steps(4).steps == 12 and one.with_step_size(0.5).alpha == 0.05
    assert one.with_loss("cross-entropy").loss == "cross-entropy" and one.with_loss("dlr") is None
    assert one.with_restart() is None and one.with_steps(4).threat_model == Threat("linf", 0.2)
    assert [found for found in variants(other).values() if found] == []
    assert one.access == other.access == "black" and one.passes is None


ITERATIVE: list[tuple[str, dict[str, Any]]] = [
    ("fgsm", {"beta": 0.02, "steps": 6}),
    ("fgsm", {"beta": 0.02, "steps": 6, "epsilon": 0.06, "random_start": True, "loss": "margin"}),
    ("pgd", {"beta": 0.08, "steps": 6}),
    ("pgd", {"beta": 0.6, "steps": 6, "norm": "l2", "random_start": False, "loss": "dlr"}),
    ("pgd", {"beta": 0.1, "steps": 6, "target": "least-likely"}),
]


@pytest.mark.parametrize("name, fields", ITERATIVE)
def test_best_is_the_first_misclassified_iterate(
    name: str, fields: dict[str, Any], network: Any, digits: Digits
) -> None:
    """In float64. The iterate after k steps is that of `last` with k steps; the start is that of steps of size zero."""
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    x, y = digits[0].double(), digits[1]
    cls = PERTURBATIONS[name]
    still = {"beta": 1e-300} if name == "fgsm" else {"relative_step_size": 1e-300}
    path = [cls(**{**fields, "steps": 1, **still})(classifier, x, y, SEEDS)]
    path += [cls(**{**fields, "steps": steps})(classifier, x, y, SEEDS) for steps in range(1, fields["steps"] + 1)]
    expected = path[-1].clone()
    for iterate in reversed(path):
        wrong = classifier.predict(iterate) != y
        expected[wrong] = iterate[wrong]
    attack = cls(**fields, keep="best")
    before = classifier.forwards
    found = attack(classifier, x, y, SEEDS)
    forwards = classifier.forwards - before
    assert (found - expected).abs().max() < 1e-9
    wrong = classifier.predict(found) != y
    assert 0.05 < wrong.float().mean() < 1
    assert forwards < 60 * (fields["steps"] + ("target" in fields))
    assert (found[wrong] != path[-1][wrong]).flatten(1).any(dim=1).any()


@pytest.mark.parametrize("name, fields", ITERATIVE)
def test_draws_do_not_depend_on_what_is_kept_but_cached_results_do(name: str, fields: dict[str, Any]) -> None:
    last, best = (PERTURBATIONS[name](**fields, keep=keep) for keep in ("last", "best"))
    assert last == PERTURBATIONS[name](**fields)
    assert last.rng_identity() == best.rng_identity() and "keep" not in last.rng_identity()
    assert last.content() != best.content()
    assert last.supports_bfloat16 and not best.supports_bfloat16


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_cached_gradient_serves_the_last_iterate(
    keep: Literal["last", "best"], classifier: Classifier, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = digits
    classifier.cache_gradient(x, y)
    computed: list[int] = []
    compute = classifier.compute
    monkeypatch.setattr(classifier, "compute", lambda images: computed.append(len(images)) or compute(images))
    PERTURBATIONS["fgsm"](beta=0.0, steps=1, keep=keep)(classifier, x, y, SEEDS)
    assert len(computed) == {"last": 0, "best": 1}[keep]
