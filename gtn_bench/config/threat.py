"""The threat model: the ball around an image in which a perturbation may move it."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

Norm = Literal["l0", "l1", "l2", "linf"]

_RELATIVE, _ABSOLUTE = 1e-3, 1e-5  # tolerance for rounding


class Threat(NamedTuple):
    """All images at distance at most `epsilon`, in pixel values, from a clean image in `norm`."""

    norm: Norm
    epsilon: float

    def contains(self, distances: Any) -> Any:
        """Compare distances (N,) in `norm` with `epsilon`, with a tolerance for rounding.

        Args:
            distances: NumPy array or tensor (N,), in pixel values.

        Returns:
            Boolean array or tensor (N,).
        """
        return distances <= (1 + _RELATIVE) * self.epsilon + _ABSOLUTE

    def after_rounding(self, pixels: int) -> Threat:
        """Return the ball that contains all images of this one after rounding to 8 bits.

        Args:
            pixels: Number of values of an image.
        """
        half = 0.5 / 255  # the largest change of a value
        change = {"l0": pixels, "l1": pixels * half, "l2": math.sqrt(pixels) * half, "linf": half}
        return Threat(self.norm, self.epsilon + change[self.norm])
