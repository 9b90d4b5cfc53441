"""Proposals of the Square attack as CPU kernels that numba compiles. Images are flattened (N, C * H * W)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, error_model="numpy")
def to_bounds(
    pixels: Any, corners: Any, bound: Any, other: Any, bounds: Any, number: Any, side: Any, width: Any, old: Any
) -> None:
    """Move a window of each image to bounds of the L-inf ball; to other bounds if it is at these.

    Args:
        pixels: Images (N, C * H * W), changed in place.
        corners: Number of the first pixel of each proposed window (N, B, 1).
        bound: Number of the first bound of each proposal and channel (N, B, C): 0 or C * H * W.
        other: The bounds (N, B, C) instead, if a proposal would change nothing.
        bounds: Lower and upper bounds (N, 2 * C * H * W).
        number: Number of the proposal.
        side: Side S of the window.
        width: Width W of the images.
        old: Output of the former values (N, 1, C * S * S).
    """
    channels = bound.shape[2]
    area = pixels.shape[1] // channels
    for image in prange(len(pixels)):
        same, corner = True, corners[image, number, 0]
        for c in range(channels):
            for i in range(side):
                start, place = corner + c * area + i * width, (c * side + i) * side
                row, limits = pixels[image, start:], bounds[image, start + bound[image, number, c] :]
                before = old[image, 0, place:]
                for j in range(np.uint64(side)):
                    before[j] = row[j]
                    same &= row[j] == limits[j]
        chosen = other if same else bound
        for c in range(channels):
            for i in range(side):
                start = corner + c * area + i * width
                row, limits = pixels[image, start:], bounds[image, start + chosen[image, number, c] :]
                for j in range(np.uint64(side)):
                    row[j] = limits[j]


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def to_bumps(
    pixels: Any,
    corners: Any,
    direction: Any,
    sign: Any,
    clean: Any,
    bumps: Any,
    epsilon: Any,
    number: Any,
    side: Any,
    width: Any,
    old: Any,
) -> None:
    """Move the change of a second window into a first one in the L2 ball, and add a bump. Sums are in float64.

    Args:
        pixels: Images (N, C * H * W), changed in place.
        corners: Number of the first pixel of both proposed windows (N, B, 2).
        direction: Which bump is added (N, B).
        sign: Its sign (N, B, C).
        clean: Clean images (N, C * H * W).
        bumps: Both bumps (2, S * S).
        epsilon: Radius of the ball.
        number: Number of the proposal.
        side: Side S of the windows.
        width: Width W of the images.
        old: Output of the former values of both windows (N, 2, C * S * S).
    """
    channels, size = sign.shape[2], side * side
    area = pixels.shape[1] // channels
    zero, one = pixels.dtype.type(0), pixels.dtype.type(1)
    scratch = np.empty((len(pixels), 2, size), pixels.dtype)
    for image in prange(len(pixels)):
        x, center, bump = pixels[image], clean[image], bumps[direction[image, number]]
        first, second = corners[image, number, 0], corners[image, number, 1]
        down, right = second // width - first // width, second % width - first % width
        used = 0.0
        for place in range(len(x)):
            used += np.float64(x[place] - center[place]) ** 2
        unused = max(epsilon * epsilon - used, 0.0) / channels
        new, other, before = scratch[image, 0], scratch[image, 1], old[image]
        for c in range(channels):
            for i in range(side):
                offset, line, kept = c * area + i * width, np.uint64(i * side), np.uint64((c * side + i) * side)
                at_first, at_second = np.uint64(first + offset), np.uint64(second + offset)
                for j in range(np.uint64(side)):
                    value, moved_value = x[at_first + j], x[at_second + j]
                    before[0, kept + j], before[1, kept + j] = value, moved_value
                    new[line + j] = value - center[at_first + j]
                    other[line + j] = moved_value - center[at_second + j]
                if 0 <= i + down < side:  # zeros in the first window
                    for j in range(max(-right, 0), min(side - right, side)):
                        other[line + np.uint64(j)] = zero
            flip, changed, moved = sign[image, number, c], 0.0, 0.0
            for place in range(np.uint64(size)):
                changed += np.float64(new[place]) ** 2
                moved += np.float64(other[place]) ** 2
            available = np.sqrt(changed + moved + unused)
            scale, total = pixels.dtype.type(1 / max(np.sqrt(changed), 1e-12)), 0.0
            for place in range(np.uint64(size)):
                new[place] = flip * bump[place] + scale * new[place]
                total += np.float64(new[place]) ** 2
            if total < 1e-12:  # the bump cancels the change
                total = 0.0
                for place in range(size):
                    new[place] = flip * bump[place]
                    total += np.float64(new[place]) ** 2
            scale = pixels.dtype.type(available / max(np.sqrt(total), 1e-12))
            for i in range(side):  # before the first window, which can overlap this one
                at = np.uint64(second + c * area + i * width)
                for j in range(np.uint64(side)):
                    x[at + j] = center[at + j]
            for i in range(side):
                at, line = np.uint64(first + c * area + i * width), np.uint64(i * side)
                for j in range(np.uint64(side)):
                    x[at + j] = min(max(center[at + j] + scale * new[line + j], zero), one)


@njit(parallel=True, cache=True, error_model="numpy")
def keep_better(
    logits: Any,
    y: Any,
    loss: Any,
    pixels: Any,
    corners: Any,
    old: Any,
    number: Any,
    side: Any,
    channels: Any,
    width: Any,
) -> None:
    """Take proposals back that do not raise the margin.

    Args:
        logits: Logits of the proposed images (N, K).
        y: Labels (N,).
        loss: Largest margins so far (N,), changed in place.
        pixels: Proposed images (N, C * H * W), changed in place.
        corners: Number of the first pixel of each proposed window (N, B, M).
        old: Former values of the windows (N, M, C * S * S).
        number: Number of the proposal.
        side: Side S of the windows.
        channels: Number of channels C.
        width: Width W of the images.
    """
    area = pixels.shape[1] // channels
    for image in prange(len(pixels)):
        values, label, best = logits[image], y[image], logits.dtype.type(-np.inf)
        for k in range(len(values)):
            if k != label and (values[k] > best or values[k] != values[k]):  # NaN is larger than any number
                best = values[k]
        margin = best - values[label]
        if margin > loss[image]:
            loss[image] = margin
            continue
        for window in range(old.shape[1]):
            for c in range(channels):
                for i in range(side):
                    row = pixels[image, corners[image, number, window] + c * area + i * width :]
                    before = old[image, window, (c * side + i) * side :]
                    for j in range(np.uint64(side)):
                        row[j] = before[j]
