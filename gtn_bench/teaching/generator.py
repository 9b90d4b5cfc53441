"""The generator of a Generative Teaching Network, from latents and labels to images.

Source: Generative Teaching Networks, Such et al. 2019, https://arxiv.org/abs/1912.07768
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.data.base import Dataset
from gtn_bench.models.layers import Conv2d, Linear, weight_normalized
from gtn_bench.models.second_order import conv2d


class StepwiseBatchNorm(nn.Module):
    """Batch norm of the batches of T inner steps at once, each with its own statistics.

    Args:
        channels: Number of channels C.

    Attributes:
        gain: Learned gain of each channel (C,).
        bias: Learned bias of each channel (C,).

    Shape:
        Input and output: (T * B, C, ...), the batches one after another. The second argument of `forward` is T.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, steps: int) -> Tensor:
        batches = x.view(steps, -1, x.shape[1], math.prod(x.shape[2:]))
        centered = batches - batches.mean((1, 3), keepdim=True)
        var = centered.square().mean((1, 3), keepdim=True)  # torch.var_mean is slow on CPUs
        scale = self.gain.view(-1, 1) * (var + 1e-5).rsqrt()
        return torch.addcmul(self.bias.view(-1, 1).to(x.dtype), centered, scale.to(x.dtype)).view_as(x)


class Generator(nn.Module):
    """Network from latents and labels to images, with separate batch-norm statistics for each inner step.

    Pixels are within two standard deviations of the mean of the training pixels, per channel.

    Args:
        latent_size: Length Z of a latent.
        dataset: The data set. Height and width of its images are multiples of 4.

    Shape:
        Input: latents (T, B, Z), and label probabilities (B, K). Output: images (T, B, C, H, W) in pixel values.
    """

    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)

    def __init__(self, latent_size: int, dataset: Dataset) -> None:
        super().__init__()
        channels, height, width = dataset.input_shape
        self.quarter = (height // 4, width // 4)
        features = 128 * math.prod(self.quarter)
        self.expand = Linear(latent_size + dataset.num_classes, 1024)
        self.expand_norm = StepwiseBatchNorm(1024)
        self.project = Linear(1024, features)
        self.project_norm = StepwiseBatchNorm(features)
        self.refine = UpsamplingConv2d(128, 64)
        self.refine_norm = StepwiseBatchNorm(64)
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
    """Nearest-neighbor upsampling by 2, reflection padding of 1 pixel and a 3x3 convolution, in one operation.

    Each output pixel depends on 2x2 input pixels, at an offset that is the same for all outputs with the same parity of
    row and column. The layer is therefore computed as four 2x2 convolutions of the input, one per parity.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        bias: Whether to add a learned bias.

    Shape:
        Input: (B, inputs, H, W). Output: (B, outputs, 2 * H, 2 * W).
    """

    halves: Tensor  # (2, 2, 3)

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)
        # Kernel rows 0 and 1 + 2 apply to two successive rows of x for even output rows, 0 + 1 and 2 for odd ones.
        halves = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        self.register_buffer("halves", halves, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = weight_normalized(self.weight, self.gain)
        kernels = torch.einsum("pai,qbj,kcij->pqkcab", self.halves, self.halves, weight).flatten(0, 2)
        y = conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels.to(x.dtype), 1, 0)
        y = y.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        height, width = x.shape[2:]
        rows = [[y[:, p : p + height, q : q + width, p, q] for q in (0, 1)] for p in (0, 1)]
        y = torch.stack([torch.stack(row, dim=3) for row in rows], dim=2).flatten(3, 4).flatten(1, 2)
        y = y if self.bias is None else y + self.bias.to(x.dtype)
        return y.permute(0, 3, 1, 2)
