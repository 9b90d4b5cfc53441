"""ZCA whitening as a fixed linear layer in front of a network."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gtn_bench.data.base import Dataset, Split
from gtn_bench.models.architectures import Architecture
from gtn_bench.models.layers import Normalize

LARGEST = 12_288  # values per image: 64x64 in color; the matrix has the square of it
_BATCH = 1000  # images; sums of so many products of centered bytes are exact in float32


class Transform(NamedTuple):
    """A whitening of pixels: ``(pixels - mean) @ matrix``, for flattened images of D values.

    Attributes:
        mean: Mean of the pixels (D,) float32.
        matrix: Whitening matrix (D, D) float32.
        inverse: Its inverse (D, D) float32.
    """

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    def pixels(self, whitened: Tensor) -> Tensor:
        """Return the pixels of whitened images.

        Args:
            whitened: Whitened images (N, C, H, W).
        """
        return (whitened.flatten(1) @ self.inverse + self.mean).view(whitened.shape)


class Whitening(nn.Module):
    """Whitening of pixels. The matrix is part of the state dict, and not a number until it is fitted.

    Args:
        features: Number of values of an image D.

    Attributes:
        mean: Mean of the pixels (D,).
        matrix: Whitening matrix (D, D).

    Shape:
        Input and output: (B, C, H, W) with D values per image. Input pixels are in [0, 1].
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((features,), torch.nan))
        self.register_buffer("matrix", torch.full((features, features), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # rounding would hide small changes of pixels
            centered = x.flatten(1).to(self.mean.dtype) - self.mean
            return (centered @ self.matrix).view(x.shape).to(x.dtype)


@functools.lru_cache(maxsize=1)  # the learners of a process share it
@torch.no_grad()
def fit(split: Split, epsilon: float, std: tuple[float, ...]) -> Transform:
    """Fit the whitening of images: with the covariance S, the matrix is ``(S + epsilon)^(-1/2)``.

    It equals `kornia.enhance.ZCAWhitening`, which dataset-distillation code uses. Sums over bytes are exact: machines
    differ by no more than the rounding of float64.

    Args:
        split: Real training images.
        epsilon: Regularization: what is added to the eigenvalues of the covariance of images that are divided by `std`.
        std: Divisor of the images, per channel.
    """
    count, shape, device = len(split), split.levels.shape[1:], split.levels.device
    middle = (split.white + 1) // 2
    total = torch.zeros(shape.numel(), dtype=torch.float64, device=device)
    products = torch.zeros(len(total), len(total), dtype=torch.float64, device=device)
    for levels in split.levels.flatten(1).split(_BATCH):
        rows = (levels.double() if levels.is_floating_point() else levels.float()) - middle
        total += rows.sum(0)
        products += rows.T @ rows
    divisor = torch.tensor(std, dtype=torch.float64, device=device).view(-1, 1, 1).expand(shape).flatten()
    scale = divisor * split.white
    covariance = (products - total.outer(total) / count) / (count - 1) / scale.outer(scale)
    values, vectors = torch.linalg.eigh(covariance)
    root = (values.clamp(min=0) + epsilon).sqrt()
    matrix, inverse = ((vectors * power) @ vectors.T for power in (1 / root, root))
    mean = (total / count + middle) / split.white
    return Transform(mean.float(), (matrix / divisor.view(-1, 1)).float(), (inverse * divisor).float())


def whitened(architecture: Architecture, dataset: Dataset, seed: int) -> nn.Module:
    """Return a network with a whitening in place of its normalization.

    Args:
        architecture: The architecture.
        dataset: The data set whose image shape and number of classes the network has.
        seed: Seed of the initial weights.

    Returns:
        A module that maps images (N, C, H, W) in [0, 1] to logits (N, K), once its whitening is fitted.
    """
    channels, height, width = dataset.input_shape
    whitening = Whitening(channels * height * width)
    network = architecture.bare(dataset, seed)
    name = next((name for name, module in network.named_modules() if isinstance(module, Normalize)), None)
    if not name:
        return nn.Sequential(whitening, network)
    network.set_submodule(name, whitening)
    return network


def set_whitening(network: nn.Module, transform: Transform) -> None:
    """Set the fitted whitening of a network from `whitened`.

    Args:
        network: The network, which is modified in place.
        transform: The fitted whitening.
    """
    for module in network.modules():
        if isinstance(module, Whitening):
            module.mean.copy_(transform.mean)
            module.matrix.copy_(transform.matrix)
