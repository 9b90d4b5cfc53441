"""Lower bounds of the differences between the logit of the label and the others."""

from __future__ import annotations

import torch
from torch import Tensor

from gtn_bench.certification.backward import Problem, bound
from gtn_bench.certification.balls import minimum
from gtn_bench.certification.layers import Bounds, Chunks
from gtn_bench.certification.operations import Affine, Sum
from gtn_bench.certification.windows import Window


def margins(problem: Problem, found: Bounds, rows: Tensor, y: Tensor) -> Tensor:
    """Return lower bounds of the differences between the logit of the label and the others.

    Args:
        problem: Network and images.
        found: Bounds of all layers.
        rows: Images to bound (M,), as positions.
        y: Labels of these images (M,).

    Returns:
        Bounds (M, K - 1).
    """
    specification = differences(y, problem.graph[-1].size, problem.region.low.dtype)
    image = rows.repeat_interleave(specification.shape[1])
    values = specification.flatten(0, 1)
    result = torch.empty(len(values), dtype=values.dtype, device=values.device)
    chunks = Chunks(len(values))
    for part in chunks:
        window, last = Window(values[part]), len(problem.graph) - 1
        answer = bound(problem, last, window, image[part], found.relaxations, upper=False)
        chunks.peak = answer.peak
        result[part] = answer.low
    return result.view(len(rows), -1)


def interval_margins(problem: Problem, found: Bounds, y: Tensor) -> Tensor:
    """Return the lower bounds of `margins` by interval arithmetic, through the last affine operations at once.

    Args:
        problem: Network and images.
        found: Bounds of all layers.
        y: Labels of all N images.

    Returns:
        Bounds (N, K - 1).
    """
    graph, position = problem.graph, len(problem.graph) - 1
    specification = differences(y, graph[-1].size, problem.region.low.dtype)
    images, others, _ = specification.shape
    window = Window(specification.flatten(0, 1))
    constant = torch.zeros(images * others, dtype=specification.dtype, device=y.device)
    while isinstance(operation := graph[position].operation, Affine) and not isinstance(operation, Sum):
        constant = constant + operation.offset(window)
        if position in found.errors:
            error = found.errors[position].repeat_interleave(others)
            constant = constant - window.values.flatten(1).abs().sum(dim=1) * error
        source = graph[position].inputs[0]
        window, position = operation.pull(window, graph[source].shape), source
    if position == 0:
        image = torch.arange(images, device=y.device).repeat_interleave(others)
        return (constant + minimum(problem.region, image, window)).view(images, others)
    values = window.values.view(images, others, -1)
    low, high = (bounds[position].flatten(1).unsqueeze(2) for bounds in (found.lows, found.highs))
    changes = values.clamp(min=0) @ low + values.clamp(max=0) @ high
    return constant.view(images, others) + changes.squeeze(2)


def differences(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return the coefficients of the differences between the logit of the label and each other one.

    Args:
        y: Labels (N,).
        classes: Number of classes K.
        dtype: Type of the coefficients.

    Returns:
        Coefficients (N, K - 1, K).
    """
    identity = torch.eye(classes, dtype=dtype, device=y.device)
    other = torch.arange(classes - 1, device=y.device)
    others = identity[other + (other >= y[:, None])]  # (N, K - 1, K): the classes below the label and those above it
    return identity[y].unsqueeze(1) - others
