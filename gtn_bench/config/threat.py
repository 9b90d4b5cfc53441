"""The threat model: the ball around an image in which a perturbation may move it."""

from __future__ import annotations

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
