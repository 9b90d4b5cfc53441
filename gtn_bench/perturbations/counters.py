"""Random numbers of an image by their position in its sequence, without a generator per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_GAMMA, _FIRST, _SECOND = (  # constants of SplitMix64, as signed integers
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_BITS = 24  # of a number: all that float32 holds
_STRIDE = 2**32  # numbers per row of a sequence


def uniform_rows(seeds: Tensor, first: int, rows: int, numbers: int) -> Tensor:
    """Return consecutive rows of one sequence of random numbers per image, the same on every device.

    A number is a hash of seed, row and place in the row. Any part of a sequence is therefore available at once for
    all images, and does not depend on the other images.
    Source: SplitMix64, https://doi.org/10.1145/2714064.2660195.

    Args:
        seeds: Seeds (N,) int64.
        first: Number of the first row.
        rows: Number of rows R.
        numbers: Number of numbers per row K, at most 2**32.

    Returns:
        Uniform numbers (N, R, K) in [0, 1), float32.
    """
    import torch

    row = torch.arange(first, first + rows, device=seeds.device) * _STRIDE
    place = row[:, None] + torch.arange(numbers, device=seeds.device)
    mixed = _mix(_mix(seeds + _GAMMA)[:, None, None] + place * _GAMMA)
    return _shifted(mixed, 64 - _BITS).to(torch.float32) * 2.0**-_BITS


def _mix(z: Tensor) -> Tensor:
    """Return a hash of each integer. Products wrap around."""
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Return integers shifted to the right, with zeros instead of the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
