"""Time of a gradient by layer: each layer of a folded learner, forward and backward.

    python benchmarks/speed/layers.py
    python benchmarks/speed/layers.py --architecture base_larger3 --precision bfloat16 --images 128

Times are microseconds per image, medians over rounds that alternate between numba and no numba (`without`). GFLOP/s are
those of forward and backward pass together, for layers with products. `all` is one gradient of the whole learner, whose
layers benefit less from the processor's cache than a single layer.
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
from machine import Arithmetic, matmul_rate, synchronize, without_numba
from torch import Tensor, nn

from gtn_bench.data import DATASETS
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.models import ARCHITECTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", choices=list(DATASETS))
    parser.add_argument("--architecture", default="base_larger", choices=list(ARCHITECTURES))
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
    print(f"{'layer':20}{'input':>18}{'forward':>9}{'without':>9}{'backward':>10}{'without':>9}{'GFLOP/s':>9}")
    assert isinstance(classifier.network, nn.Sequential)
    for layer in classifier.network:
        x = measure(layer, x, options)
    images = torch.rand(options.images, *classifier.input_shape, device=options.device)
    both, without = alternate(lambda: gradient(classifier, images), options)
    with without_numba(), Arithmetic() as counted:
        gradient(classifier, images)
    rate = counted.flop / options.images / both / 1e3
    print(f"{'all':20}{'':18}{'':9}{'':9}{both:10.1f}{without:9.1f}{rate:9.0f}")


def measure(layer: nn.Module, x: Tensor, options: argparse.Namespace) -> Tensor:
    """Print the times of a layer and return its output.

    Args:
        layer: The layer.
        x: Its input (N, ...).
        options: The command-line options.
    """
    layer = copy.deepcopy(layer)
    if isinstance(layer, nn.LeakyReLU):
        layer.inplace = False  # each round needs the same input
    x = x.detach().requires_grad_()
    y = layer(x)
    grad = torch.randn_like(y)

    def both_passes() -> None:
        torch.autograd.grad(layer(x), x, grad)

    forward, together = alternate(lambda: layer(x), options), alternate(both_passes, options)
    with without_numba(), Arithmetic() as counted:
        both_passes()
    backward = [both - one for both, one in zip(together, forward, strict=True)]
    rate = counted.flop / options.images / together[0] / 1e3
    shape = " x ".join(map(str, x.shape[1:]))
    print(f"{type(layer).__name__:20}{shape:>18}{forward[0]:9.1f}{forward[1]:9.1f}", end="")
    print(f"{backward[0]:10.1f}{backward[1]:9.1f}{f'{rate:.0f}' if counted.flop else '':>9}", flush=True)
    return y.detach()


def alternate(task: Callable[[], object], options: argparse.Namespace) -> tuple[float, float]:
    """Return the microseconds per image of a task, with numba if it is installed, and without."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(options.rounds):
        for values, context in zip(seconds, (nullcontext, without_numba), strict=True):
            with context():
                started = time.perf_counter()
                task()
                synchronize(options.device)
                values.append(time.perf_counter() - started)
    with_numba, without = (1e6 * statistics.median(values) / options.images for values in seconds)
    return with_numba, without


if __name__ == "__main__":
    main()
