"""Distilled images with their labels and learning rates, read from files and checked against a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset
from gtn_bench.data.reading.picture_files import read_folder
from gtn_bench.data.reading.pictures import decode
from gtn_bench.modes.distillation.files import load_plain, tensor
from gtn_bench.modes.distillation.labels import in_class_order, targets
from gtn_bench.modes.distillation.layout import Layout, Part, find_labels, find_layout, find_rates
from gtn_bench.modes.distillation.units import as_batch


class File(NamedTuple):
    """A file and its name in messages."""

    path: Path
    name: str


@dataclass(frozen=True, eq=False)
class DistilledSet:
    """Distilled images.

    Attributes:
        sets: Images (N, C, H, W) in the units of the file, and targets (N, K): one pair, or one per training step.
        in_steps: Whether there is one pair per training step.
        rates: Learning rates (T,), one per training step or one for all; None if there are none.
    """

    sets: tuple[tuple[Tensor, Tensor], ...]
    in_steps: bool
    rates: Tensor | None

    @property
    def images(self) -> Tensor:
        """All images (N, C, H, W), in the units of the file."""
        return torch.cat([images for images, _ in self.sets])

    def with_images(self, change: Callable[[Tensor], Tensor]) -> DistilledSet:
        """Return the set with changed images.

        Args:
            change: Function of images (N, C, H, W).
        """
        return replace(self, sets=tuple((change(images), targets) for images, targets in self.sets))

    def to(self, device: torch.device | str) -> DistilledSet:
        """Return the set on a device.

        Args:
            device: The device.
        """
        return replace(self, sets=tuple((images.to(device), targets.to(device)) for images, targets in self.sets))


class Outline(NamedTuple):
    """Summary of a file of images.

    Attributes:
        steps: Number of training steps; None if it holds no steps.
        has_rates: Whether it holds learning rates.
        has_integers: Whether the images are integers.
    """

    steps: int | None
    has_rates: bool
    has_integers: bool


def outline(images: File) -> Outline:
    """Find out what a file of images holds.

    Args:
        images: The file or folder.

    Raises:
        ConfigError: If it holds no images.
    """
    if images.path.is_dir():
        return Outline(None, False, True)
    layout = _layout(images)
    steps = len(layout.parts) if layout.kind == "steps" else None
    with _errors_of(images):
        has_integers = not tensor(layout.parts[0].images, "images").is_floating_point()
    return Outline(steps, any(part.rates is not None for part in layout.parts), has_integers)


def read_images(images: File, dataset: Dataset, run: int | None) -> tuple[Layout, list[Tensor]]:
    """Read distilled images without their labels.

    Args:
        images: File or folder of the images.
        dataset: The data set. The images must have its shape.
        run: Index of the set of images, where there are several.

    Returns:
        What the file holds, and the images (N, C, H, W) of each of its parts in the units of the file.

    Raises:
        ConfigError: If the file holds anything else.
    """
    layout = Layout((_of_folder(images, dataset),)) if images.path.is_dir() else _layout(images)
    with _errors_of(images):
        layout = _one_run(layout, run)
        return layout, [as_batch(tensor(part.images, "images"), dataset.input_shape) for part in layout.parts]


def read(
    images: File,
    labels: File | None,
    rates: File | None,
    dataset: Dataset,
    *,
    run: int | None,
    images_per_class: int | None,
    soften: bool | None,
    any_numbers: bool,
    temperature: float,
) -> DistilledSet:
    """Read distilled images.

    Args:
        images: File or folder of the images.
        labels: File of the labels, if they are in another one.
        rates: File of the learning rates, if they are in another one.
        dataset: The data set. The images must have its shape and its classes.
        run: Index of the set of images, where there are several.
        images_per_class: Number of images per class, if they are sorted by class and have no labels.
        soften: Whether labels are logits; None if nothing is said of them.
        any_numbers: Whether labels that are no logits may be any numbers, in place of probabilities.
        temperature: Divisor of logits.

    Raises:
        ConfigError: If a file holds anything else, or if an argument has no effect.
    """
    layout, batches = read_images(images, dataset, run)
    parts = layout.parts
    with _errors_of(images):
        if labels:
            if any(part.labels is not None for part in parts):
                raise ValueError("holds labels itself; leave 'labels' out")
            if len(parts) > 1:
                raise ValueError("holds training steps without labels, and 'labels' needs one set of images")
        if rates and any(part.rates is not None for part in parts):
            raise ValueError("holds learning rates itself; leave 'lr_file' out")
    if labels:
        with _errors_of(labels):
            parts = (parts[0]._replace(labels=find_labels(load_plain(labels.path))),)
    with _errors_of(labels or images):
        found = [
            targets(
                _labels_of(part, len(batch), dataset.num_classes, images_per_class),
                len(batch),
                dataset.num_classes,
                soften=soften,
                any_numbers=any_numbers,
                temperature=temperature,
            )
            for part, batch in zip(parts, batches, strict=True)
        ]
    with _errors_of(rates or images):
        learned = find_rates(load_plain(rates.path)) if rates else _rates(layout)
    sets = tuple(zip(batches, found, strict=True))
    return DistilledSet(sets, layout.kind == "steps", learned)


@contextmanager
def _errors_of(file: File) -> Iterator[None]:
    """Let the messages of errors in the block start with the name of a file."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{file.name} {error}") from None


