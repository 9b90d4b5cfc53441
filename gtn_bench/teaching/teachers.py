"""Teachers as descriptions: what is meta-trained, on which learners, how."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Description, Mistake, PositiveFloat, PositiveInt, Precision, choose
from gtn_bench.learners import LEARNERS, Architecture
from gtn_bench.teaching.optimizers import OPTIMIZERS, SGD, InnerOptimizer

if TYPE_CHECKING:
    from gtn_bench.teaching.lessons import Lessons
    from gtn_bench.teaching.meta_training import Watch
    from gtn_bench.teaching.teaching_set import TeachingSet


FEW_STEPS = 10  # inner steps after which the reference study looks at learners, besides all of them


def _architectures(entry: object) -> object:
    entries = entry if isinstance(entry, list | tuple) else [entry]
    return tuple(choose(LEARNERS, "architecture", one) for one in entries)


Architectures = Annotated[
    tuple[SerializeAsAny[Architecture], ...], BeforeValidator(_architectures), Field(strict=False, min_length=1)
]
AnyOptimizer = Annotated[
    SerializeAsAny[InnerOptimizer], BeforeValidator(lambda entry: choose(OPTIMIZERS, "optimizer", entry))
]
WidthRange = Annotated[tuple[PositiveFloat, PositiveFloat], Field(strict=False)]


class Teacher(Description):
    """A way to come by lessons. Calling it returns the teaching set."""

    @property
    def inner_steps_taught(self) -> int | None:
        """Inner steps of its lessons; None while that is not known."""
        return None

    @property
    def work(self) -> int:
        """Meta-steps that calling it takes, for progress."""
        return 0

    def check(self, dataset: Dataset) -> None:
        """Raise `Mistake` if the teacher cannot teach this data set."""

    def __call__(
        self, dataset: Dataset, splits: dict[Any, Split], *, device: str, watch: Watch | None = None
    ) -> TeachingSet:
        raise NotImplementedError


class MetaTrained(Teacher):
    """A teacher that is meta-trained, on fresh learners' losses on real images.

    Every meta-step teaches `learners` freshly initialised networks and lowers their loss on real
    batches of `exam_size`, taken after each inner step, by Adam with cosine decay to a tenth of its
    rate. The defaults are the reference study's; `lr` moves the generator's weights,
    `curriculum_lr` all else: latents, rates, momenta, labels, pixels.

    Each network is drawn from the architectures of the list, with its widths multiplied by a factor
    drawn from `widths` (log-uniform). `statistics` says what its batch norms subtract while it is
    examined: the means of the `real` batch, or those of the last `teaching` batch (the study's way).
    With `growth`, only `growth_from` inner steps are taught at first and all of them after that many
    meta-steps, which makes the early meta-steps cheap; the larger `growth_power`, the longer they stay
    few. `bfloat16` keeps images and activations in half the memory, and is faster where processors
    have it.
    """

    architecture: Architectures
    widths: WidthRange | None = None
    inner_steps: PositiveInt = 64
    batch_size: PositiveInt = 128
    labels: Literal["fixed", "learned"] = "fixed"
    inner_optimizer: AnyOptimizer = SGD()
    inner_lr: PositiveFloat = 0.02
    inner_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.5
    exam_size: PositiveInt = 128
    statistics: Literal["real", "teaching"] = "real"
    learners: PositiveInt = 1
    meta_steps: PositiveInt = 2000
    lr: PositiveFloat = 0.02
    curriculum_lr: PositiveFloat = 0.02
    growth: Annotated[int, Field(ge=0)] = 0
    growth_from: PositiveInt = 10
    growth_power: PositiveFloat = 1.0
    precision: Precision = "float32"
    block_size: PositiveInt | None = None  # inner steps held as a graph at a time; None: square root
    seed: int = 0

    @property
    def inner_steps_taught(self) -> int | None:
        return self.inner_steps

    @property
    def work(self) -> int:
        return self.meta_steps

    def horizon(self, meta_step: int) -> int:
        """Inner steps that are taught in a meta-step, the first being 0."""
        if meta_step >= self.growth:
            return self.inner_steps
        grown = (meta_step / self.growth) ** self.growth_power
        return math.ceil(self.growth_from + (self.inner_steps - self.growth_from) * grown)

    def content(self) -> dict[str, Any]:
        """Without the size of blocks, which changes what is remembered and not what is learned."""
        content = self.identity()
        del content["block_size"]
        return content

    def check(self, dataset: Dataset) -> None:
        for architecture in self.architecture:
            architecture.check(dataset)
        if self.widths and self.widths[0] > self.widths[1]:
            raise Mistake(f"teacher '{self.name}' expects widths as [smallest, largest], got {list(self.widths)}")
        if self.growth >= self.meta_steps:
            raise Mistake(
                f"teacher '{self.name}' expects growth to end before the last of its {self.meta_steps} meta-steps, "
                f"got {self.growth}"
            )
        if self.growth and self.growth_from >= self.inner_steps:
            raise Mistake(
                f"teacher '{self.name}' expects growth_from below its {self.inner_steps} inner steps, "
                f"got {self.growth_from}"
            )
        if self.batch_size < dataset.num_classes:
            raise Mistake(
                f"teacher '{self.name}' needs a batch_size of at least one image per class "
                f"({dataset.num_classes}), got {self.batch_size}"
            )

    def parts(self) -> tuple[Description, ...]:
        return (*self.architecture, self.inner_optimizer)

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        """The module that is meta-trained, freshly initialised."""
        raise NotImplementedError

    def __call__(
        self, dataset: Dataset, splits: dict[Any, Split], *, device: str, watch: Watch | None = None
    ) -> TeachingSet:
        from gtn_bench.teaching.meta_training import Watch, meta_train

        return meta_train(self, dataset, splits, device, watch or Watch())

    def _options(self) -> dict[str, Any]:
        """What every kind of lessons needs to know."""
        return {
            "inner_steps": self.inner_steps,
            "batch_size": self.batch_size,
            "lr": self.inner_lr,
            "momentum": self.inner_momentum,
            "soft": self.labels == "learned",
        }


class CurriculumGTN(MetaTrained):
    """A Generative Teaching Network that learns its curriculum: generator, latents, rates, momenta."""

    name = "cgtn"
    source = "https://arxiv.org/abs/1912.07768"
    latent_size: PositiveInt = 128

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        height, width = dataset.input_shape[1:]
        if height % 4 or width % 4:
            raise Mistake(
                f"teacher '{self.name}' paints images with sides that are multiples of 4, got {height}x{width}"
            )

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import Curriculum

        return Curriculum(dataset, latent_size=self.latent_size, **self._options())


class ShuffledGTN(CurriculumGTN):
    """The curriculum GTN without its order: in meta-training every learner meets the batches in another one."""

    name = "shuffled-cgtn"

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import ShuffledCurriculum

        return ShuffledCurriculum(dataset, latent_size=self.latent_size, **self._options())


class PlainGTN(CurriculumGTN):
    """A Generative Teaching Network on fresh noise: in meta-training every learner meets new images."""

    name = "gtn"

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import FreshNoise

        return FreshNoise(dataset, latent_size=self.latent_size, **self._options())


class DatasetDistillation(MetaTrained):
    """Images learned as they are, without a generator."""

    name = "distillation"
    source = "https://arxiv.org/abs/1811.10959"

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import Pixels

        return Pixels(dataset, **self._options())


class RealData(MetaTrained):
    """A control: real training images, of which only the learning rates and momenta are learned."""

    name = "real-data"
    source = "https://arxiv.org/abs/1912.07768"
    labels: Literal["fixed"] = "fixed"

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import RealImages

        return RealImages(dataset, train, **self._options())
