"""Robust accuracy and time of `strong`, and of AutoAttack in torchattacks and ART, on four robust networks.

    python benchmarks/speed/strong.py --images 500 --json strong.json
    python benchmarks/speed/strong.py --images 100 --models certified adv-digits --threads 1

The libraries attack the network itself in batches of 100 images, with their default parameters, ART's step size in the
proportion of its defaults. `strong` attacks in batches of the size that gtn-bench chooses; its time includes the
preparation of the network. With `--json`, finished batches are kept in the file, and another call goes on from there.
AutoAttack takes minutes to hours per network; that of ART needs the extra `all-attacks`. `ratio` is the time of the
faster library divided by that of `strong`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "checks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "public-models"))

import networks as nets
from public_models import SmallCNN, convex_adversarial

from gtn_bench.config.paths import user_path
from gtn_bench.data import DATASETS
from gtn_bench.evaluation.batching import batch_size
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS

BATCH = 100
MODELS = ("trades", "certified", "adv-mnist", "adv-digits")
ATTACKS = ("torchattacks", "art", "strong")


class Subject(NamedTuple):
    """A network, the images on which it is attacked, and the L-inf radius."""

    network: nn.Module
    x: Tensor
    y: Tensor
    epsilon: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, help="number of images of each network")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="file of finished batches")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    done: dict[str, list[dict[str, Any]]] = {}
    if options.json and options.json.exists():
        done = json.loads(options.json.read_text(encoding="utf-8"))
    rows = []
    for name in options.models:
        subject = load(name, options.images)
        for attack in options.attacks:
            finished = done.setdefault(f"{name}, {attack}, {options.threads} threads", [])
            for batch in batches(subject, attack, sum(len(each["robust"]) for each in finished)):
                finished.append(batch)
                if options.json:
                    options.json.write_text(json.dumps(done), encoding="utf-8")
            rows.append((name, attack, finished))
    print(table(rows))


def load(name: str, images: int) -> Subject:
    """Return a network and its first test images. Two are published, two are trained here.

    Args:
        name: One of `MODELS`.
        images: Number of images.
    """
    folder = user_path(os.environ["GTN_BENCH_DATA"]) / "models"
    dataset = DATASETS["digits" if name == "adv-digits" else "mnist"]()
    if name in ("trades", "certified"):
        network: nn.Module = SmallCNN() if name == "trades" else convex_adversarial()
        file = "trades-mnist-smallcnn.pt" if name == "trades" else "convex_adversarial-mnist.pth"
        network.load_state_dict(torch.load(folder / file, weights_only=True, map_location="cpu"))
    else:
        network = nets.train(nets.cnn, dataset, 0, nets.adversarial(0.1), steps=800 if name == "adv-digits" else 400)
    x, y = dataset()["test"][:images]
    return Subject(network.eval(), x.contiguous(), y, 0.3 if name == "trades" else 0.1)


def batches(subject: Subject, attack: str, start: int) -> Any:
    """Attack the images that are left, and yield seconds and outcomes of each batch.

    Args:
        subject: The network and its images.
        attack: One of `ATTACKS`.
        start: Number of images that are done.
    """
    network, x, y, epsilon = subject
    if attack == "strong":
        reuse_memory()
        x, y = x[start:], y[start:]
        if len(x):
            yield timed(lambda: strong(subject._replace(x=x, y=y), start), subject._replace(x=x, y=y))
        return
    for first in range(start, len(x), BATCH):
        part = Subject(network, x[first : first + BATCH], y[first : first + BATCH], epsilon)
        yield timed(lambda: {"torchattacks": torchattacks, "art": art}[attack](part), part)  # noqa: B023


def timed(attack: Callable[[], Tensor], subject: Subject) -> dict[str, Any]:
    """Return the seconds of an attack on the clock and of the processor, and which images stay correctly classified.

    Args:
        attack: Function that returns perturbed images.
        subject: The network and the images.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    x_adv = attack()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    x_adv = (subject.x + (x_adv - subject.x).clamp(-subject.epsilon, subject.epsilon)).clamp(0, 1)
    with torch.no_grad():
        robust = subject.network(x_adv).argmax(dim=1) == subject.y
    return {"wall": wall, "cpu": cpu, "robust": robust.int().tolist()}


def strong(subject: Subject, start: int) -> Tensor:
    """Return the images that `strong` perturbs, the preparation of the network included.

    Args:
        subject: The network and the images.
        start: Number of the first image, from which the seeds follow.
    """
    network, x, y, epsilon = subject
    classifier = Classifier(network, (x.shape[1], x.shape[2], x.shape[3]), 10)
    attack, seeds = PERTURBATIONS["strong"](beta=epsilon), torch.arange(start, start + len(x)) * 7919
    parts = (each.split(batch_size(classifier, x, "any")) for each in (x, y, seeds))
    return torch.cat([attack(classifier, *part) for part in zip(*parts, strict=True)])


def torchattacks(subject: Subject) -> Tensor:
    """Return the images that AutoAttack of torchattacks perturbs.

    Args:
        subject: The network and the images.
    """
    from torchattacks import AutoAttack

    attack = AutoAttack(subject.network, norm="Linf", eps=subject.epsilon, version="standard", n_classes=10, seed=0)
    images: Tensor = attack(subject.x, subject.y)
    return images


def art(subject: Subject) -> Tensor:
    """Return the images that AutoAttack of ART perturbs.

    Args:
        subject: The network and the images.
    """
    from art.attacks.evasion import AutoAttack
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(0)
    np.random.seed(0)
    network, x, y, epsilon = subject
    estimator = PyTorchClassifier(network, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1))
    attack = AutoAttack(estimator, norm=np.inf, eps=epsilon, eps_step=epsilon / 3, batch_size=32)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def table(rows: list[tuple[str, str, list[dict[str, Any]]]]) -> str:
    """Return a Markdown table.

    Args:
        rows: Network, attack and finished batches.
    """
    lines = [
        "| network | images | attack | robust, % | s | CPU s | ratio | CPU ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    totals: dict[tuple[str, str], tuple[float, float]] = {}
    for name, attack, finished in rows:
        robust = [each for batch in finished for each in batch["robust"]]
        wall, cpu = (sum(batch[clock] for batch in finished) for clock in ("wall", "cpu"))
        libraries = [both for (network, _), both in totals.items() if network == name]
        ratios = [f"{min(both[k] for both in libraries) / own:.1f}" for k, own in enumerate((wall, cpu)) if libraries]
        shown = " | ".join(ratios if attack == "strong" and ratios else ["", ""])
        share = 100 * sum(robust) / max(len(robust), 1)
        lines.append(f"| {name} | {len(robust)} | {attack} | {share:.1f} | {wall:.1f} | {cpu:.1f} | {shown} |")
        totals[name, attack] = wall, cpu
    return "\n".join(lines)


if __name__ == "__main__":
    main()
