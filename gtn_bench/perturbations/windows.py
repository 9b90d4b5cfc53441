"""Proposals of the Square attack: changes of a random square window of each image, in the L-inf and the L2 ball."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Windows(Protocol):
    """The start and the proposals of the Square attack in one norm, for N images.

    Args:
        x: Clean images (N, C, H, W).
        epsilon: Radius of the ball.
    """

    def __init__(self, x: Tensor, epsilon: float) -> None: ...

    @staticmethod
    def numbers(shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many random numbers the start of an image requires, and how many a proposal.

        Args:
            shape: Channels, height, width.
        """

    def start(self, draws: Tensor) -> Tensor:
        """Return the images (N, C, H, W) to start from, on the surface of the ball but for the clipping to [0, 1].

        Args:
            draws: Uniform random numbers (N, K).
        """

    def propose(self, best: Tensor, share: float, draws: Tensor) -> Tensor:
        """Return images (N, C, H, W) in the ball and in [0, 1] that differ from the best ones in random windows.

        Args:
            best: The best images so far (N, C, H, W).
            share: Share of the pixels in a window.
            draws: Uniform random numbers (N, K).
        """

    def retain(self, rows: Tensor) -> None:
        """Drop the other images.

        Args:
            rows: Mask (N,) of the images to go on with.
        """


