"""Random numbers of images: one seed per image, so that the draws of an image do not depend on the others.

On a CPU, PyTorch's generator fills one row after another. On another device the same generator runs for all rows at
once, so that no image waits for the host.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gtn_bench.perturbations.mersenne import BLOCK, normal, uniform, words

if TYPE_CHECKING:
    from torch import Tensor


def normal_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Return standard normal numbers in the shape of `x` (N, ...), the same on every device but for rounding.

    Args:
        x: A tensor whose shape, type and device the result has, float32 or float64.
        seeds: Seeds (N,); row i depends on ``seeds[i]`` alone.
    """
    import torch

    numbers = math.prod(x.shape[1:])
    if x.device.type == "cpu" or numbers < BLOCK:
        return _sample_rows(x, seeds, torch.Tensor.normal_)
    return normal(seeds.to(x.device), numbers, x.dtype).view(x.shape)


def uniform_like(x: Tensor, seeds: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1) in the shape of `x` (N, ...), the same on every device.

    Args:
        x: A tensor whose shape, type and device the result has, float32 or float64.
        seeds: Seeds (N,); row i depends on ``seeds[i]`` alone.
    """
    import torch

    if x.device.type == "cpu":
        return _sample_rows(x, seeds, torch.Tensor.uniform_)
    return uniform(seeds.to(x.device), math.prod(x.shape[1:]), x.dtype).view(x.shape)


def integers_like(y: Tensor, seeds: Tensor, below: int) -> Tensor:
    """Return integers from 0 to ``below - 1`` in the shape of `y` (N,), the same on every device.

    Args:
        y: Labels (N,) int64, whose device the result has.
        seeds: Seeds (N,); entry i depends on ``seeds[i]`` alone.
        below: Upper bound, excluded; at most 2**28.
    """
    import torch

    if y.device.type != "cpu":
        return words(seeds.to(y.device), 1)[:, 0] % below
    generator = torch.Generator()
    drawn = [torch.randint(below, (1,), generator=generator.manual_seed(seed)) for seed in seeds.tolist()]
    return torch.cat(drawn)


def _sample_rows(x: Tensor, seeds: Tensor, fill: Any) -> Tensor:
    """Return numbers in the shape of `x` that a method fills in, one row after another on the host."""
    import torch

    samples = torch.empty(x.shape, dtype=x.dtype)
    generator = torch.Generator()
    for row, seed in zip(samples, seeds.tolist(), strict=True):
        fill(row, generator=generator.manual_seed(seed))
    return samples.to(x.device)


def seeds_of_run(seeds: Tensor, number: int) -> Tensor:
    """Return the seeds of one of several runs of an attack on the same images.

    Args:
        seeds: Seeds (N,).
        number: Number of the run; the first one, zero, has the given seeds.
    """
    return seeds ^ (number * 0x2545F4914F6CDD1D % 2**63)
