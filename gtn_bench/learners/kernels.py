"""Kernels for a CPU, compiled by numba when first called: the study's first block, and its pooling, both ways.

Arrays lie channels last: (B, H, W, C). What numba has no type for, bfloat16, comes as the 16 bits it is made of.
PyTorch's own operations keep the place of each largest in 64 bits; here it is the number of a pixel in its window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
from filelock import FileLock
from numba import config, njit, prange, types
from numba.extending import overload

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba is told to compile nothing")

_ready: set[tuple[Any, ...]] = set()  # kernels and what they have been compiled for


def start_threads() -> None:
    """Start those that kernels run on; ValueError where there is nothing to start them with."""
    numba.set_num_threads(1)


def run(kernel: str, threads: int, *arguments: Any) -> None:
    """A kernel by its name. The first call for its types compiles and saves, which only one process may at a time."""
    numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    function, task = globals()[kernel], (kernel, *(getattr(argument, "dtype", None) for argument in arguments))
    if task in _ready:
        return function(*arguments)
    with FileLock(Path(function.stats.cache_path, "gtn-bench.lock")):
        function(*arguments)
    _ready.add(task)


@njit(parallel=True, cache=True, error_model="numpy")
def largest(x: Any, y: Any, places: Any) -> None:
    """The largest of each 3x3 window, every second pixel, the border left out, to `y`; the first of equals.

    `places` (B, H', W', C) get its number in the window: 0 is above on the left, 4 in the middle, 8 below on the right.
    """
    last = x.shape[1] - 1
    for task in prange(len(y) * y.shape[1]):
        image, i = task // y.shape[1], task % y.shape[1]
        above, below = max(2 * i - 1, 0), min(2 * i + 1, last)  # at the border a row comes twice
        rows = x[image, above], x[image, 2 * i], x[image, below]
        _pool(rows, x.shape[2], (above - 2 * i + 1, below - 2 * i + 1), y[image, i], places[image, i], None)


@njit(parallel=True, cache=True, error_model="numpy")
def to_largest(grad: Any, places: Any, x: Any) -> None:
    """Each window's gradient to the pixel that was its largest: `grad` (B, H', W', C), all of `x` (B, H, W, C)."""
    height, width, channels = x.shape[1:]
    zero = grad.dtype.type(0)
    none = np.uint8(9)  # where no window is
    for task in prange(len(grad) * grad.shape[1]):
        image, i = task // grad.shape[1], task % grad.shape[1]
        below = min(i + 1, grad.shape[1] - 1)
        for j in range(grad.shape[2]):
            right = min(j + 1, grad.shape[2] - 1)
            g, p = grad[image, i, j], places[image, i, j]
            g_right, p_right = grad[image, i, right], places[image, i, right]
            g_below, p_below = grad[image, below, j], places[image, below, j]
            g_across, p_across = grad[image, below, right], places[image, below, right]
            p0 = np.uint8(0) if below > i and right > j else none
            p1, p2 = (np.uint8(1), np.uint8(2)) if below > i else (none, none)
            p3, p6 = (np.uint8(3), np.uint8(6)) if right > j else (none, none)
            pixel = x[image, 2 * i, 2 * j]  # which lies in one window, those beside it in two and four
            for c in range(channels):
                pixel[c] = _sum(zero, g[c] if p[c] == 4 else zero)
            if 2 * j + 1 < width:
                pixel = x[image, 2 * i, 2 * j + 1]
                for c in range(channels):
                    here = _sum(zero, g[c] if p[c] == 5 else zero)
                    pixel[c] = _sum(here, g_right[c] if p_right[c] == p3 else zero)
            if 2 * i + 1 < height:
                pixel = x[image, 2 * i + 1, 2 * j]
                for c in range(channels):
                    here = _sum(zero, g[c] if p[c] == 7 else zero)
                    pixel[c] = _sum(here, g_below[c] if p_below[c] == p1 else zero)
            if 2 * i + 1 < height and 2 * j + 1 < width:
                pixel = x[image, 2 * i + 1, 2 * j + 1]
                for c in range(channels):
                    here = _sum(zero, g[c] if p[c] == 8 else zero)
                    here = _sum(here, g_right[c] if p_right[c] == p6 else zero)
                    here = _sum(here, g_below[c] if p_below[c] == p2 else zero)
                    pixel[c] = _sum(here, g_across[c] if p_across[c] == p0 else zero)