def _layout(images: File) -> Layout:
    with _errors_of(images):
        return find_layout(load_plain(images.path))


def _one_run(layout: Layout, run: int | None) -> Layout:
    """Return a layout of one set of images, or of the steps of one run."""
    if layout.kind != "runs":
        if run is not None:
            raise ValueError("holds one set of images, and 'run' selects one of several; leave 'run' out")
        return layout
    if (run or 0) >= len(layout.parts):
        raise ValueError(f"holds {len(layout.parts)} sets of images, 'run' is one from 0 to {len(layout.parts) - 1}")
    return Layout((layout.parts[run or 0],))


def _labels_of(part: Part, count: int, classes: int, images_per_class: int | None) -> Tensor:
    if part.labels is not None:
        if images_per_class:
            raise ValueError("holds labels, so that 'images_per_class' has no effect; leave it out")
        return tensor(part.labels, "labels")
    if images_per_class is None:
        number = count // classes or 1
        raise ValueError(
            "holds images without labels; name their file, as in 'labels: labels.pt', or say "
            f"'images_per_class: {number}' if the images are sorted by class"
        )
    return in_class_order(count, classes, images_per_class)


def _rates(layout: Layout) -> Tensor | None:
    """Return the learning rates in the file of the images."""
    found = [find_rates(part.rates) for part in layout.parts if part.rates is not None]
    if layout.kind == "steps" and any(len(rates) != 1 for rates in found):
        raise ValueError("holds training steps with several learning rates each, expected one")
    return torch.cat(found) if found else None


def _of_folder(folder: File, dataset: Dataset) -> Part:
    """Return the images in a folder with one folder per class, in the order of the classes of the data set."""
    pictures, owners, names = read_folder(folder.path)
    if len(names) != dataset.num_classes:
        raise ConfigError(
            f"{folder.name} has {len(names)} folders of classes, data set '{dataset.name}' has {dataset.num_classes}"
        )
    ranked = list(names)
    if set(names) == set(dataset.classes):
        ranked = list(dataset.classes)
    elif all(name.isdecimal() for name in names):
        ranked.sort(key=int)
    order = np.argsort(owners, kind="stable")
    levels = torch.from_numpy(decode([pictures[at] for at in order], None))
    channels = dataset.input_shape[0]
    if levels.shape[1] == 1 < channels:
        levels = levels.expand(-1, channels, -1, -1)
    classes = torch.tensor([ranked.index(name) for name in names])
    return Part(levels, classes[torch.from_numpy(owners[order])])
