"""Certified bounds against exact answers, hand computations, random points and another implementation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.certification import CERTIFIERS
from gtn_bench.certification.backward import Problem
from gtn_bench.certification.balls import Balls, balls
from gtn_bench.certification.graph import evaluate
from gtn_bench.certification.layers import layer_bounds
from gtn_bench.certification.margins import differences, interval_margins, margins
from gtn_bench.certification.operations import Maximum, Rectifier
from gtn_bench.certification.proofs import SLOPES, by_intervals, by_linear_bounds, with_slope
from gtn_bench.certification.relaxation import choice, contenders, lines, planes
from gtn_bench.certification.tracing import trace
from gtn_bench.config.threat import Threat

METHODS = {"interval": by_intervals, "crown": by_linear_bounds}
ROUNDING = 1e-4  # bounds are lower by a margin for float32


def seeded(layers: Sequence[nn.Module], seed: int = 0) -> nn.Sequential:
    """Return a network with weights from a seed."""
    network = nn.Sequential(*layers)
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) / max(1, parameter[0].numel()) ** 0.5
    return network.eval()


def dense(sizes: Sequence[int], seed: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for one, two in itertools.pairwise(sizes):
        layers += [nn.Linear(one, two), nn.ReLU()]
    return seeded(layers[:-1], seed)


def bound(method: str, network: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    with torch.no_grad():
        return METHODS[method](trace(network, x), balls(x.double(), threat), y)


def exact_margin(network: nn.Sequential, x: Tensor, y: int, epsilon: float) -> float:
    """Return the smallest margin in a linf ball and the pixel range: one linear program per activation pattern."""
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    weights = [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in linear]
    clean = x.flatten().double().numpy()
    box = list(zip(np.maximum(clean - epsilon, 0), np.minimum(clean + epsilon, 1), strict=True))
    hidden = sum(len(bias) for _, bias in weights[:-1])
    best = np.inf
    for pattern in itertools.product((0.0, 1.0), repeat=hidden):
        matrix, constant, rows, limits, start = np.eye(len(clean)), np.zeros(len(clean)), [], [], 0
        for weight, bias in weights[:-1]:
            matrix, constant = weight @ matrix, weight @ constant + bias
            active = np.array(pattern[start : start + len(bias)])
            sign = 1 - 2 * active  # active: the value is at least zero
            rows.append(sign[:, None] * matrix)
            limits.append(-sign * constant)
            matrix, constant, start = active[:, None] * matrix, active * constant, start + len(bias)
        weight, bias = weights[-1]
        matrix, constant = weight @ matrix, weight @ constant + bias
        for other in {*range(len(bias))} - {y}:
            found = linprog(matrix[y] - matrix[other], np.vstack(rows), np.concatenate(limits), bounds=box)
            if found.status == 0:
                best = min(best, found.fun + constant[y] - constant[other])
    return float(best)


@pytest.mark.slow
def test_bounds_are_below_the_exact_margin_and_crown_is_near_it() -> None:
    gaps = []
    proven = robust = 0
    for seed in range(3):
        network = dense([2, 4, 3, 3], seed)
        x = torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
        y = network(x).argmax(dim=1)
        for epsilon in (0.03, 0.15):
            threat = Threat("linf", epsilon)
            found = {name: bound(name, network, x, y, threat).amin(dim=1) for name in METHODS}
            (mask,) = CERTIFIERS["crown"]()(network, x, y, [threat], torch.arange(3))
            for i in range(3):
                exact = exact_margin(network, x[i], int(y[i]), epsilon)
                assert found["interval"][i] <= found["crown"][i] + 1e-12
                assert found["crown"][i] < exact
                assert bool(mask[i]) == bool(found["crown"][i] > 0)
                assert exact > 0 or not mask[i]
                proven, robust = proven + int(mask[i]), robust + int(exact > 0)
                if found["crown"][i] > 0:
                    gaps.append(exact - float(found["crown"][i]))
    assert robust >= 9 and proven >= 0.9 * robust
    assert np.median(gaps) < ROUNDING  # most of them are exact


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_bounds_of_linear_networks_are_exact(norm: str, name: str) -> None:
    """Without a rectifier, the answer is a linear program or, on the L2 ball, a convex one."""
    network = seeded([nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3)])
    x = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    x[0, 0, 0] = 0.0  # some pixels are at the end of their range
    y = network(x).argmax(dim=1)
    found = bound(name, network, x, y, Threat(norm, 0.4))  # type: ignore[arg-type]
    corner = torch.zeros(1, 1, 3, 3)
    jacobian = torch.autograd.functional.jacobian(lambda pixels: network(pixels)[0], corner)
    weights = jacobian.flatten(1).double().numpy()
    for i in range(4):
        clean, logits = x[i].flatten().double().numpy(), network(x[i : i + 1])[0].detach().double().numpy()
        others = [k for k in range(3) if k != y[i]]
        for k, value in zip(others, found[i].tolist(), strict=True):
            slope = weights[y[i]] - weights[k]
            change = np.clip(-0.4 * np.sign(slope), -clean, 1 - clean) @ slope
            if norm == "l2":
                limits = list(zip(-clean, 1 - clean, strict=True))
                inside = {"type": "ineq", "fun": lambda d: 0.4**2 - d @ d, "jac": lambda d: -2 * d}
                start = np.clip(-0.1 * slope / np.linalg.norm(slope), -clean, 1 - clean)
                solved = minimize(
                    lambda d, slope=slope: slope @ d,
                    start,
                    jac=lambda d, slope=slope: slope,
                    bounds=limits,
                    constraints=[inside],
                    method="SLSQP",
                    options={"ftol": 1e-12, "maxiter": 500},
                )
                change = solved.fun
            assert value == pytest.approx(logits[y[i]] - logits[k] + change, abs=2e-5)


def test_bounds_equal_a_computation_by_hand() -> None:
    """Pixels 0.5 +- 0.1; hidden: the rectified difference and sum; logits: the sum minus 0.65 first.

    The difference is in [-0.2, 0.2] and the sum in [0.8, 1.2], so that intervals give 0.8 - 0.2. The linear bound
    relu(d) <= d / 2 + 0.1 gives the minimum of 0.5 a + 1.5 b - 0.1, which is 0.7.
    """
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    weights = {"1.weight": [[1.0, -1.0], [1.0, 1.0]], "1.bias": [0.0, 0.0]}
    weights |= {"3.weight": [[0.0, 1.0], [1.0, 0.0]], "3.bias": [-0.65, 0.0]}
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    assert bound("interval", network, x, y, Threat("linf", 0.1)).item() == pytest.approx(0.6 - 0.65, abs=1e-5)
    assert bound("crown", network, x, y, Threat("linf", 0.1)).item() == pytest.approx(0.7 - 0.65, abs=1e-5)


def layer_cases() -> dict[str, tuple[list[nn.Module], int]]:
    """Return networks that together have all kinds of layers, and the size of their images."""
    norm = nn.BatchNorm2d(4)
    norm.running_mean, norm.running_var = torch.randn(4) / 5, torch.rand(4) + 0.5
    return {
        "stride": (
            [nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)],
            6,
        ),
        "chain": (
            [
                nn.Conv2d(1, 4, 3, padding=1),
                nn.Conv2d(4, 4, 3, 2, 1),
                norm,
                nn.LeakyReLU(0.1),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(4, 3),
            ],
            6,
        ),
        "maximum": (
            [
                nn.Conv2d(1, 4, 3, padding=1),
                nn.MaxPool2d(3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(4, 4, 3, padding=1),
                nn.MaxPool2d(2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(16, 3),
            ],
            7,
        ),
        "average": (
            [
                nn.Conv2d(1, 4, 2, groups=1),
                nn.ReLU(),
                nn.AvgPool2d(3, 2, 1),
                nn.Conv2d(4, 4, 1, groups=2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(),
                nn.Linear(36, 3),
            ],
            6,
        ),
    }


def points(region: Balls, count: int) -> Tensor:
    """Return random images of balls (count, N, C, H, W), most of them at their boundary."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(count, *region.low.shape, generator=draw, dtype=torch.float64)
    if region.radius is None:
        return torch.where(noise > 0, region.low, region.high)
    change = noise / noise.flatten(2).norm(dim=2).view(count, -1, 1, 1, 1) * region.radius
    return (region.center + change).clamp(0, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("case", sorted(layer_cases()))
def test_no_point_of_the_ball_is_below_any_bound(case: str, norm: str) -> None:
    """Holds for the values of all layers and for margins, with every slope; linear bounds are never the worse ones."""
    layers, side = layer_cases()[case]
    network = seeded(layers)
    x = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(2))
    y = network(x).argmax(dim=1)
    graph = trace(network, x)
    region = balls(x.double(), Threat(norm, {"linf": 0.05, "l2": 0.4}[norm]))  # type: ignore[arg-type]
    inside = points(region, 300)
    layers_at = [torch.stack([evaluate(graph[: k + 1], part) for part in inside]) for k in range(len(graph))]
    outputs = layers_at[-1]
    truth = torch.einsum("pnk,nmk->pnm", outputs, differences(y, 3, torch.float64)).amin(dim=0)
    with torch.no_grad():
        interval = layer_bounds(graph, region, None)
        loose, better = interval_margins(Problem(graph, region, {}), interval, y), 0.0
        assert (loose <= truth).all()
        for slope in ("parallel", "adaptive"):
            bounds = layer_bounds(graph, region, slope)  # type: ignore[arg-type]
            assert all(
                (low <= at).all() and (at <= high).all()
                for low, at, high in zip(bounds.lows, layers_at, bounds.highs, strict=True)
            )
            assert all((low >= other).all() for low, other in zip(bounds.lows, interval.lows, strict=True))
            for last in SLOPES:
                problem = Problem(graph, region, bounds.errors)
                found = margins(problem, with_slope(graph, bounds, last), torch.arange(3), y)
                assert (found <= truth).all()
                better = max(better, float((found - loose).sum()))
        best = by_linear_bounds(graph, region, y)
    assert better > 0
    assert (best <= truth).all() and (best >= by_intervals(graph, region, y) - 1e-12).all()