@njit(parallel=True, cache=True, error_model="numpy")
def at_largest(x: Any, places: Any, y: Any) -> None:
    """What `x` (B, H, W, C) has where each window's largest was: all of `y` (B, H', W', C)."""
    for task in prange(len(y) * y.shape[1]):
        image, i = task // y.shape[1], task % y.shape[1]
        for j in range(y.shape[2]):
            for c in range(y.shape[3]):
                place = np.int64(places[image, i, j, c])
                y[image, i, j, c] = x[image, 2 * i - 1 + place // 3, 2 * j - 1 + place % 3, c]


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def first_block(x: Any, weight: Any, bias: Any, slope: Any, y: Any, places: Any) -> None:
    """A 3x3 convolution, the `largest` of it and a leaky ReLU: `x` (B, H, W, C) by `weight` (C, 9, K) to `y`."""
    height, width, inputs = x.shape[1:]
    high, wide, channels = y.shape[1:]
    for image in prange(len(x)):
        pixels = np.zeros((height + 2, 2 * wide + 2, inputs), x.dtype)
        for i in range(height):
            for j in range(width):
                for source in range(inputs):
                    pixels[i + 1, j + 1, source] = x[image, i, j, source]
        rows = np.empty((3, 2 * wide, channels), x.dtype)
        for i in range(high):
            above, below = max(2 * i - 1, 0), min(2 * i + 1, height - 1)
            for row in range(2 * i, below + 1):
                _convolve(pixels, row, weight, bias, rows[row % 3])
            window = rows[above % 3], rows[2 * i % 3], rows[below % 3]
            ends = above - 2 * i + 1, below - 2 * i + 1
            _pool(window, width, ends, y[image, i], places[image, i], x.dtype.type(slope))


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def from_first_block(grad: Any, y: Any, places: Any, weight: Any, slope: Any, x: Any) -> None:
    """Its gradient: of finite `grad`, of `y` and `places` (B, H', W', K) all of `x` (B, H, W, C).

    What was pooled depends on 5x5 pixels: on 3x3 of them, by its place among the 9, as the weights say.
    """
    height, width, inputs = x.shape[1:]
    high, wide, channels = grad.shape[1:]
    shares = np.zeros((inputs, 9, channels, 32), x.dtype)  # of 25; eight numbers at a time are fastest
    for source in range(inputs):
        for place in range(9):
            for k in range(9):
                pixel = 5 * (place // 3 + k // 3) + place % 3 + k % 3
                for c in range(channels):
                    shares[source, place, c, pixel] = weight[source, k, c]
    for image in prange(len(x)):
        pixels = np.zeros((2 * high + 3, 2 * wide + 3, inputs), x.dtype)  # two more on each side
        g, window = np.empty(channels, x.dtype), np.empty(32, x.dtype)
        for i in range(high):
            for j in range(wide):
                place, above, below = places[image, i, j], x.dtype.type(1), x.dtype.type(slope)
                for c in range(channels):
                    g[c] = _float(grad[image, i, j, c]) * (above if _float(y[image, i, j, c]) > 0 else below)
                for source in range(inputs):
                    share = shares[source]
                    for t in range(32):
                        window[t] = 0
                    for four in range(channels // 4):
                        c0 = np.uint32(4 * four)
                        c1, c2, c3 = c0 + np.uint32(1), c0 + np.uint32(2), c0 + np.uint32(3)
                        g0, g1, g2, g3 = g[c0], g[c1], g[c2], g[c3]
                        s0, s1 = share[place[c0], c0], share[place[c1], c1]
                        s2, s3 = share[place[c2], c2], share[place[c3], c3]
                        for t in range(32):
                            window[t] += g0 * s0[t] + g1 * s1[t] + g2 * s2[t] + g3 * s3[t]
                    for a in range(5):
                        for b in range(5):
                            pixels[2 * i + a, 2 * j + b, source] += window[5 * a + b]
        for i in range(height):
            for j in range(width):
                for source in range(inputs):
                    x[image, i, j, source] = pixels[i + 2, j + 2, source]


@njit(error_model="numpy", fastmath={"contract"})
def _convolve(pixels: Any, i: Any, weight: Any, bias: Any, row: Any) -> None:
    """A row (W, K) of a convolution, W even: each pixel's in the same order, so that equal ones stay equal."""
    for j in range(len(row)):
        for c in range(len(bias)):
            row[j, c] = bias[c]
    for source in range(len(weight)):
        w0, w1, w2 = weight[source, 0], weight[source, 1], weight[source, 2]
        w3, w4, w5 = weight[source, 3], weight[source, 4], weight[source, 5]
        w6, w7, w8 = weight[source, 6], weight[source, 7], weight[source, 8]
        for j in range(0, len(row), 2):  # two at a time, as each weight is read once for both
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


@njit(error_model="numpy")
def _pool(rows: Any, width: Any, ends: Any, y: Any, places: Any, slope: Any) -> None:
    """A row of `largest`, of three rows whose first `width` pixels count; below 0 times `slope`, if there is one.

    `ends` say which row of the window the first and the last are: at the border, the middle one once more.
    """
    (above, middle, below), (up, down) = rows, ends
    for j in range(len(y)):
        left, right = max(2 * j - 1, 0), min(2 * j + 1, width - 1)
        u, v = 3 * up, left - 2 * j + 1
        s, t = 3 * down, right - 2 * j + 1
        p0, p1, p2 = np.int32(u + v), np.int32(u + 1), np.int32(u + t)
        p3, p4, p5 = np.int32(3 + v), np.int32(4), np.int32(3 + t)
        p6, p7, p8 = np.int32(s + v), np.int32(s + 1), np.int32(s + t)
        x0, x1, x2 = above[left], above[2 * j], above[right]
        x3, x4, x5 = middle[left], middle[2 * j], middle[right]
        x6, x7, x8 = below[left], below[2 * j], below[right]
        chosen, place = y[j], places[j]
        for c in range(len(chosen)):
            best, where = x0[c], p0
            best, where = _larger(x1[c], p1, best, where)
            best, where = _larger(x2[c], p2, best, where)
            best, where = _larger(x3[c], p3, best, where)
            best, where = _larger(x4[c], p4, best, where)
            best, where = _larger(x5[c], p5, best, where)
            best, where = _larger(x6[c], p6, best, where)
            best, where = _larger(x7[c], p7, best, where)
            best, where = _larger(x8[c], p8, best, where)
            if slope is None:
                chosen[c] = best
            else:
                chosen[c] = _stored(best if best > 0 else best * slope, chosen[c])
            place[c] = np.uint8(where)


@njit(inline="always")
def _larger(value: Any, place: Any, best: Any, where: Any) -> Any:
    """The larger of two, and its place; of equals the second, and what is no number before all."""
    more = _float(value) > _float(best) or _float(value) != _float(value)
    return (value if more else best), (place if more else where)


@njit(inline="always")
def _sum(a: Any, b: Any) -> Any:
    """a + b, rounded to their own precision."""
    return _stored(_float(a) + _float(b), a)


def _float(value: Any) -> Any:
    """A stored number as one that numba calculates with."""


def _stored(value: Any, like: Any) -> Any:
    """A number as those of the kind of `like` are stored, rounded to the nearest, of two to the even one."""


@overload(_float, inline="always")
def _float_of(value: Any) -> Any:
    def itself(value: Any) -> Any:
        return value

    def widened(value: Any) -> Any:
        return np.uint32(np.uint32(value) << 16).view(np.float32)

    return widened if value == types.uint16 else itself


@overload(_stored, inline="always")
def _stored_of(value: Any, like: Any) -> Any:
    def itself(value: Any, like: Any) -> Any:
        return value

    def rounded(value: Any, like: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        odd = np.uint32(np.uint32(bits >> 16) & 1)
        return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> 16)

    return rounded if like == types.uint16 else itself
