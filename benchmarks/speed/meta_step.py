"""Speed and memory of a meta-step, compared with a plain unroll and other libraries.

    python benchmarks/speed/meta_step.py                     # 8 inner steps, a few minutes
    python benchmarks/speed/meta_step.py --inner-steps 64    # the size of the reference study
    python benchmarks/speed/meta_step.py --scaling           # 8, 16, 32 and 64 inner steps

Every variant runs in its own process, so that peak memory can be measured. The variants alternate, and medians over the
rounds are printed. `GFLOP` counts all operations per inner step, recomputation included. `cosine` is the cosine
similarity of the meta-gradient with that of the first variant. torchopt does not differentiate learning rates.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import Arithmetic, matmul_rate, synchronize
from torch import Tensor
from torch.nn import functional as F

VARIANTS = ("gtn-bench float32", "gtn-bench bfloat16", "plain unroll", "plain unroll autocast", "torchopt", "higher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="base_larger")
    parser.add_argument("--inner-steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--block-size", type=int, default=0, help="inner steps per block; 0: square root of all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--gradient", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options)))
        return
    torch.set_num_threads(options.threads)
    rates = {str(dtype)[6:]: round(matmul_rate(dtype, options.device)) for dtype in (torch.float32, torch.bfloat16)}
    print(f"{options.architecture}, batch {options.batch_size}, {options.device}, {options.threads} threads")
    print(f"matrix product: {rates['float32']} GFLOP/s float32, {rates['bfloat16']} bfloat16")
    lengths = (8, 16, 32, 64) if options.scaling else (options.inner_steps,)
    rows = [row for length in lengths for row in table(options, length)]
    if options.json:
        options.json.write_text(json.dumps({"matrix product GFLOP/s": rates, "rows": rows}, indent=2))


def table(options: argparse.Namespace, inner_steps: int) -> list[dict[str, Any]]:
    """Measure all variants in alternation, and print and return one row for each."""
    variants = [name for name in options.variants if "gtn-bench" in name] if options.scaling else options.variants
    missing = [name for name in variants if name in ("torchopt", "higher") and importlib.util.find_spec(name) is None]
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name in variants:
                if name not in missing:
                    results[name].append(spawn(options, name, inner_steps, f"{folder}/{name}.pt"))
        print(f"\n{'variant':24}{'inner steps':>12}{'s / step':>10}{'spread':>16}{'peak GB':>9}{'GFLOP':>8}", end="")
        print(f"{'GFLOP/s':>9}{'cosine':>9}")
        first = next(name for name in variants if name not in missing)
        reference = torch.load(f"{folder}/{first}.pt", weights_only=True)
        for name in variants:
            if name in missing:
                print(f"{name:24}  not installed")
                continue
            seconds = [value for result in results[name] for value in result["seconds"]]
            row = {
                "variant": name,
                "inner_steps": inner_steps,
                "seconds": statistics.median(seconds),
                "spread": [min(seconds), max(seconds)],
                "peak_gb": max(result["peak_gb"] for result in results[name]),
                "gflop": results[name][0]["gflop"],
                "cosine": F.cosine_similarity(
                    torch.load(f"{folder}/{name}.pt", weights_only=True), reference, dim=0
                ).item(),
            }
            rate, (low, high) = row["gflop"] / row["seconds"], row["spread"]
            print(f"{name:24}{inner_steps:12}{row['seconds']:10.3f}{f'{low:.3f} - {high:.3f}':>16}", end="")
            print(f"{row['peak_gb']:9.2f}{row['gflop']:8.1f}{rate:9.0f}{row['cosine']:9.4f}", flush=True)
            rows.append(row)
    return rows


def spawn(options: argparse.Namespace, name: str, inner_steps: int, gradient: str) -> dict[str, Any]:
    """Return the measurements of a variant in a fresh process, which saves its meta-gradient in the file `gradient`."""
    arguments = {**vars(options), "one": name, "inner_steps": inner_steps, "gradient": gradient}
    command = [sys.executable, __file__]
    for key in ("one", "gradient", "architecture", "inner_steps", "batch_size", "block_size", "threads", "device"):
        command += [f"--{key.replace('_', '-')}", str(arguments[key])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds per inner step of two meta-steps after a first one, peak memory and operations."""
    from gtn_bench.execution.memory import reuse_memory

    torch.set_num_threads(options.threads)
    if options.device == "cpu":
        reuse_memory()
    step = prepare(options)
    with Arithmetic() as arithmetic:
        gradient = step()
    seconds = []
    for _ in range(2):
        synchronize(options.device)
        started = time.perf_counter()
        step()
        synchronize(options.device)
        seconds.append((time.perf_counter() - started) / options.inner_steps)
    torch.save(torch.cat([value.detach().float().flatten().cpu() for value in gradient]), options.gradient)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    return {"seconds": seconds, "peak_gb": peak, "gflop": arithmetic.flop / 1e9 / options.inner_steps}


