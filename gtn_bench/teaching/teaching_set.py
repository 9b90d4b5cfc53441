"""The teaching set: what learners need of a teacher, as one file.

Images are kept as bytes: 256 levels between the darkest and the brightest pixel of the set. For a
curriculum of 64 steps with 128 MNIST images each that is 6.4 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gtn_bench.cache import read_tensors, write_tensors
from gtn_bench.description import Failure, Mistake, choose
from gtn_bench.teaching.lessons import Lesson
from gtn_bench.teaching.optimizers import OPTIMIZERS, InnerOptimizer
from gtn_bench.teaching.zoo import decoded


@dataclass(frozen=True)
class TeachingSet:
    """A lesson, the rule that learners follow it with, and where it comes from (plain data)."""

    lesson: Lesson
    optimizer: InnerOptimizer
    about: dict[str, Any]

    def to(self, device: str) -> TeachingSet:
        return TeachingSet(Lesson(*(part.to(device) for part in self.lesson)), self.optimizer, self.about)

    def save(self, path: Path) -> None:
        """A safetensors file: images as bytes, labels once if all steps share them."""
        images, labels, lr, momentum = self.lesson
        if not all(bool(part.isfinite().all()) for part in self.lesson):
            raise Failure(f"{path}: a teaching set needs finite images, labels, rates and momenta")
        low, high = images.min(), images.max()
        step = (high - low).clamp_min(1e-12) / 255
        shared = labels[:1] if torch.equal(labels, labels[:1].expand_as(labels)) else labels
        tensors = {
            "images": ((images - low) / step).round().to(torch.uint8),
            "range": torch.stack([low, high]),
            "labels": shared,
            "lr": lr,
            "momentum": momentum,
        }
        write_tensors(path, tensors, {**self.about, "optimizer": self.optimizer.identity()})

    @staticmethod
    def load(path: Path) -> TeachingSet:
        """What `save` wrote; saved again it is the same file. Raises `Mistake` if the file is no teaching set."""
        try:
            tensors, about = read_tensors(path, framework="pt")
            # Cloned, since products of matrices round by where they lie in memory, and NumPy aligns less than torch.
            images = torch.from_numpy(decoded(tensors["images"].numpy(), tensors["range"].numpy())).clone()
            labels = tensors["labels"].expand(len(images), *tensors["labels"].shape[1:])
            optimizer = choose(OPTIMIZERS, "optimizer", about.pop("optimizer"))
            lesson = Lesson(images, labels, tensors["lr"], tensors["momentum"])
            if {len(part) for part in lesson} != {len(images)} or labels.shape[1] != images.shape[1]:
                raise ValueError("its parts differ in length")
            if [part.ndim for part in lesson] != [5, 3, 1, 1]:
                raise ValueError("its parts have other dimensions")
            if not all(part.is_floating_point() for part in lesson):
                raise ValueError("it holds integers where real numbers are due")
            if not all(bool(part.isfinite().all()) for part in lesson):
                raise ValueError("it holds numbers that are not finite")
        except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, OSError, RuntimeError) as error:
            raise Mistake(f"{path} is not a teaching set ({type(error).__name__}: {error})") from None
        return TeachingSet(lesson, optimizer, about)
