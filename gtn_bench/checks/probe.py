"""The network under examination: forward passes whose faults are findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtn_bench.checks.findings import Finding, finding
from gtn_bench.checks.table import CHECKS
from gtn_bench.checks.train_mode import names_in_train_mode
from gtn_bench.inference.classifier import Classifier

HALF = (torch.bfloat16, torch.float16)
HALF_TOLERANCE = 1e-2  # of equal computations in 16 bits, relative to the largest logit


class FaultyOutputError(Exception):
    """The network raised an exception, or returned no logits.

    Attributes:
        finding: What to report.
    """

    def __init__(self, found: Finding) -> None:
        super().__init__(found.sentence)
        self.finding = found


class Probe(NamedTuple):
    """A network in evaluation mode, and images to examine it with.

    Attributes:
        classifier: The classifier of the network. Its own folded copy is examined.
        x: Images (N, C, H, W) in [0, 1].
        y: Classes (N,) int64; the true ones if `labeled`.
        num_classes: Number of classes K.
        labeled: Whether all labels are classes.
        few: Number of images for all checks but those of accuracies.
        screened: Number of images on which changes of the images are tried first.
        forward_samples: Number of forward passes that an evaluation averages.
    """

    classifier: Classifier
    x: Tensor
    y: Tensor
    num_classes: int
    labeled: bool
    few: int
    screened: int
    forward_samples: int

    def raw(self, x: Tensor) -> Any:
        """Return what the network returns for images, which it may overwrite.

        Args:
            x: Images (n, C, H, W) in [0, 1].

        Raises:
            FaultyOutputError: If the network raises an exception.
        """
        try:
            return self.classifier.network(x.to(self.classifier.parameter_dtype))
        except Exception as error:
            raise FaultyOutputError(self._failure(x, error)) from error

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of images, which do not change.

        Args:
            x: Images (n, C, H, W) in [0, 1].

        Returns:
            Logits (n, K), in at least 32 bits.

        Raises:
            FaultyOutputError: If the network raises an exception or returns something else.
        """
        outputs = self.raw(x.clone())
        if problem := self.wrong_outputs(outputs, len(x)):
            raise FaultyOutputError(problem)
        return outputs.float() if outputs.dtype in HALF else outputs

    def wrong_outputs(self, outputs: Any, images: int) -> Finding | None:
        """Return what is wrong with the type or shape of outputs, if anything is.

        Args:
            outputs: What the network returned.
            images: Number of images.
        """
        classes = self.num_classes
        if not isinstance(outputs, Tensor):
            return finding("output_type", 1, kind=_kind(outputs), classes=classes, hint=_unpacking(outputs))
        if not outputs.is_floating_point():
            hint = "return logits, without argmax or comparisons"
            return finding("output_type", 1, kind=f"numbers of type {_name(outputs.dtype)}", classes=classes, hint=hint)
        if outputs.ndim != 2 or len(outputs) != images:
            wrong = abs(outputs.ndim - 2) or abs(len(outputs) - images)
            return finding("output_shape", wrong, shape=tuple(outputs.shape), images=images, classes=classes)
        count = outputs.shape[1]
        if count != classes:
            plural = f"{count} output{'' if count == 1 else 's'}"
            hint = f"give the last layer {classes} outputs"
            if count > classes:
                hint += f", or set num_classes to {count}"
            if count == 1:
                hint = "return the logits torch.cat([-z, z], dim=1) / 2 of the output z" if classes == 2 else hint
            return finding("num_outputs", abs(count - classes), outputs=plural, classes=classes, hint=hint)
        return None

    def tolerance(self, check: str, logits: Tensor) -> float:
        """Return the difference of logits that a check allows for rounding.

        Args:
            check: Name of the check.
            logits: Logits (n, K).
        """
        half = self.classifier.parameter_dtype in HALF
        return (HALF_TOLERANCE if half else CHECKS[check].threshold) * float(logits.abs().max())

    def in_train_mode(self) -> list[str]:
        """Return the names of the modules that stay in train mode."""
        return names_in_train_mode(self.classifier.network, self.classifier.called)

    def named_modules(self) -> str:
        """Return the end of a sentence that names modules in train mode; empty if there are none."""
        return f"; in train mode: {listed_names(names)}" if (names := self.in_train_mode()) else ""

    def _failure(self, x: Tensor, error: Exception) -> Finding:
        hint = "call the network on images of this shape to find the cause"
        if x.ndim == 4 and self._accepts(x.permute(0, 2, 3, 1)):
            hint = "it accepts images (N, H, W, C): evaluate lambda x: network(x.permute(0, 2, 3, 1))"
        return finding("forward_fails", len(x), shape=tuple(x.shape), error=one_line(error), hint=hint)

    def _accepts(self, x: Tensor) -> bool:
        try:
            with torch.no_grad():
                outputs = self.classifier.network(x.detach().clone().to(self.classifier.parameter_dtype))
        except Exception:  # any code can be a network
            return False
        return self.wrong_outputs(outputs, len(x)) is None


def one_line(error: BaseException) -> str:
    """Return the type and the message of an exception in one line.

    Args:
        error: The exception.
    """
    lines = str(error).splitlines()
    if any(line.startswith("Traceback") for line in lines):  # of TorchScript; the message is its end
        lines = [line for line in lines if line.strip()][-1:]
    text = " ".join(f"{type(error).__name__}: {' '.join(lines)}".split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]}..."


def listed_names(names: list[str]) -> str:
    """Return the first three names as text.

    Args:
        names: The names.
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(outputs: Any) -> str:
    """Return what the network returned, in words."""
    if isinstance(outputs, list | tuple):
        return f"a {type(outputs).__name__} of {len(outputs)} entries"
    if isinstance(outputs, Mapping):
        return f"a mapping ({type(outputs).__name__}) with the keys {listed_names([str(key) for key in outputs])}"
    return "nothing" if outputs is None else f"an object of type {type(outputs).__name__}"


def _unpacking(outputs: Any) -> str:
    """Return how to get the logits out of outputs."""
    keys = {key for key in ("logits", "out", "output") if isinstance(outputs, Mapping) and key in outputs}
    if hasattr(outputs, "logits"):
        return "evaluate lambda x: network(x).logits"
    if keys:
        return f"evaluate lambda x: network(x)['{sorted(keys)[0]}']"
    if isinstance(outputs, list | tuple) and any(isinstance(part, Tensor) for part in outputs):
        position = next(index for index, part in enumerate(outputs) if isinstance(part, Tensor))
        return f"evaluate lambda x: network(x)[{position}], if these are the logits"
    return "return the logits of the last layer as a tensor"
