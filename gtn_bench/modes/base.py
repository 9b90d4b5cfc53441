"""The interface of modes: how a learner is obtained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from gtn_bench.config.description import Description, PositiveInt
from gtn_bench.data.base import Dataset, Split
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class Mode(Description):
    """A way to train a freshly initialized network. Calling it returns the trained state dict.

    Attributes:
        needs_teacher: Whether the mode learns from a teaching set.
        statistics: The batch-norm statistics of the learner in evaluation mode. `teaching` keeps those of the last
            training batch, as the reference study does. `real` re-estimates them in one unlabeled pass over real
            training images.
        statistics_samples: Number of training images of that pass, the first ones of the split; None for all.
    """

    needs_teacher: ClassVar[bool]
    statistics: Literal["real", "teaching"] = "real"
    statistics_samples: PositiveInt | None = None

    def idle_fields(self) -> Mapping[str, str]:
        reason = "'statistics: teaching' keeps those of the last training batch"
        return {} if self.statistics == "real" else {"statistics_samples": reason}

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
        """Train a network.

        Args:
            network: The freshly initialized network, in train mode.
            dataset: The data set.
            split: The real training images.
            taught: The teaching set, if the mode needs a teacher.
            seed: Seed of all random draws of the training.

        Returns:
            The state dict of the learner.
        """
        raise NotImplementedError

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
        return {name: value.detach() for name, value in state.items()}
