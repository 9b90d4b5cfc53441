"""Group norm, ReLU and average pooling of 2x2 pixels as CPU kernels that numba compiles. Arrays are (B, H, W, C).

Sums over pixels are sums over rows of sums over columns, which rounds less than one long sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def norm_block(
    x: Any, weight: Any, bias: Any, groups: Any, eps: Any, lowest: Any, pooled: Any, y: Any, mean: Any, scale: Any
) -> None:
    """Normalize, apply a lower bound, and pool.

    Args:
        x: Feature maps (B, H, W, C).
        weight: Factor of each channel (C,).
        bias: Shift of each channel (C,).
        groups: Number of groups of channels.
        eps: Number that is added to the variances.
        lowest: Lower bound of the normalized values: 0 for a ReLU, minus infinity for none.
        pooled: Whether means of 2x2 windows are taken.
        y: Output (B, H, W, C), or (B, H // 2, W // 2, C) if pooled.
        mean: Output of the means (B, C).
        scale: Output of the inverse standard deviations (B, C).
    """
    height, width, channels = x.shape[1:]
    one, quarter, low = x.dtype.type(1), x.dtype.type(0.25), x.dtype.type(lowest)
    for image in prange(len(x)):
        center, factor = mean[image], np.empty(channels, x.dtype)
        total, row = np.zeros(channels, x.dtype), np.empty(channels, x.dtype)
        for i in range(height):
            row[:] = 0
            for j in range(width):
                pixel = x[image, i, j]
                for c in range(channels):
                    row[c] += pixel[c]
            for c in range(channels):
                total[c] += row[c]
        _average(total, groups, height * width, center)
        total[:] = 0
        for i in range(height):
            row[:] = 0
            for j in range(width):
                pixel = x[image, i, j]
                for c in range(channels):
                    difference = pixel[c] - center[c]
                    row[c] += difference * difference
            for c in range(channels):
                total[c] += row[c]
        _average(total, groups, height * width, factor)
        for c in range(channels):
            scale[image, c] = one / np.sqrt(factor[c] + x.dtype.type(eps))
            factor[c] = scale[image, c] * weight[c]
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                out = y[image, i, j]
                if pooled:
                    a, b = x[image, 2 * i, 2 * j], x[image, 2 * i, 2 * j + 1]
                    d, e = x[image, 2 * i + 1, 2 * j], x[image, 2 * i + 1, 2 * j + 1]
                    for c in range(channels):
                        m, s, t = center[c], factor[c], bias[c]
                        first = _bounded((a[c] - m) * s + t, low) + _bounded((b[c] - m) * s + t, low)
                        second = _bounded((d[c] - m) * s + t, low) + _bounded((e[c] - m) * s + t, low)
                        out[c] = quarter * (first + second)
                else:
                    a = x[image, i, j]
                    for c in range(channels):
                        out[c] = _bounded((a[c] - center[c]) * factor[c] + bias[c], low)


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def norm_block_backward(
    grad: Any, x: Any, weight: Any, bias: Any, groups: Any, lowest: Any, pooled: Any, mean: Any, scale: Any, out: Any
) -> None:
    """Write the gradient of `norm_block` for the feature maps.

    Args:
        grad: Gradient of the output (B, H, W, C), or (B, H // 2, W // 2, C) if pooled.
        x: Feature maps (B, H, W, C).
        weight: Factor of each channel (C,).
        bias: Shift of each channel (C,).
        groups: Number of groups of channels.
        lowest: Lower bound of the normalized values.
        pooled: Whether means of 2x2 windows were taken.
        mean: Means (B, C).
        scale: Inverse standard deviations (B, C).
        out: Output (B, H, W, C). Every element is written.
    """
    height, width, channels = x.shape[1:]
    zero, share = x.dtype.type(0), x.dtype.type(0.25 if pooled else 1)
    step = 2 if pooled else 1
    low = x.dtype.type(lowest)
    for image in prange(len(x)):
        center, total, product = mean[image], np.zeros(channels, x.dtype), np.zeros(channels, x.dtype)
        factor, row, products = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for c in range(channels):
            factor[c] = scale[image, c] * weight[c]
        out[image, step * grad.shape[1] :] = zero  # these reach no window
        out[image, :, step * grad.shape[2] :] = zero
        for i in range(step * grad.shape[1]):
            row[:] = 0
            products[:] = 0
            for j in range(step * grad.shape[2]):
                pixel, slope, passed = x[image, i, j], grad[image, i // step, j // step], out[image, i, j]
                for c in range(channels):  # few arrays per loop, so that each loop has vector instructions
                    blocked = (pixel[c] - center[c]) * factor[c] + bias[c] <= low
                    passed[c] = zero if blocked else slope[c]
                for c in range(channels):
                    row[c] += passed[c]
                for c in range(channels):
                    products[c] += passed[c] * (pixel[c] - center[c])
            for c in range(channels):
                total[c] += row[c]
            for c in range(channels):
                product[c] += products[c]
        for c in range(channels):
            factor[c] *= share
            total[c] *= share * weight[c]
            product[c] *= share * weight[c] * scale[image, c]
        _average(total, groups, height * width, total)
        _average(product, groups, height * width, product)
        for c in range(channels):
            total[c] *= scale[image, c]
            product[c] *= scale[image, c] * scale[image, c]
        for i in range(height):
            for j in range(width):
                pixel, value = x[image, i, j], out[image, i, j]
                for c in range(channels):
                    value[c] = value[c] * factor[c] - total[c] - (pixel[c] - center[c]) * product[c]


@njit(error_model="numpy")
def _average(total: Any, groups: Any, pixels: Any, out: Any) -> None:
    """Write the mean of each channel's group (C,) from the sums over pixels (C,). Both may be the same array."""
    size = len(total) // groups
    for group in range(groups):
        value = total[group * size]
        for c in range(group * size + 1, (group + 1) * size):
            value += total[c]
        value /= total.dtype.type(pixels * size)
        for c in range(group * size, (group + 1) * size):
            out[c] = value


@njit(inline="always")
def _bounded(value: Any, low: Any) -> Any:
    """Return a value, or the lower bound if it is smaller. A NaN is returned."""
    return low if value < low else value