def test_lines_and_planes_bound_their_functions() -> None:
    draw = torch.Generator().manual_seed(3)
    ends = torch.randn(2, 4, 2, 5, 5, generator=draw, dtype=torch.float64)
    low, high = ends.amin(dim=0), ends.amax(dim=0)
    for share in torch.rand(200, *low.shape, generator=draw, dtype=torch.float64).round(decimals=1):
        x = low + share * (high - low)
        for slope in SLOPES:
            for operation in (Rectifier(0.0), Rectifier(0.1)):
                line, y = lines(operation, low, high, slope), operation.apply(x)
                assert (line.lower * x <= y + 1e-12).all()
                assert (y <= line.upper * x + line.intercept + 1e-12).all()
        for pooling in (Maximum((3, 3), (2, 2), (1, 1)), Maximum((2, 2), (2, 2), (0, 0))):
            plane, y = planes(pooling, low, high), pooling.apply(x)
            one = choice(pooling, low, high)
            allowed = contenders(pooling, low, high)
            windows = F.unfold(F.pad(x, [pooling.padding[0]] * 4), pooling.kernel, stride=pooling.stride)
            windows = windows.view(4, 2, -1, *y.shape[2:])
            assert ((plane.lower * windows).sum(dim=2) <= y + 1e-12).all()
            chosen = windows.gather(2, one.place.long().unsqueeze(2)).squeeze(2)
            assert (chosen <= y).all() and (y <= chosen + one.intercept + 1e-12).all()
            moved = pooling.apply(torch.where(allowed, x, low))  # others never decide
            assert ((moved == y) | ((y == chosen) & (one.intercept == 0))).all()
            assert (y <= (plane.upper * windows).sum(dim=2) + plane.intercept + 1e-12).all()
            assert (plane.upper >= 0).all() and (plane.upper <= 1).all() and (plane.lower.sum(dim=2) == 1).all()