class LinfWindows:
    """Every pixel is at a bound of the ball. A proposal moves all of a window to one of both bounds, per channel.

    Args:
        x: Clean images (N, C, H, W).
        epsilon: Radius of the ball.
    """

    def __init__(self, x: Tensor, epsilon: float) -> None:
        self.lower, self.upper = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)

    @staticmethod
    def numbers(shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many random numbers the start of an image requires, and how many a proposal.

        Args:
            shape: Channels, height, width.
        """
        return shape[0] * shape[2], 2 + 2 * shape[0]

    def start(self, draws: Tensor) -> Tensor:
        """Return images with vertical stripes, each at a random bound.

        Args:
            draws: Uniform random numbers (N, C * W).
        """
        n, channels, _, width = self.lower.shape
        return self.upper.where(draws.view(n, channels, 1, width) < 0.5, self.lower)

    def propose(self, best: Tensor, share: float, draws: Tensor) -> Tensor:
        """Return images with one window at random bounds.

        Bounds that would leave the image as it is are drawn again, as in the authors' code: no query is wasted.

        Args:
            best: The best images so far (N, C, H, W).
            share: Share of the pixels in a window.
            draws: Uniform random numbers (N, 2 + 2 * C): place, bounds, other bounds.
        """
        channels, height, width = best.shape[1:]
        side = _side(share, height, width)
        rows, columns = (_span(draws[:, axis], side, size) for axis, size in enumerate((height, width)))
        window = rows[:, None, :, None] & columns[:, None, None, :]
        up, other = (draws[:, 2:] < 0.5).split(channels, dim=1)  # (N, C) each
        proposed = self.upper.where(up[:, :, None, None], self.lower).where(window, best)
        same = (proposed == best).flatten(1).all(dim=1).nonzero().squeeze(1)
        if len(same):
            up, other = up[same], other[same]
            other = other ^ (other == up).all(dim=1, keepdim=True)
            changed = self.upper[same].where(other[:, :, None, None], self.lower[same])
            proposed[same] = changed.where(window[same], best[same])
        return proposed

    def retain(self, rows: Tensor) -> None:
        """Drop the other images.

        Args:
            rows: Mask (N,) of the images to go on with.
        """
        self.lower, self.upper = self.lower[rows], self.upper[rows]


class L2Windows:
    """A proposal moves the change of one window into another, where it adds a bump with two signs.

    Args:
        x: Clean images (N, C, H, W).
        epsilon: Radius of the ball.
    """

    def __init__(self, x: Tensor, epsilon: float) -> None:
        self.x, self.epsilon = x, epsilon

    @staticmethod
    def numbers(shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many random numbers the start of an image requires, and how many a proposal.

        Args:
            shape: Channels, height, width.
        """
        channels, height, width = shape
        side = _tile_side(height, width)
        return (channels + 1) * (height // side) * (width // side), 5 + channels

    def start(self, draws: Tensor) -> Tensor:
        """Return images with a grid of bumps, five along the shorter side, with random signs and directions.

        Args:
            draws: Uniform random numbers (N, (C + 1) * rows * columns).
        """
        import torch

        x, epsilon = self.x, self.epsilon
        channels, height, width = x.shape[1:]
        side = _tile_side(height, width)
        rows, columns = height // side, width // side
        one = bump(side).to(x)
        drawn = (draws < 0.5).view(len(x), channels + 1, rows, columns)
        drawn = drawn.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        bumps = one.repeat(rows, columns).where(drawn[:, :1], one.T.repeat(rows, columns))
        delta = torch.zeros_like(x)
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        delta[:, :, top : top + rows * side, left : left + columns * side] = bumps.where(drawn[:, 1:], -bumps)
        return _on_sphere(x, delta, epsilon)

    def propose(self, best: Tensor, share: float, draws: Tensor) -> Tensor:
        """Return images whose change in a second window is moved to a first one.

        Args:
            best: The best images so far (N, C, H, W).
            share: Share of the pixels in a window.
            draws: Uniform random numbers (N, 5 + C): two places, direction of the bump, its signs.
        """
        import torch

        x, epsilon = self.x, self.epsilon
        channels, height, width = x.shape[1:]
        side = _odd_side(share, height, width)
        spans = [_span(draws[:, number], side, (height, width)[number % 2]).to(x) for number in range(4)]
        first, second = (spans[n][:, None, :, None] * spans[n + 1][:, None, None, :] for n in (0, 2))  # (N, 1, H, W)
        either = torch.maximum(first, second)
        delta = best - x
        square = delta.square()
        unused = (epsilon**2 - square.sum(dim=(1, 2, 3), keepdim=True)).clamp_min(0) / channels
        available = ((square * either).sum(dim=(2, 3), keepdim=True) + unused).sqrt()  # (N, C, 1, 1)
        sign = 1 - 2 * (draws[:, 5:] < 0.5).to(x)
        new = _placed(bump(side).to(x), draws, height, width)[:, None] * sign[:, :, None, None]
        new = new + _normalized(delta * first, dims=(2, 3))
        delta = delta * (1 - either) + available * _normalized(new, dims=(2, 3))
        return _on_sphere(x, delta, epsilon)

    def retain(self, rows: Tensor) -> None:
        """Drop the other images.

        Args:
            rows: Mask (N,) of the images to go on with.
        """
        self.x = self.x[rows]


WINDOWS: dict[str, type[Windows]] = {"linf": LinfWindows, "l2": L2Windows}


@functools.cache
def bump(side: int) -> Tensor:
    """Return the bump of the L2 attack: nested rectangles, positive in the upper and negative in the lower half.

    Args:
        side: Length of its sides.

    Returns:
        A matrix (side, side) of norm one, float64.
    """
    import torch

    halves = [_pyramid(side // 2, side), -_pyramid(side - side // 2, side)]
    whole = torch.cat(halves)
    return whole / whole.norm()


def _pyramid(height: int, width: int) -> Tensor:
    """Return the sum of nested rectangles (height, width), normalized; the k-th, from inside, adds ``1 / k**2``."""
    import torch

    values = torch.zeros(height, width, dtype=torch.float64)
    middle = height // 2, width // 2
    for ring in range(max(middle) + 1):
        top, left = (max(0, center - ring) for center in middle)
        values[top : middle[0] + ring + 1, left : middle[1] + ring + 1] += 1 / (ring + 1) ** 2
    return values / values.norm().clamp_min(1e-12)


def _placed(one: Tensor, draws: Tensor, height: int, width: int) -> Tensor:
    """Return a bump or its transpose at the first place of each image (N, H, W), on zeros."""
    import torch

    side = len(one)
    canvas = one.new_zeros(2, 2 * height, 2 * width)
    canvas[0, height : height + side, width : width + side] = one
    canvas[1, height : height + side, width : width + side] = one.T
    views = canvas.unfold(1, height, 1).unfold(2, width, 1)  # (2, H + 1, W + 1, H, W)
    top, left = (_first(draws[:, axis], side, size) for axis, size in enumerate((height, width)))
    return views[(draws[:, 4] < 0.5).to(torch.int64), height - top, width - left]


def _first(draw: Tensor, side: int, size: int) -> Tensor:
    """Return the first row or column (N,) of a window: one of ``size - side + 1``, with the same probability."""
    return (draw * (size - side + 1)).long()


def _span(draw: Tensor, side: int, size: int) -> Tensor:
    """Return which rows or columns (N, size) are in a window."""
    import torch

    offset = torch.arange(size, device=draw.device) - _first(draw, side, size)[:, None]
    return (offset >= 0) & (offset < side)


def _side(share: float, height: int, width: int) -> int:
    """Return the side of a window with a share of the pixels of an image."""
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def _odd_side(share: float, height: int, width: int) -> int:
    """Return the side of a window, an odd number of at least three if the image is as large."""
    side = max(_side(share, height, width), 3)
    largest = min(height, width)
    return min(side + 1 - side % 2, largest - 1 + largest % 2)


def _tile_side(height: int, width: int) -> int:
    return max(min(height, width) // 5, 1)


def _normalized(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    return values / values.square().sum(dim=dims, keepdim=True).sqrt().clamp_min(1e-12)


def _on_sphere(x: Tensor, delta: Tensor, epsilon: float) -> Tensor:
    """Return images at distance epsilon in the direction of delta, clipped to [0, 1]."""
    return (x + epsilon * _normalized(delta, dims=(1, 2, 3))).clamp(0, 1)
