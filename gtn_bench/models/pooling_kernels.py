"""Max pooling for a CPU as kernels that numba compiles: 3x3 windows, stride 2, padding 1.

Arrays are (B, H, W, C). Elements in bfloat16, which numba lacks, are given as their 16 bits (uint16). Torch stores the
position of each maximum in 64 bits; here it is the index of the pixel in its window, from 0 (top left) to 8 (bottom
right), in 8 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import overload


@njit(parallel=True, cache=True, error_model="numpy")
def max_pool(x: Any, y: Any, indices: Any) -> None:
    """Write the maximum of each 3x3 window with stride 2 and padding 1, and its index in the window.

    Of equal elements the first is the maximum. A NaN is larger than any number.

    Args:
        x: Feature maps (B, H, W, C).
        y: Output of the maxima (B, H', W', C).
        indices: Output of the indices (B, H', W', C) uint8: 0 is top left, 4 the center, 8 bottom right.
    """
    last = x.shape[1] - 1
    for task in prange(len(y) * y.shape[1]):
        image, i = task // y.shape[1], task % y.shape[1]
        above, below = max(2 * i - 1, 0), min(2 * i + 1, last)  # at the border, the middle row is repeated
        rows = x[image, above], x[image, 2 * i], x[image, below]
        pool_row(rows, x.shape[2], (above - 2 * i + 1, below - 2 * i + 1), y[image, i], indices[image, i], None)


@njit(parallel=True, cache=True, error_model="numpy")
def max_pool_backward(grad: Any, indices: Any, x: Any) -> None:
    """Write the gradient of each pixel: the sum over the windows whose maximum it is.

    A pixel belongs to one, two or four windows, depending on whether its row and its column are odd.

    Args:
        grad: Gradient of the maxima (B, H', W', C).
        indices: Indices of the maxima (B, H', W', C) uint8, from `max_pool`.
        x: Output of the gradient of the feature maps (B, H, W, C). Every element is written.
    """
    height, width, channels = x.shape[1:]
    zero = grad.dtype.type(0)
    none = np.uint8(9)  # no index; for windows outside of the image
    for task in prange(len(grad) * grad.shape[1]):
        image, i = task // grad.shape[1], task % grad.shape[1]
        below = min(i + 1, grad.shape[1] - 1)
        for j in range(grad.shape[2]):
            right = min(j + 1, grad.shape[2] - 1)
            g, p = grad[image, i, j], indices[image, i, j]
            g_right, p_right = grad[image, i, right], indices[image, i, right]
            g_below, p_below = grad[image, below, j], indices[image, below, j]
            g_across, p_across = grad[image, below, right], indices[image, below, right]
            p0 = np.uint8(0) if below > i and right > j else none
            p1, p2 = (np.uint8(1), np.uint8(2)) if below > i else (none, none)
            p3, p6 = (np.uint8(3), np.uint8(6)) if right > j else (none, none)
            pixel = x[image, 2 * i, 2 * j]  # the center of window (i, j), and in no other window
            for c in range(channels):
                pixel[c] = _sum(zero, g[c] if p[c] == 4 else zero)
            if 2 * j + 1 < width:
                pixel = x[image, 2 * i, 2 * j + 1]
                for c in range(channels):
                    total = _sum(zero, g[c] if p[c] == 5 else zero)
                    pixel[c] = _sum(total, g_right[c] if p_right[c] == p3 else zero)
            if 2 * i + 1 < height:
                pixel = x[image, 2 * i + 1, 2 * j]
                for c in range(channels):
                    total = _sum(zero, g[c] if p[c] == 7 else zero)
                    pixel[c] = _sum(total, g_below[c] if p_below[c] == p1 else zero)
            if 2 * i + 1 < height and 2 * j + 1 < width:
                pixel = x[image, 2 * i + 1, 2 * j + 1]
                for c in range(channels):
                    total = _sum(zero, g[c] if p[c] == 8 else zero)
                    total = _sum(total, g_right[c] if p_right[c] == p6 else zero)
                    total = _sum(total, g_below[c] if p_below[c] == p2 else zero)
                    pixel[c] = _sum(total, g_across[c] if p_across[c] == p0 else zero)


@njit(parallel=True, cache=True, error_model="numpy")
def gather_indices(x: Any, indices: Any, y: Any) -> None:
    """Write the elements of a tensor at the indices of the maxima.

    Args:
        x: Tensor (B, H, W, C).
        indices: Indices of the maxima (B, H', W', C) uint8, from `max_pool`.
        y: Output of the elements (B, H', W', C).
    """
    for task in prange(len(y) * y.shape[1]):
        image, i = task // y.shape[1], task % y.shape[1]
        for j in range(y.shape[2]):
            for c in range(y.shape[3]):
                index = np.int64(indices[image, i, j, c])
                y[image, i, j, c] = x[image, 2 * i - 1 + index // 3, 2 * j - 1 + index % 3, c]


@njit(error_model="numpy")
def pool_row(rows: Any, width: Any, ends: Any, y: Any, indices: Any, slope: Any) -> None:
    """Write a row of maxima, followed by a leaky ReLU if a slope is given.

    Args:
        rows: The three rows of the windows, each (>= width, C).
        width: Number of pixels of a row.
        ends: Indices of the first and the last row in the window. They are 0 and 2; 1 where the middle row is repeated.
        y: Output of the maxima (W', C).
        indices: Output of the indices in the window (W', C).
        slope: Negative slope of the leaky ReLU, or None.
    """
    (above, middle, below), (first, last) = rows, ends
    for j in range(len(y)):
        left, right = max(2 * j - 1, 0), min(2 * j + 1, width - 1)
        first_column, last_column = left - 2 * j + 1, right - 2 * j + 1  # 0 and 2, or 1 where the middle is repeated
        p0, p1, p2 = np.int32(3 * first + first_column), np.int32(3 * first + 1), np.int32(3 * first + last_column)
        p3, p4, p5 = np.int32(3 + first_column), np.int32(4), np.int32(3 + last_column)
        p6, p7, p8 = np.int32(3 * last + first_column), np.int32(3 * last + 1), np.int32(3 * last + last_column)
        x0, x1, x2 = above[left], above[2 * j], above[right]
        x3, x4, x5 = middle[left], middle[2 * j], middle[right]
        x6, x7, x8 = below[left], below[2 * j], below[right]
        maxima, places = y[j], indices[j]
        for c in range(len(maxima)):
            best, index = x0[c], p0
            best, index = _larger(x1[c], p1, best, index)
            best, index = _larger(x2[c], p2, best, index)
            best, index = _larger(x3[c], p3, best, index)
            best, index = _larger(x4[c], p4, best, index)
            best, index = _larger(x5[c], p5, best, index)
            best, index = _larger(x6[c], p6, best, index)
            best, index = _larger(x7[c], p7, best, index)
            best, index = _larger(x8[c], p8, best, index)
            if slope is None:
                maxima[c] = best
            else:
                maxima[c] = to_storage(best if best > 0 else best * slope, maxima[c])
            places[c] = np.uint8(index)


@njit(inline="always")
def _larger(value: Any, place: Any, best: Any, index: Any) -> Any:
    """Return the larger of two values and its index. Ties keep `best`; a NaN propagates."""
    larger = as_float(value) > as_float(best) or as_float(value) != as_float(value)
    return (value if larger else best), (place if larger else index)


@njit(inline="always")
def _sum(a: Any, b: Any) -> Any:
    """Return a + b in the type of a."""
    return to_storage(as_float(a) + as_float(b), a)


def as_float(value: Any) -> Any:
    """Return an array element as a number.

    Args:
        value: The element. The bits of a bfloat16 (uint16) become float32, anything else is returned unchanged.
    """


def to_storage(value: Any, like: Any) -> Any:
    """Return a number in the type of an array element.

    Args:
        value: The number.
        like: The array element. If it is the bits of a bfloat16 (uint16), the number is rounded, half to even.
    """


@overload(as_float, inline="always")
def _as_float(value: Any) -> Any:
    def unchanged(value: Any) -> Any:
        return value

    def widened(value: Any) -> Any:
        return np.uint32(np.uint32(value) << 16).view(np.float32)

    return widened if value == types.uint16 else unchanged


@overload(to_storage, inline="always")
def _to_storage(value: Any, like: Any) -> Any:
    def unchanged(value: Any, like: Any) -> Any:
        return value

    def rounded(value: Any, like: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        odd = np.uint32(np.uint32(bits >> 16) & 1)
        return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> 16)

    return rounded if like == types.uint16 else unchanged
