"""Coefficients of linear functions of feature maps, stored only where they can be other than zero.

A row is a linear function of the values of one layer, for one image. The coefficients of a neuron behind convolutions
lie in a small window of the feature maps, at a place that differs between rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Window(NamedTuple):
    """Coefficients of B rows.

    Attributes:
        values: Coefficients (B, D) or (B, C, H, W) of all values of the layer, or (B, C, h, w) of those in a window.
        corner: First row and column of each window (B, 2), which can lie outside of the maps; None without windows.
    """

    values: Tensor
    corner: Tensor | None = None


def one_hot(index: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Window:
    """Return rows that each pick one value of a layer.

    Args:
        index: Position of the value in the flat layer (B,).
        shape: Shape of the layer.
        dtype: Type of the coefficients.
    """
    if len(shape) != 3:
        size = torch.Size(shape).numel()
        return Window(F.one_hot(index, size).to(dtype).view(-1, *shape))
    channels, height, width = shape
    channel, place = index // (height * width), index % (height * width)
    values = F.one_hot(channel, channels).to(dtype).view(-1, channels, 1, 1)
    return Window(values, torch.stack([place // width, place % width], dim=1))


def look_up(values: Tensor, image: Tensor, window: Window) -> Tensor:
    """Return the values of a layer at the coefficients of each row; zero outside of the feature maps.

    Args:
        values: Values for each image (N, D) or (N, C, H, W).
        image: Image of each row (B,).
        window: The rows.

    Returns:
        Values in the shape of the coefficients.
    """
    if window.corner is None:
        return values[image]
    height, width = window.values.shape[2:]
    first, last = window.corner.amin(dim=0).tolist(), window.corner.amax(dim=0).tolist()
    top, left = max(0, -first[0]), max(0, -first[1])
    bottom, right = max(0, last[0] + height - values.shape[2]), max(0, last[1] + width - values.shape[3])
    padded = F.pad(values, (left, right, top, bottom))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[image, :, window.corner[:, 0] + top, window.corner[:, 1] + left]


def masked(window: Window, shape: tuple[int, ...]) -> Window:
    """Return rows without coefficients outside of the feature maps.

    Args:
        window: The rows.
        shape: Shape of the layer.
    """
    if window.corner is None:
        return window
    height, width = window.values.shape[2:]
    first, last = window.corner.amin(dim=0), window.corner.amax(dim=0)
    if min(first.tolist()) >= 0 and last[0] + height <= shape[1] and last[1] + width <= shape[2]:
        return window
    inside = torch.ones(1, 1, *shape[1:], dtype=window.values.dtype, device=window.values.device)
    return window._replace(values=window.values * look_up(inside, torch.zeros_like(window.corner[:, 0]), window))


def whole(window: Window, shape: tuple[int, ...]) -> Window:
    """Return rows with the coefficients of all values of a layer.

    Args:
        window: The rows.
        shape: Shape of the layer.
    """
    if window.corner is None:
        return window
    rows, channels, height, width = window.values.shape
    top, left = (max(0, -first) for first in window.corner.amin(dim=0).tolist())
    last = window.corner.amax(dim=0).tolist()
    high, wide = top + max(shape[1], last[0] + height), left + max(shape[2], last[1] + width)
    places = [torch.arange(size, device=window.values.device) for size in (channels, height, width)]
    offset = (places[0].view(-1, 1, 1) * high + places[1].view(-1, 1)) * wide + places[2]
    start = (window.corner[:, 0] + top) * wide + window.corner[:, 1] + left
    maps = window.values.new_zeros(rows, channels * high * wide)
    maps.scatter_(1, start.view(-1, 1) + offset.view(1, -1), window.values.flatten(1))
    maps = maps.view(rows, channels, high, wide)
    return Window(maps[:, :, top : top + shape[1], left : left + shape[2]].contiguous())


def settled(window: Window, shape: tuple[int, ...]) -> Window:
    """Return rows without coefficients outside of the maps, and without windows if these are as large as the maps.

    Args:
        window: The rows.
        shape: Shape of the layer.
    """
    if window.corner is not None and window.values[0].numel() >= torch.Size(shape).numel():
        return whole(window, shape)
    return masked(window, shape)


def added(one: Window, two: Window, shape: tuple[int, ...]) -> Window:
    """Return the sum of two sets of rows of the same layer.

    Args:
        one: Rows.
        two: As many rows.
        shape: Shape of the layer.
    """
    return Window(whole(one, shape).values + whole(two, shape).values)
