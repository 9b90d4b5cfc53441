"""The fused first block of a network as CPU kernels that numba compiles: convolution, max pooling, leaky ReLU.

Arrays are (B, H, W, C). Numba does not recompile a cached kernel when a function of another module changes: after an
edit of `gtn_bench.models.pooling_kernels`, touch this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from gtn_bench.models.pooling_kernels import as_float, pool_row


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def first_block(x: Any, weight: Any, bias: Any, slope: Any, y: Any, indices: Any) -> None:
    """Apply a 3x3 convolution with padding 1, `max_pool` and a leaky ReLU.

    Args:
        x: Images (B, H, W, C).
        weight: Kernels (C, 9, K).
        bias: Bias (K,).
        slope: Negative slope of the leaky ReLU. It is at least 0.
        y: Output of the activations (B, H', W', K).
        indices: Output of the indices of the maxima in their windows (B, H', W', K) uint8.
    """
    height, width, inputs = x.shape[1:]
    out_height, out_width, channels = y.shape[1:]
    for image in prange(len(x)):
        pixels = np.zeros((height + 2, 2 * out_width + 2, inputs), x.dtype)
        for i in range(height):
            for j in range(width):
                for source in range(inputs):
                    pixels[i + 1, j + 1, source] = x[image, i, j, source]
        rows = np.empty((3, 2 * out_width, channels), x.dtype)  # the last three rows of the feature maps
        for i in range(out_height):
            above, below = max(2 * i - 1, 0), min(2 * i + 1, height - 1)
            for row in range(2 * i, below + 1):
                _convolve(pixels, row, weight, bias, rows[row % 3])
            window = rows[above % 3], rows[2 * i % 3], rows[below % 3]
            ends = above - 2 * i + 1, below - 2 * i + 1
            pool_row(window, width, ends, y[image, i], indices[image, i], x.dtype.type(slope))


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def first_block_backward(grad: Any, y: Any, indices: Any, weight: Any, slope: Any, x: Any) -> None:
    """Write the gradient of `first_block` for the images.

    A window of the pooling covers 3x3 elements of the feature maps, hence 5x5 pixels. Its gradient reaches 3x3 of
    these, at a position that the index of the maximum determines.

    Args:
        grad: Gradient of the activations (B, H', W', K), finite.
        y: Activations (B, H', W', K).
        indices: Indices of the maxima (B, H', W', K) uint8.
        weight: Kernels (C, 9, K).
        slope: Negative slope of the leaky ReLU.
        x: Output of the gradient of the images (B, H, W, C). Every element is written.
    """
    height, width, inputs = x.shape[1:]
    out_height, out_width, channels = grad.shape[1:]
    kernels = np.zeros((inputs, 9, channels, 32), x.dtype)  # weights of 5x5 pixels, padded for vector instructions
    for source in range(inputs):
        for index in range(9):
            for k in range(9):
                pixel = 5 * (index // 3 + k // 3) + index % 3 + k % 3
                for c in range(channels):
                    kernels[source, index, c, pixel] = weight[source, k, c]
    for image in prange(len(x)):
        pixels = np.zeros((2 * out_height + 3, 2 * out_width + 3, inputs), x.dtype)  # two pixels of padding
        g, window = np.empty(channels, x.dtype), np.empty(32, x.dtype)
        for i in range(out_height):
            for j in range(out_width):
                chosen, positive, negative = indices[image, i, j], x.dtype.type(1), x.dtype.type(slope)
                for c in range(channels):
                    g[c] = as_float(grad[image, i, j, c]) * (positive if as_float(y[image, i, j, c]) > 0 else negative)
                for source in range(inputs):
                    kernel = kernels[source]
                    for t in range(32):
                        window[t] = 0
                    for four in range(channels // 4):
                        c0 = np.uint32(4 * four)
                        c1, c2, c3 = c0 + np.uint32(1), c0 + np.uint32(2), c0 + np.uint32(3)
                        g0, g1, g2, g3 = g[c0], g[c1], g[c2], g[c3]
                        w0, w1 = kernel[chosen[c0], c0], kernel[chosen[c1], c1]
                        w2, w3 = kernel[chosen[c2], c2], kernel[chosen[c3], c3]
                        for t in range(32):
                            window[t] += g0 * w0[t] + g1 * w1[t] + g2 * w2[t] + g3 * w3[t]
                    for a in range(5):
                        for b in range(5):
                            pixels[2 * i + a, 2 * j + b, source] += window[5 * a + b]
        for i in range(height):
            for j in range(width):
                for source in range(inputs):
                    x[image, i, j, source] = pixels[i + 2, j + 2, source]


@njit(error_model="numpy", fastmath={"contract"})
def _convolve(pixels: Any, i: Any, weight: Any, bias: Any, row: Any) -> None:
    """Write a row of a 3x3 convolution.

    Every output adds its terms in the same order, so that equal patches have equal outputs.

    Args:
        pixels: Padded image (H + 2, W + 2, C).
        i: Index of the row.
        weight: Kernels (C, 9, K).
        bias: Bias (K,).
        row: Output (W, K), with an even W.
    """
    for j in range(len(row)):
        for c in range(len(bias)):
            row[j, c] = bias[c]
    for source in range(len(weight)):
        w0, w1, w2 = weight[source, 0], weight[source, 1], weight[source, 2]
        w3, w4, w5 = weight[source, 3], weight[source, 4], weight[source, 5]
        w6, w7, w8 = weight[source, 6], weight[source, 7], weight[source, 8]
        for j in range(0, len(row), 2):  # two outputs at a time, so that each weight is read once for both
            a, b, d = pixels[i, j : j + 4, source], pixels[i + 1, j : j + 4, source], pixels[i + 2, j : j + 4, source]
            a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
            b0, b1, b2, b3 = b[0], b[1], b[2], b[3]
            d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
            left, right = row[j], row[j + 1]
            for c in range(len(bias)):
                x, y = left[c], right[c]
                x, y = x + a0 * w0[c], y + a1 * w0[c]
                x, y = x + a1 * w1[c], y + a2 * w1[c]
                x, y = x + a2 * w2[c], y + a3 * w2[c]
                x, y = x + b0 * w3[c], y + b1 * w3[c]
                x, y = x + b1 * w4[c], y + b2 * w4[c]
                x, y = x + b2 * w5[c], y + b3 * w5[c]
                x, y = x + d0 * w6[c], y + d1 * w6[c]
                x, y = x + d1 * w7[c], y + d2 * w7[c]
                x, y = x + d2 * w8[c], y + d3 * w8[c]
                left[c], right[c] = x, y
