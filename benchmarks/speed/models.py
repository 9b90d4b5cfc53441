"""Speed of sign attacks on models of other people: torchattacks, ART and foolbox alone, through our views, and ours.

    python benchmarks/speed/models.py --json models.json
    python benchmarks/speed/models.py --models trades certified --rounds 15
    python benchmarks/speed/models.py --models trades certified --published

All variants of a model alternate in every round. Printed are medians of the seconds, and medians of the ratios within a
round with their quartiles. The models are untrained and images are uniform noise, unless `--published` loads published
weights and MNIST images, and attacks at the published radius. Gradients of trained models have more zeros, which makes
a prepared model faster.

- `alone`: the library attacks the model in evaluation mode.
- `view`: the library attacks the prepared model through the view of gtn-bench.
- `ours`: `fgsm` of gtn-bench with the same steps, in the batches of a run. `gain` is torchattacks alone over this.
- `share`: operations of the prepared network per second, relative to the fastest convolution in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import Arithmetic, synchronize, without_numba
from strong import load
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.evaluation.batching import batch_size, in_batches
from gtn_bench.execution.memory import reuse_memory
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.views import as_art, as_foolbox, as_torchattacks
from gtn_bench.models.distillation.networks import convnet
from gtn_bench.models.libraries.torchvision_networks import resnet
from gtn_bench.perturbations import PERTURBATIONS

sys.path.insert(0, str(Path(__file__).parents[1] / "public-models"))
from public_models import SmallCNN, convex_adversarial

RADIUS, STEPS = 0.05, 5
PUBLISHED = ("certified", "trades")
Shape = tuple[int, int, int]


def _convnet() -> nn.Module:
    sizes = [(32, 32), (16, 16), (8, 8), (4, 4)]
    return convnet(3, 10, sizes, width=128, norm="instance", activation="relu", pooling="avg")


MODELS: dict[str, tuple[Callable[[], nn.Module], Shape, int]] = {  # network, image shape, images
    "certified": (convex_adversarial, (1, 28, 28), 1024),
    "trades": (SmallCNN, (1, 28, 28), 256),
    "convnet-3": (_convnet, (3, 32, 32), 64),
    "resnet-18": (lambda: resnet("resnet18", 3, 10, width=1.0, small_stem=True), (3, 32, 32), 32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument(
        "--published", action="store_true", help=f"weights and images of {' and '.join(PUBLISHED)} in $GTN_BENCH_DATA"
    )
    parser.add_argument("--images", type=int, help="number of images; by default that of the model")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-libraries", action="store_true", help="torchattacks alone and ours only")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.published and (unpublished := [name for name in options.models if name not in PUBLISHED]):
        parser.error(f"--published: no weights of {', '.join(unpublished)}; add --models {' '.join(PUBLISHED)}")
    torch.set_num_threads(options.threads)
    reuse_memory()  # as a run does, for all variants
    machine = {"processor": processor(), "amx": "amx" in cpuinfo(), "torch": torch.__version__}
    print(f"{machine['processor']}, {'AMX' if machine['amx'] else 'no AMX'}, {options.device}", end=", ")
    print(f"{options.threads} threads, torch {machine['torch']}; float32, {STEPS} sign steps")
    print(f"{'model':12}{'images':>7}{'batch':>6}{'prepare s':>10}{'torchattacks s':>15}{'ours s':>8}", end="")
    print(f"{'gain':>6}{'quartiles':>14}{'share':>7}", end="")
    print("" if options.no_libraries else f"{'view / alone: torchattacks':>30}{'ART':>18}{'foolbox':>18}")
    rows = [row(name, options) for name in options.models]
    if options.json:
        settings = {key: value for key, value in vars(options).items() if not isinstance(value, Path)}
        options.json.write_text(json.dumps({**settings, **machine, "models": rows}, indent=2))


def row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model, print its row and return it."""
    build, shape, images = MODELS[name]
    torch.manual_seed(0)
    if options.published:
        network, x, _, radius = load(name, options.images or images)
    else:
        network, x, radius = build().eval(), torch.rand(options.images or images, *shape), RADIUS
    network, x = network.to(options.device), x.to(options.device)
    started = time.perf_counter()
    classifier = Classifier(network, shape, 10)
    preparation = time.perf_counter() - started
    y = classifier.predict(x)
    tasks = variants(network, classifier, x, y, radius, libraries=not options.no_libraries)
    seconds = alternate({**tasks, "convolution": convolution(options.device)}, options)
    medians = {task: statistics.median(values) for task, values in seconds.items()}
    gains = ratios(seconds["torchattacks alone"], seconds["ours"])
    with without_numba(), Arithmetic() as counted:  # compiled kernels are invisible to PyTorch's dispatcher
        classifier.loss_gradient(x, y)
    share = STEPS * counted.flop / medians["ours"] / (CONVOLUTION_FLOP / medians["convolution"])
    result: dict[str, Any] = {"model": name, "images": len(x), "batch": batch_size(classifier, x, "any")}
    result |= {"preparation": preparation, "seconds": medians, "gain": gains, "share": share}
    print(f"{name:12}{len(x):7}{result['batch']:6}{preparation:10.2f}{medians['torchattacks alone']:15.3f}", end="")
    print(f"{medians['ours']:8.3f}{gains[1]:5.2f}x{f'{gains[0]:.2f} - {gains[2]:.2f}':>14}{share:7.2f}", end="")
    for library in () if options.no_libraries else ("torchattacks", "ART", "foolbox"):
        found = ratios(seconds[f"{library} alone"], seconds[f"{library} view"])
        result[f"{library} view"] = found
        text = f"{found[1]:.2f}x {found[0]:.2f} - {found[2]:.2f}"
        print(f"{text:>{30 if library == 'torchattacks' else 18}}", end="")
    print(flush=True)
    return result