def prepare(options: argparse.Namespace) -> Callable[[], list[Tensor]]:
    """Return the meta-step of a variant: a function that returns the meta-gradient."""
    from gtn_bench.data import DATASETS
    from gtn_bench.models import ARCHITECTURES
    from gtn_bench.teaching.curricula import LatentCurriculum
    from gtn_bench.teaching.inner_loop import MetaBatch, initial_state, meta_gradient, unroll
    from gtn_bench.teaching.optimizers import SGD

    if "gtn-bench" not in options.one:
        plain_operations()
    dataset = DATASETS["mnist"]()
    torch.manual_seed(0)
    size = {"inner_steps": options.inner_steps, "batch_size": options.batch_size, "latent_size": 128}
    module = LatentCurriculum(dataset, **size, lr=0.02, momentum=0.5).to(options.device)
    learner = ARCHITECTURES[options.architecture]()(dataset, seed=0).to(options.device).train()
    shape = (options.inner_steps, options.batch_size)
    images = torch.rand(*shape, *dataset.input_shape).to(options.device)
    batch = MetaBatch(images, torch.randint(dataset.num_classes, shape).to(options.device))
    block = options.block_size or math.ceil(math.sqrt(options.inner_steps))

    if "gtn-bench" in options.one:
        precision = torch.bfloat16 if "bfloat16" in options.one else None
        return lambda: meta_gradient(module, learner, learner, SGD(), batch, block_size=block, precision=precision)[1]

    def plain() -> list[Tensor]:
        autocast = torch.autocast(options.device, torch.bfloat16, enabled="autocast" in options.one)
        with autocast:
            start = initial_state(learner, SGD())
            _, total = unroll(learner, learner, SGD(), start, module(slice(None)), batch, create_graph=True)
        return list(torch.autograd.grad(total / options.inner_steps, list(module.parameters())))

    def with_torchopt() -> list[Tensor]:
        import torchopt

        curriculum, losses = module(slice(None)), []
        optimizer = torchopt.MetaSGD(learner, lr=0.02, momentum=0.5)
        start = torchopt.extract_state_dict(learner, by="copy")
        for x, y, real, labels in zip(curriculum.images, curriculum.labels, *batch, strict=True):
            optimizer.step(F.cross_entropy(learner(x), y))
            losses.append(F.cross_entropy(learner(real), labels))
        gradient = torch.autograd.grad(torch.stack(losses).mean(), list(module.parameters()), allow_unused=True)
        torchopt.recover_state_dict(learner, start)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(module.parameters(), gradient, strict=True)]

    def with_higher() -> list[Tensor]:
        import higher

        curriculum, losses = module(slice(None)), []
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.02, momentum=0.5)
        with higher.innerloop_ctx(learner, optimizer) as (network, inner):
            for x, y, lr, momentum, real, labels in zip(*curriculum, *batch, strict=True):
                inner.step(F.cross_entropy(network(x), y), override={"lr": [lr], "momentum": [momentum]})
                losses.append(F.cross_entropy(network(real), labels))
            return list(torch.autograd.grad(torch.stack(losses).mean(), list(module.parameters())))

    return {"torchopt": with_torchopt, "higher": with_higher}.get(options.one, plain)


def plain_operations() -> None:
    """Replace the optimized operations of the network and the generator by PyTorch's."""
    from gtn_bench.models import layers
    from gtn_bench.teaching import generator

    def linear(self: layers.Linear, x: Tensor) -> Tensor:
        return F.linear(x, layers.weight_normalized(self.weight, self.gain), self.bias)

    def upsampling(self: generator.UpsamplingConv2d, x: Tensor) -> Tensor:
        x = F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, layers.weight_normalized(self.weight, self.gain), self.bias)

    def norm(self: generator.StepwiseBatchNorm, x: Tensor, steps: int) -> Tensor:
        batches = x.reshape(steps, -1, *x.shape[1:])
        return torch.cat([F.batch_norm(b, None, None, self.gain, self.bias, training=True) for b in batches])

    def convolution(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, weight, None, stride, padding)

    layers.conv2d = convolution
    layers.max_pool2d = F.max_pool2d  # type: ignore[assignment]
    layers.flatten = lambda x: x.flatten(1)
    layers.Linear.forward = linear  # type: ignore[method-assign]
    generator.UpsamplingConv2d.forward = upsampling  # type: ignore[method-assign]
    generator.StepwiseBatchNorm.forward = norm  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
