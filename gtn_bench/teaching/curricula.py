"""Curricula: the synthetic training data of a learner, and the modules that a teacher learns them with.

Source: Generative Teaching Networks, Such et al. 2019, https://arxiv.org/abs/1912.07768
(the curriculum, its shuffled and its plain variant); Dataset Distillation, Wang et al. 2018,
https://arxiv.org/abs/1811.10959 (learned pixels).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.data.base import Dataset, Split
from gtn_bench.teaching.generator import Generator


class Curriculum(NamedTuple):
    """The training data of T inner steps with B images each.

    Attributes:
        images: (T, B, C, H, W), in the pixel space of the data set, not confined to [0, 1].
        labels: Class probabilities (T, B, K).
        lr: Learning rates (T,).
        momentum: Momenta (T,).
    """

    images: Tensor
    labels: Tensor
    lr: Tensor
    momentum: Tensor

    def first(self, steps: int | None) -> Curriculum:
        """Return the curriculum of the first inner steps; all of it for None.

        Args:
            steps: Number of inner steps.
        """
        return Curriculum(*(part[:steps] for part in self))


class CurriculumModule(nn.Module):
    """A curriculum of T inner steps with B images each: learned rates and momenta, labels, images.

    Subclasses define the images.

    Args:
        dataset: The data set to teach.
        inner_steps: T.
        batch_size: B.
        lr: Initial learning rates (T,), or one for every inner step.
        momentum: Initial momentum of every inner step.
        soft: Whether the labels are learned. They start evenly spread over the classes, near one-hot.
    """

    labels: Tensor  # (B, K) one-hot

    def __init__(
        self,
        dataset: Dataset,
        *,
        inner_steps: int,
        batch_size: int,
        lr: Tensor | float,
        momentum: float,
        soft: bool = False,
    ) -> None:
        super().__init__()
        self.log_lr = nn.Parameter(torch.as_tensor(lr).expand(inner_steps).log())
        self.log_momentum = nn.Parameter(torch.full((inner_steps,), momentum).log())
        even = torch.arange(batch_size) % dataset.num_classes
        self.register_buffer("labels", F.one_hot(even, dataset.num_classes).float())
        self.logits = nn.Parameter(5 * self.labels.repeat(inner_steps, 1, 1)) if soft else None

    def forward(self, steps: slice, precision: torch.dtype | None = None) -> Curriculum:
        """Return the curriculum of some inner steps.

        Args:
            steps: The inner steps.
            precision: The type of the images; by default that of the rates.
        """
        lr, momentum = self.log_lr[steps].exp(), self.log_momentum[steps].exp()
        return Curriculum(self.images(steps, precision or lr.dtype), self.targets(steps), lr, momentum)

    def images(self, steps: slice, precision: torch.dtype) -> Tensor:
        """Return the images of some inner steps.

        Args:
            steps: The inner steps.
            precision: The type of the images.

        Returns:
            Images (T, B, C, H, W) in pixel space, not confined to [0, 1].
        """
        raise NotImplementedError

    def targets(self, steps: slice) -> Tensor:
        """Return class probabilities (T, B, K).

        Args:
            steps: The inner steps.
        """
        if self.logits is not None:
            return self.logits[steps].softmax(2)
        return self.labels.expand(len(self.log_lr[steps]), *self.labels.shape)

    def prepare(self, generator: torch.Generator) -> None:
        """Prepare for the first meta-step. Not called if a checkpoint is continued.

        Args:
            generator: Source of random draws.
        """

    def redraw(self, generator: torch.Generator) -> None:
        """Resample the random parts that are not learned. Called before every learner of the meta-training.

        A teaching set holds one sample, the same for all learners that are trained on it.

        Args:
            generator: Source of random draws.
        """


class LatentCurriculum(CurriculumModule):
    """Images that a learned generator makes from learned latents, in a fixed order."""

    latents: Tensor  # (T, B, Z)

    def __init__(
        self, dataset: Dataset, *, inner_steps: int, batch_size: int, latent_size: int, **options: Any
    ) -> None:
        super().__init__(dataset, inner_steps=inner_steps, batch_size=batch_size, **options)
        self.latents = nn.Parameter(torch.randn(inner_steps, batch_size, latent_size))
        self.generator = Generator(latent_size, dataset)

    def images(self, steps: slice, precision: torch.dtype) -> Tensor:
        images: Tensor = self.generator(self.latents[steps].to(precision), self.labels.to(precision))
        return images


class InitializedCurriculum(LatentCurriculum):
    """A latent curriculum whose generator and latents are first fitted to an existing curriculum.

    Args:
        dataset: The data set to teach.
        start: The existing curriculum.
        imitation_steps: Adam steps on the squared error of the images.
        batches_at_once: Inner steps per Adam step.
        options: Arguments of `LatentCurriculum`.
    """

    def __init__(
        self, dataset: Dataset, *, start: Curriculum, imitation_steps: int, batches_at_once: int, **options: Any
    ) -> None:
        super().__init__(dataset, **options)
        self.start, self.imitation_steps, self.batches_at_once = start, imitation_steps, batches_at_once

    def prepare(self, generator: torch.Generator) -> None:
        device = self.log_lr.device
        images, labels, lr, momentum = (part.to(device) for part in self.start)
        with torch.no_grad():
            self.log_lr.copy_(lr.clamp_min(1e-6).log())
            self.log_momentum.copy_(momentum.clamp_min(1e-6).log())
            if self.logits is not None and not torch.equal(labels, self.labels.expand_as(labels)):
                self.logits.copy_(labels.clamp_min(1e-6).log())
        groups = [{"params": self.generator.parameters(), "lr": 0.003}, {"params": [self.latents], "lr": 0.03}]
        adam = torch.optim.Adam(groups)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.imitation_steps)
        for _ in range(self.imitation_steps):
            steps = torch.randperm(len(images), generator=generator)[: self.batches_at_once].to(device)
            adam.zero_grad()
            F.mse_loss(self.generator(self.latents[steps], self.labels), images[steps]).backward()
            adam.step()
            cosine.step()


class ShuffledCurriculum(LatentCurriculum):
    """A latent curriculum whose batches every learner meets in another random order; the rates keep theirs."""

    order: Tensor  # (T,) int64

    def __init__(self, dataset: Dataset, *, inner_steps: int, **options: Any) -> None:
        super().__init__(dataset, inner_steps=inner_steps, **options)
        self.register_buffer("order", torch.arange(inner_steps), persistent=False)

    def images(self, steps: slice, precision: torch.dtype) -> Tensor:
        images: Tensor = self.generator(self.latents[self.order[steps]].to(precision), self.labels.to(precision))
        return images

    def targets(self, steps: slice) -> Tensor:
        if self.logits is not None:
            return self.logits[self.order[steps]].softmax(2)
        return super().targets(steps)

    def redraw(self, generator: torch.Generator) -> None:
        self.order.copy_(torch.randperm(len(self.order), generator=generator))


class FreshNoiseCurriculum(LatentCurriculum):
    """Images from new random latents for every learner; only the generator and the rates are learned."""

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        super().__init__(dataset, **options)
        latents = self.latents.detach()
        del self.latents
        self.register_buffer("latents", latents, persistent=False)

    def redraw(self, generator: torch.Generator) -> None:
        self.latents.copy_(torch.randn(self.latents.shape, generator=generator))


class PixelCurriculum(CurriculumModule):
    """Images whose pixels are learned directly, without a generator. They start as noise."""

    mean: Tensor
    std: Tensor

    def __init__(self, dataset: Dataset, *, inner_steps: int, batch_size: int, **options: Any) -> None:
        super().__init__(dataset, inner_steps=inner_steps, batch_size=batch_size, **options)
        self.pixels = nn.Parameter(torch.randn(inner_steps, batch_size, *dataset.input_shape))
        self.register_buffer("mean", torch.tensor(dataset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(dataset.std).view(-1, 1, 1))

    def images(self, steps: slice, precision: torch.dtype) -> Tensor:
        return (self.mean + self.std * self.pixels[steps]).to(precision)


class RealImageCurriculum(CurriculumModule):
    """Real training images, resampled for every learner; only the rates and momenta are learned. A control."""

    drawn: Tensor  # (T, B, C, H, W)
    classes: Tensor  # (T, B) int64

    def __init__(self, dataset: Dataset, train: Split, *, inner_steps: int, batch_size: int, **options: Any) -> None:
        super().__init__(dataset, inner_steps=inner_steps, batch_size=batch_size, **options)
        self.train_split = train
        shape = (inner_steps, batch_size)
        self.register_buffer("drawn", torch.zeros(*shape, *dataset.input_shape), persistent=False)
        self.register_buffer("classes", torch.zeros(shape, dtype=torch.int64), persistent=False)

    def images(self, steps: slice, precision: torch.dtype) -> Tensor:
        return self.drawn[steps].to(precision)

    def targets(self, steps: slice) -> Tensor:
        return F.one_hot(self.classes[steps], self.labels.shape[1]).to(self.log_lr.dtype)

    def redraw(self, generator: torch.Generator) -> None:
        index = torch.randint(len(self.train_split), self.classes.shape, generator=generator)
        images, labels = self.train_split[index.flatten().to(self.train_split.labels.device)]
        self.drawn.copy_(images.view_as(self.drawn))
        self.classes.copy_(labels.view_as(self.classes))


def real_curriculum(
    dataset: Dataset, train: Split, shape: tuple[int, int], *, lr: Tensor | float, momentum: float
) -> Curriculum:
    """Return real training images as a curriculum, classes evenly spread, no image twice if there are enough.

    Images are drawn with torch's global random generator.

    Args:
        dataset: The data set.
        train: Its training split.
        shape: Number of inner steps and images per step (T, B).
        lr: Learning rates (T,), or one for every inner step.
        momentum: Momentum of every inner step.
    """
    steps, size = shape
    even = torch.arange(size) % dataset.num_classes
    order = torch.randperm(len(train))
    known = train.labels.cpu()[order]
    index = torch.empty(shape, dtype=torch.int64)
    for label in range(dataset.num_classes):
        mine, positions = order[known == label], even == label
        needed = torch.arange(steps * int(positions.sum()))
        index[:, positions] = mine[needed % len(mine)].view(steps, -1)
    images, _ = train[index.flatten().to(train.labels.device)]
    labels = F.one_hot(even, dataset.num_classes).float().expand(steps, size, dataset.num_classes)
    rates = (torch.as_tensor(rate).expand(steps) for rate in (lr, momentum))
    return Curriculum(images.cpu().unflatten(0, shape), labels, *rates)
