"""Attempts to perturb a batch, repeated in halves where they fail, so that no image costs the others their result.

A library raises an exception for a whole batch although one image caused it: one that its initialization cannot move
across the boundary, for example. An image that still fails alone counts as not fooled, and is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gtn_bench.config.errors import ConfigError, InvalidPerturbationError, ViewMismatchError, WrongShapeError
from gtn_bench.evaluation.memory import is_out_of_memory

Task = Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]]  # of images, labels and seeds; the first result is images

# What no smaller batch can mend: the user, the view of the classifier, or the evaluation has to.
FINAL = (ConfigError, ViewMismatchError, WrongShapeError)


class Attempt(NamedTuple):
    """The result of a task on n images.

    Attributes:
        results: The returned tensors (n, ...). The first are finite images (n, C, H, W).
        failed: Mask (n,) of the images on which the task raised an exception, or returned non-finite pixels or another
            shape, even alone. Their results are those of `Attempts.otherwise`.
        error: The exception of the first batch with such images; None if there are none.
    """

    results: tuple[Tensor, ...]
    failed: Tensor
    error: Exception | None


class Attempts:
    """A task that is repeated where it fails.

    Images of a batch that fails are tried again in halves, down to single images. Images with non-finite pixels are
    tried again without the others of their batch, whose results stay. Every attempt is deterministic. If a library
    draws random numbers for a batch, images of a smaller batch have other draws.

    Args:
        title: Name of the perturbation, for messages.
        task: Maps images (n, C, H, W), labels (n,) and seeds (n,) to perturbed images and further tensors (n, ...).
        otherwise: Maps images to the results of a failure.
        divisible: Whether images may be tried in smaller batches. If not, exceptions are raised.
    """

    def __init__(
        self, title: str, task: Task, otherwise: Callable[[Tensor], tuple[Tensor, ...]], *, divisible: bool
    ) -> None:
        self.title, self.task, self.otherwise, self.divisible = title, task, otherwise, divisible

    def __call__(self, images: Tensor, labels: Tensor, seeds: Tensor) -> Attempt:
        try:
            results = self._checked(images, labels, seeds)
        except FINAL:
            raise
        except Exception as error:
            if not self.divisible or is_out_of_memory(error):  # `in_batches` halves those that ran out of memory
                raise
            return self._in_halves(images, labels, seeds, error)
        broken = ~results[0].isfinite().flatten(1).all(dim=1)
        attempt = Attempt(results, broken, None)
        if not broken.any():
            return attempt
        fault = InvalidPerturbationError(
            f"'{self.title}' returned non-finite pixels in {int(broken.sum())} of {len(images)} images"
        )
        if not self.divisible:
            return _with_rows(attempt, broken, self._failure(images[broken], fault))
        if broken.all():
            return self._in_halves(images, labels, seeds, fault)
        again = self(images[broken], labels[broken], seeds[broken.cpu()])
        return _with_rows(attempt, broken, again._replace(error=again.error and fault))

    def _checked(self, images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor, ...]:
        """Run the task on copies; raise `WrongShapeError` if it returns no images of their shape."""
        returned, *more = self.task(images.clone(), labels.clone(), seeds.clone())
        if not isinstance(returned, Tensor):
            raise WrongShapeError(
                f"'{self.title}' returned {type(returned).__name__}, expected a tensor of shape {tuple(images.shape)}"
            )
        if returned.shape != images.shape:
            raise WrongShapeError(
                f"'{self.title}' returned shape {tuple(returned.shape)}, expected {tuple(images.shape)}"
            )
        return (returned.detach().to(images), *more)

    def _in_halves(self, images: Tensor, labels: Tensor, seeds: Tensor, error: Exception) -> Attempt:
        if len(images) == 1:
            return self._failure(images, error)
        middle = (len(images) + 1) // 2
        parts = zip(images.split(middle), labels.split(middle), seeds.split(middle), strict=True)
        joined = join([self(*part) for part in parts])
        return joined._replace(error=joined.error and error)

    def _failure(self, images: Tensor, error: Exception) -> Attempt:
        return Attempt(self.otherwise(images), images.new_ones(len(images), dtype=torch.bool), error)


def join(attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempts on consecutive batches as one.

    Args:
        attempts: At least one attempt.
    """
    results = tuple(torch.cat(parts) for parts in zip(*(attempt.results for attempt in attempts), strict=True))
    failed = torch.cat([attempt.failed for attempt in attempts])
    return Attempt(results, failed, next((attempt.error for attempt in attempts if attempt.error), None))


def _with_rows(attempt: Attempt, rows: Tensor, new: Attempt) -> Attempt:
    """Return an attempt with the results of some images (a mask) replaced."""
    results = (old.index_put((rows,), part.to(old)) for old, part in zip(attempt.results, new.results, strict=True))
    return Attempt(tuple(results), attempt.failed.index_put((rows,), new.failed), new.error)
