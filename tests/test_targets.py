"""Targets of attacks: which classes they are, and whether attacks lead to them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.flags import flags
from helpers.oracles import line
from helpers.suites import TINY
from torch import Tensor, nn

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.digits import Digits as Digits8
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.search import Bisection, Search
from gtn_bench.perturbations.targets import Targeted, attack_labels

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)
TARGETS: list[Any] = ["next", "least-likely", "random", 3]


def attack(title: str, **fields: Any) -> Any:
    library, _, name = title.partition(".")
    return PERTURBATIONS[library](**({"attack": name} if name else {}), **fields)


class Logits(nn.Module):
    """A network whose logits are the first pixels of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.flatten(1)[:, :4]


LOGITS = torch.tensor([[0.9, 0.1, 0.2, 0.3], [0.1, 0.9, 0.2, 0.3], [0.3, 0.2, 0.9, 0.1]]).view(3, 1, 2, 2)


def labels(target: Any, y: list[int], x: Tensor = LOGITS, seeds: Tensor = SEEDS) -> list[int]:
    classifier = Classifier(Logits(), (1, 2, 2), 4)
    return attack_labels(classifier, x, torch.tensor(y), seeds[: len(y)], target).tolist()


def test_labels_of_each_target() -> None:
    assert labels("untargeted", [0, 1, 3]) == [0, 1, 3]
    assert labels("next", [0, 1, 3]) == [1, 2, 0]
    assert labels("least-likely", [0, 1, 2]) == [1, 0, 3]
    assert labels("least-likely", [1, 0, 3]) == [2, 2, 1]  # the label itself is the least likely class
    assert labels(2, [0, 1, 2]) == [2, 2, 2]


def test_random_targets_are_uniform_over_the_other_classes_and_depend_on_the_seed_of_an_image_alone() -> None:
    x = torch.rand(3000, 1, 2, 2)
    y = torch.arange(3000) % 4
    found = torch.tensor(labels("random", y.tolist(), x, torch.arange(3000)))
    step = (found - y) % 4
    assert (step > 0).all()
    share = torch.bincount(step, minlength=4)[1:] / 3000
    assert (share - 1 / 3).abs().max() < 4 * (2 / 9 / 3000) ** 0.5
    chosen = [7, 100, 2999]
    alone = [labels("random", [int(y[row])], x[row : row + 1], torch.tensor([row]))[0] for row in chosen]
    assert alone == found[chosen].tolist()
    assert labels("random", [0] * 3, seeds=SEEDS) == labels("random", [0] * 3, x=LOGITS.flip(0), seeds=SEEDS)


def test_two_classes_leave_one_target() -> None:
    classifier, x, y, _ = line()
    for target in ("next", "least-likely", "random"):
        assert torch.equal(attack_labels(classifier, x, y, SEEDS[:40], target), 1 - y)


