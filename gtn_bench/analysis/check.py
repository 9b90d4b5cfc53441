"""The types of checks and of what they measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Samples = Mapping[str, Array]  # of a cell: an array (N,) for each measured column

# Where checks are from.
FAILURES = "https://arxiv.org/abs/2106.09947"  # indicators of attack failure
EVALUATION = "https://arxiv.org/abs/1902.06705"  # on evaluating adversarial robustness
OBFUSCATED = "https://arxiv.org/abs/1802.00420"  # obfuscated gradients
PARAMETER_FREE = "https://arxiv.org/abs/2003.01690"  # AutoPGD and the DLR loss


class Check(NamedTuple):
    """A sanity check.

    Attributes:
        name: Name in the column `flags`.
        formula: The measured share of images.
        threshold: The check fails if the share is larger.
        cost: What the check costs beside the attack.
        source: Where the check is from.
        text: What a failure means, in one sentence, with the placeholder ``{measured}`` for the share.
        action: What to do about it.
        active: Whether the check queries the learner again.
        withholds: Whether a failure only withholds the grade `reliable`, and makes no cell suspect.
        tolerance: Share above which the check withholds `reliable`, if that is less than the threshold.
    """

    name: str
    formula: str
    threshold: float
    cost: str
    source: str
    text: str
    action: str
    active: bool = False
    withholds: bool = False
    tolerance: float | None = None


class Evidence(NamedTuple):
    """The result of a measurement of a cell that its samples do not give.

    Attributes:
        count: Number of images with the event of the check.
        n: Number of images that the share is of; 0 if the check was not run.
        note: Why the check does not apply or was not run.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count
    n: int
    note: str = ""


def percent(share: float) -> str:
    """Return a share as text, with three significant digits.

    Args:
        share: The share in [0, 1].
    """
    return f"{float(f'{100 * share:.3g}'):g} %"
