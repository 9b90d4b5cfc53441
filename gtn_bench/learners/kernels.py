"""Kernels for a CPU, compiled by numba when first called: the pooling of the study's networks, both ways.

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

_ready: set[tuple[str, Any]] = set()  # kernels and what they have been compiled for


def start_threads() -> None:
    """Start those that kernels run on; ValueError where there is nothing to start them with."""
    numba.set_num_threads(1)


def run(kernel: str, threads: int, *arrays: Any) -> None:
    """A kernel by its name. The first call for a type compiles and saves, which only one process may at a time."""
    numba.set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    function, task = globals()[kernel], (kernel, arrays[0].dtype)
    if task in _ready:
        return function(*arrays)
    with FileLock(Path(function.stats.cache_path, "gtn-bench.lock")):
        function(*arrays)
    _ready.add(task)


@njit(parallel=True, cache=True, error_model="numpy")
def largest(x: Any, y: Any, places: Any) -> None:
    """The largest of each 3x3 window, every second pixel, the border left out, to `y`; the first of equals.

    `places` (B, H', W', C) get its number in the window: 0 is above on the left, 4 in the middle, 8 below on the right.
    """
    height, width, channels = x.shape[1:]
    for task in prange(len(y) * y.shape[1]):
        image, i = task // y.shape[1], task % y.shape[1]
        above, middle, below = max(2 * i - 1, 0), 2 * i, min(2 * i + 1, height - 1)  # at the border a pixel comes twice
        for j in range(y.shape[2]):
            left, right = max(2 * j - 1, 0), min(2 * j + 1, width - 1)
            u, v = 3 * (above - middle + 1), left - 2 * j + 1
            s, t = 3 * (below - middle + 1), right - 2 * j + 1
            p0, p1, p2 = np.int32(u + v), np.int32(u + 1), np.int32(u + t)
            p3, p4, p5 = np.int32(3 + v), np.int32(4), np.int32(3 + t)
            p6, p7, p8 = np.int32(s + v), np.int32(s + 1), np.int32(s + t)
            x0, x1, x2 = x[image, above, left], x[image, above, 2 * j], x[image, above, right]
            x3, x4, x5 = x[image, middle, left], x[image, middle, 2 * j], x[image, middle, right]
            x6, x7, x8 = x[image, below, left], x[image, below, 2 * j], x[image, below, right]
            chosen, place = y[image, i, j], places[image, i, j]
            for c in range(channels):
                best, where = x0[c], p0
                best, where = _larger(x1[c], p1, best, where)
                best, where = _larger(x2[c], p2, best, where)
                best, where = _larger(x3[c], p3, best, where)
                best, where = _larger(x4[c], p4, best, where)
                best, where = _larger(x5[c], p5, best, where)
                best, where = _larger(x6[c], p6, best, where)
                best, where = _larger(x7[c], p7, best, where)
                best, where = _larger(x8[c], p8, best, where)
                chosen[c] = best
                place[c] = np.uint8(where)


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
