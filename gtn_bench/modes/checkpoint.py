"""Modes of networks that exist already, and the mode that loads their weights from files."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, WithJsonSchema, model_validator

from gtn_bench.config.description import Description, PositiveFloat, PositiveInt, choose
from gtn_bench.config.errors import ConfigError, listed
from gtn_bench.config.filepath import SeedFile
from gtn_bench.data.base import Dataset, Split, layout_hint
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.modes.base import Mode
from gtn_bench.store.downloads import fetch
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


def _one_or_several(value: object) -> object:
    """Return the values of a sequence, an array or a tensor, or of a single value, as a tuple."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return tuple(value)
    return value if isinstance(value, Mapping) else (value,)


def _schema(one: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})


_Several = BeforeValidator(_one_or_several)
_positive = {"type": "number", "exclusiveMinimum": 0}

Means = Annotated[tuple[float, ...], _Several, Field(min_length=1), _schema({"type": "number"})]
Deviations = Annotated[tuple[PositiveFloat, ...], _Several, Field(min_length=1), _schema(_positive)]
AnyArchitecture = Annotated[
    SerializeAsAny[Architecture], BeforeValidator(lambda entry: choose(ARCHITECTURES, "architecture", entry))
]
SeedFiles = Annotated[tuple[SeedFile, ...], _Several, Field(min_length=1), _schema({"type": "string"})]


class Fixed(Mode):
    """A mode of networks that exist already. Their batch-norm statistics stay as they are.

    Attributes:
        mean: Mean that the network expects to be subtracted from its images, in pixel values: one value, or one per
            channel. None for a network that takes pixels in [0, 1] unchanged.
        std: Standard deviation by which it expects its images to be divided: one value, or one per channel.
        samples_per_forward: Number of forward passes whose logits are averaged, for a network with random outputs.
    """

    trains: ClassVar[bool] = False
    mean: Means | None = None
    std: Deviations | None = None
    samples_per_forward: PositiveInt = 1

    @model_validator(mode="after")
    def _mean_and_std(self) -> Self:
        if (self.mean is None) != (self.std is None):
            given, absent = ("mean", "std") if self.std is None else ("std", "mean")
            raise ConfigError(f"mode '{self.name}' needs both mean and std, or neither: got {given} without {absent}")
        outside = [value for value in self.mean or () if not 0 <= value <= 1]
        if outside:
            raise ConfigError(
                f"mode '{self.name}' expects the mean of pixels in [0, 1], got {listed(outside)}; "
                "divide mean and std by 255 if they are those of pixels in [0, 255]"
            )
        return self

    @property
    def forward_samples(self) -> int:
        return self.samples_per_forward

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        channels = dataset.input_shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in (1, channels):
                raise ConfigError(
                    f"mode '{self.name}' expects one {name}, or one per channel of data set '{dataset.name}' "
                    f"({channels}), got {len(values)}{layout_hint(len(values), dataset.input_shape)}"
                )

    def normalized(self, network: nn.Module, dataset: Dataset) -> nn.Module:
        """Return a network behind the normalization that it expects; the network itself if it expects none.

        Args:
            network: A network from normalized images (N, C, H, W) to logits (N, K).
            dataset: The data set, whose number of channels one value stands for.

        Returns:
            A module that maps images (N, C, H, W) in [0, 1] to logits (N, K).
        """
        from gtn_bench.models.normalized import Normalized

        if self.mean is None or self.std is None:
            return network
        channels = dataset.input_shape[0]
        mean, std = (values * channels if len(values) == 1 else values for values in (self.mean, self.std))
        return Normalized(network, mean, std)


class Loaded(Fixed):
    """A mode of existing networks that an architecture builds.

    Attributes:
        architecture: The architecture of the networks, for a suite without architectures, whose modes each have one.
    """

    architecture: AnyArchitecture | None = None

    @property
    def has_architecture(self) -> bool:
        return self.architecture is not None

    def parts(self) -> tuple[Description, ...]:
        return (self.architecture, *self.architecture.parts()) if self.architecture else ()

    def check_architecture(self, architecture: Architecture, dataset: Dataset) -> None:
        architecture = self.architecture or architecture
        architecture.check(dataset)
        if self.mean and architecture.normalizes_itself:
            title = architecture.identity()["name"]
            raise ConfigError(
                f"mode '{self.name}': architecture '{title}' normalizes its images itself; leave mean and std out"
            )

    def network(self, architecture: Architecture, dataset: Dataset, seed: int) -> nn.Module:
        return self.normalized((self.architecture or architecture).bare(dataset, seed), dataset)


