"""Training modes: how a learner comes to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Description, Mistake, PositiveFloat, PositiveInt
from gtn_bench.teaching import Teacher

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.teaching_set import TeachingSet


class Mode(Description):
    """A way to train a freshly initialised network. Calling it returns the trained state dict.

    `statistics` says what the batch norms hold in evaluation mode: the means of the last `teaching`
    batch (the reference study's way), or those of `real` training images, re-estimated in one
    unlabelled pass over the first `statistics_samples` of them (all, if none is given).
    """

    needs_teacher: ClassVar[bool]
    statistics: Literal["real", "teaching"] = "real"
    statistics_samples: PositiveInt | None = None

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        """Raise `Mistake` if the mode cannot train on this data set or from this teacher."""

    def __call__(self, network: nn.Module, split: Split, taught: TeachingSet | None, *, seed: int) -> dict[str, Tensor]:
        """`network` in training mode, `split` the real training images, `seed` for their order."""
        raise NotImplementedError

    def _settle(self, network: nn.Module, state: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """The state with the statistics that were asked for."""
        from gtn_bench.learners.layers import estimate_statistics

        if self.statistics == "real":
            state = state | estimate_statistics(network, state, split, self.statistics_samples)
        return {name: value.detach() for name, value in state.items()}


class GTN(Mode):
    """SGD on the lessons of a teacher, with its learned rates and momenta, to the last inner step."""

    name = "gtn"
    source = "https://arxiv.org/abs/1912.07768"
    needs_teacher = True
    inner_steps: PositiveInt | None = None  # None: as many as the teacher has

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        taught = teacher and teacher.inner_steps_taught
        if taught and self.inner_steps and self.inner_steps > taught:
            raise Mistake(f"mode '{self.name}' trains for {self.inner_steps} inner steps, the teacher has {taught}")

    def __call__(self, network: nn.Module, split: Split, taught: TeachingSet | None, *, seed: int) -> dict[str, Tensor]:
        from gtn_bench.teaching.inner_loop import train

        assert taught is not None
        state = train(network, taught.optimizer, taught.lesson.first(self.inner_steps))
        return self._settle(network, state.params | state.buffers, split)


class TenStepGTN(GTN):
    """A teacher's learner, stopped after ten inner steps."""

    name = "10_gtn"
    inner_steps: PositiveInt | None = 10


class Vanilla(Mode):
    """Adam on the real training images; the defaults are the reference study's."""

    name = "vanilla"
    source = "https://arxiv.org/abs/1412.6980"
    needs_teacher = False
    lr: PositiveFloat = 0.005
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 128

    def __call__(self, network: nn.Module, split: Split, taught: TeachingSet | None, *, seed: int) -> dict[str, Tensor]:
        import torch
        from torch.nn import functional as F

        adam = torch.optim.Adam(network.parameters(), lr=self.lr)
        draw = torch.Generator().manual_seed(seed)
        for _ in range(self.epochs):
            order = torch.randperm(len(split), generator=draw).to(split.labels.device)
            for index in order.split(self.batch_size):
                x, y = split[index]
                adam.zero_grad()
                F.cross_entropy(network(x), y).backward()
                adam.step()
        return self._settle(network, dict(network.state_dict()), split)


MODES: dict[str, type[Mode]] = {cls.name: cls for cls in (TenStepGTN, GTN, Vanilla)}
