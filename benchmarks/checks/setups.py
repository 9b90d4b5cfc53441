"""The set-ups of the table of checks: evaluations with one known fault, and honest ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "public-models"))

import networks as nets
import public_models  # noqa: F401  (registers architectures)
import torch
from torch import Tensor, nn

import gtn_bench
from gtn_bench.config.paths import user_path
from gtn_bench.data import DATASETS
from gtn_bench.data.base import Dataset

Run = Callable[[int, Path], gtn_bench.Results]  # of a seed and an output folder

IMAGES = 128
DATA = user_path(os.environ.get("GTN_BENCH_DATA", "absent"))
TRADES = DATA / "models" / "trades-mnist-smallcnn.pt"
CERTIFIED = DATA / "models" / "convex_adversarial-mnist.pth"
MNIST = DATA / "MNIST"
CIFAR = DATA / "cifar10-jpeg"


class Setup(NamedTuple):
    """An evaluation.

    Attributes:
        name: What is evaluated.
        expected: Names of the checks of which one has to fail, or parts of the message that has to refuse the model;
            empty for an honest set-up.
        run: Evaluates it.
        seeds: Number of seeds.
        needs: Path that it needs; None for nothing.
    """

    name: str
    expected: tuple[str, ...]
    run: Run
    seeds: int = 5
    needs: Path | None = None

    @property
    def is_honest(self) -> bool:
        """True if no check should fail."""
        return not self.expected


# Evaluation.

PGD = {"name": "pgd", "label": "attack", "steps": 40, "samples": IMAGES}
WITHIN = {"digits": [0.05, 0.1], "mnist": [0.1, 0.2]}


def attacked_by(dataset: str, **fields: Any) -> dict[str, Any]:
    """Return a suite with one attack.

    Args:
        dataset: Name of the data set.
        fields: Fields of the attack other than those of `PGD`.
    """
    return {"checks": "full", "perturbations": [{**PGD, "beta": WITHIN[dataset], **fields}]}


def _device(dataset: Any) -> Literal["cpu", "auto"]:
    """Return the device for a data set: a GPU is of no use for the smallest images."""
    return "cpu" if dataset == "digits" else "auto"


def with_attack(name: str, **fields: Any) -> dict[str, Any]:
    """Return a suite with one attack on the digits.

    Args:
        name: Name of the attack.
        fields: Its fields.
    """
    attack = {"name": name, "label": "attack", "samples": IMAGES, "beta": WITHIN["digits"], **fields}
    return {"checks": "full", "perturbations": [attack]}


def evaluated(
    build: Callable[[Dataset, int], nn.Module],
    dataset: str = "digits",
    suite: Mapping[str, Any] | str | None = None,
    **options: Any,
) -> Run:
    """Return the evaluation of a network.

    Args:
        build: Function of the data set and a seed that returns the network.
        dataset: Name of the data set.
        suite: The suite; by default one with `PGD`.
        options: Options of `gtn_bench.evaluate`.
    """

    def run(seed: int, folder: Path) -> gtn_bench.Results:
        described = DATASETS[dataset]()
        network = build(described, seed)
        given = suite or attacked_by(dataset)
        device = _device(dataset)
        return gtn_bench.evaluate(network, described, given, folder, workers=1, limit=IMAGES, device=device, **options)

    return run


def trained(
    build: Callable[[Dataset], nn.Module], loss: nets.Loss = nets.ordinary, **options: Any
) -> Callable[[Dataset, int], nn.Module]:
    """Return a function of a data set and a seed that trains a network.

    Args:
        build: Function of the data set that returns the network.
        loss: Loss of the training.
        options: Options of `networks.train`.
    """
    return lambda dataset, seed: nets.train(build, dataset, seed, loss, **options)


def behind(layer: Callable[..., nn.Module], *arguments: float) -> Callable[[Dataset, int], nn.Module]:
    """Return a function that trains a network and puts a layer before or behind it.

    Args:
        layer: Class of the layer, of a network and further arguments.
        arguments: The arguments.
    """
    return lambda dataset, seed: layer(nets.train(nets.cnn, dataset, seed), *arguments)


def suite_of(
    dataset: str,
    architecture: Any,
    mode: Any,
    suite: Mapping[str, Any] | None = None,
    limit: int | None = IMAGES,
    **keys: Any,
) -> Run:
    """Return the run of a suite with one learner.

    Args:
        dataset: Name of the data set.
        architecture: Entry of the architecture.
        mode: Entry of the mode.
        suite: Checks and perturbations; by default those of the suite `standard`.
        limit: Number of test images; None for that of the suite.
        keys: Other keys of the suite.
    """

    def run(seed: int, folder: Path) -> gtn_bench.Results:
        given = suite or standard()
        described = {"name": "setup", "dataset": dataset, "architectures": [architecture], "modes": [mode]}
        content = {**described, "seeds": [seed], "acceptance": 0, **keys, **given}
        planned = gtn_bench.plan(gtn_bench.load(content), limit)
        return gtn_bench.run(planned, folder, workers=1, device=_device(dataset))

    return run


def standard() -> dict[str, Any]:
    """Return the perturbations of the suite `standard`, with all checks."""
    loaded = gtn_bench.load("standard").model_dump(mode="json")
    perturbations = [
        {key: value for key, value in entry.items() if value is not None} | {"samples": IMAGES}
        for entry in loaded["perturbations"]
    ]
    return {"checks": "full", "perturbations": perturbations}


# Attacks with a fault.


@gtn_bench.perturbation(name="returns-input", norm="linf", uses_gradient=True)
def returns_input(model: nn.Module, x: Tensor, y: Tensor, beta: float) -> Tensor:
    """Return the images as they are."""
    return x


@gtn_bench.perturbation(name="leaves-ball", norm="linf", uses_gradient=True)
def leaves_ball(model: nn.Module, x: Tensor, y: Tensor, beta: float) -> Tensor:
    """Take sign steps without a projection."""
    return _sign_steps(model, x, y, 10, beta / 4, 1.0)


@gtn_bench.perturbation(name="other-classes", norm="linf", uses_gradient=True)
def other_classes(model: nn.Module, x: Tensor, y: Tensor, beta: float) -> Tensor:
    """Maximize the loss of the next class, not of the label."""
    return _sign_steps(model, x, (y + 1) % 10, 40, beta / 10, beta)


def _sign_steps(model: nn.Module, x: Tensor, y: Tensor, steps: int, size: float, radius: float) -> Tensor:
    x_adv = x.clone()
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x_adv), y), x_adv)
        x_adv = (x_adv.detach() + size * gradient.sign()).clamp(x - radius, x + radius).clamp(0, 1)
    return x_adv


# The set-ups.

MEAN, STD = 0.3053, 0.3761  # of the digits


def _normalized(dataset: Dataset, seed: int) -> nn.Module:
    return nets.train(nets.cnn, dataset, seed, change=lambda x: (x - MEAN) / STD)


def _partly_masked(dataset: Dataset, seed: int) -> nn.Module:
    x, _ = dataset()["test"][:]
    low, high = x.flatten(1).mean(dim=1).quantile(torch.tensor([1 / 3, 2 / 3])).tolist()
    return nets.PartlyMasking(nets.train(nets.cnn, dataset, seed), low, high)


BROKEN = (
    Setup(
        "published protocol (statistics of the test batch)",
        ("batch_coupling",),
        suite_of(
            "digits",
            "base",
            {"name": "vanilla", "epochs": 6},
            with_attack("fgsm", steps=30, beta=[0.01, 0.02]),
            protocol="published",
        ),
    ),
    Setup("logits times 1e4", ("zero_gradient", "other_loss"), evaluated(behind(nets.Scaled, 1e4))),
    Setup(
        "probabilities in place of logits",
        ("outputs are probabilities",),
        evaluated(lambda dataset, seed: nn.Sequential(nets.train(nets.cnn, dataset, seed), nn.Softmax(1))),
    ),
    Setup(
        "images normalized twice",
        ("normalized_twice", "second_normalization"),
        evaluated(lambda dataset, seed: nets.Normalizing(_normalized(dataset, seed), MEAN, STD), mean=MEAN, std=STD),
    ),
    Setup("normalization missing", ("not_normalized",), evaluated(_normalized)),
    Setup("images rounded to 9 levels", ("zero_gradient",), evaluated(behind(nets.Rounding))),
    Setup("noise in the forward pass", ("network is random",), evaluated(behind(nets.Randomizing))),
    Setup(
        "too few steps",
        ("more_steps", "step_size"),
        evaluated(trained(nets.cnn), suite=attacked_by("digits", steps=3, random_start=False)),
    ),
    Setup(
        "an attack that returns its input",
        ("unchanged",),
        evaluated(
            trained(nets.cnn),
            suite=with_attack("returns-input"),
        ),
    ),
    Setup(
        "an attack that leaves its ball",
        ("outside_ball",),
        evaluated(
            trained(nets.cnn),
            suite=with_attack("leaves-ball"),
        ),
    ),
    Setup(
        "steps too small to reach the radius",
        ("more_steps", "step_size"),
        evaluated(trained(nets.cnn), suite=attacked_by("digits", relative_step_size=0.005)),
    ),
    Setup("labels of other classes", ("permuted_labels", "near_chance"), evaluated(trained(nets.cnn, permuted=True))),
    Setup(
        "shattered gradients",
        ("gradient_free", "transfer", "unbounded", "second_attack"),
        evaluated(behind(nets.Shattering)),
    ),
    Setup("a third of the images without gradients", ("zero_gradient",), evaluated(_partly_masked)),
    Setup(
        "an attack on another class",
        ("second_attack", "gradient_free", "binarization"),
        evaluated(
            trained(nets.cnn),
            suite=with_attack("other-classes"),
        ),
    ),
    Setup(
        "foolbox.LinfPGD on images rounded to 9 levels",
        ("zero_gradient",),
        evaluated(
            behind(nets.Rounding),
            suite=with_attack("foolbox.LinfPGD"),
        ),
    ),
    Setup(
        "TRADES (MNIST), 40 steps, beside Square with 5000 queries",
        ("missed_adversarial", "second_attack", "gradient_free"),
        suite_of(
            "mnist",
            "trades-smallcnn",
            {"name": "checkpoint", "files": str(TRADES)},
            {
                "checks": "full",
                "perturbations": [
                    {"name": "pgd", "label": "attack", "relative_step_size": 1 / 30, "samples": 500, "beta": [0.3]},
                    {"name": "square", "queries": 5000, "samples": 500, "beta": [0.3]},
                ],
            },
            limit=None,
        ),
        needs=TRADES,
    ),
)


def _honest(name: str, build: Callable[[Dataset, int], nn.Module], seeds: int, dataset: str = "digits") -> Setup:
    return Setup(name, (), evaluated(build, dataset, standard()), seeds, MNIST if dataset == "mnist" else None)


def _of_mode(dataset: str, architecture: Any, mode: Any, seeds: int, needs: Path | None = None, **keys: Any) -> Setup:
    title = mode if isinstance(mode, str) else mode["name"]
    what = architecture if isinstance(architecture, str) else architecture["name"]
    data = dataset if isinstance(dataset, str) else "CIFAR-10 (JPEG)"
    return Setup(f"{what}, {title}, {data}", (), suite_of(dataset, architecture, mode, **keys), seeds, needs)


_PARQUET = {"name": "files", "train": str(CIFAR / "train.parquet"), "test": str(CIFAR / "test.parquet")}
_TAUGHT = {"teachers": [{"name": "trained", "teaching_set": "mnist-base_larger"}]}

HONEST = (
    _honest("linear classifier, digits", trained(nets.linear), 3),
    _honest("MLP, digits", trained(nets.mlp), 3),
    _honest("CNN, digits", trained(nets.cnn), 3),
    _honest("MLP, trained with noise, digits", trained(nets.mlp, nets.noisy(0.2)), 2),
    _honest("CNN, adversarially trained, digits", trained(nets.cnn, nets.adversarial(0.1), steps=800), 4),
    _honest("MLP, adversarially trained, digits", trained(nets.mlp, nets.adversarial(0.1), steps=800), 3),
    _of_mode("digits", "base", {"name": "vanilla", "epochs": 6}, 2),
    _of_mode("digits", "base_larger", {"name": "vanilla", "epochs": 6}, 2),
    _of_mode("digits", "base_larger3", {"name": "vanilla", "epochs": 6}, 2),
    _of_mode("digits", "linear", {"name": "vanilla", "epochs": 6}, 2),
    _honest("CNN, MNIST", trained(nets.cnn), 2, "mnist"),
    _honest("CNN, adversarially trained, MNIST", trained(nets.cnn, nets.adversarial(0.1)), 2, "mnist"),
    _of_mode("mnist", "base_larger", "10_gtn", 3, MNIST, **_TAUGHT),
    _of_mode("mnist", "base_larger", "gtn", 3, MNIST, **_TAUGHT),
    Setup(
        "certified network, MNIST",
        (),
        suite_of("mnist", "convex-adversarial", {"name": "checkpoint", "files": str(CERTIFIED)}),
        1,
        CERTIFIED,
    ),
    _of_mode(_PARQUET, {"name": "convnet", "depth": 2, "width": 16}, {"name": "vanilla", "epochs": 2}, 3, CIFAR),  # type: ignore[arg-type]
)

SETUPS = (*BROKEN, *HONEST)
