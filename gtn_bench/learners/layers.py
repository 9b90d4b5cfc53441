"""Layers of the reference study: weight normalisation, and batch norms whose statistics are state."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.datasets import Split
from gtn_bench.learners.derivatives import conv2d, flatten, max_pool2d


class Normalize(nn.Module):
    """Pixels in [0, 1] to zero mean and unit deviation of the training set, channel by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).to(x.dtype)


def weight_normalised(weight: Tensor, gain: Tensor) -> Tensor:
    """w = g v / ||v||, one norm and one gain per output (https://arxiv.org/abs/1602.07868)."""
    scale = gain / weight.flatten(1).norm(dim=1)
    return weight * scale.view(-1, *[1] * (weight.ndim - 1))


def _initialise(layer: Conv2d | Linear) -> None:
    """Kaiming-normal direction, the gain that leaves it as it is, no offset."""
    nn.init.kaiming_normal_(layer.weight, a=0.1, nonlinearity="leaky_relu")
    layer.gain = nn.Parameter(layer.weight.detach().flatten(1).norm(dim=1))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Conv2d(nn.Conv2d):
    """Convolution with weight normalisation, channels last: the layout that is fastest on CPU and GPU."""

    gain: nn.Parameter

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        weight = weight_normalised(self.weight, self.gain).to(x.dtype)
        y = conv2d(x, weight, self.stride[0], int(self.padding[0]))
        return y if self.bias is None else y + self.bias.to(x.dtype).view(-1, 1, 1)


class MaxPool2d(nn.MaxPool2d):
    """The largest of each window."""

    kernel_size: int
    stride: int
    padding: int

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)


class Flatten(nn.Flatten):
    """(B, C, H, W) to (B, C H W); anything else as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return flatten(x) if x.ndim == 4 else x


class Linear(nn.Linear):
    """Fully connected layer with weight normalisation."""

    gain: nn.Parameter

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        # The factor of weight normalisation costs less on the outputs than on the weights.
        y = F.linear(x, self.weight.to(x.dtype)) * (self.gain / self.weight.norm(dim=1)).to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)


class BatchStatistics(nn.Module):
    """A batch norm whose statistics are state: those of the last training batch (momentum 0).

    In training mode the batch's own statistics are used and kept; in evaluation mode the kept
    ones are used and left alone. They are kept without their history, unless `differentiable`
    is set: then, through `torch.func.functional_call`, they are an output of the layer that a
    meta-gradient can pass through.
    """

    running_mean: Tensor
    running_var: Tensor
    bias: Tensor
    differentiable = False

    def _keep(self, **statistics: Tensor) -> None:
        for name, value in statistics.items():
            setattr(self, name, value if self.differentiable else value.detach())


class MeanBatchNorm(BatchStatistics):
    """Subtract the mean of the batch, add a learned bias, channel by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.running_mean
        if self.training:
            mean = x.mean(_all_but_channels(x))
            self._keep(running_mean=mean)
        return x + _per_channel((self.bias - mean).to(x.dtype), x)


class FullBatchNorm(BatchStatistics):
    """Subtract the mean, divide by the deviation, then a learned gain and bias, channel by channel."""

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
            self._keep(running_var=var, running_mean=mean)
        scale = self.gain * (var + 1e-5).rsqrt()
        shift = self.bias - mean * scale
        return x * _per_channel(scale.to(x.dtype), x) + _per_channel(shift.to(x.dtype), x)


def differentiable_statistics(network: nn.Module) -> nn.Module:
    """Let meta-gradients pass through the statistics that the network's batch norms keep."""
    for module in network.modules():
        if isinstance(module, BatchStatistics):
            module.differentiable = True
    return network


@torch.no_grad()
def estimate_statistics(
    network: nn.Module, state: dict[str, Tensor], split: Split, samples: int | None = None
) -> dict[str, Tensor]:
    """Batch-norm statistics in training mode, averaged over one pass through the real images."""
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # PyTorch's own then have the batch's statistics, as ours do
    total = min(samples or len(split), len(split))
    buffers = dict(network.named_buffers())
    sums = {name: torch.zeros_like(value) for name, value in buffers.items() if "running" in name}
    for index in torch.arange(total, device=split.labels.device).split(500):
        tensors = {name: value.clone() if name in buffers else value for name, value in state.items()}
        functional_call(network, tensors, (split[index][0],))
        for name in sums:
            sums[name] += tensors[name] * (len(index) / total)
    return sums


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _per_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.ndim - 2))
