"""Linear bounds of rectifiers and of max pooling on intervals.

Sources: Fast-Lin, https://arxiv.org/abs/1804.09699; CROWN, https://arxiv.org/abs/1811.00866.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_bench.certification.operations import Maximum, Rectifier

Slope = Literal["parallel", "adaptive", "flat", "steep"]  # of lower bounds
LOWEST = -1e30  # stands for the padding of max pooling


class Lines(NamedTuple):
    """Bounds ``lower * x <= f(x) <= upper * x + intercept`` of a rectifier, each (N, ...).

    Attributes:
        lower: Slope of the lower bound.
        upper: Slope of the upper bound; the same tensor if the bounds are parallel.
        intercept: Constant of the upper bound.
    """

    lower: Tensor
    upper: Tensor
    intercept: Tensor


class Planes(NamedTuple):
    """Bounds ``lower . x <= f(x) <= upper . x + intercept`` of max pooling.

    Attributes:
        lower: Coefficients of the values of each pooling window (N, C, h * w, H, W).
        upper: Coefficients of the values of each pooling window (N, C, h * w, H, W).
        intercept: Constant of the upper bound (N, C, H, W).
    """

    lower: Tensor
    upper: Tensor
    intercept: Tensor


class Choice(NamedTuple):
    """Bounds ``x[place] <= f(x) <= x[place] + intercept`` of max pooling.

    Attributes:
        place: Position of the value in each pooling window (N, C, H, W), as numbers of the type of the bounds.
        intercept: Constant of the upper bound (N, C, H, W).
    """

    place: Tensor
    intercept: Tensor


def lines(operation: Rectifier, low: Tensor, high: Tensor, slope: Slope) -> Lines:
    """Return linear bounds of a rectifier.

    Args:
        operation: The rectifier.
        low: Lower bounds of its input (N, ...).
        high: Upper bounds of its input (N, ...).
        slope: Lower bound where the sign of the input is open: `parallel` to the upper one, `flat` is that of negative
            values, `steep` that of positive ones, and `adaptive` is `steep` if the interval is more positive than
            negative, else `flat`.
    """
    a = operation.slope
    width = (high - low).clamp(min=1e-300)
    is_open = (low < 0) & (high > 0)
    certain = torch.full_like(low, a).masked_fill(high > 0, 1.0)
    upper = torch.where(is_open, (high - a * low) / width, certain)
    intercept = torch.where(is_open, (a - 1) * high * low / width, 0.0)
    if slope == "parallel":
        return Lines(upper, upper, intercept)
    if slope == "adaptive":
        chosen = torch.full_like(low, a).masked_fill(high > -low, 1.0)
    else:
        chosen = torch.full_like(low, a if slope == "flat" else 1.0)
    return Lines(torch.where(is_open, chosen, upper), upper, intercept)


def planes(operation: Maximum, low: Tensor, high: Tensor) -> Planes:
    """Return linear bounds of max pooling.

    The lower bound is the value with the largest center. The upper bound is ``t + sum(relu(x - t))`` for a threshold t,
    with each rectifier replaced by its chord. It holds for every t. The thresholds tried are the largest lower bound
    and the second largest upper bound in the window; the one whose bound is lower at the center is taken. With the
    latter it is never above the largest upper bound, and with both it is exact if one value is the largest for sure.

    Args:
        operation: The pooling.
        low: Lower bounds of its input (N, C, H, W).
        high: Upper bounds of its input (N, C, H, W).
    """
    lows, highs = (_windows(operation, bound) for bound in (low, high))
    middle = (lows + highs) / 2
    best = middle.argmax(dim=2, keepdim=True)
    lower = torch.zeros_like(lows).scatter_(2, best, 1.0)
    largest = lows.amax(dim=2, keepdim=True)
    second = highs.topk(min(2, highs.shape[2]), dim=2).values[:, :, -1:]
    candidates = []
    for threshold in (largest, torch.maximum(largest, second)):
        width = (highs - lows).clamp(min=1e-300)
        weight = torch.where(highs > threshold, (highs - threshold) / width, 0.0)
        constant = threshold.squeeze(2) - (weight * lows).sum(dim=2)
        candidates.append((weight, constant, (weight * middle).sum(dim=2) + constant))
    (one, one_constant, one_value), (two, two_constant, two_value) = candidates
    first = one_value <= two_value
    return Planes(lower, torch.where(first.unsqueeze(2), one, two), torch.where(first, one_constant, two_constant))


def choice(operation: Maximum, low: Tensor, high: Tensor) -> Choice:
    """Return parallel bounds of max pooling: less tight than `planes`, and several times as fast.

    Args:
        operation: The pooling.
        low: Lower bounds of its input (N, C, H, W).
        high: Upper bounds of its input (N, C, H, W).
    """
    lows, highs = (_windows(operation, bound) for bound in (low, high))
    index = lows.argmax(dim=2, keepdim=True)
    others = highs.scatter(2, index, LOWEST).amax(dim=2)
    return Choice(index.squeeze(2).to(low.dtype), (others - lows.amax(dim=2)).clamp(min=0))


def contenders(operation: Maximum, low: Tensor, high: Tensor) -> Tensor:
    """Return which inputs can be the largest one of a pooling window, where more than one can.

    Args:
        operation: The pooling.
        low: Lower bounds of its input (N, C, H, W).
        high: Upper bounds of its input (N, C, H, W).

    Returns:
        Mask (N, C, H, W).
    """
    lows, highs = (_windows(operation, bound) for bound in (low, high))
    possible = highs > lows.amax(dim=2, keepdim=True)
    possible &= possible.sum(dim=2, keepdim=True) > 1
    columns = possible.flatten(1, 2).flatten(2).to(low.dtype)
    size = (low.shape[2], low.shape[3])
    counts = F.fold(columns, size, operation.kernel, padding=operation.padding, stride=operation.stride)
    return counts > 0


def _windows(operation: Maximum, values: Tensor) -> Tensor:
    """Return the values of each pooling window (N, C, h * w, H', W')."""
    top, left = operation.padding
    padded = F.pad(values, (left, left, top, top), value=LOWEST)
    (height, width), (down, right) = operation.kernel, operation.stride
    windows = padded.unfold(2, height, down).unfold(3, width, right)
    return windows.flatten(4).movedim(4, 2)
