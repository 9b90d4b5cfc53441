"""Results of the evaluation of one classifier, as tensors per image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MEASURED = ("label", "clean_prediction", "prediction", "confidence", "linf", "l2", "zero_gradient")  # per image


@dataclass(frozen=True, eq=False)
class CleanResult:
    """Result of a classifier on N clean images, shared by all perturbations.

    Attributes:
        prediction: Predicted classes (N,) int64.
        zero_gradient: Whether the gradient of the cross-entropy is exactly zero (N,) bool.
    """

    prediction: Tensor
    zero_gradient: Tensor


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Result of a perturbation of N images. All tensors are on the CPU.

    Attributes:
        label: True labels (N,) int64.
        clean_prediction: Predicted classes of the clean images (N,) int64.
        prediction: Predicted classes of the perturbed images (N,) int64.
        confidence: Softmax probabilities of these classes (N,).
        linf: L-inf distances (N,), in pixel values.
        l2: L2 distances (N,), in pixel values.
        zero_gradient: Mask (N,) bool. True where the gradient that the perturbation follows is exactly zero at the
            clean image: that of the cross-entropy if it maximizes the cross-entropy, else that of all logits.
        examples: Perturbed images (E, C, H, W) as they are judged, the first ones.
        shares: Measured shares of images in [0, 1]. The keys are names of sanity checks.
        attack_error: Number of images on which the perturbation failed, and its first exception, in one line; empty if
            there are none.
        forwards: Forward passes through the classifier, per evaluated image.
        backwards: Backward passes through the classifier, per evaluated image.
        seconds: Wall time of the perturbation, in seconds.
    """

    label: Tensor
    clean_prediction: Tensor
    prediction: Tensor
    confidence: Tensor
    linf: Tensor
    l2: Tensor
    zero_gradient: Tensor
    examples: Tensor
    shares: dict[str, float]
    attack_error: str
    forwards: float
    backwards: float
    seconds: float
