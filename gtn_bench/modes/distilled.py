"""A mode that learns from the distilled images of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.modes.base import Mode
from gtn_bench.store.hashing import file_digest
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class Distilled(Mode):
    """SGD on distilled images from a file in a format that dataset-distillation code publishes.

    The file is ``.pt`` or ``.npz``. It holds images (N, C, H, W) or (N, H, W) under `images`, `x` or `data`, and labels
    under `labels` or `y`: classes (N,), probabilities (N, K) or logits (N, K). A pair of the two is accepted too. Files
    of dataset condensation (DC, DSA, DM) hold a list `data` of such pairs.

    Attributes:
        file: Path of the file.
        sha256: Checksum of the file; filled in where it is missing.
        units: `normalized` if the mean was subtracted and the images were divided by the standard deviation of the
            training pixels, as most such code does; `pixel` for values in [0, 1].
        soften: Whether labels are logits, to be turned into probabilities by a softmax.
        run: The index in a list of several sets of images.
        steps: Number of training steps.
        batch_size: Number of images per step.
        lr: Learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
    """

    name = "distilled"
    source = "https://arxiv.org/abs/1811.10959"
    needs_teacher = False
    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    units: Literal["normalized", "pixel"] = "normalized"
    soften: bool = False
    run: Annotated[int, Field(ge=0)] = 0
    steps: PositiveInt = 1000
    batch_size: PositiveInt = 256
    lr: PositiveFloat = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4

    def content(self) -> dict[str, Any]:
        content = self.identity()
        del content["file"]  # the checksum identifies its content
        return content

    @model_validator(mode="after")
    def _identify(self) -> Self:
        path = Path(self.file).expanduser()
        if not path.is_file():
            raise ConfigError(f"mode 'distilled': {self.file}: no such file")
        found = file_digest(path)
        if self.sha256 not in (None, found):
            raise ConfigError(f"mode 'distilled' expects the sha256 {self.sha256} of {self.file}, got {found}")
        object.__setattr__(self, "sha256", found)
        return self

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        self._read(dataset)

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        import torch
        from torch.nn import functional as F

        images, labels = (part.to(split.labels.device) for part in self._read(dataset))
        sgd = torch.optim.SGD(network.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        generator = torch.Generator().manual_seed(seed)
        batches: list[Tensor] = []
        for _ in range(self.steps):
            if not batches:
                batches = list(
                    torch.randperm(len(images), generator=generator).to(images.device).split(self.batch_size)
                )
            index = batches.pop()
            sgd.zero_grad()
            F.cross_entropy(network(images[index]), labels[index]).backward()
            sgd.step()
        return self.with_statistics(network, dict(network.state_dict()), split)

    def _read(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        from gtn_bench.modes.distilled_files import read

        path = Path(self.file).expanduser()
        return read(path, dataset, normalized=self.units == "normalized", soften=self.soften, run=self.run)
