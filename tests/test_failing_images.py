"""Images on which an attack fails: they count as not fooled and are flagged, and the others keep their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.flags import flags
from helpers.oracles import line
from helpers.perturbations import check_and_try
from torch import Tensor, nn

from gtn_bench.config.errors import ConfigError, InvalidPerturbationError, ViewMismatchError
from gtn_bench.data.digits import Digits
from gtn_bench.evaluation.evaluate import AttackResult, evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.evaluation.memory import DoesNotFitError
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.base import Batch
from gtn_bench.perturbations.libraries import trial as trials
from gtn_bench.perturbations.libraries.known import RADIUS, Known
from gtn_bench.perturbations.libraries.minimal import Radius
from gtn_bench.perturbations.search import Bisection, Search
from gtn_bench.reference.batch_classifier import BatchClassifier

BAD = (3, 4, 17, 30)  # images on which attacks of this module fail
SEEDS = torch.arange(40)


class Fragile(LibraryAttack):
    """Steps towards the other class with random lengths, drawn for a whole batch. It fails on marked images."""

    name = "fragile"
    namespace = "torchattacks"
    base_class = "torchattacks.attack:Attack"
    handled = ("model",)
    known = {"PGD": Known("eps", "linf"), "CW": Known(RADIUS, "linf")}
    others = {}
    how: str

    def make(self, classifier: Classifier, seed: int) -> Any:
        return classifier.forwards  # not used

    def generate(self, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        step = classifier.loss_gradient(x, label).sign() * (0.3 + 0.01 * torch.rand(len(x), 1, 1, 1))
        bad = x[:, 0, 0, 0] > 0.9
        if self.how == "raises" and bad.any():
            raise ValueError(f"no start for {int(bad.sum())} of {len(x)} images\nsecond line")
        x_adv = x + step
        if self.how in ("nan", "inf"):
            x_adv[bad, :, 1, 1] = float(self.how)
        return x_adv


@pytest.fixture
def marked() -> tuple[Classifier, Tensor, Tensor]:
    """Return a linear classifier, images (40, 1, 4, 4) of which some are marked, and the predicted classes."""
    classifier, x, _, _ = line(torch.float32)
    x[list(BAD), 0, 0, 0] = 1.0
    return classifier, x, classifier.predict(x)


def run(perturbation: Perturbation, classifier: Classifier, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    clean = evaluate_clean(classifier, x, y)
    return evaluate(perturbation, classifier, clean, x, y, SEEDS[: len(x)], **options)


def on_images(chosen: tuple[int, ...] = BAD) -> Tensor:
    mask = torch.zeros(40, dtype=torch.bool)
    mask[list(chosen)] = True
    return mask


@pytest.mark.parametrize("how", ["raises", "nan", "inf"])
@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
def test_failing_images_are_not_fooled_and_the_others_are(
    how: str, batch_size: int, marked: tuple[Classifier, Tensor, Tensor]
) -> None:
    classifier, x, y = marked
    attack = Fragile(attack="PGD", beta=0.35, how=how, batch_size=batch_size)
    result = run(attack, classifier, x, y, keep=40)
    assert torch.equal(result.prediction != y, ~on_images())
    assert torch.equal(result.examples[list(BAD)], x[list(BAD)]) and (result.linf[~on_images()] > 0.2).all()
    assert flags(result) == ["attack_error"] and result.shares["attack_error"] == len(BAD) / 40
    assert "unchanged" not in result.shares  # all images that did not fail are fooled
    again = run(attack, classifier, x, y, keep=40)
    assert torch.equal(result.examples, again.examples) and result.attack_error == again.attack_error


def test_first_exception_and_number_of_images_are_told(marked: tuple[Classifier, Tensor, Tensor]) -> None:
    results = [run(Fragile(attack="PGD", beta=0.35, how=how, batch_size=10), *marked) for how in ("raises", "nan")]
    assert [result.attack_error for result in results] == [
        "4 of 40 images: ValueError: no start for 2 of 10 images",
        "4 of 40 images: InvalidPerturbationError: 'fragile.PGD' returned non-finite pixels in 2 of 10 images",
    ]
    assert run(Fragile(attack="PGD", beta=0.35, how=""), *marked).attack_error == ""


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_batches_without_failing_images_keep_their_numbers(how: str, marked: tuple[Classifier, Tensor, Tensor]) -> None:
    """Batches of ten images: the third has no marked one. With non-finite pixels, all others keep their numbers."""
    whole, partly = (
        run(Fragile(attack="PGD", beta=0.35, how=one, batch_size=10), *marked, keep=40).examples for one in ("", how)
    )
    same = (whole == partly).flatten(1).all(dim=1)
    assert same[20:30].all() and not same[list(BAD)].any()
    if how == "nan":
        assert torch.equal(~same, on_images())
    else:  # images that were tried again have other draws
        assert not same[10:20].all() and not same[:10].all()


def tried(images: range) -> int:
    """Return how often an image is differentiated if batches with marked images are divided in halves."""
    if len(images) == 1 or not {*images} & {*BAD}:
        return len(images)
    middle = images.start + (len(images) + 1) // 2
    return len(images) + tried(range(images.start, middle)) + tried(range(middle, images.stop))


@pytest.mark.parametrize(
    "how, batch_size, queries",
    [
        ("raises", 40, tried(range(40))),
        ("raises", 1, 40),  # a single image is not tried again
        ("nan", 40, 40 + 4 + 2 + 2 + 4 * 1),  # all, those with non-finite pixels, their halves, each alone
        ("", 40, 40),
    ],
)
def test_queries_of_failed_attempts_count(
    how: str, batch_size: int, queries: int, marked: tuple[Classifier, Tensor, Tensor]
) -> None:
    result = run(Fragile(attack="PGD", beta=0.35, how=how, batch_size=batch_size), *marked)
    assert result.backwards * 40 == result.forwards * 40 == queries


def test_minimal_norm_attacks_survive_failing_images(marked: tuple[Classifier, Tensor, Tensor]) -> None:
    classifier, x, y = marked
    clean = evaluate_clean(classifier, x, y)
    for how in ("raises", "nan", "inf"):
        sweep = [Radius(of=Fragile(attack="CW", beta=beta, how=how), beta=beta) for beta in (0.1, 0.35)]
        small, large = evaluate_sweep(sweep, classifier, clean, x, y, SEEDS)
        assert torch.equal(large.prediction != y, ~on_images()) and (small.prediction == y).all()
        assert small.shares["attack_error"] == large.shares["attack_error"] == 0.1
        assert small.shares["attack_failed"] == 0.1 and "attack_error" in flags(large)


def test_searches_survive_failing_images(marked: tuple[Classifier, Tensor, Tensor]) -> None:
    classifier, x, y = marked
    clean = evaluate_clean(classifier, x, y)
    for how in ("raises", "nan", "inf"):
        of = Fragile(attack="PGD", beta=0.35, how=how)
        for search in (Search, Bisection):
            sweep = [search(of=of, grid=(0.3, 0.35), beta=0.35)]
            (result,) = evaluate_sweep(sweep, classifier, clean, x, y, SEEDS)
            assert torch.equal(result.prediction != y, ~on_images()) and result.shares["attack_error"] == 0.1


class Plain(Perturbation):
    """A perturbation outside of the libraries, which fails in the given way."""

    name = "plain"
    beta_meaning = "nothing"
    how: str
    whole: bool = False

    @property
    def batch(self) -> Batch:
        return "all" if self.whole else "any"

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        CALLS.append(len(x))
        bad = x[:, 0, 0, 0] > 0.9
        if self.how == "nan":
            return x.where(~bad.view(-1, 1, 1, 1), torch.nan)
        raise {
            "config": ConfigError("'plain' expects something else"),
            "memory": torch.OutOfMemoryError("too little"),
            "view": ViewMismatchError("other logits"),
            "any": RuntimeError(f"the first of {len(x)}"),
        }[self.how]


CALLS: list[int] = []


def test_perturbations_of_other_packages_survive_failing_images(marked: tuple[Classifier, Tensor, Tensor]) -> None:
    for whole in (False, True):
        result = run(Plain(beta=0.1, how="nan", whole=whole), *marked, keep=40)
        assert result.shares["attack_error"] == 0.1 and torch.equal(result.examples, marked[1])


@pytest.mark.parametrize(
    "how, error, message, calls",
    [
        ("any", RuntimeError, "the first of 40", 79),  # 1 + 2 + 4 + ... and 40 single images
        ("config", ConfigError, "'plain' expects something else", 1),
        ("memory", DoesNotFitError, "a batch of 40 images does not fit into memory", 1),
        ("view", ViewMismatchError, "other logits", 1),
    ],
)
def test_what_concerns_all_images_is_raised(
    how: str, error: type[Exception], message: str, calls: int, marked: tuple[Classifier, Tensor, Tensor]
) -> None:
    """An exception on every image is the first exception; what no smaller batch can mend is raised at once."""
    attempt: Callable[..., Any] = evaluate
    classifier, x, y = marked
    clean = evaluate_clean(classifier, x, y)
    CALLS.clear()
    with pytest.raises(error, match=message):
        attempt(Plain(beta=0.1, how=how, whole=how == "memory"), classifier, clean, x, y, SEEDS)
    assert len(CALLS) == calls


def test_a_perturbation_of_a_whole_batch_is_not_divided(marked: tuple[Classifier, Tensor, Tensor]) -> None:
    CALLS.clear()
    with pytest.raises(RuntimeError, match="the first of 40"):
        run(Plain(beta=0.1, how="any", whole=True), *marked)
    assert CALLS == [40]


def test_statistics_of_a_batch_are_not_those_of_a_part_of_it() -> None:
    classifier = BatchClassifier(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2)), (1, 4, 4), 2)
    x = torch.rand(20, 1, 4, 4) * 0.8
    y, CALLS[:] = classifier.predict(x), []
    with pytest.raises(RuntimeError, match="the first of 20"):
        run(Plain(beta=0.1, how="any"), classifier, x, y)
    assert CALLS == [20]


class Smooth(nn.Module):
    """Two classes: images with large differences between neighboring pixels, such as noise, and the others."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        margin = self.scale * (x.diff(dim=3).abs().mean(dim=(1, 2, 3)) - 0.1)
        return torch.stack([margin, -margin], dim=1)


