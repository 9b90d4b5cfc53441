"""MT19937 for many seeds at once, on any device: the numbers of PyTorch's CPU generator.

Source: M. Matsumoto, T. Nishimura, ACM Transactions on Modeling and Computer Simulation 8 (1998).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 16  # normal numbers that PyTorch draws together; it draws fewer of them in another way
_WORDS, _MIDDLE = 624, 397  # of a state
_WORD = 2**32 - 1


def words(seeds: Tensor, count: int) -> Tensor:
    """Return the first 32-bit words of the generator.

    Args:
        seeds: Seeds (N,) int64, of which the lower 32 bits count.
        count: Number of words per seed.

    Returns:
        Words (N, count) in [0, 2**32), int64.
    """
    import torch

    initial = [seeds & _WORD]
    for place in range(1, _WORDS):
        last = initial[-1]
        initial.append(((last ^ last >> 30) * 1812433253 + place) & _WORD)
    state, drawn = torch.stack(initial), []
    for _ in range(-(-count // _WORDS)):
        state = _twisted(state)
        drawn.append(state)
    y = torch.cat(drawn)[:count].T.contiguous()
    y = y ^ y >> 11
    y = y ^ (y << 7 & 0x9D2C5680)
    y = y ^ (y << 15 & 0xEFC60000)
    return y ^ y >> 18


def uniform(seeds: Tensor, numbers: int, dtype: torch.dtype) -> Tensor:
    """Return the numbers that `torch.Tensor.uniform_` draws.

    Args:
        seeds: Seeds (N,) int64.
        numbers: Numbers per seed.
        dtype: float32 or float64.

    Returns:
        Uniform numbers (N, numbers) in [0, 1).
    """
    import torch

    if dtype == torch.float32:
        return (words(seeds, numbers) & (2**24 - 1)).to(dtype) * 2.0**-24
    if dtype != torch.float64:
        raise TypeError(f"random numbers are drawn in float32 or float64, got {dtype}")
    high, low = words(seeds, 2 * numbers).unflatten(1, (numbers, 2)).unbind(2)
    return ((high << 32 | low) & (2**53 - 1)).to(dtype) * 2.0**-53


def normal(seeds: Tensor, numbers: int, dtype: torch.dtype) -> Tensor:
    """Return the numbers that `torch.Tensor.normal_` draws, but for the rounding of logarithm, sine and cosine.

    Args:
        seeds: Seeds (N,) int64.
        numbers: Numbers per seed, at least `BLOCK`.
        dtype: float32 or float64.

    Returns:
        Standard normal numbers (N, numbers).
    """
    import torch

    tail = numbers % BLOCK
    drawn = uniform(seeds, numbers + (BLOCK if tail else 0), dtype)
    rows = _box_muller(drawn[:, : numbers - tail])
    if tail:  # the last block is drawn again, from the next numbers
        rows = torch.cat([rows[:, : numbers - BLOCK], _box_muller(drawn[:, numbers:])], dim=1)
    return rows


def _box_muller(numbers: Tensor) -> Tensor:
    """Return normal numbers (N, K) from uniform ones, in blocks of 16."""
    import torch

    first, second = numbers.unflatten(1, (-1, 2, BLOCK // 2)).unbind(2)
    radius, angle = (-2 * (1 - first).log()).sqrt(), 2 * math.pi * second
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=2).flatten(1)


def _twisted(state: Tensor) -> Tensor:
    """Return the next state (624, N) of MT19937."""
    import torch

    def twist(word: Tensor, following: Tensor) -> Tensor:
        mixed = word & 0x80000000 | following & 0x7FFFFFFF
        return mixed >> 1 ^ (following & 1) * 0x9908B0DF

    ahead = _WORDS - _MIDDLE  # a word depends on the new word this many places before it
    turned = twist(state[:-1], state[1:])
    first = state[_MIDDLE:] ^ turned[:ahead]
    second = first ^ turned[ahead : 2 * ahead]
    third = second[: _WORDS - 1 - 2 * ahead] ^ turned[2 * ahead :]
    last = second[_WORDS - 1 - 2 * ahead :][:1] ^ twist(state[-1:], first[:1])
    return torch.cat([first, second, third, last])
