"""The mode of networks in memory, for `gtn_bench.evaluate`, and the architecture of a suite without architectures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.models.architectures import Architecture
from gtn_bench.modes.checkpoint import Fixed
from gtn_bench.modes.live import LiveNetwork

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class GivenArchitecture(Architecture):
    """The architecture of a suite without architectures: each mode has its own."""

    name = "given"

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        raise ConfigError("architecture 'given' is that of each mode; a mode without one cannot train it")


class Given(Fixed):
    """Networks in memory, one per seed. A mode may have fewer networks than there are seeds.

    Attributes:
        networks: The networks, from images (N, C, H, W) to logits (N, K).
    """

    name = "given"
    keeps_train_mode = True
    networks: Annotated[tuple[LiveNetwork, ...], Field(strict=False, min_length=1)]

    @property
    def packages(self) -> tuple[str, ...]:  # type: ignore[override]
        """Installed packages that define the networks."""
        return tuple(sorted(set().union(*(network.packages for network in self.networks))))

    @property
    def has_architecture(self) -> bool:
        return True

    def code_modules(self) -> set[str]:
        return super().code_modules().union(*(network.own_modules for network in self.networks))

    def check_seeds(self, seeds: Sequence[int]) -> None:
        if len(self.networks) > len(seeds):
            raise ConfigError(f"mode 'given' has {len(self.networks)} networks, the suite {len(seeds)} seeds")

    def for_seed(self, seed: int, position: int) -> Self | None:
        if position >= len(self.networks):
            return None
        return self.model_copy(update={"networks": (self.networks[position],)})

    def network(self, architecture: Architecture, dataset: Dataset, seed: int) -> nn.Module:
        import copy

        # A deep copy, because the evaluation must not change the caller's network.
        return self.normalized(copy.deepcopy(self.networks[0].module), dataset)

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in network.state_dict().items()}
