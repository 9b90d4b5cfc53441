"""Linear classifiers of many classes, whose smallest adversarial perturbations in the box are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gtn_bench.inference.classifier import Classifier


def linear_classifier(
    classes: int,
    size: int,
    scale: float,
    common: float,
    at_bounds: bool,
    dtype: torch.dtype,
    offset: float = 0.0,
    spread: float = 0.0,
) -> tuple[Classifier, Tensor, Tensor]:
    """Return a random linear classifier and images.

    Args:
        classes: number of classes K.
        size: height and width of the images.
        scale: standard deviation of the weights.
        common: standard deviation of a part of the weights that all classes share.
        at_bounds: whether about two thirds of the pixels are 0 or 1.
        dtype: type of weights and images.
        offset: added to the logit of class 0.
        spread: standard deviation of the logarithms of the classes' factors on their weights.

    Returns:
        The classifier, images (40, 1, size, size), and the classes (40,) that it predicts.
    """
    draw = torch.Generator().manual_seed(classes * size)
    variables = size * size
    weight = scale * torch.randn(classes, variables, generator=draw, dtype=torch.float64)
    weight += common * torch.randn(1, variables, generator=draw, dtype=torch.float64)
    if spread:
        weight *= (spread * torch.randn(classes, 1, generator=draw, dtype=torch.float64)).exp()
    x = torch.rand(40, variables, generator=draw, dtype=torch.float64)
    x = (3 * x - 1).clamp(0, 1) if at_bounds else 0.25 + x / 2
    layer = nn.Linear(variables, classes, dtype=torch.float64)
    layer.weight.data, layer.bias.data = weight, -weight @ x.mean(0)
    layer.bias.data[0] += offset
    classifier = Classifier(nn.Sequential(nn.Flatten(), layer).to(dtype), (1, size, size), classes)
    images = x.view(-1, 1, size, size).to(dtype)
    return classifier, images, classifier.predict(images)


def exact_distances(classifier: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest L2 distances to another class in the box, by bisection of one multiplier per class.

    The nearest image where class c wins against y minimizes ``||d||^2`` subject to one linear constraint and the box.
    By its optimality conditions it is ``clip(multiplier * (w_c - w_y))``, whose gain grows with the multiplier.

    Args:
        classifier: a linear classifier.
        x: images (N, C, H, W).
        y: the classes (N,) that it predicts.

    Returns:
        The distances (N,), infinite if there is none, and whether the box limits the nearest change (N,).
    """
    weight, bias = _weights(classifier)
    rows = x.flatten(1).double()
    best, is_active = torch.full((len(x),), math.inf, dtype=torch.float64), torch.zeros(len(x), dtype=torch.bool)
    for other in range(len(weight)):
        normal = weight[other] - weight[y]
        needed = -((normal * rows).sum(1) + bias[other] - bias[y])
        low, high = torch.zeros(len(x), 1, dtype=torch.float64), torch.full((len(x), 1), 1e9, dtype=torch.float64)

        def gain(multiplier: Tensor, normal: Tensor = normal) -> Tensor:
            return (normal * (multiplier * normal).maximum(-rows).minimum(1 - rows)).sum(1)

        possible = (gain(high) >= needed) & (y != other)
        for _ in range(100):
            middle = (low + high) / 2
            enough = (gain(middle) >= needed)[:, None]
            low, high = low.where(enough, middle), middle.where(enough, high)
        free = high * normal
        change = free.maximum(-rows).minimum(1 - rows)
        distance = change.norm(dim=1).where(possible, math.inf)
        is_active = (change != free).any(dim=1).where(distance < best, is_active)
        best = best.minimum(distance)
    return best, is_active


def boundary_rounding(classifier: Classifier, x: Tensor) -> float:
    """Return a bound on the L2 distance by which rounded logits can move a decision boundary of a linear classifier.

    Args:
        classifier: a linear classifier.
        x: images (N, C, H, W).

    Returns:
        Twice the largest error of a logit, divided by the smallest distance between the weights of two classes.
    """
    weight, bias = _weights(classifier)
    exact = x.flatten(1).double() @ weight.mT + bias
    with torch.no_grad():
        error = (classifier.network(x).double() - exact).abs().max()
    return float(2 * error / torch.pdist(weight).min())


def _weights(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Return the weights (K, D) and biases (K,) of a linear classifier in float64."""
    parameters = list(classifier.network.parameters())
    weight, bias = (next(each for each in parameters if each.dim() == dim).detach().double() for dim in (2, 1))
    return weight, bias
