"""Normalization of images in front of a network that expects it outside of itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """A network behind the normalization of its images, per channel: ``network((x - mean) / std)``.

    Architectures with ``normalizes_itself = False`` return ``Normalized(self.bare(dataset, seed), dataset.mean,
    dataset.std)`` when they are called. Mean and standard deviation are not part of the state dict, whose keys all
    start with ``network.``; they come from the code that builds the network.

    Args:
        network: A network from normalized images (N, C, H, W) to logits (N, K).
        mean: Mean of each channel (C values), or of all channels (one value), in pixel values.
        std: Standard deviation of each channel (C values), or of all channels (one value), in pixel values.

    Shape:
        Input: (N, C, H, W), pixels in [0, 1]. Output: (N, K).
    """

    mean: Tensor  # (C, 1, 1) or (1, 1, 1)
    std: Tensor  # (C, 1, 1) or (1, 1, 1)

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(list(map(float, mean))).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(map(float, std))).view(-1, 1, 1), persistent=False)
        self._constants = f"mean={tuple(mean)}, std={tuple(std)}"

    def extra_repr(self) -> str:
        """Return mean and standard deviation as text."""
        return self._constants

    def forward(self, x: Tensor) -> Tensor:
        normalized = ((x - self.mean) / self.std).to(x.dtype)
        if x.dtype != torch.bfloat16:
            logits: Tensor = self.network(normalized)
            return logits
        with torch.autocast(x.device.type, x.dtype):  # torch's layers do not convert their weights themselves
            return self.network(normalized).to(x.dtype)
