"""A data set from files."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from gtn_bench.config.description import PositiveInt
from gtn_bench.config.errors import ConfigError, shown
from gtn_bench.data.base import Dataset, Split, SplitName, layout_hint
from gtn_bench.data.reading.class_numbers import class_names, count_classes, renumbering
from gtn_bench.data.reading.decoded import Facts, Part, Role, facts_of, load
from gtn_bench.data.reading.pixels import Layout
from gtn_bench.data.reading.sources import Source, holds_pictures


def _height_and_width(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    if value is None:
        return None
    raise ConfigError(f"expects [height, width], got {shown(value)}")


PixelValue = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_height_and_width)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
PerChannel = Annotated[tuple[PixelValue, ...], Field(strict=False)]


class Files(Dataset):
    """Images and labels from files: arrays, folders of images, or parquet. They are decoded once into the cache.

    A source is a file of NumPy (``.npz``), of safetensors or of PyTorch (``.pt``, tensors alone) that holds `images`
    and `labels`; ``{images: FILE, labels: FILE}`` with one array each (``.npy``); a folder with one folder of images
    per class; or a parquet file in the layout of Hugging Face. Images are uint8, or floats in [0, 1]. Gray images have
    one channel. Labels are class numbers from 0, or one-hot rows. Arrays and parquet files keep their order.

    Attributes:
        test: The test images.
        train: The training images; without them, no mode of the suite can train.
        validation: Share of the training images that are held out for validation, chosen at random, always alike.
        layout: Layout of arrays of images; None where their shape tells it.
        size: Height and width to which all images are resized, bilinearly with antialiasing; None to keep them.
        classes: Names of the classes, in the order of their numbers; by default those of the folders or of the parquet
            file. For folders they set the order of the classes.
        num_classes: Number of classes; by default that of the names, or else the largest label plus one.
        mean: Mean of the pixels in [0, 1], per channel; by default that of the training images, or else of the test
            images.
        std: Their standard deviation, per channel.
    """

    name = "files"
    test: Source
    train: Source | None = None
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    layout: Layout | None = None
    size: Size | None = None
    classes: Names = ()  # type: ignore[misc]
    num_classes: PositiveInt | None = None  # type: ignore[assignment, misc]
    mean: PerChannel | None = None  # type: ignore[assignment, misc]
    std: PerChannel | None = None  # type: ignore[assignment, misc]
    _facts: dict[Role, Facts] = PrivateAttr(default_factory=dict)
    _numbers: dict[Role, tuple[int, ...] | None] = PrivateAttr(default_factory=dict)

    def idle_fields(self) -> dict[str, str]:
        idle = {} if self.train else {"validation": "there are no training images"}
        if all(holds_pictures(source) for source in (self.test, self.train) if source):
            idle["layout"] = "image files have no such choice"
        return idle

    @model_validator(mode="after")
    def _decode(self) -> Self:
        """Decode what the cache lacks, and fill in the fields that follow from it."""
        parts = self._parts()
        facts = {role: facts_of(part) for role, part in parts.items()}
        names = {role: str(part.source) for role, part in parts.items()}
        shapes = {role: found.shape for role, found in facts.items()}
        if len(set(shapes.values())) > 1:
            described = " and ".join(f"{role} images {shape}" for role, shape in shapes.items())
            raise ConfigError(f"expects images of one shape, got {described} as (C, H, W); set size, or convert them")
        classes = class_names(self.classes, facts, names)
        count = count_classes(self.num_classes, classes, facts, names)
        channels = facts["test"].shape[0]
        for field in ("mean", "std"):
            stated: tuple[float, ...] | None = getattr(self, field)
            if stated is not None and len(stated) != channels:
                hint = layout_hint(len(stated), facts["test"].shape)
                raise ConfigError(
                    f"{field} expects one number for each of {channels} channels, got {list(stated)}{hint}"
                )
        pixels = facts.get("train", facts["test"])
        std = self.std or pixels.std
        if not all(std):
            what = "set std to numbers above 0" if self.std else "all pixels of a channel are equal; set std"
            raise ConfigError(f"std expects numbers above 0, got {list(std)}; {what}")
        filled = {"classes": classes, "num_classes": count, "mean": self.mean or pixels.mean, "std": std}
        for field, value in filled.items():
            object.__setattr__(self, field, value)
        self._facts = facts
        self._numbers = {role: renumbering(found, classes) for role, found in facts.items()}
        if self.train and not self.sizes[0]:
            raise ConfigError(f"validation {self.validation:g} leaves no training images of {facts['train'].count}")
        return self

    @property
    def input_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """Channels, height, width."""
        return self._facts["test"].shape

    @property
    def sizes(self) -> tuple[int, int, int]:  # type: ignore[override]
        """Number of images of the train, validation and test split."""
        count = self._facts["train"].count if self.train else 0
        held_out = math.ceil(self.validation * count)
        return count - held_out, held_out, self._facts["test"].count

    def check_samples(self, samples: int) -> None:
        if samples < self._facts["test"].covering:
            raise ConfigError(
                f"the test images are sorted by class, and the first {samples} are not of all classes; shuffle images "
                f"and labels alike, or evaluate all {self._facts['test'].count} images"
            )

    def content(self) -> dict[str, Any]:
        """Return what the numbers depend on: the pixels, not the files that hold them."""
        fields = self.model_dump(mode="json", include={"validation", "num_classes", "mean", "std"})
        images: dict[str, Any] = {role: [facts.sha256, self._numbers[role]] for role, facts in self._facts.items()}
        return {**fields, **images}

    def __call__(self) -> dict[SplitName, Split]:
        splits: dict[SplitName, Split] = {"test": self._split("test")}
        training = self._split("train") if self.train else None
        if training is None:
            none = splits["test"]
            return {"train": none.at([]), "validation": none.at([]), **splits}
        order = np.random.default_rng(0).permutation(len(training))
        train = self.sizes[0]
        return {"train": training.at(order[:train]), "validation": training.at(order[train:]), **splits}

    def _parts(self) -> dict[Role, Part]:
        sources: dict[Role, Any] = {"train": self.train, "test": self.test}
        return {role: Part(source, role, self.layout, self.size) for role, source in sources.items() if source}

    def _split(self, role: Role) -> Split:
        import torch

        facts, numbers = self._facts[role], self._numbers[role]
        levels, labels = load(self._parts()[role], facts)
        if numbers is not None:
            labels = np.array(numbers)[labels]
        return Split(torch.from_numpy(levels), torch.from_numpy(labels), facts.white)
