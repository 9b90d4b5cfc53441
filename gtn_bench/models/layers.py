"""Layers of the reference study: weight normalization, and batch norms that store the statistics of the last batch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.data.base import Split
from gtn_bench.models.second_order import conv2d, flatten, max_pool2d


class Normalize(nn.Module):
    """Normalization of pixels to the mean 0 and standard deviation 1 of the training set, per channel.

    Args:
        mean: Mean of each channel (C values), in pixel values.
        std: Standard deviation of each channel (C values), in pixel values.

    Shape:
        Input and output: (B, C, H, W). Input pixels are in [0, 1].
    """

    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).to(x.dtype)


def weight_normalized(weight: Tensor, gain: Tensor) -> Tensor:
    """Return normalized weights: ``gain * weight / ||weight||``, with one norm and one gain per output.

    Source: https://arxiv.org/abs/1602.07868.

    Args:
        weight: Directions (K, ...).
        gain: Norms of the result (K,).

    Returns:
        Weights (K, ...).
    """
    scale = gain / weight.flatten(1).norm(dim=1)
    return weight * scale.view(-1, *[1] * (weight.ndim - 1))


def _initialize(layer: Conv2d | Linear) -> None:
    """Initialize weights from Kaiming's normal distribution, gains with their norms, and biases with zero."""
    nn.init.kaiming_normal_(layer.weight, a=0.1, nonlinearity="leaky_relu")
    layer.gain = nn.Parameter(layer.weight.detach().flatten(1).norm(dim=1))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Conv2d(nn.Conv2d):
    """2d convolution with weight normalization. Outputs are channels-last, the fastest layout on CPU and GPU.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        kernel: Height and width of the kernel.
        stride: Stride.
        padding: Zero padding on each side.
        bias: Whether to add a learned bias.

    Attributes:
        gain: Norm of the weights of each output channel (outputs,).
    """

    gain: nn.Parameter

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        weight = weight_normalized(self.weight, self.gain).to(x.dtype)
        y = conv2d(x, weight, self.stride[0], int(self.padding[0]))
        return y if self.bias is None else y + self.bias.to(x.dtype).view(-1, 1, 1)


class MaxPool2d(nn.MaxPool2d):
    """2d max pooling whose second derivative is as fast as its first. Arguments as for `torch.nn.MaxPool2d`."""

    kernel_size: int
    stride: int
    padding: int

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)


class Flatten(nn.Flatten):
    """Flattening of images (B, C, H, W) to (B, C * H * W). Other inputs are returned unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        return flatten(x) if x.ndim == 4 else x


class Linear(nn.Linear):
    """Fully connected layer with weight normalization.

    Args:
        inputs: Number of input features.
        outputs: Number of output features.
        bias: Whether to add a learned bias.

    Attributes:
        gain: Norm of the weights of each output (outputs,).
    """

    gain: nn.Parameter

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        # Scaling the outputs is cheaper than scaling the weights.
        y = F.linear(x, self.weight.to(x.dtype)) * (self.gain / self.weight.norm(dim=1)).to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)


class BatchStatistics(nn.Module):
    """Base of batch norms that store the statistics of the last batch instead of a running average.

    In train mode, the statistics of the current batch are used and stored. In evaluation mode, the stored statistics
    are used. They are detached from the autograd graph unless `differentiable` is set. Under
    `torch.func.functional_call`, differentiable statistics are an output of the layer, through which a meta-gradient
    can pass.

    Attributes:
        running_mean: Stored mean of each channel (C,).
        running_var: Stored variance of each channel (C,), where the layer uses one.
        bias: Learned bias of each channel (C,).
        differentiable: Whether the stored statistics stay in the autograd graph.
    """

    running_mean: Tensor
    running_var: Tensor
    bias: Tensor
    differentiable = False

    def _store(self, **statistics: Tensor) -> None:
        for name, value in statistics.items():
            setattr(self, name, value if self.differentiable else value.detach())


class MeanBatchNorm(BatchStatistics):
    """Mean-only batch norm: subtracts the mean of each channel and adds a learned bias.

    Source: https://arxiv.org/abs/1602.07868.

    Args:
        channels: Number of channels C.

    Shape:
        Input and output: (B, C, ...).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.running_mean
        if self.training:
            mean = x.mean(_all_but_channels(x))
            self._store(running_mean=mean)
        return x + _per_channel((self.bias - mean).to(x.dtype), x)


class FullBatchNorm(BatchStatistics):
    """Batch norm: normalizes each channel to mean 0 and variance 1, then applies a learned gain and bias.

    Source: https://arxiv.org/abs/1502.03167.

    Args:
        channels: Number of channels C.

    Shape:
        Input and output: (B, C, ...).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        var, mean = self.running_var, self.running_mean
        if self.training:
            mean = x.mean(_all_but_channels(x))
            var = (x - _per_channel(mean, x)).square().mean(_all_but_channels(x))  # torch.var_mean is slow on CPUs
            self._store(running_var=var, running_mean=mean)
        scale = self.gain * (var + 1e-5).rsqrt()
        shift = self.bias - mean * scale
        return x * _per_channel(scale.to(x.dtype), x) + _per_channel(shift.to(x.dtype), x)


def differentiable_statistics(network: nn.Module) -> nn.Module:
    """Keep the statistics of all batch norms of a network in the autograd graph, so that meta-gradients include them.

    Args:
        network: A network with `BatchStatistics` layers. It is modified in place.

    Returns:
        The network.
    """
    for module in network.modules():
        if isinstance(module, BatchStatistics):
            module.differentiable = True
    return network


@torch.no_grad()
def estimate_statistics(
    network: nn.Module, state: dict[str, Tensor], split: Split, samples: int | None = None
) -> dict[str, Tensor]:
    """Return batch-norm statistics averaged over one pass through real images, in batches of 500.

    Args:
        network: The network, which is not modified.
        state: Parameters and buffers by name, used in place of those of the network.
        split: Real images.
        samples: Number of images; None for all.

    Returns:
        Averaged running statistics (C,), by name of the buffer.
    """
    network = copy.deepcopy(network).eval()  # layers such as dropout stay in evaluation mode
    for module in network.modules():
        if any("running" in name for name, _ in module.named_buffers(recurse=False)):
            module.training = True
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # PyTorch's layers then store the statistics of the last batch, too
    total = min(samples or len(split), len(split))
    buffers = dict(network.named_buffers())
    sums = {name: torch.zeros_like(value) for name, value in buffers.items() if "running" in name}
    batches = list(torch.arange(total, device=split.labels.device).split(500)) if sums else []
    if len(batches) > 1 and len(batches[-1]) == 1:  # PyTorch's layers refuse a single pixel
        batches[-2:] = [torch.cat(batches[-2:])]
    for index in batches:
        tensors = {name: value.clone() if name in buffers else value for name, value in state.items()}
        functional_call(network, tensors, (split[index][0],))
        for name in sums:
            sums[name] += tensors[name] * (len(index) / total)
    return sums


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _per_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.ndim - 2))
