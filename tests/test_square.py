"""The Square attack against exact distances, a reference of its random numbers, and torchattacks."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from helpers.oracles import Line, line
from torch import Tensor, nn

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.threat import Threat
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.base import lp_norm
from gtn_bench.perturbations.counters import uniform_rows
from gtn_bench.perturbations.windows import WINDOWS, LinfWindows, Windows, bump

Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)
SHAPES = [(1, 8, 8), (3, 9, 5), (2, 1, 7), (1, 2, 2), (4, 12, 3)]
both = pytest.mark.parametrize("norm", ["linf", "l2"])


def square(**fields: Any) -> Any:
    return PERTURBATIONS["square"](**fields)


def unfooled(shape: tuple[int, int, int]) -> Classifier:
    """Return a classifier that always predicts class 0, by a margin that depends on the image."""

    def logits(x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).mean(dim=1) + 2, x.flatten(1)[:, 0]], dim=1)

    return Classifier(logits, shape, 2)


def proposed(windows: Windows, best: Tensor, share: float, draws: Tensor) -> Tensor:
    """Return the proposed images (N, C, H, W). Those that do not raise the margin are taken back."""
    pixels = best.flatten(1).clone()
    windows.draw(draws[:, None], [share])
    windows.propose(pixels, 0)
    result, rows = pixels.clone(), torch.arange(len(best)) % 4
    logits = torch.tensor([[1, 3, 2], [1, 2, 3], [2, 3, 4], [torch.nan, 0, 1.0]])[rows]  # margins -1, 1, 2, NaN
    loss = torch.tensor([-torch.inf, 0.5, 2, -torch.inf])[rows]
    windows.keep_better(pixels, logits, torch.full((len(best),), 1), loss)
    assert torch.equal(loss, torch.tensor([-1, 1, 2, -torch.inf])[rows])
    assert torch.equal(pixels, result.where(rows[:, None] < 2, best.flatten(1)))
    return result.view_as(best)


def splitmix64(state: int) -> int:
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def test_numbers_are_those_of_splitmix64() -> None:
    found = uniform_rows(torch.tensor([0, 5, 2**63 - 1]), 3, 2, 4)
    gamma = 0x9E3779B97F4A7C15
    for image, seed in enumerate([0, 5, 2**63 - 1]):
        first = splitmix64((seed + gamma) % 2**64)
        for row in range(2):
            for place in range(4):
                counter = (3 + row) * 2**32 + place
                expected = (splitmix64((first + counter * gamma) % 2**64) >> 40) / 2**24
                assert found[image, row, place] == expected


def test_numbers_are_uniform_and_independent() -> None:
    rows = uniform_rows(torch.arange(300), 0, 40, 7)
    assert rows.min() >= 0 and rows.max() < 1
    assert torch.histc(rows, 10, 0, 1).sub(rows.numel() / 10).abs().max() < 5 * math.sqrt(rows.numel() * 0.09)
    for view in (rows, rows.transpose(0, 2), rows.transpose(1, 2)):
        apart = view.flatten(1)[1:] - 0.5, view.flatten(1)[:-1] - 0.5
        assert abs(float((apart[0] * apart[1]).mean()) * 12) < 5 / math.sqrt(apart[0].numel())
    assert torch.equal(uniform_rows(torch.arange(5, 9), 10, 3, 7), rows[5:9, 10:13])
    assert torch.equal(uniform_rows(torch.arange(9), 0, 2, 3), rows[:9, :2, :3])


def test_linf_finds_what_exists_and_nothing_else() -> None:
    """The margin of a linear classifier is a sum over pixels, so that accepted changes lead to its largest value."""
    classifier, x, y, distance = line()
    for factor, fooled in ((0.98, False), (1.02, True)):
        for image in distance.argsort()[10:14].tolist():
            one = slice(image, image + 1)
            attack = square(beta=factor * float(distance[image]), queries=1000)
            x_adv = attack(classifier, x[one], y[one], SEEDS[one])
            assert (classifier.predict(x_adv) != y[one]).item() is fooled, (image, factor)


def test_l2_finds_what_exists_and_nothing_else() -> None:
    classifier, x, y, _ = line()
    assert isinstance(classifier.network, Line)
    distance = classifier.network.l2_distance(x).detach()
    for factor, fooled in ((0.98, False), (2.0, True)):
        for image in distance.argsort()[10:14].tolist():
            one = slice(image, image + 1)
            attack = square(beta=factor * float(distance[image]), queries=1000, norm="l2")
            x_adv = attack(classifier, x[one], y[one], SEEDS[one])
            assert (classifier.predict(x_adv) != y[one]).item() is fooled, (image, factor)


@both
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_of_any_shape_stay_in_ball_and_box(shape: tuple[int, int, int], norm: Any) -> None:
    x = torch.rand(12, *shape, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(12, dtype=torch.int64)
    classifier = unfooled(shape)
    attack = square(beta=0.3, norm=norm, queries=40)
    x_adv = attack(classifier, x, y, SEEDS[:12])
    assert (lp_norm(x_adv - x, norm) <= 0.3 * (1 + 1e-5)).all() and (lp_norm(x_adv - x, norm) > 0.1).all()
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert attack.threat_model == attack.search_region == Threat(norm, 0.3)


@both
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.8, 0.2, 0.001])
def test_every_window_is_proposed(shape: tuple[int, int, int], norm: Any, share: float) -> None:
    """Every pixel changes in some proposals, the last row and column included; an L-inf proposal always differs."""
    x = torch.full((3000, *shape), 0.5)
    windows = WINDOWS[norm](x, 0.1)
    at_start, each = windows.numbers(shape)
    best = windows.start(uniform_rows(torch.arange(3000), 0, 1, at_start)[:, 0])
    draws = uniform_rows(torch.arange(3000), 1, 1, each)[:, 0]
    changed = proposed(windows, best, share, draws) != best
    if norm == "linf":
        assert changed.flatten(1).any(dim=1).all()
    assert changed.float().mean(dim=0).min() > 0.2 / (shape[1] * shape[2])


@both
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.8, 0.2, 0.001])
def test_compiled_proposals_equal_those_of_torch(shape: tuple[int, int, int], norm: Any, share: float) -> None:
    pytest.importorskip("numba")
    x = torch.rand(200, *shape, generator=torch.Generator().manual_seed(0))
    best, found = None, []
    for compiled in (True, False):
        windows = WINDOWS[norm](x, 0.3)
        assert windows.compiled
        windows.compiled = compiled
        at_start, each = windows.numbers(shape)
        if best is None:
            best = windows.start(uniform_rows(torch.arange(200), 0, 1, at_start)[:, 0])
            best[::3] = x[::3]  # without a change, and with one that cancels the bump
        found.append(proposed(windows, best, share, uniform_rows(torch.arange(200), 1, 1, each)[:, 0]))
    assert torch.equal(*found) if norm == "linf" else torch.allclose(*found, rtol=0, atol=2e-6)


def test_linf_windows_are_squares_at_uniform_places_and_bounds() -> None:
    x = torch.full((4000, 2, 6, 9), 0.5)
    best = x - 0.1
    draws = uniform_rows(torch.arange(4000), 1, 1, 6)[:, 0]
    up = proposed(LinfWindows(x, 0.1), best, 9 / 54, draws) > x  # windows of 3x3; a channel stays where it goes down
    assert set(up.sum(dim=(2, 3)).flatten().tolist()) == {0, 9}
    places = up.any(dim=1).flatten(1).float().argmax(dim=1).bincount(minlength=54).view(6, 9)
    assert (places[:4, :7] - 4000 / 28).abs().max() < 5 * math.sqrt(4000 / 28) and places.sum() == 4000
    channels = up.flatten(2).any(dim=2).float()
    assert channels.amax(dim=1).min() == 1 and (channels.mean(dim=0) - 2 / 3).abs().max() < 0.1


@pytest.mark.parametrize("side", [1, 3, 5, 9, 25])
def test_bump_equals_that_of_torchattacks(side: int) -> None:
    from torchattacks import Square

    theirs = Square(nn.Linear(1, 1), norm="L2")
    theirs.device = torch.device("cpu")
    found = theirs.eta(side)
    ours = bump(side).float()
    assert min((found - ours).abs().max(), (found.T - ours).abs().max()) < 1e-6
    assert bump(side).norm() == pytest.approx(1)


def test_windows_shrink_as_those_of_torchattacks() -> None:
    from torchattacks import Square

    theirs = Square(nn.Linear(1, 1), n_queries=700)
    assert [square(beta=0.1, queries=700).share(query) for query in range(700)] == [
        theirs.p_selection(query) for query in range(700)
    ]


@both
def test_result_of_an_image_depends_on_its_seed_alone(norm: Any, network: nn.Module, digits: Digits) -> None:
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    x, y = digits[0][:30].double(), digits[1][:30]
    attack = square(beta={"linf": 0.15, "l2": 0.9}[norm], norm=norm, queries=80)
    together = attack(classifier, x, y, SEEDS[:30])
    order = torch.randperm(30)
    parts = [attack(classifier, x[rows], y[rows], SEEDS[rows]) for rows in order.split(7)]
    assert torch.equal(torch.cat(parts), together[order])
    assert not torch.equal(attack(classifier, x, y, SEEDS[:30] + 100), together)
    fooled = classifier.predict(together) != y
    assert 0.1 < fooled.float().mean() < 0.95  # images retire at different queries


@both
def test_queries_are_counted_and_bounded(norm: Any, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    never = unfooled((1, 8, 8))
    for queries in (1, 2, 3, 50):
        attack = square(beta=0.1, norm=norm, queries=queries)
        before = never.forwards
        x_adv = attack(never, x, torch.zeros_like(y), SEEDS)
        assert (never.forwards - before, never.backwards) == (60 * queries, 0)
        assert attack.passes == queries and (queries > 1) is (not torch.equal(x_adv, x))
    attack = square(beta={"linf": 0.2, "l2": 1.5}[norm], norm=norm, queries=100)
    found = attack(classifier, x, y, SEEDS)
    wrong = classifier.predict(x) != y
    assert torch.equal(found[wrong], x[wrong])
    assert classifier.forwards < 0.8 * 60 * 100  # without the clean predictions


@both
def test_more_queries_continue_where_fewer_stopped(norm: Any, classifier: Classifier, digits: Digits) -> None:
    """A strength of zero is the identity, and no query decides otherwise."""
    x, y = digits
    assert torch.equal(square(beta=0.0, norm=norm)(classifier, x, y, SEEDS), x) and classifier.forwards == 0
    attack = square(beta=0.1, norm=norm, queries=30)
    doubled = attack.with_steps(2)
    assert doubled.queries == 60 and doubled.threat_model == attack.threat_model


@both
@pytest.mark.parametrize("queries", [150])
def test_robust_accuracy_is_that_of_torchattacks(
    norm: Any, queries: int, classifier: Classifier, digits: Digits
) -> None:
    """Windows of torchattacks are the same for all images of a batch, so that its accuracy varies more."""
    x, y = digits
    beta = {"linf": 0.12, "l2": 0.8}[norm]
    theirs = PERTURBATIONS["torchattacks"](
        attack="Square", beta=beta, params={"norm": norm, "n_queries": queries}, batch_size=10
    )
    accuracy = {}
    for attack in (square(beta=beta, norm=norm, queries=queries), theirs):
        hits = [
            (classifier.predict(attack(classifier, images, labels, seeds)) == labels).float()
            for images, labels, seeds in zip(x.split(10), y.split(10), SEEDS.split(10), strict=True)
        ]
        accuracy[attack.name] = float(torch.cat(hits).mean())
    assert 0.1 < accuracy["torchattacks"] < 0.9
    assert accuracy["square"] <= accuracy["torchattacks"] + 0.05


BAD: list[tuple[dict[str, Any], str]] = [
    ({"norm": "l1"}, "norm: 'square' expects one of linf, l2, got 'l1'; did you mean 'l2'?"),
    ({"queries": 0}, "queries: 'square' expects a number greater than 0, got 0"),
    ({"queries": 10.5}, "queries: 'square' expects an integer, got 10.5"),
    ({"p_init": 0.0}, "p_init: 'square' expects a number greater than 0, got 0.0"),
    ({"p_init": 1.5}, "p_init: 'square' expects a number at most 1, got 1.5"),
    ({"beta": -0.1}, "beta: 'square' expects a number at least 0, got -0.1"),
    (
        {"target": "next"},
        "target: 'square' does not know this key; known: beta, norm, p_init, queries",
    ),
]


@pytest.mark.parametrize("fields, message", BAD, ids=[row[1] for row in BAD])
def test_invalid_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(PERTURBATIONS["square"], {"beta": 0.1, **fields}, "")
    assert str(refused.value) == message
