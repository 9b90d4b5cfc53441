"""Probes on networks whose robustness is known exactly."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
import torch
from helpers.oracles import Line, line
from torch import Tensor, nn

from gtn_bench.checks.attacks.batches import batch_coupling
from gtn_bench.checks.attacks.gradient import non_finite_gradient
from gtn_bench.checks.attacks.natives import step_factors
from gtn_bench.checks.attacks.situation import Outcome, Situation
from gtn_bench.checks.attacks.table import PROBES
from gtn_bench.config.threat import Threat
from gtn_bench.data.digits import Digits
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.random_classifier import RandomClassifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.perturbations.pgd import PGD
from gtn_bench.reference.batch_classifier import BatchClassifier

LINE, X, Y, DISTANCES = line()
RADIUS = float(DISTANCES.quantile(0.7))  # in which 28 of 40 images have an adversarial example
FOOLED = DISTANCES < RADIUS
NEWLY = {"path", "other_loss", "more_steps", "step_size", "gradient_free", "second_attack", "transfer"}


class After(nn.Module):
    """The line behind a function of the images, with scaled logits."""

    def __init__(self, before: nn.Module = nn.Identity(), scale: float = 1.0) -> None:  # noqa: B008
        super().__init__()
        self.before, self.line, self.scale = before, LINE.network, scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.line(self.before(x))
        return logits


class Rounding(nn.Module):
    """Rounding in steps of 1/255, whose gradient is zero everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return (255 * x).round() / 255


class Returned(PGD):
    """An attack that returns its input."""

    name = "returned"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return x


def situation(
    perturbation: Perturbation,
    classifier: Classifier = LINE,
    images: tuple[Tensor, Tensor] = (X, Y),
    *,
    eight_bit: bool = False,
    others: tuple[Classifier, ...] = (),
) -> Situation:
    """Return the situation after an evaluation."""
    x, y = images
    seeds = 1000 + torch.arange(len(y))
    result = evaluate(perturbation, classifier, evaluate_clean(classifier, x, y), x, y, seeds, eight_bit=eight_bit)
    region = perturbation.search_region
    assert region is not None
    region = region.after_rounding(x[0].numel()) if eight_bit else region
    return Situation(classifier, perturbation, region, x, y, seeds, result.prediction, eight_bit, others)


def found(given: Situation) -> dict[str, Outcome]:
    """Return what all probes find."""
    outcomes: dict[str, Outcome] = {}
    for probe in PROBES.values():
        outcomes |= probe.run(given)
    return outcomes


