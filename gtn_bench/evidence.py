"""Evidence on whether a cell's accuracy can be believed, from what the cells of its learner have left.

An attack that fails looks like a robust learner (https://arxiv.org/abs/1802.00420). No learner is asked again here:
what other perturbations found within an attack's ball, the attack should have found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Doubt = Literal["missed", "no gradient"]
Measured = Mapping[str, Array]  # of a cell: an array (N,) for each column of samples that is measured

TOLERANCE = 0.02  # an accuracy that is too high by more than this is not believed
SLACK = 1.001, 1e-5  # of the radius, as the referee allows


def missed(cell: Measured, ball: tuple[str, float] | None, others: Iterable[Measured]) -> Array | None:
    """The images (N,) that a cell left correct although the ball that it looked in is known to hold one that fools.

    Known from the images as they are, and from what other perturbations made of the first so many. None for a
    perturbation that looks in no ball, or one in a norm that is not measured.
    """
    if ball is None or ball[0] not in cell:
        return None
    norm, radius = ball
    fooled = cell["clean_prediction"] != cell["label"]
    for other in others:
        shared = slice(min(len(fooled), len(other["label"])))
        within = other[norm][shared] <= SLACK[0] * radius + SLACK[1]
        fooled[shared] |= within & (other["prediction"][shared] != other["label"][shared])
    return fooled & (cell["prediction"] == cell["label"])


def flags(cell: Measured, missed: Array | None, needs_slope: bool) -> Iterator[Doubt]:
    """Why a cell is not to be believed, whose perturbation `needs_slope` of the cross-entropy or does not."""
    if missed is not None and missed.mean() > TOLERANCE:
        yield "missed"
    if needs_slope and (cell["zero_gradient"] & (cell["prediction"] == cell["label"])).mean() > TOLERANCE:
        yield "no gradient"