@pytest.mark.filterwarnings("ignore:LinearSearchBlended")
def test_foolbox_without_starting_points_for_some_images() -> None:
    """Its initialization adds noise, which never makes a noisy image smooth."""
    classifier = Classifier(Smooth(), (1, 8, 8), 2)
    x = 0.5 + 0.05 * torch.rand(20, 1, 8, 8)
    x[[2, 3, 11]] = torch.rand(3, 1, 8, 8)
    y = classifier.predict(x)
    assert (y == 0).nonzero().flatten().tolist() == [2, 3, 11]
    of = PERTURBATIONS["foolbox"](attack="HopSkipJumpAttack", beta=9.0, params={"steps": 1})
    sweep = [Radius(of=of, beta=9.0)]
    clean = evaluate_clean(classifier, x, y)
    with pytest.raises(ValueError, match=r"init_attack failed for 3\.0 of 20 inputs"):
        sweep[0].nearest(classifier, x, y, SEEDS[:20])
    with pytest.raises(ValueError, match=r"init_attack failed for 3\.0 of 3 inputs"):
        noisy, label = x[y == 0], y[y == 0]
        evaluate_sweep(sweep, classifier, evaluate_clean(classifier, noisy, label), noisy, label, SEEDS[:3])
    (result,) = evaluate_sweep(sweep, classifier, clean, x, y, SEEDS[:20])
    assert torch.equal(result.prediction == y, y == 0)
    assert result.shares["attack_error"] == result.shares["attack_failed"] == 3 / 20
    assert result.attack_error == "3 of 20 images: ValueError: init_attack failed for 3.0 of 20 inputs"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_art_with_non_finite_pixels_in_some_images() -> None:
    """The divergence of probabilities is infinite where one of them is zero after a step, but not before it."""

    class Certain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            first, rest = x.flatten(1)[:, 0], x.flatten(1)[:, 1:]
            margin = self.scale * (rest.mean(dim=1) - 0.5)
            third = torch.where(first == 1, -5.0, -1e4)
            return torch.stack([-margin, margin, third], dim=1)

    classifier = Classifier(Certain(), (1, 4, 4), 3)
    x = torch.rand(12, 1, 4, 4) * 0.9
    bad = [2, 7]
    x[bad, 0, 0, 0] = 1.0
    y = classifier.predict(x)
    attack = PERTURBATIONS["art"](attack="VirtualAdversarialMethod", beta=0.5, params={"max_iter": 2})
    with pytest.raises(InvalidPerturbationError):
        run(attack, classifier, x[bad], y[bad])
    result = run(attack, classifier, x, y)
    fault = "InvalidPerturbationError: 'art.VirtualAdversarialMethod' returned non-finite pixels in 2 of 12 images"
    assert result.attack_error == f"2 of 12 images: {fault}"
    assert result.shares["attack_error"] == 2 / 12 and (result.linf[bad] == 0).all()
    assert (result.linf > 0).sum() > 6


@pytest.mark.parametrize("failing, refused", [(1, False), (2, True)])
def test_validation_accepts_an_attack_without_starting_point_for_one_image(
    failing: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(self: Fragile, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        if (label >= 10 - failing * 9).any():  # the trial images have the classes 9 and 0
            raise ValueError(f"init_attack failed for 1.0 of {len(x)} inputs")
        return x

    trials.run_trial.cache_clear()
    monkeypatch.setattr(Fragile, "generate", generate)
    attack = Fragile(attack="PGD", beta=0.1, how="", params={"steps": failing})
    if refused:
        with pytest.raises(ConfigError, match=r"^attack 'fragile\.PGD' fails on two trial images: ValueError: init_"):
            check_and_try(attack, Digits())
    else:
        check_and_try(attack, Digits())