class Checkpoint(Loaded):
    """Weights from files that other code has saved. Nothing is trained.

    A file is safetensors, or what ``torch.save(model.state_dict(), FILE)`` writes; the state dict may lie in a mapping
    or a list. Without `mean` and `std`, pixels in [0, 1] go into the network unchanged, whatever it was trained on; an
    architecture of this package that normalizes its images itself keeps the normalization in the file.

    Attributes:
        files: One file per seed of the suite, in the order of the seeds, or one name with ``{seed}``. With fewer files
            than seeds, there are no learners of the last seeds. An https URL needs its checksum:
            ``URL#sha256=<64 hexadecimal digits>``.
    """

    name = "checkpoint"
    files: SeedFiles

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        templates = [file for file in self.files if file.is_template]
        if templates and len(self.files) > 1:
            raise ConfigError(f"mode '{self.name}' expects one name with {{seed}}, or files without it, got both")
        if templates and templates[0].is_url:
            raise ConfigError(f"mode '{self.name}' needs the checksum of each URL: list the URLs in place of {{seed}}")
        return self

    def check_seeds(self, seeds: Sequence[int]) -> None:
        if self.files[0].is_template:
            paths = [self.files[0].replace("{seed}", str(seed)) for seed in seeds]
            missing = [path for path in paths if not Path(path).is_file()]
            if missing:
                raise ConfigError(f"mode '{self.name}': no such file: {', '.join(missing)}")
            for seed in seeds:
                self.files[0].for_seed(seed)
        elif len(self.files) > len(seeds):
            raise ConfigError(
                f"mode '{self.name}' has {_counted(len(self.files), 'file')}, the suite "
                f"{_counted(len(seeds), 'seed')}; write seeds: {list(range(len(self.files)))}"
            )

    def for_seed(self, seed: int, position: int) -> Self | None:
        if self.files[0].is_template:
            return self.model_copy(update={"files": (self.files[0].for_seed(seed),)})
        if position >= len(self.files):
            return None
        return self.model_copy(update={"files": (self.files[position],)})

    def check_architecture(self, architecture: Architecture, dataset: Dataset) -> None:
        from gtn_bench.models.weights.matching import load_state

        super().check_architecture(architecture, dataset)
        architecture = self.architecture or architecture
        network = _without_values(architecture, dataset)
        for file in self.files:
            load_state(network, _outline(file), str(file), dataset=dataset, architecture=architecture)

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        from gtn_bench.models.normalized import Normalized
        from gtn_bench.models.weights.checkpoints import read_state
        from gtn_bench.models.weights.matching import load_state

        (file,) = self.files
        prefix, inner = ("network.", network.network) if isinstance(network, Normalized) else ("", network)
        state = load_state(inner, read_state(fetch(file), str(file)), str(file), dataset=dataset)
        return {f"{prefix}{name}": value for name, value in state.items()}


@functools.lru_cache(maxsize=256)
def _outline(file: SeedFile) -> dict[str, Tensor]:
    """Return the weights in a file on the meta device: shapes and types, by name."""
    from gtn_bench.models.weights.checkpoints import read_state

    return {name: value.to("meta") for name, value in read_state(fetch(file), str(file)).items()}


def _without_values(architecture: Architecture, dataset: Dataset) -> nn.Module:
    """Return a network on the meta device. Code of others that cannot build it there builds it with its weights."""
    import torch

    try:
        with torch.device("meta"):
            return architecture.bare(dataset, seed=0)
    except Exception:
        try:
            return architecture.bare(dataset, seed=0).to("meta")
        except ConfigError:
            raise
        except Exception as error:  # the code of a plug-in
            title, reason = architecture.identity()["name"], " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(
                f"architecture '{title}' cannot be built for data set '{dataset.name}': {reason}"
            ) from None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
