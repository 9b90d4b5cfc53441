"""The mode of networks whose weights come with the architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.models.architectures import Architecture
from gtn_bench.modes.checkpoint import Loaded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class Pretrained(Loaded):
    """The weights that an architecture such as `robustbench.<name>` comes with. Nothing is trained.

    There is one learner, whatever the number of seeds.
    """

    name = "pretrained"

    def for_seed(self, seed: int, position: int) -> Self | None:
        return self if position == 0 else None

    def check_architecture(self, architecture: Architecture, dataset: Dataset) -> None:
        super().check_architecture(architecture, dataset)
        architecture = self.architecture or architecture
        if not architecture.has_weights:
            title = architecture.identity()["name"]
            raise ConfigError(
                f"mode '{self.name}' needs an architecture that comes with weights, such as robustbench.<name>; "
                f"'{title}' has none: train it, or load weights with mode 'checkpoint'"
            )

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in network.state_dict().items()}