def test_parallel_bounds_equal_those_of_a_zonotope() -> None:
    """ART's DeepZ propagates forward, in float32, what parallel bounds propagate backward."""
    deep_z = pytest.importorskip("art.estimators.certification.deep_z.deep_z")
    network = seeded([nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)])
    x = 0.2 + 0.6 * torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(4))
    y = network(x).argmax(dim=1)
    graph, region = trace(network, x), balls(x.double(), Threat("linf", 0.05))
    with torch.no_grad():
        bounds = layer_bounds(graph, region, "parallel")
        ours = margins(Problem(graph, region, bounds.errors), bounds, torch.arange(6), y).amin(dim=1)
        for i in range(6):
            zonotope = torch.cat([x[i].view(1, 9), 0.05 * torch.eye(9)])
            for layer in network[1:]:
                if isinstance(layer, nn.ReLU):
                    zonotope = deep_z.ZonoReLU()(zonotope)
                else:
                    assert isinstance(layer, nn.Linear)
                    moved = deep_z.ZonoDenseLayer(layer.in_features, layer.out_features)
                    moved.weight, moved.bias = layer.weight, layer.bias
                    zonotope = moved(zonotope)
            gaps = zonotope[:, y[i]].unsqueeze(1) - zonotope[:, [k for k in range(3) if k != y[i]]]
            assert ours[i].item() == pytest.approx((gaps[0] - gaps[1:].abs().sum(dim=0)).min().item(), abs=1e-4)