def variants(
    network: nn.Module, classifier: Classifier, x: Tensor, y: Tensor, radius: float, *, libraries: bool
) -> dict[str, Callable[[], Any]]:
    """Return the attacks by name."""
    from torchattacks import BIM

    settings = {"eps": radius, "alpha": radius / STEPS, "steps": STEPS}
    attack, seeds = PERTURBATIONS["fgsm"](beta=radius / STEPS, steps=STEPS), torch.arange(len(x))

    def perturb(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return attack(classifier, x, y, seeds)

    alone, view = BIM(network, **settings), BIM(as_torchattacks(classifier), **settings)
    tasks: dict[str, Callable[[], Any]] = {
        "torchattacks alone": lambda: alone(x, y),
        "ours": lambda: in_batches(perturb, classifier, attack.batch, x, y, seeds),
    }
    if not libraries:
        return tasks
    return {**tasks, "torchattacks view": lambda: view(x, y), **others(network, classifier, x, y, radius)}


def others(
    network: nn.Module, classifier: Classifier, x: Tensor, y: Tensor, radius: float
) -> dict[str, Callable[[], Any]]:
    """Return the attacks of ART and foolbox by name."""
    from art.attacks.evasion import BasicIterativeMethod
    from art.estimators.classification import PyTorchClassifier
    from foolbox import Misclassification, PyTorchModel
    from foolbox.attacks import LinfBasicIterativeAttack

    images, labels = x.cpu().numpy(), F.one_hot(y, 10).cpu().numpy()
    device = "gpu" if x.is_cuda else "cpu"
    loss = nn.CrossEntropyLoss()
    bare = PyTorchClassifier(network, loss, classifier.input_shape, 10, clip_values=(0, 1), device_type=device)
    tasks: dict[str, Callable[[], Any]] = {}
    for kind, model in (("alone", bare), ("view", as_art(classifier))):
        steps = {"eps": radius, "eps_step": radius / STEPS, "max_iter": STEPS}
        iterated = BasicIterativeMethod(model, **steps, batch_size=len(x), verbose=False)
        tasks[f"ART {kind}"] = lambda iterated=iterated: iterated.generate(images, labels)
    attack, criterion = LinfBasicIterativeAttack(abs_stepsize=radius / STEPS, steps=STEPS), Misclassification(y)
    for kind, model in (("alone", PyTorchModel(network, (0, 1), device=x.device)), ("view", as_foolbox(classifier))):
        tasks[f"foolbox {kind}"] = lambda model=model: attack.run(model, x, criterion, epsilon=radius)
    return tasks


CONVOLUTION_FLOP = 2 * 32 * 16 * 16 * 128 * 128 * 9


def convolution(device: str) -> Callable[[], Tensor]:
    """Return a convolution of 128 channels with kernels of 3x3 pixels, channels-last, that reaches the peak rate."""
    x, weight = torch.randn(32, 128, 16, 16, device=device), torch.randn(128, 128, 3, 3, device=device)
    x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    return lambda: F.conv2d(x, weight, padding=1)


def alternate(tasks: dict[str, Callable[[], Any]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Run all tasks in turn in every round, and return the seconds of each. A first round is not measured."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(options.rounds + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            synchronize(options.device)
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(slower: list[float], faster: list[float]) -> list[float]:
    """Return the quartiles of the ratios within a round."""
    return statistics.quantiles([a / b for a, b in zip(slower, faster, strict=True)], n=4)


def cpuinfo() -> str:
    """Return the description of the processor by Linux; an empty string on other systems."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor() -> str:
    """Return the name of the processor."""
    names = [line.split(":", 1)[1].strip() for line in cpuinfo().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
