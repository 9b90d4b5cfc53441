"""Transforms of Winograd's convolution F(4x4, 3x3) as CPU kernels that numba compiles. Arrays are (B, H, W, C).

A tile of 6x6 inputs d and a kernel g give 4x4 outputs ``A^T [(G g G^T) * (B^T d B)] A``. The matrices follow from the
points 0, a, -a, b, -b and infinity. The values of a and b here round less than the usual 1 and 2.

Sources: Lavin and Gray, https://arxiv.org/abs/1509.09308; Barabasz et al., https://arxiv.org/abs/1803.10986 (points).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

POINTS = 0.75, 1.5  # a and b
_A, _B = (np.float32(point) for point in POINTS)
_A2, _B2, _A3, _B3 = (np.float32(point**power) for power in (2, 3) for point in POINTS)
_SUM = np.float32(POINTS[0] ** 2 + POINTS[1] ** 2)
_PRODUCT = np.float32(POINTS[0] ** 2 * POINTS[1] ** 2)


@njit(inline="always")
def _inputs(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> Any:
    """Return ``B^T d`` of six numbers."""
    even, odd = d4 - _B2 * d2, _A * (d3 - _B2 * d1)
    other_even, other_odd = d4 - _A2 * d2, _B * (d3 - _A2 * d1)
    return (
        _PRODUCT * d0 - _SUM * d2 + d4,
        even + odd,
        even - odd,
        other_even + other_odd,
        other_even - other_odd,
        _PRODUCT * d1 - _SUM * d3 + d5,
    )


@njit(inline="always")
def _outputs(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> Any:
    """Return ``A^T m`` of six numbers."""
    even, odd = m1 + m2, m1 - m2
    other_even, other_odd = m3 + m4, m3 - m4
    return (
        m0 + even + other_even,
        _A * odd + _B * other_odd,
        _A2 * even + _B2 * other_even,
        _A3 * odd + _B3 * other_odd + m5,
    )


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def transform_inputs(x: Any, padding: Any, rows: Any, columns: Any, tiles: Any) -> None:
    """Transform the tiles of images.

    Args:
        x: Images (B, H, W, C).
        padding: Zero padding on each side.
        rows: Rows of tiles R of an image.
        columns: Columns of tiles S of an image.
        tiles: Output: ``B^T d B`` of each tile and channel (36, B * R * S, C).
    """
    images, height, width, channels = x.shape
    for line in prange(images * rows):
        image, row = line // rows, line % rows
        pixels, half = np.empty((6, channels), x.dtype), np.empty((6, 6, channels), x.dtype)
        for column in range(columns):
            tile = line * columns + column
            for j in range(6):
                w = 4 * column + j - padding
                for i in range(6):
                    h = 4 * row + i - padding
                    if 0 <= h < height and 0 <= w < width:
                        for c in range(channels):
                            pixels[i, c] = x[image, h, w, c]
                    else:
                        for c in range(channels):
                            pixels[i, c] = 0
                for c in range(channels):
                    half[0, j, c], half[1, j, c], half[2, j, c], half[3, j, c], half[4, j, c], half[5, j, c] = _inputs(
                        pixels[0, c], pixels[1, c], pixels[2, c], pixels[3, c], pixels[4, c], pixels[5, c]
                    )
            for i in range(6):
                k = 6 * i
                for c in range(channels):
                    (
                        tiles[k, tile, c],
                        tiles[k + 1, tile, c],
                        tiles[k + 2, tile, c],
                        tiles[k + 3, tile, c],
                        tiles[k + 4, tile, c],
                        tiles[k + 5, tile, c],
                    ) = _inputs(
                        half[i, 0, c], half[i, 1, c], half[i, 2, c], half[i, 3, c], half[i, 4, c], half[i, 5, c]
                    )


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def transform_outputs(products: Any, rows: Any, columns: Any, bias: Any, y: Any) -> None:
    """Transform products of tiles and kernels to feature maps.

    Args:
        products: Products (36, B * R * S, K).
        rows: Rows of tiles R of an image.
        columns: Columns of tiles S of an image.
        bias: Bias of each channel (K,).
        y: Output of the feature maps (B, H, W, K). Every element is written.
    """
    images, height, width, channels = y.shape
    for line in prange(images * rows):
        image, row = line // rows, line % rows
        half, out = np.empty((4, 6, channels), y.dtype), np.empty((4, channels), y.dtype)
        for column in range(columns):
            tile = line * columns + column
            for j in range(6):
                for c in range(channels):
                    half[0, j, c], half[1, j, c], half[2, j, c], half[3, j, c] = _outputs(
                        products[j, tile, c],
                        products[6 + j, tile, c],
                        products[12 + j, tile, c],
                        products[18 + j, tile, c],
                        products[24 + j, tile, c],
                        products[30 + j, tile, c],
                    )
            for i in range(min(4, height - 4 * row)):
                for c in range(channels):
                    out[0, c], out[1, c], out[2, c], out[3, c] = _outputs(
                        half[i, 0, c], half[i, 1, c], half[i, 2, c], half[i, 3, c], half[i, 4, c], half[i, 5, c]
                    )
                for j in range(min(4, width - 4 * column)):
                    for c in range(channels):
                        y[image, 4 * row + i, 4 * column + j, c] = out[j, c] + bias[c]
