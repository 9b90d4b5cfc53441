"""Speed of the batched L-BFGS attack against SciPy's L-BFGS-B, called once for each image.

    python benchmarks/speed/lbfgs.py                            # 64 and 256 digits, base_larger
    python benchmarks/speed/lbfgs.py --dataset mnist --images 64

Both run the whole attack on the same learner, with the same search for the constant and the same budget of evaluations.
Only the minimizer differs. SciPy's loop uses one thread, because more are slower on single images. The minimizers
alternate, and medians over the rounds are printed. `distance` is the mean L2 distance of the adversarial examples,
`found` the share of images with one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier, x, y = learner(options)
    print(f"{options.architecture} on {options.dataset}, {options.device}, {options.threads} threads")
    print(f"{'images':>6}  {'minimizer':12}{'seconds':>9}{'spread':>18}{'distance':>10}{'found':>7}{'speed':>8}")
    rows = [row for images in options.images for row in compare(classifier, x[:images], y[:images], options.rounds)]
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


def compare(classifier: Classifier, x: Tensor, y: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Measure both minimizers in alternation, and print and return one row for each."""
    minimizers = {"batched": minimize, "SciPy's loop": scipy_loop}
    seconds: dict[str, list[float]] = {name: [] for name in minimizers}
    found: dict[str, Nearest] = {}
    for _ in range(rounds):
        for name, minimizer in minimizers.items():
            seconds[name].append(timed(lambda chosen=minimizer: attack(classifier, x, y, chosen), found, name))
    rows = []
    for name, nearest in found.items():
        success = nearest.strength.isfinite()
        row = {
            "images": len(x),
            "minimizer": name,
            "seconds": statistics.median(seconds[name]),
            "spread": [min(seconds[name]), max(seconds[name])],
            "distance": nearest.strength[success].mean().item(),
            "found": success.float().mean().item(),
            "speed": statistics.median(seconds["SciPy's loop"]) / statistics.median(seconds[name]),
        }
        low, high = row["spread"]
        print(f"{len(x):6}  {name:12}{row['seconds']:9.2f}{f'{low:.2f} - {high:.2f}':>18}", end="")
        print(f"{row['distance']:10.4f}{row['found']:7.3f}{row['speed']:7.1f}x", flush=True)
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
