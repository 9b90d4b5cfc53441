"""Speed of the batched L-BFGS attack against SciPy's L-BFGS-B, called once for each image, and foolbox's DDN.

    python benchmarks/speed/lbfgs.py                            # 64 and 256 digits, base_larger
    python benchmarks/speed/lbfgs.py --dataset mnist --images 64
    python benchmarks/speed/lbfgs.py --dataset mnist --images 64 --against ddn --rounds 7 --threads 1

With SciPy, both run the whole attack on the same learner, with the same search for the constant and the same budget of
evaluations. Only the minimizer differs. SciPy's loop uses one thread, because more are slower on single images. DDN is
foolbox's, with 200 steps. The attacks alternate, and medians over the rounds are printed. `distance` is the mean L2
distance of the adversarial examples, `found` the share of images with one, `worst` the largest ratio of an image's
distance to that of the other attack, and `speed` the speed relative to the other attack.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.optimize import Bounds
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor

from gtn_bench.data import DATASETS
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.views import as_foolbox
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.perturbations import PERTURBATIONS, lbfgs
from gtn_bench.perturbations.base import Nearest
from gtn_bench.perturbations.optim.lbfgsb import Objective, minimize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits", choices=["digits", "mnist"])
    parser.add_argument("--architecture", default="base_larger", choices=list(ARCHITECTURES))
    parser.add_argument("--images", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--against", default="scipy", choices=["scipy", "ddn"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier, x, y = learner(options)
    print(f"{options.architecture} on {options.dataset}, {options.device}, {options.threads} threads")
    print(
        f"{'images':>6}  {'attack':14}{'seconds':>9}{'spread':>18}{'distance':>10}{'found':>7}{'worst':>8}{'speed':>8}"
    )
    rows = []
    for images in options.images:
        rows += compare(classifier, x[:images], y[:images], options.against, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


def learner(options: argparse.Namespace) -> tuple[Classifier, Tensor, Tensor]:
    """Return a learner, briefly trained on real images, and the test images that it classifies correctly."""
    dataset = DATASETS[options.dataset]()
    splits = dataset()
    network = ARCHITECTURES[options.architecture]()(dataset, seed=0).train()
    train = splits["train"].to(options.device)
    network = network.to(options.device)
    network.load_state_dict(
        Vanilla(epochs=1 if options.dataset == "mnist" else 4)(network, dataset, train, None, seed=0)
    )
    classifier = Classifier(network, dataset.input_shape, dataset.num_classes)
    x, y = splits["test"].to(options.device)[: 2 * max(options.images)]
    correct = classifier.predict(x) == y
    return classifier, x[correct], y[correct]


def compare(classifier: Classifier, x: Tensor, y: Tensor, against: str, rounds: int) -> list[dict[str, Any]]:
    """Measure two attacks in alternation, and print and return one row for each."""
    if against == "ddn":
        attacks = {"lbfgs": lambda: attack(classifier, x, y, minimize), "DDN, 200 steps": lambda: ddn(classifier, x, y)}
    else:
        attacks = {
            "batched": lambda: attack(classifier, x, y, minimize),
            "SciPy's loop": lambda: attack(classifier, x, y, scipy_loop),
        }
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    found: dict[str, Nearest] = {}
    for _ in range(rounds):
        for name, run in attacks.items():
            seconds[name].append(timed(run, found, name))
    rows = []
    for (name, nearest), other in zip(found.items(), reversed(found), strict=True):
        success = nearest.strength.isfinite()
        ratio = nearest.strength / found[other].strength
        row: dict[str, Any] = {
            "images": len(x),
            "attack": name,
            "seconds": statistics.median(seconds[name]),
            "spread": [min(seconds[name]), max(seconds[name])],
            "distance": nearest.strength[success].mean().item(),
            "found": success.float().mean().item(),
            "worst": ratio.amax().item(),
            "speed": statistics.median(b / a for a, b in zip(seconds[name], seconds[other], strict=True)),
        }
        low, high = row["spread"]
        print(f"{len(x):6}  {name:14}{row['seconds']:9.2f}{f'{low:.2f} - {high:.2f}':>18}", end="")
        print(f"{row['distance']:10.4f}{row['found']:7.3f}{row['worst']:8.3f}{row['speed']:7.1f}x", flush=True)
        rows.append(row)
    return rows


def timed(task: Callable[[], Nearest], found: dict[str, Nearest], name: str) -> float:
    """Run a task, store its result under a name, and return its seconds."""
    started = time.perf_counter()
    found[name] = task()
    float(found[name].strength.sum())  # waits for the device
    return time.perf_counter() - started


def attack(classifier: Classifier, x: Tensor, y: Tensor, minimizer: Callable[..., Tensor]) -> Nearest:
    """Run the whole attack with one of the minimizers."""
    search = PERTURBATIONS["lbfgs"](beta=1.0)
    with patch.object(lbfgs, "minimize", minimizer):
        return search.nearest(classifier, x, y, torch.arange(len(x)))  # type: ignore[attr-defined, no-any-return]


def ddn(classifier: Classifier, x: Tensor, y: Tensor) -> Nearest:
    """Run foolbox's DDN."""
    from foolbox.attacks import DDNAttack

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, x_adv, success = DDNAttack(steps=200)(as_foolbox(classifier), x, y, epsilons=None)
    return Nearest(x_adv, (x_adv - x).flatten(1).norm(dim=1).where(success, torch.inf))


def scipy_loop(objective: Objective, start: Tensor, *, steps: int, history_size: int, tolerance: float) -> Tensor:
    """Minimize with SciPy's L-BFGS-B, one row after another. Arguments are those of `minimize`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = start.clone()
    for row in range(len(start)):
        index = torch.tensor([row], device=start.device)

        def scalar(point: np.ndarray[Any, Any], index: Tensor = index) -> tuple[float, np.ndarray[Any, Any]]:
            value, grad = objective(torch.from_numpy(point)[None].to(start), index)
            return float(value), grad[0].double().cpu().numpy()

        result = scipy_minimize(
            scalar,
            start[row].double().cpu().numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(0, 1),
            options={"maxfun": steps, "maxcor": history_size, "ftol": tolerance, "gtol": 0.0},
        )
        found[row] = torch.from_numpy(result.x).to(start)
    torch.set_num_threads(threads)
    return found


if __name__ == "__main__":
    main()
