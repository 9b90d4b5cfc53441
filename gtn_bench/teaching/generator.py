"""The teacher as a network: learned latents, a generator that turns them into images, learned rates.

Source: Generative Teaching Networks, Such et al. 2019, https://arxiv.org/abs/1912.07768
(the curriculum variant, where the latents of every inner step are learned).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.datasets import Dataset
from gtn_bench.learners.layers import Conv2d, Linear


class Lesson(NamedTuple):
    """What a learner is taught in T inner steps of batch B: one row for each step."""

    images: Tensor  # (T, B, C, H, W), in the pixel space of the data set, not confined to [0, 1]
    labels: Tensor  # (T, B, K) probabilities
    lr: Tensor  # (T,)
    momentum: Tensor  # (T,)

    def first(self, steps: int | None) -> Lesson:
        """The lesson stopped after so many inner steps; all of it for None."""
        return Lesson(*(part[:steps] for part in self))


class LessonNorm(nn.Module):
    """Batch norm (learned gain and bias) of T batches at once, each by its own statistics.

    x: (T * B, channels, ...), the batches one after another.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, steps: int) -> Tensor:
        batches = x.view(steps, -1, x.shape[1], math.prod(x.shape[2:]))
        var, mean = torch.var_mean(batches, (1, 3), correction=0, keepdim=True)
        scale = self.gain.view(-1, 1) * (var + 1e-5).rsqrt()
        return torch.addcmul(self.bias.view(-1, 1) - mean * scale, batches, scale).view_as(x)


class Generator(nn.Module):
    """Latents (T, B, Z) and labels (B, K) to images (T, B, C, H, W), H and W being multiples of 4.

    Batch norms use the statistics of each inner step's batch. The images are painted in
    normalised units, within two deviations of the mean, and leave in pixel space.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, latent_size: int, dataset: Dataset) -> None:
        super().__init__()
        channels, height, width = dataset.input_shape
        self.quarter = (height // 4, width // 4)
        features = 128 * math.prod(self.quarter)
        self.expand = Linear(latent_size + dataset.num_classes, 1024)
        self.expand_norm = LessonNorm(1024)
        self.project = Linear(1024, features)
        self.project_norm = LessonNorm(features)
        self.refine = Conv2d(128, 64, 3)
        self.refine_norm = LessonNorm(64)
        self.paint = Conv2d(64, channels, 3, bias=True)
        self.register_buffer("mean", torch.tensor(dataset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(dataset.std).view(-1, 1, 1))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        steps, batch_size = latents.shape[:2]
        x = torch.cat([latents, labels.expand(steps, *labels.shape)], dim=2).flatten(0, 1)
        x = F.leaky_relu(self.expand_norm(self.expand(x), steps), 0.1)
        x = F.leaky_relu(self.project_norm(self.project(x), steps), 0.1)
        x = x.view(-1, 128, *self.quarter)
        x = F.leaky_relu(self.refine_norm(self.refine(_upsample(x)), steps), 0.1)
        x = self.mean + self.std * 2 * torch.tanh(self.paint(_upsample(x)))
        return x.view(steps, batch_size, *x.shape[1:])


def _upsample(x: Tensor) -> Tensor:
    """Twice the size by nearest neighbour, with one reflected pixel around."""
    return F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="reflect")


class Curriculum(nn.Module):
    """The learned sequence of lessons: latents, log rates and log momenta for every inner step."""

    labels: Tensor

    def __init__(
        self, *, inner_steps: int, batch_size: int, latent_size: int, lr: float, momentum: float, dataset: Dataset
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(inner_steps, batch_size, latent_size))
        self.log_lr = nn.Parameter(torch.full((inner_steps,), lr).log())
        self.log_momentum = nn.Parameter(torch.full((inner_steps,), momentum).log())
        self.generator = Generator(latent_size, dataset)
        even = torch.arange(batch_size) % dataset.num_classes
        self.register_buffer("labels", F.one_hot(even, dataset.num_classes).float())

    def forward(self, steps: slice) -> Lesson:
        """The lesson of some of the inner steps."""
        latents = self.latents[steps]
        images = self.generator(latents, self.labels)
        labels = self.labels.expand(len(latents), *self.labels.shape)
        return Lesson(images, labels, self.log_lr[steps].exp(), self.log_momentum[steps].exp())
