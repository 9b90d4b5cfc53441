"""The labels of distilled images as targets of a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def in_class_order(count: int, classes: int, images_per_class: int) -> Tensor:
    """Return the classes of images that are sorted by class.

    Args:
        count: Number of images.
        classes: Number of classes K.
        images_per_class: Number of images of each class.

    Returns:
        Classes (count,) int64.

    Raises:
        ValueError: If there are more or fewer images.
    """
    if count != classes * images_per_class:
        needed = f"{classes * images_per_class} for {classes} classes"
        raise ValueError(f"holds {count} images, 'images_per_class: {images_per_class}' needs {needed}")
    return torch.arange(classes).repeat_interleave(images_per_class)


def targets(
    labels: Tensor, count: int, classes: int, *, soften: bool | None, any_numbers: bool, temperature: float
) -> Tensor:
    """Return the targets of a loss.

    Args:
        labels: Classes (count,) or (count, 1), or one number per class (count, K).
        count: Number of images.
        classes: Number of classes K.
        soften: Whether the numbers are logits; None if nothing is said of them.
        any_numbers: Whether numbers that are no logits may be any, in place of probabilities.
        temperature: Divisor of logits.

    Returns:
        Targets (count, K) float32; probabilities unless `any_numbers`.

    Raises:
        ValueError: If the labels have another form. The message is the end of a sentence that starts with the name of
            the file.
    """
    if labels.ndim == 2 and labels.shape[1] == 1 < classes:
        labels = labels[:, 0]
    if labels.shape not in ((count,), (count, classes)):
        raise ValueError(
            f"holds labels of shape {tuple(labels.shape)}, expected ({count},) classes or ({count}, {classes}) numbers"
        )
    if not bool(labels.isfinite().all()):
        raise ValueError("holds labels that are not finite")
    if labels.ndim == 2:
        return _soft(labels.float(), soften, any_numbers, temperature)
    if soften is not None:
        raise ValueError("holds classes, and 'soften' applies to one number per class; leave it out")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        wrong = labels[labels != labels.round()][0]
        raise ValueError(f"holds one label per image that is no class, such as {wrong:g}")
    found = labels.long()
    if found.min() < 0 or found.max() >= classes:
        raise ValueError(f"holds classes from {int(found.min())} to {int(found.max())}, expected 0 to {classes - 1}")
    return F.one_hot(found, classes).float()


def _soft(values: Tensor, soften: bool | None, any_numbers: bool, temperature: float) -> Tensor:
    sums = values.sum(1)
    are_probabilities = bool((values >= 0).all() and ((sums - 1).abs() < 1e-3).all())
    if soften and are_probabilities:
        raise ValueError("holds labels that are probabilities already; leave 'soften' out")
    if soften:
        return (values / temperature).softmax(1)
    if not any_numbers and not are_probabilities:
        raise ValueError(
            f"holds labels that are no probabilities: from {values.min():.3g} to {values.max():.3g}, with sums from "
            f"{sums.min():.3g} to {sums.max():.3g}; say 'soften: true' if they are logits, 'loss: mse' if they are "
            "targets of a regression, or 'soften: false' to use them as they are"
        )
    return values
