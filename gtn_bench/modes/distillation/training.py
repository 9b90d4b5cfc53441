"""SGD on distilled images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.modes.distillation.augmentation import augment
from gtn_bench.modes.distillation.sets import DistilledSet
from gtn_bench.modes.distillation.units import Units, in_pixels, meaning

Loss = Literal["cross-entropy", "kl", "mse"]
Pair = tuple[Tensor, Tensor]  # images (N, C, H, W) and targets (N, K)

LR = 0.01
DROP = 0.1  # factor on the learning rate


class Recipe(NamedTuple):
    """Parameters of the training.

    Attributes:
        steps: Number of steps.
        batch_size: Number of images per step, for images without an order.
        rates: Learning rates of the steps, from the first again after the last.
        drop: The step from which the rates are a tenth, with a fresh momentum.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        loss: The loss. All of them are averaged over images, `mse` over classes, too.
        temperature: Divisor of the logits in the other two.
        augmentation: Parts of the augmentation; none if it is empty.
    """

    steps: int
    batch_size: int
    rates: Sequence[float]
    drop: int
    momentum: float
    weight_decay: float
    loss: Loss
    temperature: float
    augmentation: Sequence[str]


def defaults(steps: int | None) -> dict[str, int | float]:
    """Return the parameters with which the authors of distilled images evaluate them.

    Args:
        steps: Number of training steps in a file of dataset distillation, which follows gradients without momentum;
            None for the parameters of dataset condensation.
    """
    if steps:
        return {"steps": steps, "lr": LR, "momentum": 0.0, "weight_decay": 0.0}
    return {"steps": 1000, "batch_size": 256, "lr": LR, "momentum": 0.9, "weight_decay": 5e-4}


def normalize(
    found: DistilledSet, units: Units | None, mean: Tensor, std: Tensor, *, augments: bool
) -> tuple[DistilledSet, Callable[[Tensor], Tensor]]:
    """Return images in the units that augmentation acts on, and the function that turns these into pixels.

    These are the units in which the network of published code sees images: normalized ones. Other images stay in
    pixels if there is no augmentation.

    Args:
        found: Images in the units of the file, other than ZCA.
        units: The units.
        mean: Mean of each channel in the normalization (C, 1, 1).
        std: Standard deviation of each channel in the normalization (C, 1, 1).
        augments: Whether there is an augmentation.
    """
    said = meaning(found.images, units)
    if said != "normalized":
        if not augments:
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        found = found.with_images(lambda x: (in_pixels(x, said, mean, std) - mean) / std)
    return found, lambda x: in_pixels(x, "normalized", mean, std)


def train(
    network: nn.Module, found: DistilledSet, pixels: Callable[[Tensor], Tensor], recipe: Recipe, seed: int
) -> None:
    """Train a network in place.

    Args:
        network: The network, from pixels (N, C, H, W) to logits (N, K), in train mode.
        found: Images and targets, on the device of the network, in the units that augmentation acts on.
        pixels: Function that turns images in these units into pixels.
        recipe: How to train.
        seed: Seed of the order of the images, and of the augmentation.
    """
    generator = torch.Generator().manual_seed(seed)
    sets = list(found.sets)
    if not recipe.augmentation:
        sets = [(pixels(x), y) for x, y in sets]
    batches = itertools.cycle(sets) if found.in_steps else shuffled(*sets[0], recipe.batch_size, generator)
    sgd = _optimizer(network, recipe)
    for step, (x, y) in enumerate(itertools.islice(batches, recipe.steps)):
        if step == recipe.drop:
            sgd = _optimizer(network, recipe)
        sgd.param_groups[0]["lr"] = recipe.rates[step % len(recipe.rates)] * (1 if step < recipe.drop else DROP)
        if recipe.augmentation:
            x = pixels(augment(x, recipe.augmentation, generator))
        sgd.zero_grad()
        loss(network(x), y, recipe.loss, recipe.temperature).backward()
        sgd.step()


def loss(logits: Tensor, targets: Tensor, kind: Loss, temperature: float) -> Tensor:
    """Return the loss of a batch.

    Args:
        logits: Logits (N, K).
        targets: Targets (N, K).
        kind: The loss.
        temperature: Divisor of the logits; `mse` does not use it.
    """
    if kind == "mse":
        return F.mse_loss(logits, targets)
    if kind == "kl":
        return F.kl_div((logits / temperature).log_softmax(1), targets, reduction="batchmean")
    return F.cross_entropy(logits / temperature, targets)


def shuffled(images: Tensor, targets: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Pair]:
    """Yield batches without end. Every epoch has its own order, and a smaller last batch if the images run out.

    Args:
        images: Images (N, C, H, W).
        targets: Targets (N, K).
        batch_size: Number of images per batch.
        generator: Source of the orders, on the CPU.
    """
    while True:
        for index in torch.randperm(len(images), generator=generator).to(targets.device).split(batch_size):
            yield images[index], targets[index]


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=LR, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
