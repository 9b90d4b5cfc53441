"""Networks for the table of checks: small classifiers, trained in seconds, and defenses that only seem to work."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gtn_bench.data.base import Dataset

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def mlp(dataset: Dataset, width: int = 64) -> nn.Sequential:
    """Return a network with two hidden layers.

    Args:
        dataset: The data set whose image shape and classes it has.
        width: Units of the hidden layers.
    """
    size = dataset.input_shape[0] * dataset.input_shape[1] * dataset.input_shape[2]
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
        nn.Linear(width, dataset.num_classes),
    )


def cnn(dataset: Dataset, width: int = 16) -> nn.Sequential:
    """Return a network with two convolutions, batch norm and one hidden layer.

    Args:
        dataset: The data set whose image shape and classes it has.
        width: Channels of the first convolution.
    """
    return nn.Sequential(
        *(nn.Conv2d(dataset.input_shape[0], width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, 64), nn.ReLU()),
        nn.Linear(64, dataset.num_classes),
    )


def linear(dataset: Dataset) -> nn.Sequential:
    """Return a linear classifier.

    Args:
        dataset: The data set whose image shape and classes it has.
    """
    size = dataset.input_shape[0] * dataset.input_shape[1] * dataset.input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(size, dataset.num_classes))


def ordinary(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy on images (N, C, H, W) with labels (N,).

    Args:
        network: The network in training.
        x: Images.
        y: Labels.
    """
    return nn.functional.cross_entropy(network(x), y)


def adversarial(epsilon: float, steps: int = 5) -> Loss:
    """Return the cross-entropy on images that sign ascent has perturbed (https://arxiv.org/abs/1706.06083).

    Args:
        epsilon: Radius of the L-inf ball, in pixel values.
        steps: Number of steps.
    """

    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        network.eval()
        delta = torch.empty_like(x).uniform_(-epsilon, epsilon)
        for _ in range(steps):
            delta.requires_grad_()
            (gradient,) = torch.autograd.grad(ordinary(network, (x + delta).clamp(0, 1), y), delta)
            delta = (delta.detach() + 2.5 * epsilon / steps * gradient.sign()).clamp(-epsilon, epsilon)
        network.train()
        return ordinary(network, (x + delta).clamp(0, 1).detach(), y)

    return loss


def noisy(sigma: float) -> Loss:
    """Return the cross-entropy on images with Gaussian noise.

    Args:
        sigma: Standard deviation, in pixel values.
    """
    return lambda network, x, y: ordinary(network, (x + sigma * torch.randn_like(x)).clamp(0, 1), y)


def train(
    build: Callable[[Dataset], nn.Module],
    dataset: Dataset,
    seed: int,
    loss: Loss = ordinary,
    *,
    steps: int = 400,
    rate: float = 3e-3,
    change: Callable[[Tensor], Tensor] = lambda x: x,
    permuted: bool = False,
) -> nn.Module:
    """Train a network with Adam on a data set.

    Args:
        build: Function of the data set that returns the network.
        dataset: The data set.
        seed: Seed of initial weights and batches.
        loss: Function of network, images and labels.
        steps: Number of training steps, of 128 images each.
        rate: Learning rate.
        change: Function of images (N, C, H, W) that is applied before training, such as a normalization.
        permuted: Whether the classes are trained under other numbers.

    Returns:
        The network, in evaluation mode.
    """
    torch.manual_seed(seed)
    network = build(dataset)
    x, y = dataset()["train"][:]
    labels = (y + 1) % dataset.num_classes if permuted else y
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        loss(network, change(x[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


class Before(nn.Module):
    """A network behind a function of its images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def change(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.change(x))


class Normalizing(Before):
    """Subtracts a mean and divides by a standard deviation."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__(network)
        self.mean, self.std = mean, std

    def change(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Rounding(Before):
    """Rounds pixels to a few levels, which removes all gradients."""

    def change(self, x: Tensor) -> Tensor:
        return (x * 8).round() / 8


class Shattering(Before):
    """Adds a steep wave of small amplitude, whose slope hides that of the network."""

    def change(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.sin(2000 * x)


class PartlyMasking(nn.Module):
    """Detaches the images of which a pixel sum falls into a third of its values."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network, self.low, self.high = network, low, high

    def forward(self, x: Tensor) -> Tensor:
        brightness = x.flatten(1).mean(dim=1)
        masked = ((brightness >= self.low) & (brightness < self.high)).view(-1, 1, 1, 1)
        return self.network(torch.where(masked, (x * 8).round() / 8, x))


class Scaled(nn.Module):
    """Multiplies logits by a constant."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.network(x)


class Randomizing(Before):
    """Adds noise to images in evaluation mode."""

    def change(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)
