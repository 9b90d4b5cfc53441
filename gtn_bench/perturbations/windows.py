"""Proposals of the Square attack: changes of a random square window of each image, in the L-inf and the L2 ball."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gtn_bench.inference.losses import margin

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Change(NamedTuple):
    """New values of some pixels of each of N images.

    Attributes:
        at: Numbers of the pixels (N, P) in flattened images.
        old: Their values (N, P) before all changes of a proposal.
        new: Their new values (N, P).
    """

    at: Tensor
    old: Tensor
    new: Tensor


class Windows(ABC):
    """The start and the proposals of the Square attack in one norm, for N images.

    On a CPU with numba, proposals in float32 are made in compiled kernels.

    Args:
        x: Clean images (N, C, H, W).
        epsilon: Radius of the ball.
    """

    def __init__(self, x: Tensor, epsilon: float) -> None:
        import torch

        from gtn_bench.models import numba_backend

        self.x, self.epsilon = x.contiguous(), epsilon
        self.sides: list[int] = []
        self.limits = self.x.flatten(1)  # what changes are relative to (N, ...)
        self.drawn: tuple[Tensor, ...] = ()
        self.arrays: tuple[Any, ...] = ()  # those of `drawn`, then of `limits`, for kernels
        self.number, self.old = 0, x  # number and former values of the last proposal
        self.changes: list[Change] | None = None  # those of the last proposal; None if a compiled kernel made them
        self.compiled = x.dtype == torch.float32 and x.device.type == "cpu" and numba_backend.available()
        if self.compiled:
            from gtn_bench.perturbations import window_kernels

            self.kernels, self.run = window_kernels, numba_backend.run

    @staticmethod
    @abstractmethod
    def numbers(shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many random numbers the start of an image requires, and how many a proposal.

        Args:
            shape: Channels, height, width.
        """

    @abstractmethod
    def start(self, draws: Tensor) -> Tensor:
        """Return the images (N, C, H, W) to start from, on the surface of the ball but for the clipping to [0, 1].

        Args:
            draws: Uniform random numbers (N, K).
        """

    @abstractmethod
    def draw(self, draws: Tensor, shares: Sequence[float]) -> None:
        """Set the windows and the signs of the next proposals.

        Args:
            draws: Uniform random numbers (N, B, K), for B proposals.
            shares: Share of the pixels in the windows of each proposal.
        """

    @abstractmethod
    def changes_of(self, pixels: Tensor, number: int) -> list[Change]:
        """Return changes of random windows, to be made in order, that lead to images in the ball and in [0, 1].

        Args:
            pixels: The best images so far, flattened (N, C * H * W).
            number: Number of the proposal among those that were drawn last.
        """

    @abstractmethod
    def change_in_kernel(self, pixels: Tensor, number: int, side: int) -> Tensor:
        """Make the changes in a compiled kernel.

        Args:
            pixels: The best images so far, flattened (N, C * H * W), changed in place.
            number: Number of the proposal among those that were drawn last.
            side: Side of the windows.

        Returns:
            Former values of the windows (N, M, C * side**2).
        """

    def begin(self, pixels: Tensor, draws: Tensor) -> None:
        """Change images to those to start from.

        Args:
            pixels: The clean images, flattened (N, C * H * W), changed in place.
            draws: Uniform random numbers (N, K).
        """
        import torch

        everywhere = torch.arange(pixels.shape[1], device=pixels.device).expand_as(pixels)
        self.changes = [Change(everywhere, pixels.clone(), self.start(draws).flatten(1))]
        pixels.copy_(self.changes[0].new)

    def propose(self, pixels: Tensor, number: int) -> None:
        """Change random windows, which leads to images in the ball and in [0, 1].

        Args:
            pixels: The best images so far, flattened (N, C * H * W), changed in place.
            number: Number of the proposal among those that were drawn last.
        """
        self.number = number
        if self.compiled:
            self.old, self.changes = self.change_in_kernel(pixels, number, self.sides[number]), None
            return
        self.changes = self.changes_of(pixels, number)
        for change in self.changes:
            pixels.scatter_(1, change.at, change.new)

    def keep_better(self, pixels: Tensor, logits: Tensor, y: Tensor, loss: Tensor) -> None:
        """Take the last change back where it does not raise the margin.

        Args:
            pixels: The changed images, flattened (N, C * H * W), changed in place to the best images.
            logits: Their logits (N, K).
            y: Labels (N,).
            loss: The largest margins so far (N,), changed in place.
        """
        if self.changes is None:
            last = pixels, self.arrays[0], self.old, self.number, self.sides[self.number], *self.x.shape[1::2]
            self.run(self.kernels.keep_better, logits.contiguous(), y, loss, *last)
            return
        values = margin(logits, y)
        better = values > loss
        for change in self.changes:
            pixels.scatter_(1, change.at, change.new.where(better[:, None], change.old))
        loss.copy_(values.where(better, loss))

    def retain(self, rows: Tensor) -> None:
        """Drop the other images.

        Args:
            rows: Mask (N,) or indices of the images to go on with.
        """
        self.x, self.limits = self.x[rows], self.limits[rows]
        self.set_drawn(*(each[rows] for each in self.drawn))

    def set_drawn(self, *drawn: Tensor) -> None:
        """Set the next proposals.

        Args:
            drawn: First pixels of their windows (N, B, M), and what they add (N, B, ...).
        """
        from gtn_bench.models.numba_backend import as_array

        self.drawn = drawn
        self.arrays = tuple(as_array(each) for each in (*drawn, self.limits)) if self.compiled else ()


