"""Speed of whole curves and of stopping at success, compared with loops over library calls.

    python benchmarks/speed/curves.py --json curves.json

All variants of a table alternate in every round. Printed are medians of the seconds and medians of the ratios within a
round, with their quartiles.

- The first table: 40 steps of PGD on `base_larger`, trained on real MNIST images, at the L-inf radius at which half of
  the images stay correct. `best` stops each image at its first misclassified iterate.
- The second table: ten L-inf radii of PGD with 40 steps on models of other people. Each library attacks the bare model
  in a loop over the radii, and predicts the result. `bisection` is ``search: bisection`` of PGD with ``keep: best``.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attacks import with_torch_operations
from models import MODELS, alternate, cpuinfo, processor, ratios
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.paths import user_path
from gtn_bench.data import DATASETS
from gtn_bench.evaluation.evaluate import AttackResult, evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.weights.checkpoints import read_state
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.perturbations.pgd import PGD
from gtn_bench.perturbations.search import Bisection

STEPS, RADII = 40, 10
Task = Callable[[], float]  # returns an accuracy, or the mean of those of a sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--models", type=Path, help="folder of the public checkpoints; without it, the first table only"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reuse_memory()  # as a run does, for all variants
    print(f"{processor()}, {'AMX' if 'amx' in cpuinfo() else 'no AMX'}, {options.device}", end=", ")
    print(f"{options.threads} threads, {options.images} MNIST images, {STEPS} steps, {options.rounds} rounds")
    found = {"stopping": stopping(options)}
    if options.models:
        found |= {"trades": sweep("trades", "trades-mnist-smallcnn.pt", 0.4, options)}
        found |= {"certified": sweep("certified", "convex_adversarial-mnist.pth", 0.25, options)}
    if options.json:
        settings = {key: value for key, value in vars(options).items() if not isinstance(value, Path)}
        options.json.write_text(json.dumps({**settings, "processor": processor(), **found}, indent=2))


def stopping(options: argparse.Namespace) -> dict[str, Any]:
    """Measure 40 steps at the radius at which half of the images stay correct."""
    dataset = DATASETS["mnist"]()
    splits = dataset()
    x, y = splits["test"].to(options.device)[: options.images]
    network = ARCHITECTURES["base_larger"]()(dataset, seed=0).train().to(options.device)
    network.load_state_dict(Vanilla(epochs=1)(network, dataset, splits["train"].to(options.device), None, seed=0))
    network.eval()
    classifier = Classifier(copy.deepcopy(network), dataset.input_shape, dataset.num_classes)
    plain = with_torch_operations(copy.deepcopy(network))
    low, high = 0.0, 0.3
    for _ in range(8):
        radius = (low + high) / 2
        robust = run(classifier, x, y, [radius], "last") > 0.5
        low, high = (radius, high) if robust else (low, radius)
    print(f"\nbase_larger, radius {radius:.4f}")
    tasks: dict[str, Task] = {
        **library_tasks(plain, x, y, [radius]),
        **{f"ours, {keep}": lambda keep=keep: run(classifier, x, y, [radius], keep) for keep in ("last", "best")},
    }
    return table(tasks, options)


def sweep(name: str, file: str, largest: float, options: argparse.Namespace) -> dict[str, Any]:
    """Measure ten radii on a public model."""
    build, shape, _ = MODELS[name]
    network = build()
    weights = read_state(user_path(options.models) / file)
    network.load_state_dict(weights if name == "certified" else matched(weights, network))
    network.eval().to(options.device)
    x, y = DATASETS["mnist"]()()["test"].to(options.device)[: options.images]
    classifier = Classifier(copy.deepcopy(network), shape, 10)
    radii = [largest * (k + 1) / RADII for k in range(RADII)]
    print(f"\n{name}, radii {radii[0]:g} to {radii[-1]:g}")
    tasks: dict[str, Task] = {
        **library_tasks(network, x, y, radii),
        **{f"ours, {keep}": lambda keep=keep: run(classifier, x, y, radii, keep) for keep in ("last", "best")},
        "ours, bisection": lambda: bisect(classifier, x, y, radii),
    }
    return table(tasks, options)


def matched(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights under the names that a network gives them, in the same order."""
    return dict(zip(network.state_dict(), weights.values(), strict=True))


