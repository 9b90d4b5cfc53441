"""Modes that learn from a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gtn_bench.config.description import PositiveFloat, PositiveInt
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.modes.base import TrainingMode
from gtn_bench.teaching.teachers import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class GTN(TrainingMode):
    """The curriculum of a teacher, with its inner optimizer and its learned learning rates and momenta.

    Attributes:
        inner_steps: Number of inner steps; None for all that the teacher has.
        lr_factor: Factor on the teacher's learning rates. The images stay the same.
    """

    name = "gtn"
    source = "https://arxiv.org/abs/1912.07768"
    needs_teacher = True
    inner_steps: PositiveInt | None = None
    lr_factor: PositiveFloat = 1.0

    @property
    def follows_curriculum(self) -> bool:
        """True if the mode only follows the curriculum, so that one pass also gives learners that stop earlier."""
        return type(self).__call__ is GTN.__call__

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        taught = teacher and teacher.inner_steps_taught
        if taught and self.inner_steps and self.inner_steps > taught:
            raise ConfigError(f"mode '{self.name}' trains for {self.inner_steps} inner steps, the teacher has {taught}")

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        assert taught is not None
        ((_, state),) = train_on_curriculum([self], network, split, taught)
        return state


class TenStepGTN(GTN):
    """The curriculum of a teacher, stopped after ten inner steps."""

    name = "10_gtn"
    inner_steps: PositiveInt | None = 10


def train_on_curriculum(
    modes: Sequence[GTN], network: nn.Module, split: Split, taught: TeachingSet
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Train the learners of several modes in one pass over the curriculum.

    The modes differ only in the number of inner steps. A learner after ten inner steps is the beginning of the
    learner after all of them.

    Args:
        modes: Modes with the same `lr_factor`.
        network: The freshly initialized network, in train mode.
        split: The real training images, for batch-norm statistics.
        taught: The teaching set.

    Yields:
        The position in `modes` and the state dict of each learner, in the order in which they finish.

    Raises:
        ConfigError: If a mode has more inner steps than the curriculum.
    """
    from gtn_bench.teaching.inner_loop import trajectory

    available = len(taught.curriculum.lr)
    ends = [mode.inner_steps or available for mode in modes]
    if max(ends) > available:
        raise ConfigError(f"mode '{modes[0].name}' trains for {max(ends)} inner steps, the teacher has {available}")
    curriculum = taught.curriculum.first(max(ends))
    curriculum = curriculum._replace(lr=curriculum.lr * modes[0].lr_factor)
    for step, state in enumerate(trajectory(network, taught.optimizer, curriculum), start=1):
        for position, (mode, end) in enumerate(zip(modes, ends, strict=True)):
            if step == end:
                yield position, mode.with_statistics(network, state.params | state.buffers, split)
                network.train()
