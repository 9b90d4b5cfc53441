"""Speed and robust accuracy of `square`, and of Square in torchattacks, at equal queries on four robust networks.

    python benchmarks/speed/square.py --json square.json
    python benchmarks/speed/square.py --models adv-digits --norms linf --rounds 9

torchattacks attacks the network itself, `square` the prepared network. Both alternate in every round.

- `s`: seconds at a radius where no image is fooled, so that both make all queries. `gain` is the median of the ratios
  within a round, with its quartiles.
- `forward`: the same number of forward passes of the prepared network instead of `square`, that is, the largest gain
  that an attack can have which passes each query through the network.
- `robust`: accuracy in percent at the radius of `benchmarks/speed/strong.py`, or ten times as much in L2, on
  `--images` images, the mean over `--seeds` seeds. All images of a batch of torchattacks share their windows, so that
  its accuracy varies more from seed to seed.
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

import torch
from models import cpuinfo, processor, ratios
from strong import MODELS, Subject, load
from torch import Tensor

from gtn_bench.evaluation.batching import in_batches
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS

UNFOOLED = 1e-4  # radius


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--norms", nargs="+", default=["linf", "l2"], choices=["linf", "l2"])
    parser.add_argument("--images", type=int, default=200, help="number of images for the accuracies")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds for the accuracies")
    parser.add_argument("--timed", type=int, default=100, help="number of images for the times")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reuse_memory()
    machine = {"processor": processor(), "amx": "amx" in cpuinfo(), "torch": torch.__version__}
    print(f"{machine['processor']}, {options.threads} of {os.cpu_count()} threads, {options.queries} queries")
    print(
        f"{'network':12}{'norm':6}{'torchattacks s':>15}{'square s':>9}{'gain':>6}{'quartiles':>14}{'forward':>8}",
        end="",
    )
    print(f"{'robust: torchattacks':>22}{'square':>8}")
    rows = []
    for name in options.models:
        subject = load(name, options.images)
        rows += [row(name, norm, subject, options) for norm in options.norms]
    if options.json:
        settings = {key: value for key, value in vars(options).items() if not isinstance(value, Path)}
        options.json.write_text(json.dumps({**settings, **machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")


def row(name: str, norm: str, subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one network in one norm, print its row and return it."""
    network, x, y, epsilon = subject
    radius = epsilon if norm == "linf" else 10 * epsilon
    channels, height, width = x.shape[1:]
    classifier = Classifier(network, (channels, height, width), 10)
    correct = (classifier.predict(x) == y).nonzero().squeeze(1)[: options.timed]
    timed = Subject(network, x[correct], y[correct], UNFOOLED)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(options.queries):
                classifier(timed.x)

    tasks: dict[str, Callable[[], Any]] = {
        "torchattacks": lambda: theirs(timed, norm, options.queries, 0),
        "square": lambda: ours(classifier, timed, norm, options.queries, 0),
        "forward": forward,
    }
    theirs(timed, norm, 2, 0)  # imports, which are not measured
    ours(classifier, timed, norm, 2, 0)
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    for _ in range(options.rounds):
        for task, run in tasks.items():
            started = time.perf_counter()
            run()
            seconds[task].append(time.perf_counter() - started)
    medians = {task: statistics.median(values) for task, values in seconds.items()}
    gains = ratios(seconds["torchattacks"], seconds["square"])
    limit = statistics.median(ratios(seconds["torchattacks"], seconds["forward"]))
    whole = subject._replace(epsilon=radius)
    robust = {"torchattacks": 0.0, "square": 0.0}
    for seed in range(options.seeds):
        robust["torchattacks"] += accuracy(theirs(whole, norm, options.queries, seed), whole) / options.seeds
        robust["square"] += accuracy(ours(classifier, whole, norm, options.queries, seed), whole) / options.seeds
    print(f"{name:12}{norm:6}{medians['torchattacks']:15.2f}{medians['square']:9.2f}{gains[1]:5.2f}x", end="")
    print(f"{f'{gains[0]:.2f} - {gains[2]:.2f}':>14}{limit:7.2f}x{robust['torchattacks']:22.1f}{robust['square']:8.1f}")
    result = {"network": name, "norm": norm, "radius": radius, "images": len(x), "timed": len(timed.x)}
    return {**result, "seconds": medians, "gain": gains, "forward": limit, "robust": robust}


def theirs(subject: Subject, norm: str, queries: int, seed: int) -> Tensor:
    """Return the images that Square of torchattacks perturbs."""
    from torchattacks import Square

    network, x, y, epsilon = subject
    attack = Square(network, norm=norm.capitalize(), eps=epsilon, n_queries=queries, seed=seed)
    images: Tensor = attack(x, y)
    return images


def ours(classifier: Classifier, subject: Subject, norm: str, queries: int, seed: int) -> Tensor:
    """Return the images that `square` perturbs."""
    attack = PERTURBATIONS["square"](beta=subject.epsilon, norm=norm, queries=queries)
    seeds = torch.arange(len(subject.x)) * 7919 + seed

    def perturb(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return attack(classifier, x, y, seeds)

    batches = in_batches(perturb, classifier, attack.batch, subject.x, subject.y, seeds, refills=attack.refills)
    return torch.cat(batches)


def accuracy(x_adv: Tensor, subject: Subject) -> float:
    """Return the accuracy of the network in percent."""
    with torch.no_grad():
        return 100 * float((subject.network(x_adv).argmax(dim=1) == subject.y).double().mean())


if __name__ == "__main__":
    main()
