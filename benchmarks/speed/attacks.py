"""Speed of attacks and sweeps against ART, foolbox, torchattacks and a plain loop, on the same learner and images.

    python benchmarks/speed/attacks.py                      # 256 images, 10 sign steps, 5 rounds
    python benchmarks/speed/attacks.py --quick              # fewer rounds and images, under 90 s on two cores

All variants of a table take turns in every round; medians, the spread and ratios of medians are printed. A library
`alone` attacks the learner as it is in evaluation mode, its layers written with PyTorch's operations; `our layers` are
the same learner as this package builds it, `our view` is the prepared one that gtn-bench hands to libraries. They
are given all images at once, torchattacks also in batches as small as our attacks choose them (`in our batches`).
Our attack also runs `without numba`, which compiles the first block and pooling where it is installed.
`moved` is the mean difference of the attacked images from those of our float32 attack. `share` is the arithmetic
of the folded network, divided by the time and by the machine's rate in matrix products, measured in the same rounds.
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
from machine import Arithmetic, synchronise, without_numba
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.classifiers import Classifier, as_art, as_foolbox, as_torchattacks
from gtn_bench.datasets import DATASETS, Dataset, Split
from gtn_bench.learners import LEARNERS
from gtn_bench.learners.layers import Conv2d, Flatten, Linear, MaxPool2d, weight_normalised
from gtn_bench.modes import Vanilla
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.batching import batch_size, in_batches
from gtn_bench.perturbations.referee import Clean, judge, predict, vanished
from gtn_bench.work import reuse_memory

STEP = 0.02  # size of a sign step
SWEEPS: dict[str, tuple[list[float], int]] = {  # the study's four, in pixel values: strengths, steps
    "fgsm": ([0.003 * k for k in range(1, 9)], 30),
    "lbfgs-penalty": ([6.2, 15.4, 30.8, 61.6, 154.0, 308.0, 616.0], 30),
    "noise": ([0.06 * k for k in range(1, 10)], 0),
    "blur": ([0.3 * k for k in range(1, 10)], 0),
}


class Subject:
    """A learner as its user has it, as we prepare it, and images that it is attacked on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dataset: Dataset = DATASETS[options.dataset]()
        self.device, self.steps = options.device, options.steps
        splits = self.dataset()
        whole = splits["train"]
        few = Split(whole.levels[:2000], whole.labels[:2000], whole.white).to(options.device)
        self.network = LEARNERS[options.architecture]()(self.dataset, seed=0).train().to(options.device)
        self.network.load_state_dict(Vanilla(epochs=2)(self.network, self.dataset, few, None, seed=0))
        self.network.eval()
        self.plain = with_torchs_operations(copy.deepcopy(self.network))
        shape = self.dataset.input_shape, self.dataset.num_classes
        self.float32 = Classifier(copy.deepcopy(self.network), *shape)
        self.bfloat16 = Classifier(copy.deepcopy(self.network), *shape, "bfloat16")
        self.x, self.y = splits["test"].to(options.device)[: options.images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", choices=["digits", "mnist"])
    parser.add_argument("--architecture", default="base_larger", choices=list(LEARNERS))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--reuse-memory", action="store_true", help="let glibc keep freed memory, for all of them")
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
    """The sign attack of every library on the learner as it is and through our view, and our own."""
    x, y = subject.x, subject.y
    variants: dict[str, Callable[[], Tensor]] = {}
    for name, attack in (("ART", _art), ("foolbox", _foolbox), ("torchattacks", _torchattacks)):
        variants[f"{name} alone"] = attack(subject, subject.plain)
        variants[f"{name}, our layers"] = attack(subject, subject.network)
        variants[f"{name}, our view"] = attack(subject, subject.float32)
    variants["torchattacks, in our batches"] = _torchattacks(subject, subject.plain, _batch(subject))
    variants["plain loop alone"] = lambda: plain_loop(subject.plain, x, y, STEP, options.steps)
    for precision in ("float32", "bfloat16"):
        variants[f"ours {precision}"] = _ours(subject, getattr(subject, precision))
        variants[f"ours {precision} without numba"] = _by_pytorch_alone(variants[f"ours {precision}"])
    products = {f"product {dtype}": _product(dtype, options.device) for dtype in ("float32", "bfloat16")}
    seconds, found = in_turns({**variants, **products}, options)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name.split()[1]: 2 * 2048**3 / medians[name] for name in products}
    work = arithmetic(subject.float32, x, y) * options.steps
    fastest = min(medians[f"{name} alone"] for name in ("ART", "foolbox", "torchattacks"))
    print(
        f"matrix product: {rates['float32'] / 1e9:.0f} GFLOP/s float32, {rates['bfloat16'] / 1e9:.0f} bfloat16", end=""
    )
    print(f"; arithmetic of the attack {work / 1e9:.0f} GFLOP")
    print(f"\n{'attack':34}{'seconds':>9}{'spread':>18}{'fastest / it':>13}{'alone / it':>12}{'share':>7}{'moved':>9}")
    rows = []
    for name in variants:
        low, high = min(seconds[name]), max(seconds[name])
        row = {"attack": name, "seconds": medians[name], "spread": [low, high], "gain": fastest / medians[name]}
        row["moved"] = (found[name] - found["ours float32"]).abs().mean().item()
        print(f"{name:34}{row['seconds']:9.3f}{f'{low:.3f} - {high:.3f}':>18}{row['gain']:12.2f}x", end="")
        library = name.split(",")[0]
        alone = f"{medians[f'{library} alone'] / medians[name]:.2f}x" if library != name else ""
        share = f"{work / medians[name] / rates[name.split()[1]]:.2f}" if "ours" in name else ""
        print(f"{alone:>12}{share:>7}{row['moved']:9.5f}", flush=True)
        rows.append({**row, "against the library alone": alone, "share of matrix product": share})
    return rows


