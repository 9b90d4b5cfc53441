"""Measurements of a cell by its own samples and by those of the other cells of its learner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gtn_bench.analysis.checks import CHECKS, Array, Samples

if TYPE_CHECKING:
    from gtn_bench.analysis.records import CellRecord
    from gtn_bench.config.threat import Threat

IMAGES = 100  # images from which a share of images is reliable


class Measured(NamedTuple):
    """A measured share of images.

    Attributes:
        share: The share, or a difference of shares.
        events: Number of images with the event of the check; None if only the share is known.
        n: Number of images that the share is of; None if only the share is known.
        note: Why the check does not apply or was not run, or where the numbers are from.
    """

    share: float
    events: int | None = None
    n: int | None = None
    note: str = ""


def measure(cell: CellRecord, cells: Sequence[CellRecord]) -> dict[str, Measured]:
    """Return what is measured of a cell, by name of the check.

    Args:
        cell: A finished cell.
        cells: All finished cells of its learner.
    """
    found = {name: Measured(share) for name, share in cell.shares.items() if name in CHECKS and not np.isnan(share)}
    samples, region = cell.samples, cell.search_region
    found["zero_gradient"] = _of(samples["zero_gradient"] & (samples["prediction"] == samples["label"]))
    everything = [each.samples for each in cells]
    if (missed := missed_adversarial(samples, region, everything)) is not None:
        label = cell.identity["perturbation"]
        found["missed_adversarial"] = cross_checked(
            missed, [len(each.samples["label"]) for each in cells if each.identity["perturbation"] != label]
        )
    if region is not None:
        smaller = [each.samples for each in cells if _is_nested(each, cell)]
        if smaller:
            found["not_monotone"] = _of(not_monotone(samples, smaller))
        if contains_every_image(region, cell.pixels):
            found["above_chance"] = Measured(above_chance(samples), n=len(samples["label"]))
        if cell.certified is not None and region.norm in samples:
            found["certificate_violated"] = _of(violated(samples, region, everything, cell.certified))
    for name, evidence in cell.evidence.items():
        share = evidence.count / evidence.n if evidence.n else np.nan
        found[name] = Measured(share, evidence.count, evidence.n, evidence.note)
    return found


def _of(mask: Array) -> Measured:
    return Measured(float(mask.mean()), int(mask.sum()), len(mask))


def _is_nested(other: CellRecord, cell: CellRecord) -> bool:
    """Return True if a cell is of the same perturbation in a smaller ball."""
    inner, outer = other.search_region, cell.search_region
    same = other.identity["perturbation"] == cell.identity["perturbation"]
    return bool(same and inner and outer and inner.norm == outer.norm and inner.epsilon < outer.epsilon)


def known_adversarial(samples: Samples, region: Threat, others: Iterable[Samples], *, tolerance: bool = True) -> Array:
    """Return the images of which an adversarial example in a ball is known.

    Args:
        samples: The samples of a cell, N images.
        region: The ball, in a norm that is measured.
        others: Samples of all cells of the same learner; each holds the first images of the test split.
        tolerance: Whether an image that is outside of the ball by a rounding error counts.

    Returns:
        Mask (N,).
    """
    fooled = samples["clean_prediction"] != samples["label"]
    for other in others:
        shared = slice(min(len(fooled), len(other["label"])))
        distances = other[region.norm][shared]
        within = region.contains(distances) if tolerance else distances <= region.epsilon * (1 + 1e-6)
        fooled[shared] |= within & (other["prediction"][shared] != other["label"][shared])
    return fooled


def missed_adversarial(samples: Samples, region: Threat | None, others: Iterable[Samples]) -> Array | None:
    """Return the images on which an attack failed although an adversarial example in its ball is known.

    Args:
        samples: The samples of the attack's cell, N images.
        region: The ball in which the attack searches for any misclassified image.
        others: Samples of all cells of the same learner; each holds the first images of the test split.

    Returns:
        Mask (N,); None if the attack searches no ball, or one in a norm that is not measured.
    """
    if region is None or region.norm not in samples:
        return None
    return known_adversarial(samples, region, others) & (samples["prediction"] == samples["label"])


def cross_checked(missed: Array, sizes: Iterable[int]) -> Measured:
    """Return the share of missed images among those that are cross-checked.

    An image is cross-checked if another perturbation has it. Perturbations have the first images of the test split,
    and a strong one may have few of them: the result is the largest of the shares of the images that each perturbation
    with at least `IMAGES` images has. In a run with a single perturbation, its other strengths are the cross-check.

    Args:
        missed: Missed images (N,).
        sizes: Number of images of each cell of another perturbation.
    """
    counts = {min(size, len(missed)) for size in sizes} or {len(missed)}
    enough = {count for count in counts if count >= IMAGES} or {max(counts)}
    return max((_of(missed[:count]) for count in sorted(enough, reverse=True)), key=lambda found: found.share)


def not_monotone(samples: Samples, smaller: Iterable[Samples]) -> Array:
    """Return the images that a perturbation fools in a smaller ball only.

    Args:
        samples: The samples of a cell, N images.
        smaller: Samples of the same perturbation in smaller balls, of the same images.

    Returns:
        Mask (N,).
    """
    before = np.zeros(len(samples["label"]), bool)
    for other in smaller:
        before |= other["prediction"] != other["label"]
    return before & (samples["prediction"] == samples["label"])


def contains_every_image(region: Threat, pixels: int | None) -> bool:
    """Return True if a ball around any image contains all images.

    Args:
        region: The ball.
        pixels: Number of values of an image; None if it is not known.
    """
    if region.norm == "l2":
        return pixels is not None and region.epsilon >= math.sqrt(pixels)
    return region.norm == "linf" and region.epsilon >= 1


def above_chance(samples: Samples) -> float:
    """Return by how much the accuracy of a cell exceeds the share of the most frequent class; at least 0.

    Args:
        samples: The samples of the cell.
    """
    _, counts = np.unique(samples["label"], return_counts=True)
    correct = int((samples["prediction"] == samples["label"]).sum())
    return max(0, correct - int(counts.max())) / len(samples["label"])


def violated(samples: Samples, region: Threat, others: Iterable[Samples], certified: Array) -> Array:
    """Return the certified images of which an adversarial example in the ball is known.

    Args:
        samples: The samples of a cell.
        region: The ball.
        others: Samples of all cells of the same learner.
        certified: Images that are proven robust in the ball (n,), the first ones of the cell.

    Returns:
        Mask (n,).
    """
    return known_adversarial(samples, region, others, tolerance=False)[: len(certified)] & certified


def settled(cell: CellRecord, cells: Iterable[CellRecord]) -> float:
    """Return the share of images that are fooled in the ball of a cell by any perturbation, or certified.

    Args:
        cell: A cell.
        cells: All finished cells of its learner.

    Returns:
        The share; nan if no image is certified or not, or if distances in the norm of the ball are not measured.
    """
    if cell.search_region is None or cell.certified is None or cell.search_region.norm not in cell.samples:
        return np.nan
    known = known_adversarial(cell.samples, cell.search_region, [each.samples for each in cells])
    return float((known[: len(cell.certified)] | cell.certified).mean())
