"""A mode that learns from the distilled images of other projects."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.filepath import FilePath
from gtn_bench.data.base import Dataset, Split
from gtn_bench.models.architectures import Architecture
from gtn_bench.modes.base import TrainingMode
from gtn_bench.modes.distillation.fields import Augmentation, PerChannel, PositivePerChannel, SetPath
from gtn_bench.store.downloads import fetch
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.modes.distillation.sets import DistilledSet, File
    from gtn_bench.modes.distillation.training import Recipe
    from gtn_bench.teaching.teaching_set import TeachingSet


class Distilled(TrainingMode):
    """SGD on distilled images from files as dataset-distillation code publishes them.

    The defaults are those with which dataset condensation (DC, DSA, DM) evaluates its images.

    Attributes:
        file: File of the images: PyTorch, NumPy or safetensors; or a folder with one folder of images per class.
            It may hold labels and learning rates, too.
        labels: File of the labels, if it is another one.
        lr_file: File of the learning rates, if it is another one: one rate, or one per step, from the first again
            after the last.
        images_per_class: Number of images per class, for images without labels that are sorted by class.
        run: Index of the set of images, if the file holds several; by default the first.
        units: What the numbers of the images mean: `normalized` for ``(pixel - mean) / std``, `pixel` for values in
            [0, 1], `levels` for values from 0 to 255, `zca` for whitened pixels. By default integers are levels, other
            numbers are normalized. The network of `zca` begins with the same whitening in place of a normalization.
        mean: Mean of each channel in the normalization of the file; by default that of the data set.
        std: Standard deviation of each channel in the normalization of the file; by default that of the data set. For
            `zca` the divisor of the pixels before whitening, 1 by default.
        zca_epsilon: Regularization of the eigenvalues in the whitening.
        soften: True if labels are logits, to be turned into probabilities by a softmax; False to use numbers as they
            are. By default labels must be classes or probabilities.
        loss: `cross-entropy`, `kl` for the Kullback-Leibler divergence, both averaged over images; `mse` for the mean
            squared difference of logits and labels.
        temperature: Divisor of the logits of the network, and of labels that are logits.
        augment: Augmentation of each batch: `dsa`, or a list of its parts, of which one is drawn per batch.
        epochs: Number of epochs, in place of steps.
        steps: Number of training steps; by default 1000, or the number in a file of training steps.
        batch_size: Number of images per step; by default 256, or those of each step in a file of training steps.
        lr: Learning rate; by default those of the files, or 0.01 if they have none.
        lr_drop: Share of the steps after which the learning rate is divided by ten, with a fresh momentum.
        momentum: Momentum of SGD; by default 0.9, or 0 for a file of training steps.
        weight_decay: Weight decay of SGD; by default 0.0005, or 0 for a file of training steps.
    """

    name = "distilled"
    source = "https://arxiv.org/abs/1811.10959"
    needs_teacher = False
    file: SetPath
    labels: FilePath | None = None
    lr_file: FilePath | None = None
    images_per_class: PositiveInt | None = None
    run: Annotated[int, Field(ge=0)] | None = None
    units: Literal["normalized", "pixel", "levels", "zca"] | None = None
    mean: PerChannel | None = None
    std: PositivePerChannel | None = None
    zca_epsilon: PositiveFloat = 0.1
    soften: bool | None = None
    loss: Literal["cross-entropy", "kl", "mse"] = "cross-entropy"
    temperature: PositiveFloat = 1.0
    augment: Augmentation = ()
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    lr: PositiveFloat | None = None
    lr_drop: Annotated[float, Field(gt=0, lt=1)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_sha256(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping) and "sha256" in fields:
            raise ConfigError("'sha256' is now written behind the path: 'file: set.pt#sha256=<64 hexadecimal digits>'")
        return fields

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.loss == "kl" and self.soften is False:
            raise ConfigError("'loss: kl' needs probabilities, or logits and 'soften: true'; leave 'soften: false' out")
        if self.steps and self.epochs:
            raise ConfigError(f"'distilled' takes epochs or steps, not both: got {self.epochs} and {self.steps}")
        return self

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        """Fill in what the files decide, so that a resolved suite says how the mode trains."""
        from gtn_bench.modes.distillation.sets import outline
        from gtn_bench.modes.distillation.training import defaults

        found = outline(_local(self.file))
        values = {"units": "levels" if found.has_integers else "normalized", **defaults(found.steps)}
        if self.lr_file or found.has_rates:
            del values["lr"]
        if self.epochs:
            del values["steps"]
        for field, value in values.items():
            if getattr(self, field) is None:
                object.__setattr__(self, field, value)
        return self

    def idle_fields(self) -> Mapping[str, str]:
        idle = dict(super().idle_fields())
        if self.units in ("pixel", "levels"):
            idle |= dict.fromkeys(("mean", "std"), f"images in 'units: {self.units}' are not normalized")
        if self.units == "zca":
            idle["mean"] = "the whitening subtracts the mean of the training images"
        else:
            idle["zca_epsilon"] = "only images in 'units: zca' are whitened"
        if self.loss == "mse":
            idle |= dict.fromkeys(("soften", "temperature"), "'loss: mse' compares logits with labels as they are")
        if self.labels:
            idle["images_per_class"] = "'labels' names a file with the classes"
        if self.lr_file:
            idle["lr"] = "'lr_file' names a file with the learning rates"
        return idle

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        import torch

        from gtn_bench.modes.distillation import sets
        from gtn_bench.modes.distillation.zca import LARGEST

        channels, height, width = dataset.input_shape
        for field, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != channels:
                raise ConfigError(f"'{field}' expects one number per channel, {channels}, got {len(values)}")
        if self.units == "zca" and channels * height * width > LARGEST:
            raise ConfigError(
                f"'units: zca' whitens images of at most {LARGEST} values, data set '{dataset.name}' has "
                f"{channels * height * width}"
            )
        images = torch.cat(sets.read_images(_local(self.file), dataset, self.run)[1])
        problems = []
        try:
            self._check_training(self._read(dataset))
        except ConfigError as error:
            problems.append(str(error))
        try:
            self._check_units(images, dataset)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))

    def network(self, architecture: Architecture, dataset: Dataset, seed: int) -> nn.Module:
        if self.units != "zca":
            return super().network(architecture, dataset, seed)
        from gtn_bench.modes.distillation.zca import whitened

        return whitened(architecture, dataset, seed)

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        from gtn_bench.modes.distillation import training, zca

        found = self._read(dataset).to(split.labels.device)
        pixels: Callable[[Tensor], Tensor]
        if self.units == "zca":
            transform = zca.fit(split, self.zca_epsilon, self.std or (1.0,) * dataset.input_shape[0])
            self._check_whitened(found.images, transform.pixels, dataset)
            zca.set_whitening(network, transform)
            pixels = transform.pixels
        else:
            constants = [value.to(split.labels.device) for value in self._constants(dataset)]
            found, pixels = training.normalize(found, self.units, *constants, augments=bool(self.augment))
        training.train(network, found, pixels, self._recipe(found), seed=seed)
        return self.with_statistics(network, dict(network.state_dict()), split)

    def _recipe(self, found: DistilledSet) -> Recipe:
        from gtn_bench.modes.distillation.training import Recipe

        batch_size = self.batch_size or len(found.images)
        total = self.steps or (self.epochs or 1) * -(-len(found.images) // batch_size)
        return Recipe(
            steps=total,
            batch_size=batch_size,
            rates=[self.lr or 0.0] if found.rates is None else found.rates.tolist(),
            drop=round(self.lr_drop * total) if self.lr_drop else total,
            momentum=self.momentum or 0.0,
            weight_decay=self.weight_decay or 0.0,
            loss=self.loss,
            temperature=self.temperature,
            augmentation=self.augment,
        )

    def _constants(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (C, 1, 1) of the normalization of the images."""
        from gtn_bench.modes.distillation.units import per_channel

        return per_channel(self.mean or dataset.mean), per_channel(self.std or dataset.std)

    def _check_units(self, images: Tensor, dataset: Dataset) -> None:
        """Check that the images can have the units that they are said to have."""
        from gtn_bench.modes.distillation import units as meanings

        try:
            units = meanings.meaning(images, self.units)
            if units == "levels" and (self.mean or self.std):
                raise ValueError("holds integers, which are levels from 0 to 255; leave 'mean' and 'std' out")
            usual = meanings.per_channel(dataset.mean), meanings.per_channel(dataset.std)
            outside = meanings.check_units(images, units, self._constants(dataset), usual)
        except ValueError as error:
            raise ConfigError(f"{self.file} {error}") from None
        if outside:
            hint = "; set 'mean' and 'std' if its code normalized with others" if units == "normalized" else ""
            warnings.warn(f"{self.file} {outside}; they are kept{hint}", UserWarning, stacklevel=3)

    def _check_whitened(self, images: Tensor, pixels: Callable[[Tensor], Tensor], dataset: Dataset) -> None:
        """Check that the images can be whitened. The whitening is fitted in a run, not when it is planned."""
        from gtn_bench.modes.distillation import units as meanings

        mean, std = (meanings.per_channel(values).to(images.device) for values in (dataset.mean, dataset.std))
        try:
            meanings.check_whitened(images.float(), pixels(images.float()), (mean, std))
        except ValueError as error:
            raise ConfigError(f"{self.file} {error}") from None

    def _check_training(self, found: DistilledSet) -> None:
        """Check that no field is set that has no effect on training from these files."""
        if found.rates is not None and self.lr:
            raise ConfigError(f"{self.file} holds learning rates, so that 'lr' has no effect; leave 'lr' out")
        if found.in_steps:
            for field in ("batch_size", "epochs", "lr_drop"):
                if getattr(self, field) is not None:
                    raise ConfigError(
                        f"{self.file} holds {len(found.sets)} training steps, each with its images and learning rate, "
                        f"so that '{field}' has no effect; leave it out"
                    )

    def _read(self, dataset: Dataset) -> DistilledSet:
        from gtn_bench.modes.distillation.sets import read

        return read(
            _local(self.file),
            _local(self.labels) if self.labels else None,
            _local(self.lr_file) if self.lr_file else None,
            dataset,
            run=self.run,
            images_per_class=self.images_per_class,
            soften=self.soften,
            any_numbers=self.loss == "mse" or self.soften is False,
            temperature=self.temperature,
        )


def _local(file: FilePath) -> File:
    from gtn_bench.modes.distillation.sets import File

    return File(Path(fetch(file)), str(file))
