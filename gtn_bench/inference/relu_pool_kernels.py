"""ReLU and max pooling of 2x2 pixels as CPU kernels that numba compiles. Arrays are (B, H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

NONE = 4  # index of a window without a positive element


@njit(parallel=True, cache=True, error_model="numpy")
def relu_pool(x: Any, y: Any, indices: Any) -> None:
    """Write the maximum of zero and of each 2x2 window with stride 2, and its index in the window.

    Of equal elements the first is the maximum. A NaN is larger than any number.

    Args:
        x: Feature maps (B, H, W, C).
        y: Output of the maxima (B, H // 2, W // 2, C).
        indices: Output of the indices (B, H // 2, W // 2, C) uint8: 0 is top left, 3 bottom right, 4 no element.
    """
    zero = x.dtype.type(0)
    for task in prange(len(y) * y.shape[1]):
        image, i = task // y.shape[1], task % y.shape[1]
        above, below = x[image, 2 * i], x[image, 2 * i + 1]
        for j in range(y.shape[2]):
            x0, x1, x2, x3 = above[2 * j], above[2 * j + 1], below[2 * j], below[2 * j + 1]
            maxima, places = y[image, i, j], indices[image, i, j]
            for c in range(len(maxima)):
                best, index = x0[c], np.int32(0)
                larger = x1[c] > best or x1[c] != x1[c]
                best, index = (x1[c] if larger else best), (np.int32(1) if larger else index)
                larger = x2[c] > best or x2[c] != x2[c]
                best, index = (x2[c] if larger else best), (np.int32(2) if larger else index)
                larger = x3[c] > best or x3[c] != x3[c]
                best, index = (x3[c] if larger else best), (np.int32(3) if larger else index)
                blocked = best <= zero
                maxima[c] = zero if blocked else best
                places[c] = np.uint8(np.int32(NONE) if blocked else index)


@njit(parallel=True, cache=True, error_model="numpy")
def relu_pool_backward(grad: Any, indices: Any, x: Any) -> None:
    """Write the gradient of `relu_pool` for the feature maps.

    Args:
        grad: Gradient of the maxima (B, H // 2, W // 2, C).
        indices: Indices of the maxima (B, H // 2, W // 2, C) uint8.
        x: Output of the gradient of the feature maps (B, H, W, C). Every element is written.
    """
    height, width = x.shape[1:3]
    zero = x.dtype.type(0)
    for image in prange(len(x)):
        for i in range(grad.shape[1]):
            above, below = x[image, 2 * i], x[image, 2 * i + 1]
            for j in range(grad.shape[2]):
                x0, x1, x2, x3 = above[2 * j], above[2 * j + 1], below[2 * j], below[2 * j + 1]
                g, chosen = grad[image, i, j], indices[image, i, j]
                for c in range(len(g)):
                    value, index = g[c], chosen[c]
                    x0[c] = value if index == 0 else zero
                    x1[c] = value if index == 1 else zero
                    x2[c] = value if index == 2 else zero
                    x3[c] = value if index == 3 else zero
            for j in range(2 * grad.shape[2], width):
                above[j] = zero
                below[j] = zero
        for i in range(2 * grad.shape[1], height):
            x[image, i] = zero
