"""Sums of patches as a CPU kernel that numba compiles: the last step of the gradient of a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, error_model="numpy")
def sum_patches(products: Any, kernel: Any, stride: Any, padding: Any, x: Any) -> None:
    """Add each product to the pixel of its patch that it is the gradient for.

    Args:
        products: Products of gradient and weights (B, H', W', T), ordered by row, column and channel of the patch. T is
            at least ``kernel * kernel * C``.
        kernel: Height and width of a patch.
        stride: Stride.
        padding: Zero padding on each side.
        x: Output of the gradient of the images (B, H, W, C). Every element is written.
    """
    height, width, channels = x.shape[1:]
    rows, columns = products.shape[1:3]
    run = kernel * channels  # contiguous in a patch and in a row of pixels
    line, step = (width + 2 * padding) * channels, stride * channels
    for image in prange(len(x)):
        pixels = np.zeros((height + 2 * padding) * line, x.dtype)
        for i in range(rows):
            for k in range(kernel):
                start, first = (stride * i + k) * line, k * run
                if run < 16:  # loops over a few values are slower than reading columns
                    for t in range(run):
                        for j in range(columns):
                            pixels[np.uint64(start + j * step + t)] += products[image, i, j, np.uint64(first + t)]
                else:
                    for j in range(columns):
                        row, part = pixels[start + j * step :][:run], products[image, i, j, first : first + run]
                        for t in range(run):
                            row[t] += part[t]
        for i in range(height):
            start = (i + padding) * line + padding * channels
            for j in range(width):
                for c in range(channels):
                    x[image, i, j, c] = pixels[start + j * channels + c]
