"""Sanity checks: each fails where it should, and nowhere else."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.perturbations import EXAMPLES
from helpers.runs import run
from torch import Tensor, nn

import gtn_bench
from gtn_bench.analysis.checks import CHECKS, Samples, failed_checks, percent
from gtn_bench.analysis.crosschecks import missed_adversarial
from gtn_bench.analysis.grades import REASONS, REQUIRED
from gtn_bench.analysis.records import CellRecord, summarize
from gtn_bench.config.threat import Norm, Threat
from gtn_bench.evaluation.evaluate import MEASURED, evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import FGSM, PERTURBATIONS, LibraryAttack, MinimalPerturbation, Perturbation
from gtn_bench.perturbations.libraries.minimal import Radius

SUITE = """
name: weak
dataset: digits
architectures: [linear]
modes: [{name: vanilla, epochs: 2}]
seeds: [0, 1]
acceptance: 0.0
perturbations:
  - {name: pgd, label: strong, samples: 100, beta: [0.05, 0.2]}
  - {name: fgsm, label: weak, steps: 1, epsilon: 0.2, samples: 120, beta: [0.2]}
  - {name: fgsm, label: small, steps: 1, epsilon: 0.2, samples: 120, beta: [0.001]}
  - {name: noise, samples: 80, beta: [0, 0.1]}
  - {name: lbfgs-penalty, samples: 100, beta: [1]}
"""


def cell(n: int = 5, **columns: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return samples of n images of class 0 that move by 0.01 and stay correct, except for the given columns."""
    harmless = {"label": 0, "clean_prediction": 0, "prediction": 0, "linf": 0.01, "l2": 0.01, "zero_gradient": False}
    return {name: np.array(columns.get(name, [value] * n)) for name, value in harmless.items()}


def zero_gradient_share(samples: Samples) -> float:
    """Return the share of images that are correct although they had a zero gradient."""
    return float((samples["zero_gradient"] & (samples["prediction"] == samples["label"])).mean())


def flags(
    samples: Samples,
    region: Threat | None = None,
    others: Iterable[Samples] = (),
    *,
    beta: float = 0.5,
    shares: dict[str, float] | None = None,
) -> list[str]:
    """Return the flags of a cell in a summary. The other cells of its learner have no search region and no flags."""
    names = {"dataset": "d", "teacher": "none", "architecture": "a", "mode": "m", "seed": 0, "perturbation": "p"}

    def record(beta: float, content: Samples, **more: Any) -> CellRecord:
        return CellRecord({**names, "beta": beta}, len(content["label"]), "done", samples=content, **more)

    first = record(beta, samples, shares=shares or {}, search_region=region)
    rest = [record(1.0 + place, other) for place, other in enumerate(others)]
    table = summarize([first, *rest]).table
    assert (table["flags"][1:] == "").all() and (table["grade"][1:] == "unknown").all()
    text, said = table.loc[0, ["flags", "grade"]]
    assert said == ("suspect" if text else "unknown")
    return text.split("; ") if text else []


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_formula_a_threshold_and_texts(name: str) -> None:
    check = CHECKS[name]
    assert check.name == name and name.isidentifier()  # flags are joined with "; "
    assert 0 <= check.threshold < 1
    for text in (check.formula, check.cost, check.source, check.text, check.action):
        assert text and text == text.strip() and "\n" not in text
    assert check.source.startswith("https://")
    assert check.text.endswith(".") and check.action.endswith(".") and check.formula.startswith("share of ")
    assert check.text.count("{measured}") == 1 and check.text.format(measured="3 %").count("{") == 0
    assert check.tolerance is None or 0 < check.tolerance < check.threshold
    assert check.active or not check.withholds


def test_the_table_has_every_check_of_samples_and_of_probes() -> None:
    of_samples = {"missed_adversarial", "not_monotone", "above_chance", "zero_gradient", "certificate_violated"}
    of_attacks = {"unchanged", "attack_error", "attack_failed", "outside_ball", "non_finite_gradient", "batch_coupling"}
    of_probes = {"path", "rising", "other_loss", "more_steps", "step_size", "unbounded", "gradient_free"}
    of_probes |= {"second_attack", "transfer", "binarization"}
    assert {name for name, check in CHECKS.items() if check.active} == of_probes
    assert set(CHECKS) == of_samples | of_attacks | of_probes
    assert set(REQUIRED) <= of_probes and not set(REASONS) & set(CHECKS)