@functools.cache
def small(radius: float = 0.0) -> nn.Module:
    """Return a small network, trained on digits for a second; on adversarial images if a radius is given."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    x, y = Digits()()["train"][:]
    for rows in torch.randperm(len(y)).repeat(15 if radius else 4).split(64):
        images = x[rows]
        for _ in range(3 if radius else 0):
            images.requires_grad_()
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(network(images), y[rows]), images)
            moved = images.detach() + radius / 2 * gradient.sign()
            images = (x[rows] + (moved - x[rows]).clamp(-radius, radius)).clamp(0, 1)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), y[rows]).backward()
        optimizer.step()
    return network.eval()


def small_classifier() -> Classifier:
    return Classifier(small(), (1, 8, 8), 10)


def pgd(**fields: object) -> Perturbation:
    return PERTURBATIONS["pgd"](**{"beta": RADIUS, **fields})


@pytest.mark.parametrize(
    "attack",
    [
        pgd(),
        pgd(loss="margin", keep="best"),
        PERTURBATIONS["fgsm"](beta=RADIUS, steps=1),
        PERTURBATIONS["apgd"](beta=RADIUS),
    ],
    ids=lambda attack: attack.name,
)
def test_probes_find_nothing_where_the_attack_is_exact(attack: Perturbation) -> None:
    given = situation(attack, others=(Classifier(After(), (1, 4, 4), 2),))
    assert torch.equal(given.survivors, ~FOOLED)
    outcomes = found(given)
    assert {name: outcomes[name].count for name in NEWLY} == dict.fromkeys(NEWLY, 0)
    assert {outcomes[name].n for name in NEWLY if outcomes[name].n} == {40}
    assert outcomes["unbounded"][:2] == (0, 40) and outcomes["non_finite_gradient"][:2] == (0, 40)
    assert outcomes["binarization"].n == 0 and "not linear" in outcomes["binarization"].note


def test_too_short_attacks_are_found_exactly() -> None:
    short = pgd(steps=1, relative_step_size=0.6, random_start=False)
    given = situation(short)
    assert torch.equal(given.survivors, DISTANCES > 0.6 * RADIUS)
    missed = int((FOOLED & given.survivors).sum())
    assert missed > 5
    outcomes = found(given)
    for name in ("more_steps", "step_size", "second_attack"):
        assert outcomes[name][:2] == (missed, 40), name
    assert outcomes["other_loss"].count == outcomes["path"].count == 0
    assert outcomes["rising"].n == 0 and "fewer than 10 queries" in outcomes["rising"].note


def test_steps_that_do_not_reach_the_radius_are_found_exactly() -> None:
    """Twice a tiny step is tiny. Steps that are long enough together fool every image that can be fooled."""
    tiny = pgd(steps=10, relative_step_size=0.001, random_start=False)
    exact = situation(pgd(random_start=False)).survivors
    given = situation(tiny)
    outcome = found(given)["step_size"]
    assert outcome.count == int((given.survivors & ~exact).sum()) > 0
    sign = PERTURBATIONS["fgsm"](beta=RADIUS / 1000, steps=10, epsilon=RADIUS, random_start=True)
    assert step_factors(sign)[2:] == [pytest.approx(250)] and step_factors(tiny)[2:] == [pytest.approx(250)]
    assert step_factors(pgd()) == [2, 0.5] == step_factors(PERTURBATIONS["lbfgs"](beta=1.0))


def test_large_logits_hide_the_gradient_of_the_cross_entropy_but_not_that_of_the_margin() -> None:
    saturated = Classifier(After(scale=1e6), (1, 4, 4), 2)
    given = situation(pgd(random_start=False), saturated)
    assert given.survivors.all()
    outcomes = found(given)
    assert outcomes["other_loss"][:2] == outcomes["second_attack"][:2] == (int(FOOLED.sum()), 40)
    assert outcomes["more_steps"].count < FOOLED.sum() and outcomes["unbounded"].count == 0


def test_missing_gradients_are_found_without_gradients() -> None:
    rounded = Classifier(After(Rounding()), (1, 4, 4), 2)
    given = situation(pgd(random_start=False), rounded, others=(LINE,))
    left = int(given.survivors.sum())
    assert left >= 38  # rounding moves the others across the line
    outcomes = found(given)
    hidden = int((FOOLED & given.survivors).sum())
    assert outcomes["unbounded"].count >= 0.8 * left
    assert abs(outcomes["transfer"].count - hidden) <= 2 and outcomes["transfer"].n == 40
    assert 0.5 * hidden < outcomes["gradient_free"].count <= hidden + 2
    assert outcomes["other_loss"].count == 0
    detached = Classifier(lambda x: LINE.network(x.detach()), (1, 4, 4), 2)
    blind = PROBES["unbounded"].run(situation(pgd(random_start=False), detached))["unbounded"]
    assert blind[:2] == (40, 40) and (blind.forwards, blind.backwards) == (0, 0) and "no gradient" in blind.note


def test_an_attack_that_does_nothing_is_found() -> None:
    given = situation(Returned(beta=RADIUS))
    assert given.survivors.all()
    outcomes = found(given)
    assert outcomes["second_attack"][:2] == (int(FOOLED.sum()), 40)
    assert FOOLED.sum() / 2 < outcomes["gradient_free"].count <= FOOLED.sum()
    assert outcomes["path"].n == 0 and "no query" in outcomes["path"].note


def test_images_outside_the_ball_do_not_count() -> None:
    class Leaving(PGD):
        name = "leaving"

        def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
            wide = PGD(beta=3 * self.beta)
            return wide(classifier, x, y, seeds) if self.steps > 40 else x

    outcome = PROBES["more_steps"].run(situation(Leaving(beta=RADIUS)))["more_steps"]
    assert outcome[:2] == (0, 40)


def test_rounded_images_are_judged() -> None:
    """Steps of less than half a level vanish; the same ball is reached with 8-bit images."""
    given = situation(pgd(steps=1, relative_step_size=0.6, random_start=False), eight_bit=True)
    outcome = PROBES["more_steps"].run(given)["more_steps"]
    edge = 1 / 255
    low, high = (int(((RADIUS + shift > DISTANCES) & given.survivors).sum()) for shift in (-edge, edge))
    assert low <= outcome.count <= high


def test_other_norms_have_a_reason() -> None:
    class Taxicab(PGD):
        name = "taxicab"

        @property
        def threat_model(self) -> Threat:
            return Threat("l1", self.beta)

        def with_loss(self, loss: object) -> None:
            return None

    given = situation(Taxicab(beta=RADIUS))
    for name in ("gradient_free", "second_attack", "transfer", "binarization", "other_loss"):
        given_others = Situation(**{**vars(given), "others": (LINE,)})
        assert PROBES[name].passes(given.perturbation) == 0 or name == "other_loss"
        outcome = PROBES[name].run(given_others)[name]
        assert outcome == (0, 0, 0, 0, "no attack for the norm l1, only for linf and l2"), name


@pytest.mark.parametrize(
    "attack", [pgd(beta=0.1), PERTURBATIONS["apgd"](beta=0.1, steps=40)], ids=lambda attack: attack.name
)
def test_probes_accept_a_good_attack_on_a_robust_network(attack: Perturbation) -> None:
    x, y = Digits()()["test"][:100]
    given = situation(attack, Classifier(small(0.1), (1, 8, 8), 10), (x, y), others=(small_classifier(),))
    assert 0.6 < given.survivors.double().mean() < 0.95
    outcomes = found(given)
    above = {name: outcome for name, outcome in outcomes.items() if outcome.count > 0.03 * outcome.n}
    assert above == {}
    assert {name for name, outcome in outcomes.items() if outcome.n == 0} <= {"step_size"}
    assert outcomes["binarization"].n >= 50


def test_batch_coupling_counts_the_images_that_depend_on_others(digits: tuple[Tensor, Tensor]) -> None:
    network = ARCHITECTURES["base_larger"]()(Digits(), seed=0).eval()
    x, _ = digits
    shape = (1, 8, 8)
    assert batch_coupling(Classifier(network, shape, 10), x)[:3] == (0, 60, 180)
    assert batch_coupling(BatchClassifier(network, shape, 10), x)[:2] == (60, 60)
    noisy = RandomClassifier(lambda x: network(x + 0.1 * torch.randn_like(x)), shape, 10, samples=2)
    assert batch_coupling(noisy, x)[:2] == (0, 60)
    leaky = Classifier(lambda x: network(x) + x[:30].sum().where(x[:, :1, 0, 5] == 0, 0), shape, 10)
    outcome = batch_coupling(leaky, x)
    assert outcome.count == (x[30:, 0, 0, 5] == 0).sum() > 0  # the first half keeps its sum in one of two passes


def test_gradients_that_are_not_finite_are_counted(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    weight = torch.randn(64, 10)
    roots = Classifier(lambda x: x.flatten(1)[:, 20:40].sqrt() @ weight[20:40], (1, 8, 8), 10)
    black = int((x.flatten(1)[:, 20:40] == 0).any(dim=1).sum())
    assert black > 0
    assert non_finite_gradient(roots, pgd(), x, y) == (black, 60, 60, 60, "")
    assert non_finite_gradient(roots, PERTURBATIONS["square"](beta=0.1), x, y).n == 0


def test_table_is_complete_and_imports_without_torch() -> None:
    assert list(PROBES) == [probe.name for probe in PROBES.values()]
    checks = [check for probe in PROBES.values() for check in probe.checks]
    assert len(set(checks)) == len(checks) and {*checks} == {
        *NEWLY,
        "rising",
        "unbounded",
        "binarization",
        "non_finite_gradient",
    }
    assert PROBES["recording"].checks == ("path", "rising")
    code = "import sys, gtn_bench.checks.attacks.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    digits = Digits()
    assert not any(probe.applies(PERTURBATIONS["noise"](beta=0.1), digits) for probe in PROBES.values())
    assert not any(probe.applies(pgd(target="next"), digits) for probe in PROBES.values())
    assert not any(probe.applies(pgd(beta=0.0), digits) for probe in PROBES.values())
    black = {name for name, probe in PROBES.items() if probe.applies(PERTURBATIONS["square"](beta=0.1), digits)}
    assert {*PROBES} - black == {"gradient", "other_loss", "unbounded"}


@pytest.mark.parametrize(
    "attack",
    [
        pgd(beta=0.1, steps=10),
        pgd(beta=0.5, steps=5, norm="l2", loss="dlr", keep="best"),
        PERTURBATIONS["fgsm"](beta=0.05, steps=2),
        PERTURBATIONS["apgd"](beta=0.1, steps=10, targets=2),
        PERTURBATIONS["square"](beta=0.1, queries=50),
    ],
    ids=lambda attack: f"{attack.name}-{attack.threat_model.norm}",
)
def test_estimates_are_upper_bounds(digits: tuple[Tensor, Tensor], attack: Perturbation) -> None:
    classifier, other = small_classifier(), small_classifier()
    given = situation(attack, classifier, digits, others=(other, other))
    assert given.survivors.any()
    for probe in PROBES.values():
        outcomes = probe.run(given)
        assert tuple(outcomes) == probe.checks
        assert probe.run(given) == outcomes  # deterministic
        images = int(given.survivors.sum()) if probe.images == "survivors" else len(given.y)
        taken = sum(outcome.forwards + outcome.backwards for outcome in outcomes.values())
        assert taken <= probe.passes(attack) * images, probe.name
        assert taken > 0 or all(outcome.n == 0 and outcome.note for outcome in outcomes.values()), probe.name


def test_nothing_runs_without_survivors(digits: tuple[Tensor, Tensor]) -> None:
    classifier = small_classifier()
    given = situation(pgd(beta=0.9, loss="margin"), classifier, digits, others=(classifier,))
    assert not given.survivors.any()
    for name in NEWLY - {"path"} | {"recording", "unbounded"}:
        for check, outcome in PROBES[name].run(given).items():
            assert outcome[:4] == (0, 60, 0, 0), check


def test_random_networks_are_judged_with_the_draws_of_the_evaluation(
    network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """An attack that finds nothing new is not credited with the chance of other draws."""
    noisy = RandomClassifier(lambda x: network(x + 0.3 * torch.randn_like(x)), (1, 8, 8), 10, samples=2)

    class Idle(PGD):
        name = "idle"

        def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
            return x

    given = situation(Idle(beta=0.1), noisy, digits)
    assert 0 < given.survivors.sum() < 60
    for name in ("more_steps", "step_size", "other_loss"):
        assert PROBES[name].run(given)[name].count == 0, name


def test_line_has_the_distances_that_the_tests_assume() -> None:
    assert isinstance(LINE.network, Line) and FOOLED.sum() == 28
    assert ((X - RADIUS > 0) & (X + RADIUS < 1)).all()


def test_more_steps_repeats_one_of_several_restarts() -> None:
    """The check costs the same, however many restarts the attack has, and stays within its estimate."""
    images = Digits()()["test"][:20]
    outcomes, estimates = [], []
    for restarts in (1, 8):
        attack = PERTURBATIONS["apgd"](beta=0.01, steps=5, restarts=restarts)
        outcomes.append(PROBES["more_steps"].run(situation(attack, small_classifier(), images))["more_steps"])
        estimates.append(PROBES["more_steps"].passes(attack))
    passes = [outcome.forwards + outcome.backwards for outcome in outcomes]
    assert 0 < passes[0] == passes[1] <= 20 * estimates[0] == 20 * estimates[1]
