"""Training modes: how a learner comes to be."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gtn_bench.cache import file_digest
from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Description, Mistake, PositiveFloat, PositiveInt
from gtn_bench.teaching import FEW_STEPS, Teacher

if TYPE_CHECKING:
    import torch
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

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        """`network` in training mode, `split` the real training images, `seed` for their order."""
        raise NotImplementedError

    def settle(self, network: nn.Module, state: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """The state with the statistics that were asked for."""
        from gtn_bench.learners.layers import estimate_statistics

        if self.statistics == "real":
            state = state | estimate_statistics(network, state, split, self.statistics_samples)
        return {name: value.detach() for name, value in state.items()}


class GTN(Mode):
    """The lessons of a teacher, with its inner optimiser and learned rates and momenta, to the last inner step."""

    name = "gtn"
    source = "https://arxiv.org/abs/1912.07768"
    needs_teacher = True
    inner_steps: PositiveInt | None = None  # None: as many as the teacher has
    lr_factor: PositiveFloat = 1.0  # of the teacher's learning rates: how far learners move, the lessons as they are

    @property
    def follows_lessons(self) -> bool:
        """Whether this is nothing but the lessons followed, so that learners that stop earlier are on its way."""
        return type(self).__call__ is GTN.__call__

    def check(self, dataset: Dataset, teacher: Teacher | None) -> None:
        taught = teacher and teacher.inner_steps_taught
        if taught and self.inner_steps and self.inner_steps > taught:
            raise Mistake(f"mode '{self.name}' trains for {self.inner_steps} inner steps, the teacher has {taught}")

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        assert taught is not None
        ((_, state),) = follow([self], network, split, taught)
        return state


class TenStepGTN(GTN):
    """A teacher's learner, stopped after ten inner steps."""

    name = "10_gtn"
    inner_steps: PositiveInt | None = FEW_STEPS


class Vanilla(Mode):
    """Adam on the real training images; the defaults are the reference study's."""

    name = "vanilla"
    source = "https://arxiv.org/abs/1412.6980"
    needs_teacher = False
    lr: PositiveFloat = 0.005
    epochs: PositiveInt = 1
    steps: PositiveInt | None = None  # instead of epochs: so many batches, to be compared with as many inner steps
    batch_size: PositiveInt = 128

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps and self.epochs > 1:
            raise Mistake(f"mode '{self.name}' takes epochs or steps, not both: got {self.epochs} and {self.steps}")
        return self

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        import torch
        from torch.nn import functional as F

        adam = torch.optim.Adam(network.parameters(), lr=self.lr)
        draw = torch.Generator().manual_seed(seed)
        for index in itertools.islice(self._batches(len(split), draw), self.steps):
            x, y = split[index.to(split.labels.device)]
            x = self.lesson(network, x, y, draw)
            adam.zero_grad()
            F.cross_entropy(network(x), y).backward()
            adam.step()
        return self.settle(network, dict(network.state_dict()), split)

    def lesson(self, network: nn.Module, x: Tensor, y: Tensor, draw: torch.Generator) -> Tensor:
        """The images (B, C, H, W) that one step is taken on."""
        return x

    def _batches(self, count: int, draw: torch.Generator) -> Iterator[Tensor]:
        """Shuffled positions; every epoch in an order of its own."""
        import torch

        epochs = itertools.count() if self.steps else range(self.epochs)
        for _ in epochs:
            yield from torch.randperm(count, generator=draw).split(self.batch_size)


class Adversarial(Vanilla):
    """Adversarial training: Adam on real images that projected gradient ascent has moved in a ball first.

    The ball is that of the maximum norm, `epsilon` in pixel values; ascent begins at a random point of it.
    An upper anchor for curves: what a learner looks like that was made robust.
    """

    name = "adversarial"
    source = "https://arxiv.org/abs/1706.06083"
    epsilon: PositiveFloat = 0.1
    attack_steps: PositiveInt = 7
    attack_step_size: PositiveFloat | None = None  # None: 2.5 epsilon / attack_steps

    def lesson(self, network: nn.Module, x: Tensor, y: Tensor, draw: torch.Generator) -> Tensor:
        import torch
        from torch.nn import functional as F

        size = self.attack_step_size or 2.5 * self.epsilon / self.attack_steps
        delta = self.epsilon * (2 * torch.rand(x.shape, generator=draw).to(x) - 1)
        for _ in range(self.attack_steps):
            x_adv = (x + delta).clamp(0, 1).requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(network(x_adv), y), x_adv)
            delta = (delta + size * grad.sign()).clamp(-self.epsilon, self.epsilon)
        return (x + delta).clamp(0, 1)