@pytest.mark.parametrize(
    "share, expected",
    [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %"), (1 / 3, "33.3 %"), (0.02, "2 %"), (0.00012, "0.012 %")],
)
def test_shares_as_text(share: float, expected: str) -> None:
    assert percent(share) == expected


def test_texts_of_checks_are_distinct() -> None:
    for field in ("name", "formula", "text"):
        assert len({getattr(check, field) for check in CHECKS.values()}) == len(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_above_its_threshold_only(name: str) -> None:
    threshold = CHECKS[name].threshold
    assert failed_checks({name: threshold}) == [] == failed_checks({name: 0.0}) == failed_checks({name: float("nan")})
    expected = [] if CHECKS[name].withholds else [name]
    assert failed_checks({name: np.nextafter(threshold, 1)}) == expected == failed_checks({name: 1.0})


def test_failed_checks_are_listed_in_the_order_of_the_table() -> None:
    failing = [name for name, check in CHECKS.items() if not check.withholds]
    assert failed_checks({name: 1.0 for name in reversed(CHECKS)}) == failing
    assert failed_checks({}) == []


def test_missed_adversarial_examples_of_a_learner_with_a_known_boundary() -> None:
    """The distances to the boundary are known: an attack must succeed on the images nearer than its radius."""
    distance = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    exact = cell(prediction=[1] * 5, l2=distance, linf=distance)
    for radius in (0.05, 0.25, 0.6):
        perfect = cell(prediction=(distance <= radius).astype(int))
        assert not np.any(missed_adversarial(perfect, Threat("l2", radius), [exact, perfect]))
        found = missed_adversarial(cell(), Threat("l2", radius), [exact])
        assert found is not None and (found == (distance <= radius)).all()


@pytest.mark.parametrize(
    "norm, epsilon, expected", [("linf", 0.1, [1, 0, 0, 1, 1]), ("l2", 2.0, [1, 1, 0, 0, 1]), ("linf", 0.0, [0] * 5)]
)
def test_adversarial_examples_of_other_perturbations_within_the_ball_are_missed(
    norm: Norm, epsilon: float, expected: list[int]
) -> None:
    other = cell(prediction=[1, 1, 0, 1, 1], linf=[0.1, 0.3, 0.1, 0.1, 0.1], l2=[1.0, 1.0, 1.0, 3.0, 1.0])
    found = missed_adversarial(cell(), Threat(norm, epsilon), [other])
    assert found is not None and found.tolist() == expected
    found = missed_adversarial(cell(prediction=[1, 0, 0, 0, 0]), Threat(norm, epsilon), [other])  # fooled the first
    assert found is not None and found.tolist() == [0, *expected[1:]]


def test_misclassified_clean_images_are_missed_if_the_attack_corrects_them() -> None:
    wrong = missed_adversarial(cell(clean_prediction=[0, 0, 1, 0, 0]), Threat("linf", 0.0), [])
    assert wrong is not None and wrong.tolist() == [0, 0, 1, 0, 0]


def test_other_perturbations_may_have_fewer_images() -> None:
    few = cell(1, prediction=[1], linf=[0.1], l2=[1.0])
    found = missed_adversarial(cell(), Threat("linf", 0.1), [few])
    assert found is not None and found.tolist() == [1, 0, 0, 0, 0]


def test_missed_adversarial_does_not_apply_without_a_measured_search_region() -> None:
    other = cell(prediction=[1, 1, 0, 1, 1], linf=[0.1, 0.3, 0.1, 0.1, 0.1], l2=[1.0, 1.0, 1.0, 3.0, 1.0])
    assert missed_adversarial(cell(), None, [other]) is None
    assert missed_adversarial(cell(), Threat("l1", 9.0), [other]) is None


def test_flags_of_missed_adversarial_examples() -> None:
    region = Threat("linf", 0.1)
    assert flags(cell()) == [] == flags(cell(), region)
    second = cell(prediction=(np.arange(5) == 1).astype(int))
    assert flags(cell(), region, [second]) == ["missed_adversarial"]
    assert flags(cell(), None, [second]) == []
    tolerated = round(100 * CHECKS["missed_adversarial"].threshold)
    many = cell(100, prediction=(np.arange(100) < tolerated).astype(int))
    assert flags(cell(100), region, [many]) == []
    more = cell(100, prediction=(np.arange(100) < tolerated + 1).astype(int))
    assert flags(cell(100), region, [more]) == ["missed_adversarial"]


def test_flags_of_zero_gradients() -> None:
    flat = cell(zero_gradient=[True] * 5)
    assert zero_gradient_share(flat) == 1.0
    assert flags(flat) == ["zero_gradient"] and flags(cell()) == []
    fooled = flat | {"prediction": np.ones(5)}
    assert zero_gradient_share(fooled) == 0.0 and flags(fooled) == []


def test_flags_of_measured_shares_precede_those_of_the_samples() -> None:
    shares = {"unchanged": 0.6, "attack_failed": 0.5, "outside_ball": 0.1}
    assert flags(cell(zero_gradient=[True] * 5), shares=shares) == ["unchanged", "outside_ball", "zero_gradient"]


@pytest.mark.parametrize("perturbation", EXAMPLES, ids=lambda perturbation: perturbation.title)
def test_search_region_is_the_threat_model_or_none(perturbation: Perturbation) -> None:
    assert perturbation.search_region in (None, perturbation.threat_model)
    assert perturbation.uses_gradient or not perturbation.needs_gradient
    assert perturbation.needs_gradient or not perturbation.needs_ce_gradient


def test_targeted_attacks_and_noise_have_no_search_region() -> None:
    assert PERTURBATIONS["lbfgs"](beta=1.0).search_region == Threat("l2", 1.0)
    assert PERTURBATIONS["lbfgs"](beta=1.0, target="next").search_region is None
    foolbox = functools.partial(PERTURBATIONS["foolbox"], beta_parameter="epsilon", beta=0.1)
    assert foolbox(attack="LinfPGD").search_region == Threat("linf", 0.1)
    assert foolbox(attack="LinfPGD", target="next").search_region is None
    assert foolbox(attack="LinfAdditiveUniformNoiseAttack").search_region is None


def test_only_attacks_on_the_cross_entropy_need_its_gradient() -> None:
    assert not PERTURBATIONS["pgd"](beta=0.1, loss="margin").needs_ce_gradient
    assert PERTURBATIONS["pgd"](beta=0.1).needs_ce_gradient


@pytest.mark.parametrize(
    "fields, radius",
    [({}, 0.06), ({"epsilon": 0.1}, 0.06), ({"epsilon": 0.05}, 0.05), ({"epsilon": 0.1, "random_start": True}, 0.1)],
)
def test_the_threat_model_of_fgsm_is_the_ball_that_its_steps_reach(fields: dict[str, Any], radius: float) -> None:
    norm, epsilon = FGSM(beta=0.02, steps=3, **fields).threat_model
    assert norm == "linf" and epsilon == pytest.approx(radius)


@pytest.mark.slow
def test_a_weak_attack_beside_a_strong_one_is_suspect(tmp_path: Path) -> None:
    """The balls of both are equal. An attack with a small step has a small ball and is not suspect."""
    results = run(SUITE, tmp_path / "out", tmp_path / "store")
    table = results.summary.set_index(["seed", "perturbation", "beta"])
    for seed in (0, 1):
        strong = results.select(seed=seed, perturbation="strong", beta=0.2).reset_index()
        weak = results.select(seed=seed, perturbation="weak").reset_index()[:100]
        survived, fooled = weak["prediction"] == weak["label"], strong["prediction"] != strong["label"]
        row = table.loc[seed, "weak", 0.2]
        assert row["missed_adversarial"] * 120 >= (survived & fooled).sum() > 2
        assert row["flags"] == "missed_adversarial" and row["grade"] == "suspect"
        assert table.loc[(seed, "small", 0.001), "missed_adversarial"] <= CHECKS["missed_adversarial"].threshold
        assert table.loc[seed, "strong", 0.2]["grade"] != "suspect" and table.loc[seed, "noise", 0.1]["grade"] == "n/a"
    without_ball = table.index.get_level_values("perturbation").isin(["noise", "lbfgs-penalty"])
    assert (table["missed_adversarial"].isna() == without_ball).all()
    page = gtn_bench.report(results.folder).read_text()
    (reason,) = set(re.findall(r"For up to \d+\.?\d* % of the cross-checked images, another perturbation found", page))
    assert reason and CHECKS["missed_adversarial"].action in page
    assert "10 cells" not in page and "This applies to 8 cells." in page


class Rounding(nn.Module):
    """A network that rounds its pixels, so that all gradients are zero."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x * 8).round() / 8)


class Saturated(nn.Module):
    """A network with logits that are 1e4 times as large, so that the cross-entropy has no gradient and logits have."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.network(x)


def attack(title: str, **fields: Any) -> Perturbation:
    library, _, name = title.partition(".")
    return PERTURBATIONS[library](**({"attack": name} if name else {}), **fields)


# attack, fields, whether it is flagged if all gradients are zero, and if only that of the cross-entropy is
FOLLOWING: list[tuple[str, dict[str, Any], bool, bool]] = [
    ("fgsm", {"steps": 2}, True, True),
    ("fgsm", {"steps": 2, "loss": "margin"}, True, False),
    ("pgd", {"steps": 2}, True, True),
    ("pgd", {"steps": 2, "loss": "dlr"}, True, False),
    ("pgd", {"steps": 2, "target": "next"}, True, False),
    ("lbfgs-penalty", {"steps": 2}, True, True),
    ("lbfgs-penalty", {"steps": 2, "target": "random"}, True, False),
    ("noise", {}, False, False),
    ("foolbox.LinfPGD", {"params": {"steps": 2}}, True, True),
    ("foolbox.LinfPGD", {"params": {"steps": 2}, "target": "next"}, True, False),
    ("foolbox.LinfAdditiveUniformNoiseAttack", {}, False, False),
    ("torchattacks.PGD", {"params": {"steps": 2}}, True, True),
    ("torchattacks.APGD", {"params": {"steps": 2}}, True, True),
    ("torchattacks.APGD", {"params": {"steps": 2, "loss": "dlr"}}, True, False),
    ("torchattacks.UPGD", {"params": {"steps": 2, "loss": "margin"}}, True, False),
    ("torchattacks.FAB", {"params": {"steps": 2}}, True, False),
    ("torchattacks.Square", {"params": {"n_queries": 2}}, False, False),
    ("art.BasicIterativeMethod", {"params": {"max_iter": 2, "eps_step": 0.01}}, True, True),
    ("art.AutoProjectedGradientDescent", {"params": {"max_iter": 2, "eps_step": 0.01}}, True, True),
    (
        "art.AutoProjectedGradientDescent",
        {"params": {"max_iter": 2, "eps_step": 0.01, "loss_type": "difference_logits_ratio"}},
        True,
        False,
    ),
]
MINIMAL: list[tuple[str, dict[str, Any], bool, bool]] = [
    ("lbfgs", {"steps": 2}, True, False),
    ("foolbox.DDNAttack", {"params": {"steps": 2}}, True, True),
    ("foolbox.L2FMNAttack", {"params": {"steps": 2}}, True, False),
    ("foolbox.L2DeepFoolAttack", {"params": {"steps": 2}}, True, False),
    ("foolbox.L2DeepFoolAttack", {"params": {"steps": 2, "loss": "crossentropy"}}, True, True),
    ("torchattacks.CW", {"params": {"steps": 2}}, True, False),
    ("art.CarliniL2Method", {"params": {"max_iter": 2, "binary_search_steps": 1}}, True, False),
    ("foolbox.SaltAndPepperNoiseAttack", {"params": {"steps": 2}}, False, False),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [Rounding, Saturated])
@pytest.mark.parametrize(
    "title, fields, hidden, saturated",
    [*FOLLOWING, *MINIMAL],
    ids=[f"{row[0]}-{[*row[1].values()]}" for row in (*FOLLOWING, *MINIMAL)],
)
def test_an_attack_that_cannot_progress_is_flagged(
    kind: type[nn.Module],
    title: str,
    fields: dict[str, Any],
    hidden: bool,
    saturated: bool,
    network: nn.Module,
    digits: tuple[Tensor, Tensor],
) -> None:
    """A rounding network has no gradient at all; a saturated one has a gradient of the logits."""
    classifier = Classifier(kind(network), (1, 8, 8), 10)
    x = digits[0][:20]
    y = classifier.predict(x)
    beta = 1e-3
    clean, seeds = evaluate_clean(classifier, x, y), torch.arange(20)
    assert clean.zero_gradient.double().mean() > 0.9
    one = attack(title, beta=beta, **fields)
    if isinstance(one, LibraryAttack) and one.minimal_norm:
        one = Radius(of=one, beta=beta)
    if isinstance(one, MinimalPerturbation):
        (result,) = evaluate_sweep([one], classifier, clean, x, y, seeds)
    else:
        result = evaluate(one, classifier, clean, x, y, seeds)
    samples = {name: getattr(result, name).numpy() for name in MEASURED}
    assert ("zero_gradient" in flags(samples)) == (hidden if kind is Rounding else saturated)
    assert zero_gradient_share(samples) in (0.0, pytest.approx(clean.zero_gradient.double().mean().item(), abs=0.2))


def test_a_network_with_gradients_is_not_flagged(classifier: Classifier, digits: tuple[Tensor, Tensor]) -> None:
    x, y = (part[:20] for part in digits)
    clean = evaluate_clean(classifier, x, y)
    for title, fields, *_ in FOLLOWING:
        result = evaluate(attack(title, beta=1e-3, **fields), classifier, clean, x, y, torch.arange(20))
        assert not result.zero_gradient.any()


class Stubborn(nn.Module):
    """A network with a gradient that no change of pixels leads to another class than 0."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        with torch.no_grad():
            self.linear.weight.mul_(0.02)
            self.linear.bias.zero_()[0] = 3

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        return logits


UNFOOLED: list[tuple[str, dict[str, Any]]] = [
    ("art.AutoProjectedGradientDescent", {"params": {"max_iter": 5, "eps_step": 0.02}}),
    ("art.BoundaryAttack", {"params": {"max_iter": 2}}),
    ("art.CarliniL2Method", {"params": {"max_iter": 2, "binary_search_steps": 2}}),
    ("art.DeepFool", {"params": {"max_iter": 5}}),
    ("art.ElasticNet", {"params": {"max_iter": 2, "binary_search_steps": 2}}),
    ("art.FastGradientMethod", {}),
    ("art.HopSkipJump", {"params": {"max_iter": 2, "init_eval": 5}}),
    ("art.NewtonFool", {"params": {"max_iter": 5}}),
    ("art.PixelAttack", {"beta": 5.0, "params": {"max_iter": 2}}),
    ("art.ProjectedGradientDescent", {"params": {"max_iter": 5, "eps_step": 0.02}}),
    ("art.SignOPTAttack", {"params": {"max_iter": 2, "query_limit": 50, "num_trial": 5}}),
    ("art.SpatialTransformation", {"beta": 30.0, "params": {"num_rotations": 3}}),
    ("art.SquareAttack", {"params": {"max_iter": 5}}),
    ("art.UniversalPerturbation", {"params": {"max_iter": 2, "attacker": "fgsm"}}),
    (
        "art.Wasserstein",
        {"params": {"max_iter": 2, "conjugate_sinkhorn_max_iter": 2, "projected_sinkhorn_max_iter": 2}},
    ),
    ("art.ZooAttack", {"params": {"max_iter": 2, "use_resize": False, "nb_parallel": 8}}),
    ("foolbox.DDNAttack", {"params": {"steps": 5}}),
    ("foolbox.DatasetAttack", {}),
    ("foolbox.GaussianBlurAttack", {"params": {"steps": 5}}),
    ("foolbox.GenAttack", {"params": {"steps": 5}}),
    ("foolbox.InversionAttack", {}),
    ("foolbox.L2CarliniWagnerAttack", {"params": {"steps": 5, "binary_search_steps": 2}}),
    ("foolbox.L2DeepFoolAttack", {"params": {"steps": 5}}),
    ("foolbox.L2FMNAttack", {"params": {"steps": 5}}),
    ("foolbox.L2PGD", {"params": {"steps": 5}}),
    ("foolbox.L2RepeatedAdditiveGaussianNoiseAttack", {"params": {"repeats": 5}}),
    ("foolbox.LInfFMNAttack", {"params": {"steps": 5}}),
    ("foolbox.LinfPGD", {"params": {"steps": 5}}),
    ("foolbox.LinfRepeatedAdditiveUniformNoiseAttack", {"params": {"repeats": 5}}),
    ("foolbox.NewtonFoolAttack", {"params": {"steps": 5}}),
    ("foolbox.SaltAndPepperNoiseAttack", {"params": {"steps": 5}}),
    ("foolbox.SpatialAttack", {"beta": 30.0, "params": {"num_rotations": 2, "num_translations": 2}}),
    ("torchattacks.APGD", {"params": {"steps": 5}}),
    ("torchattacks.APGDT", {"params": {"steps": 5}}),
    ("torchattacks.AutoAttack", {"params": {"version": "rand"}}),
    ("torchattacks.CW", {"params": {"steps": 5}}),
    ("torchattacks.DeepFool", {"params": {"steps": 5}}),
    ("torchattacks.EADL1", {"params": {"max_iterations": 10, "binary_search_steps": 2}}),
    ("torchattacks.FAB", {"params": {"steps": 5}}),
    ("torchattacks.FGSM", {}),
    ("torchattacks.JSMA", {"beta": 0.1}),
    ("torchattacks.OnePixel", {"beta": 3.0, "params": {"steps": 2, "popsize": 4}}),
    ("torchattacks.PGD", {"params": {"steps": 5}}),
    ("torchattacks.Pixle", {"beta": 2.0, "params": {"max_iterations": 3}}),
    ("torchattacks.SPSA", {"params": {"nb_iter": 2, "nb_sample": 8}}),
    ("torchattacks.SparseFool", {"params": {"steps": 3}}),
    ("torchattacks.Square", {"params": {"n_queries": 5}}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title, fields", UNFOOLED, ids=[row[0] for row in UNFOOLED])
def test_the_table_knows_which_attacks_return_what_they_did_not_fool(title: str, fields: dict[str, Any]) -> None:
    """On a model that cannot be fooled, an attack that must change every image is not flagged, and no other either."""
    classifier = Classifier(Stubborn(), (1, 8, 8), 10)
    x = 0.2 + 0.6 * torch.rand(4, 1, 8, 8)
    y = torch.zeros(4, dtype=torch.int64)
    one = attack(title, **{"beta": 0.1, **fields})
    x_adv = one(classifier, x.clone(), y, torch.arange(4)).to(x).clamp(0, 1)
    assert (classifier.predict(x_adv) == 0).all()
    unchanged = (x_adv - x).abs().flatten(1).amax(dim=1) < 1e-6
    assert unchanged.all() or not unchanged.any()
    assert one.changes_every_image != bool(unchanged.all())
    result = evaluate(one, classifier, evaluate_clean(classifier, x, y), x, y, torch.arange(4))
    assert "unchanged" not in failed_checks(result.shares)


def test_auto_attack_on_a_partly_robust_model_is_not_flagged(tmp_path: Path) -> None:
    text = SUITE[: SUITE.index("perturbations:")].replace("seeds: [0, 1]", "seeds: [0]") + (
        "perturbations:\n"
        "  - {name: torchattacks.AutoAttack, params: {version: rand}, samples: 30, beta: [0.05]}\n"
        "  - {name: torchattacks.Square, params: {n_queries: 50}, samples: 30, beta: [0.05]}\n"
    )
    table = run(text, tmp_path / "out", tmp_path / "store").summary
    assert (table["accuracy"] > 0.3).all() and not table["flags"].str.contains("unchanged").any()