class LinfWindows(Windows):
    """Every pixel is at a bound of the ball. A proposal moves all of a window to one of both bounds, per channel.

    Args:
        x: Clean images (N, C, H, W).
        epsilon: Radius of the ball.
    """

    def __init__(self, x: Tensor, epsilon: float) -> None:
        import torch

        super().__init__(x, epsilon)
        lower, upper = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)
        self.limits = torch.cat([lower.flatten(1), upper.flatten(1)], dim=1)  # (N, 2 * C * H * W)

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
        channels, _, width = self.x.shape[1:]
        lower, upper = (bound.unflatten(1, self.x.shape[1:]) for bound in self.limits.chunk(2, dim=1))
        return upper.where(draws.view(-1, channels, 1, width) < 0.5, lower)

    def draw(self, draws: Tensor, shares: Sequence[float]) -> None:
        """Set the windows and the bounds of the next proposals.

        Args:
            draws: Uniform random numbers (N, B, 2 + 2 * C): place, bounds, other bounds.
            shares: Share of the pixels in the windows of each proposal.
        """
        channels, height, width = self.x.shape[1:]
        self.sides = [_side(share, height, width) for share in shares]
        top, left = _corners(draws, self.sides, height, width)
        up, other = (draws[:, :, 2:] < 0.5).split(channels, dim=2)
        other = other ^ (other == up).all(dim=2, keepdim=True)
        size = channels * height * width
        self.set_drawn((top * width + left)[:, :, None], size * up, size * other)

    def changes_of(self, pixels: Tensor, number: int) -> list[Change]:
        """Return a change of one window to random bounds.

        Bounds that would leave the image as it is are drawn again, as in the authors' code: no query is wasted.

        Args:
            pixels: The best images so far, flattened (N, C * H * W).
            number: Number of the proposal among those that were drawn last.
        """
        corner, bound, other = (each[:, number] for each in self.drawn)
        inside = _at_origin(self.sides[number], tuple(self.x.shape[1:]), pixels.device)
        at = corner[:, :, None] + inside  # (N, C, side**2)
        old, new = pixels.gather(1, at.flatten(1)), self._bounds(at, bound)
        same = (new == old).all(dim=1, keepdim=True)
        return [Change(at.flatten(1), old, self._bounds(at, other.where(same, bound)))]

    def change_in_kernel(self, pixels: Tensor, number: int, side: int) -> Tensor:
        """Make the change in a compiled kernel.

        Args:
            pixels: The best images so far, flattened (N, C * H * W), changed in place.
            number: Number of the proposal among those that were drawn last.
            side: Side of the window.

        Returns:
            Former values of the window (N, 1, C * side**2).
        """
        channels, _, width = self.x.shape[1:]
        old = pixels.new_empty(len(pixels), 1, channels * side**2)
        self.run(self.kernels.to_bounds, pixels, *self.arrays, number, side, width, old)
        return old

    def _bounds(self, at: Tensor, bound: Tensor) -> Tensor:
        """Return the values (N, C * P) at pixels (N, C, P) of the bounds that start at numbers (N, C)."""
        return self.limits.gather(1, (at + bound[:, :, None]).flatten(1))