def run(classifier: Classifier, x: Tensor, y: Tensor, radii: list[float], keep: str) -> float:
    """Return the mean robust accuracy over radii, as a run of gtn-bench measures it."""
    clean = evaluate_clean(classifier, x, y)
    attacks = [PGD.model_validate({"beta": radius, "steps": STEPS, "keep": keep}) for radius in radii]
    return mean_accuracy([evaluate(attack, classifier, clean, x, y, torch.arange(len(x))) for attack in attacks], y)


def bisect(classifier: Classifier, x: Tensor, y: Tensor, radii: list[float]) -> float:
    """Return the mean robust accuracy over radii that are bisected for each image."""
    attacks = [PGD(beta=radius, steps=STEPS, keep="best") for radius in radii]
    sweep = [Bisection(of=attack, grid=tuple(radii), beta=attack.beta) for attack in attacks]
    clean = evaluate_clean(classifier, x, y)
    return mean_accuracy(evaluate_sweep(sweep, classifier, clean, x, y, torch.arange(len(x))), y)


def mean_accuracy(results: list[AttackResult], y: Tensor) -> float:
    """Return the mean robust accuracy of the results of a sweep."""
    return statistics.mean(float((result.prediction == y).float().mean()) for result in results)


def library_tasks(network: nn.Module, x: Tensor, y: Tensor, radii: list[float]) -> dict[str, Task]:
    """Return loops over the radii with the PGD of each library."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier
    from foolbox import Misclassification, PyTorchModel
    from foolbox.attacks import LinfPGD
    from torchattacks import PGD as TorchPGD

    def accuracy(attack: Callable[[float], Tensor]) -> float:
        with torch.no_grad():
            kept = [(network(attack(radius)).argmax(1) == y).float().mean() for radius in radii]
        return statistics.mean(map(float, kept))

    def torchattacks(radius: float) -> Tensor:
        with torch.enable_grad():
            return TorchPGD(network, eps=radius, alpha=radius / 10, steps=STEPS)(x, y)

    bare = PyTorchModel(network, (0, 1), device=x.device)

    def foolbox(radius: float) -> Tensor:
        with torch.enable_grad():
            return LinfPGD(rel_stepsize=0.1, steps=STEPS).run(bare, x, Misclassification(y), epsilon=radius)

    kind, shape = "gpu" if x.is_cuda else "cpu", tuple(x.shape[1:])
    estimator = PyTorchClassifier(network, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), device_type=kind)
    images, labels = x.cpu().numpy(), F.one_hot(y, 10).cpu().numpy()

    def art(radius: float) -> Tensor:
        settings = {"eps": radius, "eps_step": radius / 10, "max_iter": STEPS, "num_random_init": 1}
        attack = ProjectedGradientDescent(estimator, **settings, batch_size=len(x), verbose=False)
        with torch.enable_grad():
            return torch.from_numpy(attack.generate(images, labels)).to(x)

    return {
        "torchattacks": lambda: accuracy(torchattacks),
        "foolbox": lambda: accuracy(foolbox),
        "ART": lambda: accuracy(art),
    }


def table(tasks: dict[str, Task], options: argparse.Namespace) -> dict[str, Any]:
    """Measure tasks in turn, print a row for each, and return the numbers."""
    accuracies = {name: task() for name, task in tasks.items()}
    seconds = alternate(tasks, options)
    libraries = [name for name in tasks if "ours" not in name]
    fastest = min(libraries, key=lambda name: statistics.median(seconds[name]))
    print(f"{'variant':16}{'seconds':>9}{'accuracy':>10}{f'gain over {fastest}':>26}{'quartiles':>16}")
    rows: dict[str, Any] = {}
    for name in tasks:
        low, gain, high = ratios(seconds[fastest], seconds[name])
        rows[name] = {
            "seconds": statistics.median(seconds[name]),
            "accuracy": accuracies[name],
            "gain": [low, gain, high],
        }
        print(f"{name:16}{rows[name]['seconds']:9.3f}{accuracies[name]:10.4f}{gain:25.2f}x", end="")
        print(f"{f'{low:.2f} - {high:.2f}':>16}", flush=True)
    return rows


if __name__ == "__main__":
    main()
