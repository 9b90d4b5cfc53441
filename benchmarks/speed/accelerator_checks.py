"""The checks of `accelerator.py`: each returns rows of a table."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from machine import Waits, synchronize, without_numba
from torch import Tensor
from torch.nn import functional as F

from gtn_bench.data.base import Dataset, Split
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.modes.training import train
from gtn_bench.perturbations import PERTURBATIONS, Perturbation
from gtn_bench.teaching.curricula import LatentCurriculum
from gtn_bench.teaching.inner_loop import MetaBatch, meta_gradient
from gtn_bench.teaching.optimizers import SGD

Row = dict[str, Any]

AGREEMENT = 0.9  # share of images
LIBRARIES = ("art", "foolbox", "torchattacks")
FIELDS: dict[str, dict[str, Any]] = {
    "fgsm": {"beta": 0.02, "steps": 5},
    "pgd": {"beta": 0.05, "steps": 10},
    "apgd": {"beta": 0.05, "steps": 10},
    "square": {"beta": 0.1, "queries": 50},
    "lbfgs": {"beta": 2.0, "steps": 10, "binary_search_steps": 4},
    "lbfgs-penalty": {"beta": 1.0, "steps": 5},
    "rotation": {"beta": 20.0},
    "translation": {"beta": 1.5},
    "quantization": {"beta": 2.0},
    "occlusion": {"beta": 2.5},
}  # of the others, beta is 0.1
ATTACKS: dict[str, dict[str, Any]] = {
    "art": {"attack": "BasicIterativeMethod", "beta_parameter": "eps", "params": {"eps_step": 0.02, "max_iter": 5}},
    "foolbox": {"attack": "LinfPGD", "beta_parameter": "epsilon", "params": {"steps": 5}},
    "torchattacks": {"attack": "PGD", "beta_parameter": "eps", "params": {"alpha": 0.02, "steps": 5}},
}
SEARCHES = ("noise", "lbfgs")  # normal numbers, which are rounded differently; a boundary, where rounding decides
SYNCHRONIZING = "called a synchronizing CUDA operation"  # the warning of CUDA's debug mode


class Setting(NamedTuple):
    """A learner and images, on the CPU, and the device that is compared with it.

    Attributes:
        dataset: The data set.
        architecture: Name of the architecture.
        device: "cpu" or "cuda".
        classifiers: Classifiers by type and device.
        x: Images (N, C, H, W).
        y: Labels (N,).
    """

    dataset: Dataset
    architecture: str
    device: str
    classifiers: dict[tuple[torch.dtype, str], Classifier]
    x: Tensor
    y: Tensor

    @staticmethod
    def prepare(dataset: Dataset, architecture: str, device: str, images: int) -> Setting:
        """Train a learner on the CPU and return it with test images.

        Args:
            dataset: The data set.
            architecture: Name of the architecture.
            device: "cpu" or "cuda".
            images: Number of images.
        """
        splits = dataset()
        all_images = splits["train"]
        few = Split(all_images.levels[:2000], all_images.labels[:2000], all_images.white)
        network = ARCHITECTURES[architecture]()(dataset, seed=0)
        network.load_state_dict(train([Vanilla(epochs=2)], network, dataset, few, None, seed=0)[0])
        network.eval()
        shape = dataset.input_shape, dataset.num_classes
        classifiers = {
            (dtype, place): Classifier(network, *shape).to(place, dtype)
            for dtype in (torch.float32, torch.float64)
            for place in {"cpu", device}
        }
        x, y = splits["test"][:images]
        return Setting(dataset, architecture, device, classifiers, x, y)

    def perturb(self, perturbation: Perturbation, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
        """Return perturbed images and their predictions, on the CPU.

        Args:
            perturbation: The perturbation.
            dtype: Type of the images.
            device: "cpu" or "cuda".
        """
        classifier = self.classifiers[dtype, device]
        classifier.restart()
        x, y = self.x.to(device, dtype), self.y.to(device)
        x_adv = perturbation(classifier, x, y, torch.arange(len(x))).clamp(0, 1)
        return x_adv.cpu(), classifier.predict(x_adv).cpu()


def native_names() -> list[str]:
    """Return the names of all perturbations that are not of a library."""
    return [name for name in PERTURBATIONS if name not in LIBRARIES]


def native_row(setting: Setting, name: str) -> Row:
    """Compare a perturbation on the CPU and on the device.

    Args:
        setting: The setting.
        name: Name of the perturbation.
    """
    perturbation = PERTURBATIONS[name](**FIELDS.get(name, {"beta": 0.1}))
    exact, _ = setting.perturb(perturbation, torch.float64, "cpu")
    found, _ = setting.perturb(perturbation, torch.float64, setting.device)
    _, expected = setting.perturb(perturbation, torch.float32, "cpu")
    first, prediction = setting.perturb(perturbation, torch.float32, setting.device)
    synchronize(setting.device)
    started = time.perf_counter()
    second, _ = setting.perturb(perturbation, torch.float32, setting.device)
    synchronize(setting.device)
    seconds = time.perf_counter() - started
    difference = (found - exact).flatten(1).abs().amax(dim=1)
    images = (difference <= (1e-3 if name in SEARCHES else 1e-6)).double().mean().item()
    predictions = (prediction == expected).double().mean().item()
    repeated = torch.equal(first, second)
    return {
        "name": name,
        "images float64": images,
        "largest difference": difference.max().item(),
        "predictions float32": predictions,
        "same bits twice": repeated,
        "seconds": seconds,
        "passed": images >= AGREEMENT and predictions >= AGREEMENT and repeated,
    }


def wait_rows(setting: Setting) -> list[Row]:
    """Count how often the host waits in each attack, for few and for all images.

    Args:
        setting: The setting.
    """
    rows = []
    for name in ("fgsm", "pgd", "apgd", "square", "lbfgs", "lbfgs-penalty", "noise"):
        perturbation = PERTURBATIONS[name](**FIELDS.get(name, {"beta": 0.1}))
        steps = getattr(perturbation, "queries", getattr(perturbation, "steps", 1))
        steps *= getattr(perturbation, "binary_search_steps", 1)
        counts = [_waits(setting, perturbation, images) for images in (max(1, len(setting.x) // 4), len(setting.x))]
        row: Row = {"name": name, "steps": steps, "waits per step": counts[-1][0].total() / steps}
        row["of a quarter of the images"] = counts[0][0].total() / steps
        if setting.device == "cuda":
            row["reported by CUDA"] = counts[-1][1] / steps
        rows.append({**row, "most frequent": ", ".join(name for name, _ in counts[-1][0].most_common(2))})
    return rows


def _waits(setting: Setting, perturbation: Perturbation, images: int) -> tuple[Counter[str], int]:
    """Return the waits by operation, and the number of those that CUDA reports."""
    classifier = setting.classifiers[torch.float32, setting.device]
    x, y = setting.x[:images].to(setting.device), setting.y[:images].to(setting.device)
    perturbation(classifier, x, y, torch.arange(images))  # libraries wait when they are first used
    classifier.restart()
    with without_numba(), _reported(setting.device) as reported, Waits() as waits:
        perturbation(classifier, x, y, torch.arange(images))
    return waits.counts, len(reported)


@contextmanager
def _reported(device: str) -> Iterator[list[str]]:
    """Collect the synchronizing operations that CUDA reports."""
    messages: list[str] = []
    if device == "cpu":
        yield messages
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield messages
        finally:
            torch.cuda.set_sync_debug_mode("default")
            messages += [str(each.message) for each in caught if SYNCHRONIZING in str(each.message)]


def library_row(setting: Setting, library: str) -> Row:
    """Run an attack of a library on the device.

    Args:
        setting: The setting.
        library: Name of the library.
    """
    perturbation = PERTURBATIONS[library](beta=0.05, **ATTACKS[library])
    _, expected = setting.perturb(perturbation, torch.float32, "cpu")
    setting.perturb(perturbation, torch.float32, setting.device)
    started = time.perf_counter()
    x_adv, prediction = setting.perturb(perturbation, torch.float32, setting.device)
    seconds = time.perf_counter() - started
    inside = bool(((x_adv - setting.x).abs() <= 0.05 + 1e-6).all())
    accuracies = [(found == setting.y).double().mean().item() for found in (expected, prediction)]
    return {
        "name": f"{library} {ATTACKS[library]['attack']}",
        "accuracy cpu": accuracies[0],
        "accuracy": accuracies[1],
        "seconds": seconds,
        "passed": inside and abs(accuracies[0] - accuracies[1]) <= 0.1,
    }


def meta_step_rows(setting: Setting, inner_steps: int, batch_size: int) -> list[Row]:
    """Measure a meta-step in both precisions.

    Args:
        setting: The setting.
        inner_steps: Number of inner steps.
        batch_size: Images per inner step.
    """
    rows, expected = [], meta_step(setting, "cpu", None, inner_steps, batch_size)()
    for name, precision, least in (("float32", None, 0.99), ("bfloat16", torch.bfloat16, 0.8)):
        step = meta_step(setting, setting.device, precision, inner_steps, batch_size)
        first = step()
        if setting.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        second = step()
        seconds = time.perf_counter() - started
        with without_numba(), _reported(setting.device) as reported, Waits() as waits:
            step(read=False)
        memory = torch.cuda.max_memory_allocated() / 1e9 if setting.device == "cuda" else 0.0
        cosine, repeated = F.cosine_similarity(first, expected, dim=0).item(), torch.equal(first, second)
        counts: Row = {"waits": waits.total, "reported by CUDA": len(reported)}
        rows.append(
            {
                **{"name": name, "seconds": seconds, "peak GB": memory, "cosine": cosine, "same bits twice": repeated},
                **counts,
                "passed": cosine >= least and repeated,
            }
        )
    return rows


def meta_step(
    setting: Setting, device: str, precision: torch.dtype | None, inner_steps: int, batch_size: int
) -> Callable[..., Tensor]:
    """Return a function that computes one meta-gradient, as one vector on the CPU unless ``read=False``.

    Args:
        setting: The setting.
        device: "cpu" or "cuda".
        precision: Type of images and activations; None for float32.
        inner_steps: Number of inner steps.
        batch_size: Images per inner step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        size = {"inner_steps": inner_steps, "batch_size": batch_size, "latent_size": 64}
        module = LatentCurriculum(setting.dataset, **size, lr=0.02, momentum=0.5).to(device)
        shape = inner_steps, batch_size
        images = torch.rand(*shape, *setting.dataset.input_shape).to(device)
        labels = torch.randint(setting.dataset.num_classes, shape).to(device)
    learner = ARCHITECTURES[setting.architecture]()(setting.dataset, seed=0).to(device).train()
    block = max(1, round(inner_steps**0.5))

    def step(read: bool = True) -> Tensor:
        batch = MetaBatch(images, labels)
        _, gradient = meta_gradient(module, learner, learner, SGD(), batch, block_size=block, precision=precision)
        joined = torch.cat([part.float().flatten() for part in gradient])
        return joined.cpu() if read else joined

    return step
