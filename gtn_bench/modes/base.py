"""The interface of modes: how a learner is obtained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from gtn_bench.config.description import Description, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.models.architectures import Architecture
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class Mode(Description):
    """A way to obtain a learner. Calling it returns the state dict of the learner.

    Attributes:
        needs_teacher: Whether the mode learns from a teaching set.
        trains: Whether the mode trains. False for networks that exist already.
        keeps_train_mode: Whether the checks of a model see its networks in the mode, train or evaluation, that they are
            in. Evaluations put every network in evaluation mode.
    """

    needs_teacher: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    keeps_train_mode: ClassVar[bool] = False

    @property
    def forward_samples(self) -> int:
        """Number of forward passes whose logits are averaged, for a network with random outputs."""
        return 1

    @property
    def has_architecture(self) -> bool:
        """True if the mode has an architecture of its own, so that those of a suite do not apply to it."""
        return False

    def for_seed(self, seed: int, position: int) -> Self | None:
        """Return the mode for one seed of the suite.

        Args:
            seed: The seed.
            position: Its position in the list of seeds.

        Returns:
            The mode; None if it has no learner for this seed.
        """
        return self

    def network(self, architecture: Architecture, dataset: Dataset, seed: int) -> nn.Module:
        """Return the network that the mode trains, or whose weights it loads.

        Args:
            architecture: The architecture of the suite.
            dataset: The data set whose image shape and number of classes the network has.
            seed: Seed of the initial weights.

        Returns:
            A module that maps images (N, C, H, W) in [0, 1] to logits (N, K).
        """
        return architecture(dataset, seed)

    def check_seeds(self, seeds: Sequence[int]) -> None:
        """Check that the mode has a learner for every seed.

        Args:
            seeds: The seeds of the suite.

        Raises:
            ConfigError: If it does not.
        """

    def check_architecture(self, architecture: Architecture, dataset: Dataset) -> None:
        """Check that the mode applies to an architecture.

        Args:
            architecture: The architecture.
            dataset: The data set.

        Raises:
            ConfigError: If it does not.
        """
        if self.trains and architecture.has_weights:
            raise ConfigError(
                f"mode '{self.name}' trains fresh weights, architecture '{architecture.identity()['name']}' comes with "
                "its own; use mode 'pretrained'"
            )

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        """Check that the mode can train on a data set.

        Args:
            dataset: The data set.
            teacher: The teacher, if the mode needs one.

        Raises:
            ConfigError: If the mode cannot train on it, or not from this teacher.
        """

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        """Train a network, or load its weights.

        Args:
            network: The network that `network` returned, in train mode.
            dataset: The data set.
            split: The real training images.
            taught: The teaching set, if the mode needs a teacher.
            seed: Seed of all random draws of the training.

        Returns:
            The state dict of the learner.
        """
        raise NotImplementedError


class TrainingMode(Mode):
    """A mode that trains a freshly initialized network.

    Attributes:
        statistics: The batch-norm statistics of the learner in evaluation mode. `teaching` keeps those of the last
            training batch, as the reference study does. `real` re-estimates them in one unlabeled pass over real
            training images.
        statistics_samples: Number of training images of that pass, the first ones of the split; None for all.
    """

    statistics: Literal["real", "teaching"] = "real"
    statistics_samples: PositiveInt | None = None

    def idle_fields(self) -> Mapping[str, str]:
        reason = "'statistics: teaching' keeps those of the last training batch"
        return {} if self.statistics == "real" else {"statistics_samples": reason}

    def with_statistics(self, network: nn.Module, state: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """Return a state dict with the batch-norm statistics that `statistics` selects.

        Args:
            network: A network of the same architecture.
            state: Its trained state dict.
            split: The real training images.
        """
        from gtn_bench.models.layers import estimate_statistics

        if self.statistics == "real":
            state = state | estimate_statistics(network, state, split, self.statistics_samples)
        stored = network.state_dict().keys()  # without constants that belong to the code
        return {name: value.detach() for name, value in state.items() if name in stored}
