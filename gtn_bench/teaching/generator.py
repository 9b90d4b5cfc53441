"""The generator of a Generative Teaching Network: latents and labels become images.

Source: Generative Teaching Networks, Such et al. 2019, https://arxiv.org/abs/1912.07768
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.datasets import Dataset
from gtn_bench.learners.derivatives import conv2d
from gtn_bench.learners.layers import Conv2d, Linear, weight_normalised


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
        centred = batches - batches.mean((1, 3), keepdim=True)
        var = centred.square().mean((1, 3), keepdim=True)  # torch.var_mean is slow on CPUs
        scale = self.gain.view(-1, 1) * (var + 1e-5).rsqrt()
        return torch.addcmul(self.bias.view(-1, 1).to(x.dtype), centred, scale.to(x.dtype)).view_as(x)


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
        self.refine = UpsamplingConv2d(128, 64)
        self.refine_norm = LessonNorm(64)
        self.paint = UpsamplingConv2d(64, channels, bias=True)
        self.register_buffer("mean", torch.tensor(dataset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(dataset.std).view(-1, 1, 1))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        steps, batch_size = latents.shape[:2]
        x = torch.cat([latents, labels.expand(steps, *labels.shape)], dim=2).flatten(0, 1)
        x = F.leaky_relu(self.expand_norm(self.expand(x), steps), 0.1)
        x = F.leaky_relu(self.project_norm(self.project(x), steps), 0.1)
        x = x.view(-1, 128, *self.quarter)
        x = F.leaky_relu(self.refine_norm(self.refine(x), steps), 0.1)
        x = (self.mean + self.std * 2 * torch.tanh(self.paint(x))).to(latents.dtype)
        return x.view(steps, batch_size, *x.shape[1:])


class UpsamplingConv2d(Conv2d):
    """Twice the size by nearest neighbour, one reflected pixel around, convolution 3x3.

    Every 2x2 quad of the result sees 3x3 pixels of x, each half of it only 2x2 of them: so this
    is computed as four convolutions 2x2 on x itself, one for each place in the quad.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = weight_normalised(self.weight, self.gain)
        # An even row adds the kernel's rows (0 | 1 + 2) to two rows of x, an odd one (0 + 1 | 2).
        halves = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        kernels = torch.einsum("pai,qbj,kcij->pqkcab", halves, halves, weight).flatten(0, 2)
        y = conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels.to(x.dtype), 1, 0)
        y = y.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        height, width = x.shape[2:]
        rows = [[y[:, p : p + height, q : q + width, p, q] for q in (0, 1)] for p in (0, 1)]
        y = torch.stack([torch.stack(row, dim=3) for row in rows], dim=2).flatten(3, 4).flatten(1, 2)
        y = y if self.bias is None else y + self.bias.to(x.dtype)
        return y.permute(0, 3, 1, 2)
