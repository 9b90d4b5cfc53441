"""Where the time of a gradient goes: every layer of a prepared learner, forward and backward.

    python benchmarks/speed/layers.py
    python benchmarks/speed/layers.py --architecture base_larger3 --precision bfloat16 --images 128

Microseconds for each image, medians over rounds in which numba and `without` it take turns; GFLOP/s of both
ways together, where there is a product. `all` is one gradient of the whole learner, whose layers find less in the
cache than when each goes by itself.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from batches import gradient, prepared
from machine import Arithmetic, matmul_rate, synchronise, without_numba
from torch import Tensor, nn

from gtn_bench.datasets import DATASETS
from gtn_bench.learners import LEARNERS
from gtn_bench.work import reuse_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", choices=list(DATASETS))
    parser.add_argument("--architecture", default="base_larger", choices=list(LEARNERS))
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reuse_memory()  # as a run does
    classifier = prepared(options)
    x = torch.rand(options.images, *classifier.input_shape, device=options.device)
    rates = [matmul_rate(dtype, options.device) for dtype in (torch.float32, torch.bfloat16)]
    print(f"{options.architecture}, {options.precision}, {options.device}, {options.threads} threads", end="; ")
    print(f"matrix product {rates[0]:.0f} GFLOP/s in float32, {rates[1]:.0f} in bfloat16")
    print(f"{'layer':14}{'from':>18}{'forward':>9}{'without':>9}{'backward':>10}{'without':>9}{'GFLOP/s':>9}")
    assert isinstance(classifier.network, nn.Sequential)
    for layer in classifier.network:
        x = measure(layer, x, options)
    images = torch.rand(options.images, *classifier.input_shape, device=options.device)
    both, without = in_turns(lambda: gradient(classifier, images), options)
    with without_numba(), Arithmetic() as counted:
        gradient(classifier, images)
    rate = counted.flop / options.images / both / 1e3
    print(f"{'all':14}{'':18}{'':9}{'':9}{both:10.1f}{without:9.1f}{rate:9.0f}")


def measure(layer: nn.Module, x: Tensor, options: argparse.Namespace) -> Tensor:
    """Print what a layer costs; what it makes of `x`."""
    layer = copy.deepcopy(layer)
    if isinstance(layer, nn.LeakyReLU):
        layer.inplace = False  # or each round would find what the last has left
    x = x.detach().requires_grad_()
    y = layer(x)
    grad = torch.randn_like(y)

    def both_ways() -> None:
        torch.autograd.grad(layer(x), x, grad)

    forward, together = in_turns(lambda: layer(x), options), in_turns(both_ways, options)
    with without_numba(), Arithmetic() as counted:
        both_ways()
    backward = [both - one for both, one in zip(together, forward, strict=True)]
    rate = counted.flop / options.images / together[0] / 1e3
    shape = " x ".join(map(str, x.shape[1:]))
    print(f"{type(layer).__name__:14}{shape:>18}{forward[0]:9.1f}{forward[1]:9.1f}", end="")
    print(f"{backward[0]:10.1f}{backward[1]:9.1f}{f'{rate:.0f}' if counted.flop else '':>9}", flush=True)
    return y.detach()


def in_turns(task: Callable[[], object], options: argparse.Namespace) -> tuple[float, float]:
    """Microseconds for each image, with numba where it is at hand, and without."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(options.rounds):
        for values, compilation in zip(seconds, (nullcontext, without_numba), strict=True):
            with compilation():
                started = time.perf_counter()
                task()
                synchronise(options.device)
                values.append(time.perf_counter() - started)
    both, without = (1e6 * statistics.median(values) / options.images for values in seconds)
    return both, without


if __name__ == "__main__":
    main()