class RandomLabels(Vanilla):
    """Adam on real images whose labels are drawn at random: a lower anchor, a learner that knows nothing."""

    name = "random-labels"
    source = "https://arxiv.org/abs/1611.03530"

    def __call__(
        self, network: nn.Module, dataset: Dataset, split: Split, taught: TeachingSet | None, *, seed: int
    ) -> dict[str, Tensor]:
        import torch

        drawn = torch.randint(dataset.num_classes, (len(split),), generator=torch.Generator().manual_seed(seed))
        relabelled = dataclasses.replace(split, labels=drawn.to(split.labels.device))
        return super().__call__(network, dataset, relabelled, taught, seed=seed)


class Distilled(Mode):
    """SGD on distilled images from a file, as dataset-distillation code publishes them: `.pt` or `.npz`.

    The file holds images (N, C, H, W) or (N, H, W), called `images`, `x` or `data`, and labels called
    `labels` or `y`: classes (N,), probabilities (N, K) or logits (N, K), which `soften` turns into
    probabilities by a softmax; or a pair of the two; or, as from dataset condensation (DC, DSA, DM),
    a list `data` of such pairs, of which `run` is taken. `units` are those of the images: most such
    code writes them with the mean and deviation of the training pixels taken out (`normalized`).
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
        del content["file"]  # the checksum says what is in it
        return content

    @model_validator(mode="after")
    def _identify(self) -> Self:
        path = Path(self.file).expanduser()
        if not path.is_file():
            raise Mistake(f"mode 'distilled': {self.file}: no such file")
        found = file_digest(path)
        if self.sha256 not in (None, found):
            raise Mistake(f"mode 'distilled' expects the sha256 {self.sha256} of {self.file}, got {found}")
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
        draw = torch.Generator().manual_seed(seed)
        batches: list[Tensor] = []
        for _ in range(self.steps):
            if not batches:
                batches = list(torch.randperm(len(images), generator=draw).to(images.device).split(self.batch_size))
            index = batches.pop()
            sgd.zero_grad()
            F.cross_entropy(network(images[index]), labels[index]).backward()
            sgd.step()
        return self.settle(network, dict(network.state_dict()), split)

    def _read(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        from gtn_bench.teaching.distilled import read

        path = Path(self.file).expanduser()
        return read(path, dataset, normalized=self.units == "normalized", soften=self.soften, run=self.run)


def follow(
    modes: Sequence[GTN], network: nn.Module, split: Split, taught: TeachingSet
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The learners of several modes at the same rates from one pass over the lessons: position in `modes`, state dict.

    A learner after ten inner steps is the beginning of the one after all of them.
    """
    from gtn_bench.teaching.inner_loop import trajectory

    there = len(taught.lesson.lr)
    ends = [mode.inner_steps or there for mode in modes]
    if max(ends) > there:
        raise Mistake(f"mode '{modes[0].name}' trains for {max(ends)} inner steps, the teacher has {there}")
    lesson = taught.lesson.first(max(ends))
    lesson = lesson._replace(lr=lesson.lr * modes[0].lr_factor)
    for step, state in enumerate(trajectory(network, taught.optimizer, lesson), start=1):
        for position, (mode, end) in enumerate(zip(modes, ends, strict=True)):
            if step == end:
                yield position, mode.settle(network, state.params | state.buffers, split)
                network.train()


MODES: dict[str, type[Mode]] = {
    cls.name: cls for cls in (TenStepGTN, GTN, Vanilla, Distilled, Adversarial, RandomLabels)
}
