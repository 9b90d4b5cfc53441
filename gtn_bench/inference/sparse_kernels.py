"""Gradients of convolutions for their inputs that skip zeros, as CPU kernels that numba compiles.

ReLU and max pooling block most of a gradient. Arrays are (B, H, W, C).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from gtn_bench.inference.relu_pool_kernels import NONE

_NONE = np.uint8(NONE)


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def behind_pool(
    grad: Any, indices: Any, weight: Any, kernel: Any, stride: Any, padding: Any, most: Any, x: Any, done: Any
) -> None:
    """Write the gradient of a convolution that ReLU and 2x2 max pooling follow.

    Args:
        grad: Gradient of the maxima (B, H', W', K).
        indices: Indices of the maxima in their windows (B, H', W', K) uint8: 4 is no element.
        weight: Weights of each kernel (K, k * k * C), ordered by row, column and channel.
        kernel: Height and width k of a kernel.
        stride: Stride.
        padding: Zero padding on each side.
        most: Largest number of elements that are not zero; images with more are left out.
        x: Output of the gradient (B, H, W, C).
        done: Output (B,) bool: whether an image was not left out.
    """
    height, width, channels = x.shape[1:]
    run = kernel * channels  # contiguous in a kernel and in a row of inputs
    line = (width + 2 * padding) * channels
    zero = grad.dtype.type(0)
    for image in prange(len(x)):
        total = 0
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                g, chosen = grad[image, i, j], indices[image, i, j]
                for k in range(len(g)):
                    total += (g[k] != zero) & (chosen[k] != _NONE)
        done[image] = total <= most
        if total > most:
            continue
        padded = np.empty((height + 2 * padding) * line, x.dtype)
        pixels = padded if padding else x[image].reshape(len(padded))
        pixels[:] = zero
        active = np.empty(grad.shape[3], np.int64)
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                g, chosen = grad[image, i, j], indices[image, i, j]
                count = 0
                for k in range(len(g)):  # without a branch
                    active[np.uint64(count)] = k
                    count += (g[k] != zero) & (chosen[k] != _NONE)
                for n in range(count):
                    k = active[n]
                    value, index, kernels = g[k], np.int64(chosen[k]), weight[k]
                    start = (2 * i + index // 2) * stride * line + (2 * j + index % 2) * stride * channels
                    for row in range(kernel):
                        target, source = np.uint64(start + row * line), np.uint64(row * run)
                        for t in range(np.uint64(run)):
                            pixels[target + t] += value * kernels[source + t]
        if padding:
            for i in range(height):
                start = (i + padding) * line + padding * channels
                x[image, i].reshape(width * channels)[:] = pixels[start:][: width * channels]


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def behind_relu(
    grad: Any, active: Any, weight: Any, kernel: Any, stride: Any, padding: Any, most: Any, x: Any, done: Any
) -> None:
    """Write the gradient of a convolution with few input channels that a ReLU follows.

    Args:
        grad: Gradient of the activations (B, H', W', K).
        active: Activations (B, H', W', K).
        weight: Weights of each kernel (K, k * k * C), ordered by row, column and channel.
        kernel: Height and width k of a kernel.
        stride: Stride.
        padding: Zero padding on each side.
        most: Largest number of elements that are not zero; images with more are left out.
        x: Output of the gradient (B, H, W, C).
        done: Output (B,) bool: whether an image was not left out.
    """
    height, width, channels = x.shape[1:]
    rows, columns, maps = grad.shape[1:]
    run = kernel * channels  # contiguous in a kernel and in a row of inputs
    line = (width + 2 * padding) * channels
    zero = grad.dtype.type(0)
    for image in prange(len(x)):
        total, counts = 0, np.empty((rows, columns), np.int32)
        for i in range(rows):
            for j in range(columns):
                g, y = grad[image, i, j], active[image, i, j]
                count = np.int32(0)
                for k in range(maps):
                    count += np.int32((g[k] != zero) & ~(y[k] <= zero))
                counts[i, j] = count
                total += int(count)
        done[image] = total <= most
        if total > most:
            continue
        pixels = np.zeros((height + 2 * padding) * line, x.dtype)
        patch, used = np.empty(kernel * run, x.dtype), np.empty(maps, np.int64)
        for i in range(rows):
            for j in range(columns):
                if counts[i, j] == 0:
                    continue
                g, y = grad[image, i, j], active[image, i, j]
                n = 0
                for k in range(maps):  # without a branch
                    used[np.uint64(n)] = k
                    n += (g[k] != zero) & ~(y[k] <= zero)
                patch[:] = zero
                for m in range(n):
                    value, kernels = g[used[m]], weight[used[m]]
                    for t in range(len(patch)):
                        patch[t] += value * kernels[t]
                start = i * stride * line + j * stride * channels
                for row in range(kernel):
                    target, source = np.uint64(start + row * line), np.uint64(row * run)
                    for t in range(np.uint64(run)):
                        pixels[target + t] += patch[source + t]
        for i in range(height):
            start = (i + padding) * line + padding * channels
            x[image, i].reshape(width * channels)[:] = pixels[start:][: width * channels]
