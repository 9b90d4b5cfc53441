"""Speed of attacks and sweeps, compared with ART, foolbox, torchattacks and a plain loop on the same learner.

    python benchmarks/speed/attacks.py                      # 256 images, 10 sign steps, 5 rounds
    python benchmarks/speed/attacks.py --quick              # fewer rounds and images, under 90 s on two cores

All variants of a table alternate in every round. Medians, the range and ratios of medians are printed.

- `ART alone`, `foolbox alone`, ...: the library attacks the learner in evaluation mode, in PyTorch's operations.
- `layers`: the library attacks the same learner with the layers of gtn-bench.
- `view`: the library attacks the folded learner through the view of gtn-bench.
- `batches`: torchattacks receives batches of the size that gtn-bench chooses; otherwise libraries receive all images.
- `without numba`: the attack of gtn-bench without compiled kernels.
- `difference`: mean absolute difference of the perturbed images from those of gtn-bench in float32.
- `share`: operations of the folded network per second, relative to the rate of matrix products in the same rounds.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import Arithmetic, synchronize, without_numba
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.data import DATASETS
from gtn_bench.data.base import Dataset, Split
from gtn_bench.evaluation.batching import batch_size, in_batches
from gtn_bench.evaluation.evaluate import CleanResult, evaluate, predict, zero_gradient
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.views import as_art, as_foolbox, as_torchattacks
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.layers import Conv2d, Flatten, Linear, MaxPool2d, weight_normalized
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.perturbations import PERTURBATIONS

STEP = 0.02  # size of a sign step
# The four sweeps of the reference study: strengths in pixel values, and number of steps.
SWEEPS: dict[str, tuple[list[float], int]] = {
    "fgsm": ([0.003 * k for k in range(1, 9)], 30),
    "lbfgs-penalty": ([6.2, 15.4, 30.8, 61.6, 154.0, 308.0, 616.0], 30),
    "noise": ([0.06 * k for k in range(1, 10)], 0),
    "blur": ([0.3 * k for k in range(1, 10)], 0),
}


class Subject:
    """A learner in several forms, and the images on which it is attacked.

    Attributes:
        network: The learner with the layers of gtn-bench.
        plain: The learner in PyTorch's operations.
        float32: Its classifier.
        bfloat16: Its classifier in bfloat16.
        x: Images (N, C, H, W).
        y: Labels (N,).
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.dataset: Dataset = DATASETS[options.dataset]()
        self.device, self.steps = options.device, options.steps
        splits = self.dataset()
        all_images = splits["train"]
        train = Split(all_images.levels[:2000], all_images.labels[:2000], all_images.white).to(options.device)
        self.network = ARCHITECTURES[options.architecture]()(self.dataset, seed=0).train().to(options.device)
        self.network.load_state_dict(Vanilla(epochs=2)(self.network, self.dataset, train, None, seed=0))
        self.network.eval()
        self.plain = with_torch_operations(copy.deepcopy(self.network))
        shape = self.dataset.input_shape, self.dataset.num_classes
        self.float32 = Classifier(copy.deepcopy(self.network), *shape)
        self.bfloat16 = Classifier(copy.deepcopy(self.network), *shape, "bfloat16")
        self.x, self.y = splits["test"].to(options.device)[: options.images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", choices=["digits", "mnist"])
    parser.add_argument("--architecture", default="base_larger", choices=list(ARCHITECTURES))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--reuse-memory", action="store_true", help="let glibc keep freed memory, for all variants")
    parser.add_argument("--quick", action="store_true", help="two rounds on 128 images, small sweeps")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.quick:
        options.images, options.rounds = min(options.images, 128), 2
    torch.set_num_threads(options.threads)
    if options.reuse_memory:
        reuse_memory()
    subject = Subject(options)
    print(f"{options.architecture} on {options.dataset}, {options.device}, {options.threads} threads", end="; ")
    print(f"{options.images} images, {options.steps} sign steps; median of {options.rounds} rounds")
    tables = {
        "attacks": attacks(subject, options),
        "sweeps": sweeps(subject, options),
        "scaling": scaling(subject, options),
    }
    if options.json:
        options.json.write_text(json.dumps({**{k: str(v) for k, v in vars(options).items()}, **tables}, indent=2))


def attacks(subject: Subject, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the sign attacks of the libraries and of gtn-bench."""
    x, y = subject.x, subject.y
    variants: dict[str, Callable[[], Tensor]] = {}
    for name, attack in (("ART", _art), ("foolbox", _foolbox), ("torchattacks", _torchattacks)):
        variants[f"{name} alone"] = attack(subject, subject.plain)
        variants[f"{name}, layers"] = attack(subject, subject.network)
        variants[f"{name}, view"] = attack(subject, subject.float32)
    variants["torchattacks, batches"] = _torchattacks(subject, subject.plain, _batch(subject))
    variants["plain loop alone"] = lambda: plain_loop(subject.plain, x, y, STEP, options.steps)
    for precision in ("float32", "bfloat16"):
        variants[f"gtn-bench {precision}"] = _gtn_bench(subject, getattr(subject, precision))
        variants[f"gtn-bench {precision} without numba"] = _disable_numba(variants[f"gtn-bench {precision}"])
    products = {f"product {dtype}": _product(dtype, options.device) for dtype in ("float32", "bfloat16")}
    seconds, results = alternate({**variants, **products}, options)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name.split()[1]: 2 * 2048**3 / medians[name] for name in products}
    work = arithmetic(subject.float32, x, y) * options.steps
    fastest = min(medians[f"{name} alone"] for name in ("ART", "foolbox", "torchattacks"))
    print(
        f"matrix product: {rates['float32'] / 1e9:.0f} GFLOP/s float32, {rates['bfloat16'] / 1e9:.0f} bfloat16", end=""
    )
    print(f"; arithmetic of the attack {work / 1e9:.0f} GFLOP")
    print(f"\n{'attack':34}{'seconds':>9}{'range':>18}{'fastest / it':>13}{'alone / it':>12}{'share':>7}", end="")
    print(f"{'difference':>11}")
    rows = []
    for name in variants:
        low, high = min(seconds[name]), max(seconds[name])
        row = {"attack": name, "seconds": medians[name], "range": [low, high], "gain": fastest / medians[name]}
        row["difference"] = (results[name] - results["gtn-bench float32"]).abs().mean().item()
        print(f"{name:34}{row['seconds']:9.3f}{f'{low:.3f} - {high:.3f}':>18}{row['gain']:12.2f}x", end="")
        library = name.split(",")[0]
        alone = f"{medians[f'{library} alone'] / medians[name]:.2f}x" if library != name else ""
        share = f"{work / medians[name] / rates[name.split()[1]]:.2f}" if "gtn-bench" in name else ""
        print(f"{alone:>12}{share:>7}{row['difference']:11.5f}", flush=True)
        rows.append({**row, "speedup over the library alone": alone, "share of matrix product": share})
    return rows


def sweeps(subject: Subject, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the four sweeps of the reference study, and a loop over the strengths with calls of the libraries."""
    attacked, corrupted = (32, 256) if options.quick else (64, 1000)
    x, y = DATASETS[options.dataset]()()["test"].to(options.device)[:corrupted]
    tasks: dict[str, Callable[[], Tensor]] = {}
    for sweep, (betas, steps) in SWEEPS.items():
        betas = betas[::3] if options.quick else betas
        part = (x[:attacked], y[:attacked]) if steps else (x, y)
        tasks[f"libraries {sweep}"] = lambda a=(sweep, betas, steps, *part): library_sweep(subject, *a)
        for precision in ("float32", "bfloat16") if steps else ("float32",):
            arguments = (precision, sweep, betas, steps, *part)
            tasks[f"{precision} {sweep}"] = lambda a=arguments: gtn_bench_sweep(subject, *a)
    seconds, found = alternate(
        tasks, argparse.Namespace(**{**vars(options), "rounds": 1 if options.quick else 3}), warm=False
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\n{'sweep':18}{'libraries':>11}{'float32':>10}{'':8}{'bfloat16':>10}{'':8}{'accuracy difference':>22}")
    rows = []
    for sweep in SWEEPS:
        row: dict[str, Any] = {"sweep": sweep, "libraries": medians[f"libraries {sweep}"]}
        for precision in ("float32", "bfloat16"):
            name = f"{precision} {sweep}" if f"{precision} {sweep}" in medians else f"float32 {sweep}"
            row[precision] = medians[name]
            difference = (found[name] - found[f"libraries {sweep}"]).abs().max().item()
            row[f"{precision} difference"] = difference
        rows.append(row)
    rows.append({"sweep": "all four", **{k: sum(row[k] for row in rows) for k in ("libraries", "float32", "bfloat16")}})
    for row in rows:
        print(f"{row['sweep']:18}{row['libraries']:11.2f}", end="")
        for precision in ("float32", "bfloat16"):
            print(f"{row[precision]:10.2f}{row['libraries'] / row[precision]:7.2f}x", end="")
        differences = [f"{row[key]:.4f}" for key in ("float32 difference", "bfloat16 difference") if key in row]
        print(f"{', '.join(differences):>22}", flush=True)
    return rows


def scaling(subject: Subject, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the cost of the attack over images, steps, strengths and learners, and fit a line to each."""
    unit = 32 if options.quick else 64
    x, y = DATASETS[options.dataset]()()["test"].to(options.device)[: 4 * unit]

    def attack(images: int, steps: int, betas: int, learners: int) -> None:
        for _ in range(learners):
            classifier = Classifier(copy.deepcopy(subject.network), subject.dataset.input_shape, 10)
            strengths = [STEP / (k + 1) for k in range(betas)]
            accuracies(classifier, classifier, "fgsm", strengths, steps, x[:images], y[:images])

    print(f"\n{'cost over':12}{'at':>18}{'seconds':>26}{'intercept':>11}{'residual':>10}")
    rows = []
    for position, axis in enumerate(("images", "steps", "strengths", "learners")):
        base = [unit, 4, 1, 1]
        sizes = [unit, 2 * unit, 4 * unit] if axis == "images" else [4, 8, 16] if axis == "steps" else [1, 2, 4]
        tasks = {}
        for size in sizes:
            arguments = [*base[:position], size, *base[position + 1 :]]
            tasks[str(size)] = lambda a=tuple(arguments): attack(*a)
        seconds, _ = alternate(tasks, options)
        medians = [statistics.median(seconds[str(size)]) for size in sizes]
        slope, intercept = np.polyfit(sizes, medians, 1)
        residual = float(np.abs(np.polyval([slope, intercept], sizes) / medians - 1).max())
        rows.append({"axis": axis, "sizes": sizes, "seconds": medians, "intercept": intercept, "residual": residual})
        shown = ", ".join(f"{value:.3f}" for value in medians)
        print(f"{axis:12}{', '.join(map(str, sizes)):>18}{shown:>26}{intercept:11.3f}{residual:10.1%}", flush=True)
    return rows


def alternate(
    tasks: Mapping[str, Callable[[], Any]], options: argparse.Namespace, warm: bool = True
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Run all tasks in turn in every round.

    Args:
        tasks: The tasks by name.
        options: The command-line options.
        warm: Whether a first round is not measured.

    Returns:
        Seconds of each task per round, and the last result of each task.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    results = {}
    for round_ in range(-1 if warm else 0, options.rounds):
        for name, task in tasks.items():
            started = time.perf_counter()
            results[name] = task()
            synchronize(options.device)
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds, results


def arithmetic(classifier: Classifier, x: Tensor, y: Tensor) -> int:
    """Return the number of floating-point operations of one gradient for all images."""
    with without_numba(), Arithmetic() as counted:  # compiled kernels are invisible to PyTorch's dispatcher
        classifier.loss_gradient(x, y)
    return counted.flop


class TorchConv2d(Conv2d):
    """Convolution with weight normalization in PyTorch's operations."""

    def forward(self, x: Tensor) -> Tensor:
        weight = weight_normalized(self.weight, self.gain)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class TorchLinear(Linear):
    """Fully connected layer with weight normalization in PyTorch's operations."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, weight_normalized(self.weight, self.gain), self.bias)


def with_torch_operations(network: nn.Module) -> nn.Module:
    """Replace the layers of a learner by layers in PyTorch's operations, in place, and return it."""
    plain = {
        Conv2d: TorchConv2d,
        Linear: TorchLinear,
        MaxPool2d: nn.MaxPool2d,
        Flatten: nn.Flatten,
    }
    for module in network.modules():
        module.__class__ = plain.get(type(module), type(module))
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous()
    return network


def plain_loop(network: nn.Module, x: Tensor, y: Tensor, beta: float, steps: int) -> Tensor:
    """Run I-FGSM as a plain loop."""
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
        x_adv = (x_adv + beta * grad.sign()).clamp(0, 1).detach()
    return x_adv


def penalty_loop(network: nn.Module, x: Tensor, y: Tensor, beta: float, steps: int) -> Tensor:
    """Run the penalized ascent of the reference study, which no library has, as a plain loop."""
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        change = (x_adv - x).flatten(1).square().sum(1)
        penalty = change.where(change > 0, 1).sqrt().where(change > 0, 0).sum() / beta
        (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y, reduction="sum") - penalty, x_adv)
        x_adv = (x_adv + 0.006 * grad.sign()).clamp(0, 1).detach()
    return x_adv


def library_sweep(subject: Subject, sweep: str, betas: list[float], steps: int, x: Tensor, y: Tensor) -> Tensor:
    """Return the accuracies of the plain learner (k,), with torchattacks, SciPy or a plain loop.

    Clean images are predicted again for each strength, as in a typical script.
    """
    from torchattacks import BIM, GN

    network, results = subject.plain, []
    for beta in betas:
        parts = []
        for images, labels in zip(x.split(256), y.split(256), strict=True):
            if sweep == "fgsm":
                x_adv = BIM(network, eps=steps * beta, alpha=beta, steps=steps)(images, labels)
            elif sweep == "lbfgs-penalty":
                x_adv = penalty_loop(network, images, labels, beta, steps)
            elif sweep == "noise":
                x_adv = GN(network, std=beta)(images, labels)
            else:
                blurred = [gaussian_filter(image, (0, beta, beta), truncate=3.5) for image in images.cpu().numpy()]
                x_adv = torch.from_numpy(np.stack(blurred)).to(images)
            with torch.no_grad():
                _, prediction = network(images).argmax(1), network(x_adv).argmax(1)
            parts.append(prediction == labels)
        results.append(torch.cat(parts).float().mean())
    return torch.stack(results)


def gtn_bench_sweep(
    subject: Subject, precision: str, sweep: str, betas: list[float], steps: int, x: Tensor, y: Tensor
) -> Tensor:
    """Return the accuracies (k,) as a run measures them, including the folding of the learner."""
    shape = subject.dataset.input_shape, subject.dataset.num_classes
    classifier = Classifier(copy.deepcopy(subject.network), *shape)
    attacked = Classifier(copy.deepcopy(subject.network), *shape, "bfloat16") if precision == "bfloat16" else classifier
    return accuracies(classifier, attacked, sweep, betas, steps, x, y)


def accuracies(
    classifier: Classifier, attacked: Classifier, sweep: str, betas: list[float], steps: int, x: Tensor, y: Tensor
) -> Tensor:
    """Return the accuracies (k,) under a perturbation at several strengths."""
    prediction = predict(classifier, x)
    gradient = zero_gradient(attacked, x, y) if steps else torch.zeros_like(y, dtype=torch.bool)
    clean, seeds = CleanResult(prediction, gradient), torch.arange(len(x))
    fields: dict[str, Any] = {"steps": steps} if steps else {}
    if sweep == "lbfgs-penalty":
        fields["step_size"] = 0.006
    results = [
        evaluate(PERTURBATIONS[sweep](beta=beta, **fields), classifier, clean, x, y, seeds, attacked=attacked)
        for beta in betas
    ]
    return torch.stack([(result.prediction == result.label).float().mean() for result in results])


def _gtn_bench(subject: Subject, classifier: Classifier) -> Callable[[], Tensor]:
    """Return the attack of gtn-bench, in the batches of a run."""
    attack, seeds = PERTURBATIONS["fgsm"](beta=STEP, steps=subject.steps), torch.arange(len(subject.x))

    def perturb(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return attack(classifier, x, y, seeds)

    return lambda: torch.cat(in_batches(perturb, classifier, attack.batch, subject.x, subject.y, seeds))


def _disable_numba(task: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return a task that runs without compiled kernels."""

    def run() -> Tensor:
        with without_numba():
            return task()

    return run


def _art(subject: Subject, network: nn.Module) -> Callable[[], Tensor]:
    from art.attacks.evasion import BasicIterativeMethod
    from art.estimators.classification import PyTorchClassifier

    x, y, steps = subject.x, F.one_hot(subject.y).cpu().numpy(), subject.steps
    if isinstance(network, Classifier):
        view = as_art(network)
    else:
        view = PyTorchClassifier(
            network,
            nn.CrossEntropyLoss(),
            subject.dataset.input_shape,
            10,
            clip_values=(0, 1),
            device_type=_art_device(x),
        )
    attack = BasicIterativeMethod(view, eps=steps * STEP, eps_step=STEP, max_iter=steps, batch_size=256, verbose=False)
    return lambda: torch.from_numpy(attack.generate(x.cpu().numpy(), y)).to(x)


def _art_device(x: Tensor) -> str:
    return "gpu" if x.is_cuda else "cpu"


def _foolbox(subject: Subject, network: nn.Module) -> Callable[[], Tensor]:
    from foolbox import Misclassification, PyTorchModel
    from foolbox.attacks import LinfBasicIterativeAttack

    x, y, steps = subject.x, subject.y, subject.steps
    view = as_foolbox(network) if isinstance(network, Classifier) else PyTorchModel(network, (0, 1), device=x.device)
    attack = LinfBasicIterativeAttack(abs_stepsize=STEP, steps=steps)
    return lambda: attack.run(view, x, Misclassification(y), epsilon=steps * STEP)


def _batch(subject: Subject) -> int:
    return batch_size(subject.float32, subject.x, "any")


def _torchattacks(subject: Subject, network: nn.Module, batch: int | None = None) -> Callable[[], Tensor]:
    from torchattacks import BIM

    view = as_torchattacks(network) if isinstance(network, Classifier) else network
    attack = BIM(view, eps=subject.steps * STEP, alpha=STEP, steps=subject.steps)
    parts = list(zip(subject.x.split(batch or len(subject.x)), subject.y.split(batch or len(subject.y)), strict=True))
    return lambda: torch.cat([attack(*part) for part in parts])


def _product(dtype: str, device: str) -> Callable[[], Tensor]:
    matrix = torch.randn(2048, 2048, device=device, dtype=getattr(torch, dtype))
    return lambda: matrix @ matrix


if __name__ == "__main__":
    main()