def test_only_the_least_likely_class_costs_a_forward_pass(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    cost = {}
    for title, fields in {
        "pgd": {"steps": 3},
        "foolbox.LinfPGD": {"params": {"steps": 3}},
        "torchattacks.CW": {"params": {"steps": 3}},
    }.items():
        for target in TARGETS:
            one = attack(title, beta=0.1, target=target, **fields)
            wrapped = Radius(of=one, beta=0.1) if isinstance(one, LibraryAttack) and one.minimal_norm else one
            before = classifier.forwards
            wrapped(classifier, x, y, SEEDS)
            cost[title, target] = (classifier.forwards - before) / len(x)
        assert cost[title, "least-likely"] == cost[title, "next"] + 1
        assert cost[title, "random"] == cost[title, 3] == cost[title, "next"]


LEADING: list[tuple[str, dict[str, Any], float]] = [  # attack, fields, smallest share of images that reach their target
    ("fgsm", {"beta": 0.03, "steps": 20}, 0.9),
    ("fgsm", {"beta": 0.03, "steps": 20, "loss": "margin"}, 0.8),
    ("pgd", {"beta": 0.5}, 0.95),
    ("pgd", {"beta": 0.5, "loss": "margin"}, 0.9),
    ("pgd", {"beta": 4.0, "norm": "l2"}, 0.95),
    ("apgd", {"beta": 0.5, "steps": 40}, 0.95),
    ("apgd", {"beta": 4.0, "steps": 40, "norm": "l2", "loss": "margin"}, 0.95),
    ("lbfgs", {"beta": 9.0}, 0.95),
    ("lbfgs-penalty", {"beta": 1.0, "steps": 40}, 0.9),
    ("art.ProjectedGradientDescent", {"beta": 0.5, "params": {"eps_step": 0.05, "max_iter": 40}}, 0.95),
    ("art.CarliniL2Method", {"beta": 9.0, "params": {"max_iter": 10, "binary_search_steps": 4}}, 0.3),
    ("foolbox.LinfPGD", {"beta": 0.5}, 0.9),
    ("foolbox.L2FMNAttack", {"beta": 9.0}, 0.95),
    ("foolbox.DDNAttack", {"beta": 9.0}, 0.95),
    ("torchattacks.PGD", {"beta": 0.5, "params": {"alpha": 0.05, "steps": 40}}, 0.95),
    ("torchattacks.BIM", {"beta": 0.5, "params": {"alpha": 0.05, "steps": 40}}, 0.95),
]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("title, fields, share", LEADING, ids=[f"{row[0]}-{row[1].get('loss')}" for row in LEADING])
def test_attacks_lead_to_their_targets(
    title: str, fields: dict[str, Any], share: float, target: Any, classifier: Classifier, digits: Digits
) -> None:
    x, y = (part[:10] for part in digits)
    one = attack(title, target=target, **fields)
    goal = attack_labels(classifier, x, y, SEEDS[:10], target)
    x_adv = one(classifier, x, y, SEEDS[:10]).clamp(0, 1)
    assert (classifier.predict(x_adv) == goal)[goal != y].float().mean() >= share
    assert one.search_region is None and not one.needs_ce_gradient
    untargeted = attack(title, **fields)
    assert not torch.equal(untargeted(classifier, x, y, SEEDS[:10]).clamp(0, 1), x_adv)
    assert untargeted.search_region == untargeted.threat_model


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("library", ["art", "foolbox", "torchattacks"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.usefixtures("art_in_float64")
def test_targeted_pgd_equals_that_of_the_libraries(
    norm: str, library: str, target: Any, network: nn.Module, digits: Digits
) -> None:
    """The same labels, in float64, without a random start."""
    if (norm, library) == ("l2", "art"):
        pytest.skip("ART clips to [0, 1] before it projects")
    epsilon, step = (0.1, 0.02) if norm == "linf" else (1.0, 0.2)
    theirs: dict[str, tuple[str, dict[str, Any]]] = {
        "art": ("ProjectedGradientDescentPyTorch", {"eps_step": step, "max_iter": 10}),
        "foolbox": (
            {"linf": "LinfPGD", "l2": "L2PGD"}[norm],
            {"abs_stepsize": step, "steps": 10, "random_start": False},
        ),
        "torchattacks": (
            {"linf": "PGD", "l2": "PGDL2"}[norm],
            {"alpha": step, "steps": 10, "random_start": False} | ({"eps_for_division": 0.0} if norm == "l2" else {}),
        ),
    }
    name, params = theirs[library]
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    x, y = digits[0].double(), digits[1]
    ours = PERTURBATIONS["pgd"](
        beta=epsilon, norm=norm, steps=10, relative_step_size=0.2, random_start=False, target=target
    )
    found = ours(classifier, x, y, SEEDS)
    same = attack(f"{library}.{name}", beta=epsilon, params=params, target=target)(classifier, x, y, SEEDS)
    other = ours.is_attacked(y)
    differing = (found - same)[other].abs().flatten(1).amax(dim=1) > 1e-9
    assert differing.float().mean() <= 0.05  # where a gradient is zero up to rounding, the order of additions decides
    assert not torch.equal(found, x)


def test_random_start_does_not_depend_on_the_target(classifier: Classifier, digits: Digits) -> None:
    """Steps of size 1e-9 stay at the start, and random numbers of a suite are those of one without targets."""
    x, y = digits
    starts = []
    for target in ("untargeted", *TARGETS):
        one = PERTURBATIONS["pgd"](beta=0.1, steps=1, relative_step_size=1e-9, target=target)
        starts.append(one(classifier, x, y, SEEDS))
        assert one.rng_identity() == PERTURBATIONS["pgd"](beta=0.2, steps=1, relative_step_size=1e-9).rng_identity()
        fgsm = PERTURBATIONS["fgsm"](beta=0.1, steps=1, epsilon=0.2, random_start=True, target=target)
        assert "target" not in {**one.rng_identity(), **fgsm.rng_identity()}
    assert all(torch.allclose(start, starts[0], atol=1e-8) for start in starts)
    # These depend on the target since their first release.
    assert attack("foolbox.LinfPGD", beta=0.1, target="next").rng_identity()["target"] == "next"
    assert PERTURBATIONS["lbfgs"](beta=0.1).rng_identity()["target"] == "untargeted"


@pytest.mark.parametrize(
    "title, fields",
    [
        ("pgd", {}),
        ("fgsm", {"steps": 2}),
        ("lbfgs-penalty", {}),
        ("torchattacks.PGD", {}),
        ("torchattacks.BIM", {"batch_size": 7}),
    ],
)
def test_images_of_the_target_class_stay_as_they_are(
    title: str, fields: dict[str, Any], classifier: Classifier, digits: Digits
) -> None:
    """They count with their clean prediction, cost no query, and do not make a check fail."""
    x, y = digits
    clean = evaluate_clean(classifier, x, y)
    one = attack(title, beta=0.05, target=3, **fields)
    result = evaluate(one, classifier, clean, x, y, SEEDS, keep=60)
    own = y == 3
    assert 0 < own.sum() < 20 and torch.equal(one.is_attacked(y), ~own)
    assert (result.linf[own] == 0).all() and (result.linf[~own] > 0).all()
    assert torch.equal(result.prediction[own], clean.prediction[own]) and torch.equal(result.examples[own], x[own])
    assert result.shares["attack_error"] == 0 and result.shares.get("unchanged", 0) == 0 and flags(result) == []
    some, others = ((x[rows], y[rows], SEEDS[rows]) for rows in (own, ~own))
    other = evaluate(one, classifier, evaluate_clean(classifier, *others[:2]), *others)
    assert result.forwards * 60 == pytest.approx(other.forwards * int((~own).sum()))
    only = evaluate(one, classifier, evaluate_clean(classifier, *some[:2]), *some)
    assert (only.forwards, only.backwards) == (0, 0) and (only.linf == 0).all() and flags(only) == []


def test_searches_leave_images_of_the_target_class_as_they_are(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    y = classifier.predict(x)
    clean = evaluate_clean(classifier, x, y)
    own = y == 3
    searches = [
        [PERTURBATIONS["lbfgs"](beta=9.0, target=3)],
        [Radius(of=attack("foolbox.L2FMNAttack", beta=9.0, target=3), beta=9.0)],
        [Search(of=PERTURBATIONS["pgd"](beta=0.5, target=3), grid=(0.5,), beta=0.5, binary_search_steps=1)],
        [Bisection(of=PERTURBATIONS["pgd"](beta=0.5, target=3), grid=(0.2, 0.5), beta=0.5)],
    ]
    for sweep in searches:
        assert torch.equal(sweep[0].is_attacked(y), ~own)
        (result,) = evaluate_sweep(sweep, classifier, clean, x, y, SEEDS)  # type: ignore[arg-type]
        assert (result.linf[own] == 0).all() and (result.prediction[own] == 3).all()
        assert (result.prediction[~own] == 3).float().mean() > 0.9
        assert result.shares.get("attack_failed", 0) < 0.1


BAD: list[tuple[str, str, str]] = [  # entry, place, message
    (
        "{name: pgd, beta: [0.1], target: 10}",
        "",
        "'pgd' expects a target from 0 to 9, the classes of data set 'digits', got 10",
    ),
    (
        "{name: torchattacks.PGD, beta: [0.1], target: 123}",
        "",
        "'torchattacks.PGD' expects a target from 0 to 9, the classes of data set 'digits', got 123",
    ),
    (
        "{name: torchattacks.CW, beta: [0.1], target: 10}",
        "",
        "'torchattacks.CW' expects a target from 0 to 9, the classes of data set 'digits', got 10",
    ),
    (
        "{name: pgd, beta: [0.1], search: minimal, target: 10}",
        "",
        "'pgd' expects a target from 0 to 9, the classes of data set 'digits', got 10",
    ),
    *(
        (
            f"{{name: {name}, beta: [0.1], target: {given}}}",
            ".target",
            f"'{name}' expects one of untargeted, next, least-likely, random, or the number of a class, got {got}",
        )
        for name, given, got in [
            ("pgd", "nxt", "'nxt'; did you mean 'next'?"),
            ("lbfgs", "leastlikely", "'leastlikely'; did you mean 'least-likely'?"),
            ("lbfgs-penalty", "cat", "'cat'"),
            ("pgd", "-1", "-1"),
            ("pgd", "true", "True"),
            ("pgd", "3.0", "3.0"),
            ("pgd", "null", "None"),
            ("pgd", "[3]", "[3]"),
        ]
    ),
    (
        "{name: noise, beta: [0.1], target: next}",
        ".target",
        "'noise' does not know this key; known: beta, distribution, label, samples, search",
    ),
    *(
        (
            f"{{name: {name}, steps: 2, beta: [0.1], loss: dlr, target: next}}",
            "",
            f"'{name}' with loss: dlr does not lead to a target; set loss: margin, or leave target out",
        )
        for name in ("fgsm", "pgd")
    ),
    *(
        (
            f"{{name: {name}, beta: [0.1], target: random}}",
            "",
            f"attack '{name}' has no targeted mode; leave target out",
        )
        for name in (
            "torchattacks.FAB",  # its targeted mode takes the true labels
            "torchattacks.APGD",
            "torchattacks.GN",
            "foolbox.LinfAdditiveUniformNoiseAttack",  # it ignores the classifier
            "foolbox.L2DeepFoolAttack",  # it leads to the nearest class
            "art.AutoAttack",
        )
    ),
]


@pytest.mark.parametrize("entry, place, message", BAD, ids=[row[0] for row in BAD])
def test_wrong_targets_are_found_before_training(entry: str, place: str, message: str) -> None:
    text = TINY[: TINY.index("perturbations:")] + f"perturbations:\n  - {entry}\n"
    with pytest.raises(ConfigError) as refused:
        gtn_bench.plan(suite.parse(text))
    assert str(refused.value) == f"tiny: perturbations[0]{place}: {message}"


def test_the_published_protocol_knows_no_targets() -> None:
    text = TINY[: TINY.index("perturbations:")].replace("label: 2_gtn", "label: 10_gtn")
    text += "protocol: published\nperturbations: [{name: fgsm, steps: 2, beta: [0.1], target: next}]\n"
    message = "tiny: perturbations[0]: protocol 'published' expects target: untargeted of 'fgsm', got next"
    with pytest.raises(ConfigError) as refused:
        gtn_bench.plan(suite.parse(text))
    assert message in str(refused.value).splitlines()


@pytest.mark.parametrize("target", ["untargeted", *TARGETS])
def test_resolved_suites_contain_the_target(target: Any) -> None:
    entries = f"""perturbations:
  - {{name: pgd, beta: [0.1], target: {target}}}
  - {{name: torchattacks.PGD, beta: [0.1], target: {target}}}
  - {{name: torchattacks.CW, beta: [0.1], target: {target}}}
"""
    plan = gtn_bench.plan(suite.parse(TINY[: TINY.index("perturbations:")] + entries))
    assert [entry.fields["target"] for entry in plan.suite.perturbations] == [target] * 3
    assert gtn_bench.plan(suite.parse(plan.suite.to_yaml())).suite == plan.suite


@pytest.mark.parametrize("name", [name for name, cls in PERTURBATIONS.items() if issubclass(cls, Targeted)])
def test_attacks_are_untargeted_by_default(name: str) -> None:
    cls: type[Perturbation] = PERTURBATIONS[name]
    assert cls.model_fields["target"].default == "untargeted"


def test_every_attack_has_targets() -> None:
    targeted = {name for name, cls in PERTURBATIONS.items() if issubclass(cls, Targeted)}
    assert targeted == {"fgsm", "pgd", "apgd", "lbfgs", "lbfgs-penalty", "art", "foolbox", "torchattacks"}
    with pytest.raises(ConfigError, match=r"^'pgd' expects a target from 0 to 9"):
        PERTURBATIONS["pgd"](beta=0.1, target=10).check(Digits8())
