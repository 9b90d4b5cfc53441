"""Modes that learn from real training images, without a teacher."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.models.architectures import Architecture
from gtn_bench.modes.base import TrainingMode

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class Vanilla(TrainingMode):
    """Adam on the real training images; the defaults are the reference study's.

    Attributes:
        lr: Learning rate.
        epochs: Number of epochs, each in its own order.
        steps: Number of batches, in place of epochs; for comparisons with as many inner steps.
        batch_size: Number of images per batch.
    """

    name = "vanilla"
    source = "https://arxiv.org/abs/1412.6980"
    needs_teacher = False
    lr: PositiveFloat = 0.005
    epochs: PositiveInt = 1
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 128

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps and self.epochs > 1:
            raise ConfigError(f"mode '{self.name}' takes epochs or steps, not both: got {self.epochs} and {self.steps}")
        return self

    def check_architecture(self, architecture: Architecture, dataset: Dataset) -> None:
        super().check_architecture(architecture, dataset)
        images = dataset.sizes[0]
        last = self.steps is None or self.steps * self.batch_size >= images
        if self.batch_size == 1 or (last and images % self.batch_size == 1):
            try:
                architecture.check_single_image(dataset)
            except ConfigError as error:
                which = "every batch" if self.batch_size == 1 else f"the last batch of {images} images"
                raise ConfigError(
                    f"mode '{self.name}': {which} has one image; choose another batch_size ({error})"
                ) from None

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        import torch
        from torch.nn import functional as F

        adam = torch.optim.Adam(network.parameters(), lr=self.lr)
        generator = torch.Generator().manual_seed(seed)
        for index in itertools.islice(self._batches(len(split), generator), self.steps):
            x, y = split[index.to(split.labels.device)]
            x = self.prepare_batch(network, x, y, generator)
            adam.zero_grad()
            F.cross_entropy(network(x), y).backward()
            adam.step()
        return self.with_statistics(network, dict(network.state_dict()), split)

    def prepare_batch(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images of a training step.

        Args:
            network: The network in its present state, in train mode.
            x: Real images (B, C, H, W) in [0, 1].
            y: Labels (B,).
            generator: Source of random draws.

        Returns:
            Images (B, C, H, W) in [0, 1].
        """
        return x

    def _batches(self, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield shuffled indices, one batch at a time; every epoch has its own order."""
        import torch

        epochs = itertools.count() if self.steps else range(self.epochs)
        for _ in epochs:
            yield from torch.randperm(count, generator=generator).split(self.batch_size)


class Adversarial(Vanilla):
    """Adversarial training: Adam on real images that PGD has perturbed within an L-inf ball.

    PGD starts at a random point of the ball. The mode is an upper reference for curves: a learner trained to be robust.

    Attributes:
        epsilon: Radius of the ball, in pixel values.
        attack_steps: Number of PGD steps.
        attack_step_size: Size of each step in pixel values; None for ``2.5 * epsilon / attack_steps``.
    """

    name = "adversarial"
    source = "https://arxiv.org/abs/1706.06083"
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.1
    attack_steps: PositiveInt = 7
    attack_step_size: Annotated[float, Field(gt=0, le=1)] | None = None

    def prepare_batch(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        import torch
        from torch.nn import functional as F

        size = self.attack_step_size or 2.5 * self.epsilon / self.attack_steps
        delta = self.epsilon * (2 * torch.rand(x.shape, generator=generator).to(x) - 1)
        for _ in range(self.attack_steps):
            x_adv = (x + delta).clamp(0, 1).requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
            delta = (delta + size * grad.sign()).clamp(-self.epsilon, self.epsilon)
        return (x + delta).clamp(0, 1)


class RandomLabels(Vanilla):
    """Adam on real images with random labels: a lower reference for curves."""

    name = "random-labels"
    source = "https://arxiv.org/abs/1611.03530"

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        import torch

        drawn = torch.randint(dataset.num_classes, (len(split),), generator=torch.Generator().manual_seed(seed))
        relabeled = dataclasses.replace(split, labels=drawn.to(split.labels.device))
        return super().__call__(network, dataset, relabeled, taught, seed=seed)