class L2Windows(Windows):
    """A proposal moves the change of one window into another, where it adds a bump with two signs."""

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

    def draw(self, draws: Tensor, shares: Sequence[float]) -> None:
        """Set the windows, the directions and the signs of the next proposals.

        Args:
            draws: Uniform random numbers (N, B, 5 + C): two places, direction of the bump, its signs.
            shares: Share of the pixels in the windows of each proposal.
        """
        import torch

        height, width = self.x.shape[2:]
        self.sides = [_odd_side(share, height, width) for share in shares]
        places = (_corners(draws[:, :, place:], self.sides, height, width) for place in (0, 2))
        corners = torch.stack([top * width + left for top, left in places], dim=2)
        self.set_drawn(corners, (draws[:, :, 4] < 0.5).long(), 1 - 2 * (draws[:, :, 5:] < 0.5).to(self.x))

    def changes_of(self, pixels: Tensor, number: int) -> list[Change]:
        """Return the changes that move what a second window changes to a first one.

        Args:
            pixels: The best images so far, flattened (N, C * H * W).
            number: Number of the proposal among those that were drawn last.
        """

        x, shape, side = self.limits, self.x.shape[1:], self.sides[number]
        channels, _, width = shape
        corners, direction, sign = (each[:, number] for each in self.drawn)
        inside = _at_origin(side, tuple(shape), pixels.device)
        first, second = ((corner[:, None, None] + inside).flatten(1) for corner in corners.T)  # (N, C * side**2)
        clean, clean_second = x.gather(1, first), x.gather(1, second)
        old, old_second = pixels.gather(1, first), pixels.gather(1, second)
        change = (old - clean).unflatten(1, (channels, -1))
        moved = (old_second - clean_second).unflatten(1, (channels, -1)).square()
        down, right = (place[:, 1] - place[:, 0] for place in (corners // width, corners % width))
        overlap = _overlap(down, right, side)
        moved = moved.where(~overlap[:, None], 0)  # these pixels are in the first window
        unused = (self.epsilon**2 - (pixels - x).square().sum(dim=1)).clamp_min(0) / channels
        available = (change.square().sum(dim=2) + moved.sum(dim=2) + unused[:, None]).sqrt()[:, :, None]  # (N, C, 1)
        added = _bumps(side, x.dtype).to(x.device)[direction][:, None] * sign[:, :, None]
        new = added + _normalized(change, dims=(2,))
        canceled = new.square().sum(dim=2, keepdim=True) < 1e-12
        new = available * _normalized(added.where(canceled, new), dims=(2,))
        return [
            Change(second, old_second, clean_second),
            Change(first, old, (clean + new.flatten(1)).clamp(0, 1)),
        ]

    def change_in_kernel(self, pixels: Tensor, number: int, side: int) -> Tensor:
        """Make the changes in a compiled kernel.

        Args:
            pixels: The best images so far, flattened (N, C * H * W), changed in place.
            number: Number of the proposal among those that were drawn last.
            side: Side of the windows.

        Returns:
            Former values of both windows (N, 2, C * side**2).
        """
        channels, _, width = self.x.shape[1:]
        old = pixels.new_empty(len(pixels), 2, channels * side**2)
        last = _bumps(side, pixels.dtype), self.epsilon, number, side, width, old
        self.run(self.kernels.to_bumps, pixels, *self.arrays, *last)
        return old


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


@functools.cache
def _bumps(side: int, dtype: torch.dtype) -> Tensor:
    """Return the bump in both directions (2, side**2)."""
    import torch

    one = bump(side).to(dtype)
    return torch.stack([one, one.T]).flatten(1)


def _pyramid(height: int, width: int) -> Tensor:
    """Return the sum of nested rectangles (height, width), normalized; the k-th, from inside, adds ``1 / k**2``."""
    import torch

    values = torch.zeros(height, width, dtype=torch.float64)
    middle = height // 2, width // 2
    for ring in range(max(middle) + 1):
        top, left = (max(0, center - ring) for center in middle)
        values[top : middle[0] + ring + 1, left : middle[1] + ring + 1] += 1 / (ring + 1) ** 2
    return values / values.norm().clamp_min(1e-12)


def _corners(draws: Tensor, sides: list[int], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the first rows and columns (N, B) of windows, each of all that fit with the same probability.

    Args:
        draws: Uniform random numbers (N, B, 2 or more).
        sides: Side of the windows of each of B proposals.
        height: Height of the images.
        width: Width of the images.
    """
    import torch

    side = torch.tensor(sides, device=draws.device)
    return (draws[:, :, 0] * (height - side + 1)).long(), (draws[:, :, 1] * (width - side + 1)).long()


@functools.lru_cache(maxsize=64)
def _at_origin(side: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the numbers (C, side**2) of the pixels of the window in the upper left corner, in flattened images."""
    import torch

    channels, height, width = shape
    inside, channel = torch.arange(side, device=device), torch.arange(channels, device=device)
    return (inside[:, None] * width + inside).flatten() + (channel * height * width)[:, None]


def _overlap(down: Tensor, right: Tensor, side: int) -> Tensor:
    """Return which pixels of second windows, that are shifted by (N,) and (N,) pixels, are in the first ones."""
    import torch

    place = torch.arange(side, device=down.device)
    rows, columns = (shift[:, None] + place for shift in (down, right))
    rows, columns = ((each >= 0) & (each < side) for each in (rows, columns))
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)


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