def sweeps(subject: Subject, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The study's four sweeps of one learner against a loop over the libraries' calls, each strength by itself."""
    attacked, corrupted = (32, 256) if options.quick else (64, 1000)
    x, y = DATASETS[options.dataset]()()["test"].to(options.device)[:corrupted]
    tasks: dict[str, Callable[[], Tensor]] = {}
    for sweep, (betas, steps) in SWEEPS.items():
        betas = betas[::3] if options.quick else betas
        part = (x[:attacked], y[:attacked]) if steps else (x, y)
        tasks[f"libraries {sweep}"] = lambda a=(sweep, betas, steps, *part): library_sweep(subject, *a)
        for precision in ("float32", "bfloat16") if steps else ("float32",):
            tasks[f"{precision} {sweep}"] = lambda a=(precision, sweep, betas, steps, *part): our_sweep(subject, *a)
    seconds, found = in_turns(
        tasks, argparse.Namespace(**{**vars(options), "rounds": 1 if options.quick else 3}), warm=False
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\n{'sweep':18}{'libraries':>11}{'float32':>10}{'':8}{'bfloat16':>10}{'':8}{'accuracy differs by':>22}")
    rows = []
    for sweep in SWEEPS:
        row: dict[str, Any] = {"sweep": sweep, "libraries": medians[f"libraries {sweep}"]}
        for precision in ("float32", "bfloat16"):
            name = f"{precision} {sweep}" if f"{precision} {sweep}" in medians else f"float32 {sweep}"
            row[precision] = medians[name]
            row[f"{precision} differs"] = (found[name] - found[f"libraries {sweep}"]).abs().max().item()
        rows.append(row)
    rows.append({"sweep": "all four", **{k: sum(row[k] for row in rows) for k in ("libraries", "float32", "bfloat16")}})
    for row in rows:
        print(f"{row['sweep']:18}{row['libraries']:11.2f}", end="")
        for precision in ("float32", "bfloat16"):
            print(f"{row[precision]:10.2f}{row['libraries'] / row[precision]:7.2f}x", end="")
        differs = [f"{row[key]:.4f}" for key in ("float32 differs", "bfloat16 differs") if key in row]
        print(f"{', '.join(differs):>22}", flush=True)
    return rows


def scaling(subject: Subject, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whether our attack's cost is a straight line over images, steps, strengths and learners, and where it begins."""
    unit = 32 if options.quick else 64
    x, y = DATASETS[options.dataset]()()["test"].to(options.device)[: 4 * unit]

    def attack(images: int, steps: int, betas: int, learners: int) -> None:
        for _ in range(learners):
            classifier = Classifier(copy.deepcopy(subject.network), subject.dataset.input_shape, 10)
            our_judge(
                classifier, classifier, "fgsm", [STEP / (k + 1) for k in range(betas)], steps, x[:images], y[:images]
            )

    print(f"\n{'cost over':12}{'at':>18}{'seconds':>26}{'intercept':>11}{'off the line':>14}")
    rows = []
    for position, axis in enumerate(("images", "steps", "strengths", "learners")):
        base = [unit, 4, 1, 1]
        sizes = [unit, 2 * unit, 4 * unit] if axis == "images" else [4, 8, 16] if axis == "steps" else [1, 2, 4]
        tasks = {}
        for size in sizes:
            arguments = [*base[:position], size, *base[position + 1 :]]
            tasks[str(size)] = lambda a=tuple(arguments): attack(*a)
        seconds, _ = in_turns(tasks, options)
        medians = [statistics.median(seconds[str(size)]) for size in sizes]
        slope, intercept = np.polyfit(sizes, medians, 1)
        off = float(np.abs(np.polyval([slope, intercept], sizes) / medians - 1).max())
        rows.append({"axis": axis, "sizes": sizes, "seconds": medians, "intercept": intercept, "off the line": off})
        shown = ", ".join(f"{value:.3f}" for value in medians)
        print(f"{axis:12}{', '.join(map(str, sizes)):>18}{shown:>26}{intercept:11.3f}{off:13.1%}", flush=True)
    return rows


def in_turns(
    tasks: Mapping[str, Callable[[], Any]], options: argparse.Namespace, warm: bool = True
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of every task in each round, after one that does not count; and what the last call returned."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    found = {}
    for round_ in range(-1 if warm else 0, options.rounds):
        for name, task in tasks.items():
            started = time.perf_counter()
            found[name] = task()
            synchronise(options.device)
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds, found


def arithmetic(classifier: Classifier, x: Tensor, y: Tensor) -> int:
    """Floating-point operations of one gradient for all images."""
    with without_numba(), Arithmetic() as counted:  # which does not see what numba compiles
        classifier.loss_gradient(x, y)
    return counted.flop


class TorchConv2d(Conv2d):
    """Weight normalisation and convolution as PyTorch has them."""

    def forward(self, x: Tensor) -> Tensor:
        weight = weight_normalised(self.weight, self.gain)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class TorchLinear(Linear):
    """Weight normalisation and matrix product as PyTorch has them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, weight_normalised(self.weight, self.gain), self.bias)


def with_torchs_operations(network: nn.Module) -> nn.Module:
    """The same learner as one would write it with PyTorch's operations."""
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
    """What one would write oneself."""
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
        x_adv = (x_adv + beta * grad.sign()).clamp(0, 1).detach()
    return x_adv


def penalty_loop(network: nn.Module, x: Tensor, y: Tensor, beta: float, steps: int) -> Tensor:
    """No library has the study's penalised ascent: what one would write oneself."""
    x_adv = x
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        change = (x_adv - x).flatten(1).square().sum(1)
        penalty = change.where(change > 0, 1).sqrt().where(change > 0, 0).sum() / beta
        (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y, reduction="sum") - penalty, x_adv)
        x_adv = (x_adv + 0.006 * grad.sign()).clamp(0, 1).detach()
    return x_adv


def library_sweep(subject: Subject, sweep: str, betas: list[float], steps: int, x: Tensor, y: Tensor) -> Tensor:
    """Accuracies of the learner as it is, by torchattacks, SciPy or a loop of one's own; clean ones with each, as
    scripts do.
    """
    from torchattacks import BIM, GN

    network, accuracies = subject.plain, []
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
        accuracies.append(torch.cat(parts).float().mean())
    return torch.stack(accuracies)


def our_sweep(
    subject: Subject, precision: str, sweep: str, betas: list[float], steps: int, x: Tensor, y: Tensor
) -> Tensor:
    """The same accuracies, measured as a run measures them, preparation of the learner included."""
    shape = subject.dataset.input_shape, subject.dataset.num_classes
    classifier = Classifier(copy.deepcopy(subject.network), *shape)
    attacked = Classifier(copy.deepcopy(subject.network), *shape, "bfloat16") if precision == "bfloat16" else classifier
    return our_judge(classifier, attacked, sweep, betas, steps, x, y)


def our_judge(
    classifier: Classifier, attacked: Classifier, sweep: str, betas: list[float], steps: int, x: Tensor, y: Tensor
) -> Tensor:
    prediction = predict(classifier, x)
    no_slope = vanished(attacked, x, y) if steps else torch.zeros_like(y, dtype=torch.bool)
    clean, seeds = Clean(prediction, no_slope), torch.arange(len(x))
    fields: dict[str, Any] = {"steps": steps} if steps else {}
    if sweep == "lbfgs-penalty":
        fields["step_size"] = 0.006
    outcomes = [
        judge(PERTURBATIONS[sweep](beta=beta, **fields), classifier, clean, x, y, seeds, attacked=attacked)
        for beta in betas
    ]
    return torch.stack([(outcome.prediction == outcome.label).float().mean() for outcome in outcomes])


def _ours(subject: Subject, classifier: Classifier) -> Callable[[], Tensor]:
    """Handed over as in a run, in batches of the package's own choice."""
    attack, seeds = PERTURBATIONS["fgsm"](beta=STEP, steps=subject.steps), torch.arange(len(subject.x))

    def perturb(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return attack(classifier, x, y, seeds)

    return lambda: torch.cat(in_batches(perturb, classifier, attack.batch, subject.x, subject.y, seeds))


def _by_pytorch_alone(task: Callable[[], Tensor]) -> Callable[[], Tensor]:
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
