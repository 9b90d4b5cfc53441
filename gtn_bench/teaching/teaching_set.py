"""The teaching set: the curriculum of a teacher and its inner optimizer, as one file.

A curriculum of 64 inner steps with 128 MNIST images each takes 6.4 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gtn_bench.config.description import choose
from gtn_bench.config.errors import ConfigError, RunError
from gtn_bench.store.files import DamagedFileError, read_tensors, write_tensors
from gtn_bench.teaching.curricula import Curriculum
from gtn_bench.teaching.encoding import decode_images
from gtn_bench.teaching.optimizers import OPTIMIZERS, InnerOptimizer


@dataclass(frozen=True)
class TeachingSet:
    """A curriculum with everything that a learner needs to train on it.

    Attributes:
        curriculum: Images, labels, learning rates and momenta of all inner steps.
        optimizer: The inner optimizer.
        metadata: Data set, teacher and history, as plain data.
    """

    curriculum: Curriculum
    optimizer: InnerOptimizer
    metadata: dict[str, Any]

    def to(self, device: str) -> TeachingSet:
        """Return the teaching set on a device.

        Args:
            device: The device.
        """
        return TeachingSet(Curriculum(*(part.to(device) for part in self.curriculum)), self.optimizer, self.metadata)

    def to_tensors(self, who: object = "teacher") -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a file holds: images as bytes, labels once if all inner steps share them; and the metadata.

        Args:
            who: Name of the file, for messages.

        Raises:
            RunError: If a tensor is not finite.
        """
        images, labels, lr, momentum = self.curriculum
        if not all(bool(part.isfinite().all()) for part in self.curriculum):
            raise RunError(f"{who}: a teaching set needs finite images, labels, rates and momenta")
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
        return tensors, {**self.metadata, "optimizer": self.optimizer.identity()}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> TeachingSet:
        """Return the teaching set that `to_tensors` has encoded, on the CPU.

        Args:
            tensors: Tensors by name.
            metadata: Plain data.

        Raises:
            LookupError, TypeError, ValueError, AttributeError, RuntimeError: If they are not those of a teaching set.
        """
        # Cloned: NumPy aligns memory less than torch, and the alignment decides how matrix products round.
        images = torch.from_numpy(decode_images(tensors["images"].numpy(), tensors["range"].numpy())).clone()
        labels = tensors["labels"].expand(len(images), *tensors["labels"].shape[1:])
        optimizer = choose(OPTIMIZERS, "optimizer", metadata["optimizer"])
        curriculum = Curriculum(images, labels, tensors["lr"], tensors["momentum"])
        if {len(part) for part in curriculum} != {len(images)} or labels.shape[1] != images.shape[1]:
            raise ValueError("its tensors differ in length")
        if [part.ndim for part in curriculum] != [5, 3, 1, 1]:
            raise ValueError("its tensors have the wrong number of dimensions")
        if not all(part.is_floating_point() for part in curriculum):
            raise ValueError("it holds integers where floating-point numbers are expected")
        if not all(bool(part.isfinite().all()) for part in curriculum):
            raise ValueError("it holds non-finite numbers")
        others = {name: value for name, value in metadata.items() if name != "optimizer"}
        return TeachingSet(curriculum, optimizer, others)

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        Args:
            path: The file.

        Raises:
            RunError: If a tensor is not finite.
        """
        write_tensors(path, *self.to_tensors(path))

    @staticmethod
    def load(path: Path) -> TeachingSet:
        """Load the file that `save` has written, on the CPU. Saving the result again gives the same file.

        Args:
            path: The file.

        Raises:
            ConfigError: If the file is not a teaching set.
        """
        try:
            return TeachingSet.from_tensors(*read_tensors(path, framework="pt"))
        except DamagedFileError as error:
            raise ConfigError(f"{path} is not a teaching set ({error.reason})") from None
        except (LookupError, TypeError, ValueError, AttributeError, OSError, RuntimeError) as error:
            raise ConfigError(f"{path} is not a teaching set ({type(error).__name__}: {error})") from None
