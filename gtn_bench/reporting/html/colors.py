"""The colors of modes on a dark background."""

from __future__ import annotations

import numpy as np

_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])
_DARKEST = 62.0  # lightness in CIELAB of a line that is visible on a dark background

# The first eight modes. Under protanopia, deuteranopia and tritanopia, simulated as in Machado et al. 2009, the
# smallest distance in CIELAB is 23.
_ON_DARK = {
    **{"#0173b2": "#73d2fd", "#de8f05": "#fcbc31", "#029e73": "#a3e19e", "#111111": "#f3f3f3"},
    **{"#9900ff": "#7681cb", "#663300": "#cc6c34", "#bbbbdd": "#ada2b2", "#001199": "#ae5efb"},
}


def on_dark(color: str) -> str:
    """Return the color of a mode for a dark background.

    The first eight colors have counterparts that color-blind readers can distinguish. Any other color stays as it is if
    it is light enough. A dark one becomes a light one of the same hue, the darker the lighter.

    Args:
        color: A color as hexadecimal RGB.
    """
    if color in _ON_DARK:
        return _ON_DARK[color]
    lightness, a, b = _lab(np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255)
    if lightness >= _DARKEST:
        return color
    lightness = 90 - (90 - _DARKEST) * lightness / _DARKEST
    for share in np.linspace(1, 0, 21):  # the most colorful one that a screen can show
        rgb = _rgb(lightness, share * a, share * b)
        if (rgb >= -1e-6).all() and (rgb <= 1 + 1e-6).all():
            break
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in rgb.clip(0, 1))


def _lab(rgb: np.ndarray) -> tuple[float, float, float]:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = _TO_XYZ @ linear / _WHITE
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return 116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])


def _rgb(lightness: float, a: float, b: float) -> np.ndarray:
    middle = (lightness + 16) / 116
    root = np.array([middle + a / 500, middle, middle - b / 200])
    xyz = np.where(root > 0.2069, root**3, (root - 16 / 116) / 7.787) * _WHITE
    linear = np.linalg.solve(_TO_XYZ, xyz)
    curved = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)
