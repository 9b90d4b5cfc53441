"""The operations of a network as the certifiers see it: what a value becomes, and what a linear function of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_bench.certification.windows import Window, settled, whole

Pair = tuple[int, int]  # vertical, horizontal
Shape = tuple[int, ...]


class Operation:
    """A step of a network from one value, or from two that it adds."""

    def apply(self, *inputs: Tensor) -> Tensor:
        """Return the result.

        Args:
            inputs: Values for N images, each (N, ...).
        """
        raise NotImplementedError

    def interval(self, lows: Sequence[Tensor], highs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return lower and upper bounds of the result. By default, the operation increases with its inputs.

        Args:
            lows: Lower bounds of the inputs, each (N, ...).
            highs: Upper bounds of the inputs, each (N, ...).
        """
        return self.apply(*lows), self.apply(*highs)


class Affine(Operation):
    """An operation whose result is a constant plus a linear function.

    Attributes:
        terms: Number of products that are summed for one value of the result.
    """

    terms: int = 1

    def magnitude(self, *inputs: Tensor) -> Tensor:
        """Return upper bounds on the sums of the magnitudes of all terms.

        Args:
            inputs: Upper bounds on the magnitudes of the input (N, ...).
        """
        raise NotImplementedError

    def pull(self, window: Window, shape: Shape) -> Window:
        """Return linear functions of the result as linear functions of the input.

        Args:
            window: Coefficients of the result.
            shape: Shape of the input for one image.
        """
        raise NotImplementedError

    def offset(self, window: Window) -> Tensor | float:
        """Return the constants (B,) of the same functions.

        Args:
            window: Coefficients of the result.
        """
        return 0.0


@dataclass(frozen=True, eq=False)
class Weighted(Affine):
    """An operation with weights and biases (K,)."""

    weight: Tensor
    bias: Tensor

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the result with other weights and biases.

        Args:
            x: Input (N, ...).
            weight: Weights in the shape of those of the operation.
            bias: Biases (K,).
        """
        raise NotImplementedError

    def apply(self, *inputs: Tensor) -> Tensor:
        return self.linear(inputs[0], self.weight, self.bias)

    def magnitude(self, *inputs: Tensor) -> Tensor:
        return self.linear(inputs[0], self.weight.abs(), self.bias.abs())

    def interval(self, lows: Sequence[Tensor], highs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        (low,), (high,) = lows, highs
        center = self.apply((low + high) / 2)
        radius = self.linear((high - low) / 2, self.weight.abs(), None)
        return center - radius, center + radius

    def offset(self, window: Window) -> Tensor:
        sums = window.values if window.values.ndim == 2 else window.values.sum(dim=(2, 3))
        return sums @ self.bias


@dataclass(frozen=True, eq=False)
class Dense(Weighted):
    """A fully connected layer with weights (K, D)."""

    @property
    def terms(self) -> int:  # type: ignore[override]
        """Number of inputs."""
        return self.weight.shape[1]

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def pull(self, window: Window, shape: Shape) -> Window:
        return Window(window.values @ self.weight)


@dataclass(frozen=True, eq=False)
class Convolution(Weighted):
    """A convolution with weights (K, C / groups, h, w) and zero padding. Average pooling is one, too."""

    stride: Pair
    padding: Pair
    groups: int = 1

    @property
    def terms(self) -> int:  # type: ignore[override]
        """Number of weights of one output channel."""
        return self.weight[0].numel()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=self.groups)

    def pull(self, window: Window, shape: Shape) -> Window:
        kernel, maps = self.weight.shape[2:], window.values.shape[2:]
        if self.groups == 1 and maps == (1, 1):  # single neurons; the same sums as below, several times as fast
            values = (window.values.flatten(1) @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])
        elif self.groups == 1 and self.weight.shape[1] <= 4:  # pixels; twice as fast
            columns = self.weight.flatten(1).T @ window.values.flatten(2)
            size = [(n - 1) * step + k for n, step, k in zip(maps, self.stride, kernel, strict=True)]
            values = F.fold(columns, size, kernel, stride=self.stride)  # type: ignore[arg-type]
        else:
            values = F.conv_transpose2d(window.values, self.weight, stride=self.stride, groups=self.groups)
        return moved(values, window.corner, self.stride, self.padding, shape)


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """Multiplication and addition of one constant for each channel: `scale` and `shift` are (C, 1, 1) or (D,)."""

    scale: Tensor
    shift: Tensor
    terms: int = 2

    def apply(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * self.scale + self.shift

    def magnitude(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * self.scale.abs() + self.shift.abs()

    def interval(self, lows: Sequence[Tensor], highs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        ends = self.apply(*lows), self.apply(*highs)
        return torch.minimum(*ends), torch.maximum(*ends)

    def pull(self, window: Window, shape: Shape) -> Window:
        return window._replace(values=window.values * self.scale)

    def offset(self, window: Window) -> Tensor:
        return (window.values * self.shift).flatten(1).sum(dim=1)


@dataclass(frozen=True, eq=False)
class Reshape(Affine):
    """Another shape of the same values for each image."""

    shape: Shape
    terms: int = 0

    def apply(self, *inputs: Tensor) -> Tensor:
        return inputs[0].reshape(-1, *self.shape)

    def magnitude(self, *inputs: Tensor) -> Tensor:
        return self.apply(*inputs)

    def pull(self, window: Window, shape: Shape) -> Window:
        return Window(whole(window, self.shape).values.reshape(-1, *shape))


@dataclass(frozen=True, eq=False)
class Sum(Affine):
    """The sum of two values of the same shape."""

    terms: int = 2

    def apply(self, *inputs: Tensor) -> Tensor:
        return inputs[0] + inputs[1]

    def magnitude(self, *inputs: Tensor) -> Tensor:
        return self.apply(*inputs)

    def pull(self, window: Window, shape: Shape) -> Window:
        return window


@dataclass(frozen=True, eq=False)
class Rectifier(Operation):
    """ReLU, or LeakyReLU with a slope of at most 1 for negative values."""

    slope: float

    def apply(self, *inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs[0], self.slope)


@dataclass(frozen=True, eq=False)
class Maximum(Operation):
    """Max pooling."""

    kernel: Pair
    stride: Pair
    padding: Pair

    def apply(self, *inputs: Tensor) -> Tensor:
        return F.max_pool2d(inputs[0], self.kernel, self.stride, self.padding)


def moved(values: Tensor, corner: Tensor | None, stride: Pair, padding: Pair, shape: Shape) -> Window:
    """Return the rows in front of a convolution or pooling.

    Args:
        values: Coefficients in front of it, those of the padding included.
        corner: Corner of each window behind it (B, 2); None without windows.
        stride: Stride.
        padding: Padding.
        shape: Shape of the layer in front of it.
    """
    if corner is not None:
        corner = corner * corner.new_tensor(stride) - corner.new_tensor(padding)
        return settled(Window(values, corner), shape)
    (top, left), (high, wide) = padding, values.shape[2:]
    return Window(F.pad(values, (-left, shape[2] + left - wide, -top, shape[1] + top - high)))
