"""Teachers as descriptions: what is meta-trained, on which learners, how."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from gtn_bench.config.description import Description, PositiveFloat, PositiveInt, Precision, choose
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split, SplitName
from gtn_bench.models import ARCHITECTURES, Architecture
from gtn_bench.store.hashing import seed_for
from gtn_bench.teaching.history import FEW_STEPS, Monitor
from gtn_bench.teaching.optimizers import OPTIMIZERS, SGD, InnerOptimizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gtn_bench.teaching.curricula import CurriculumModule
    from gtn_bench.teaching.meta_training import MetaTraining
    from gtn_bench.teaching.teaching_set import TeachingSet


def _architectures(entry: object) -> object:
    entries = entry if isinstance(entry, list | tuple) else [entry]
    return tuple(choose(ARCHITECTURES, "architecture", one) for one in entries)


Architectures = Annotated[
    tuple[SerializeAsAny[Architecture], ...], BeforeValidator(_architectures), Field(strict=False, min_length=1)
]
AnyOptimizer = Annotated[
    SerializeAsAny[InnerOptimizer], BeforeValidator(lambda entry: choose(OPTIMIZERS, "optimizer", entry))
]
WidthRange = Annotated[tuple[PositiveFloat, PositiveFloat], Field(strict=False)]


_WITHOUT_GENERATOR = dict.fromkeys(("lr", "generator_optimizer"), "it has no generator")


class Teacher(Description):
    """A source of synthetic training data. Calling it returns the teaching set."""

    @property
    def inner_steps_taught(self) -> int | None:
        """Number of inner steps of the curriculum; None while it is unknown."""
        return None

    @property
    def work(self) -> int:
        """Number of meta-steps that calling the teacher takes, for progress bars."""
        return 0

    def check(self, dataset: Dataset) -> None:
        """Check that the teacher can teach a data set.

        Args:
            dataset: The data set.

        Raises:
            ConfigError: If it cannot.
        """

    def __call__(
        self, dataset: Dataset, splits: dict[SplitName, Split], *, device: str, monitor: Monitor | None = None
    ) -> TeachingSet:
        """Return the teaching set.

        Args:
            dataset: The data set to teach.
            splits: Its splits, on the device.
            device: The device.
            monitor: Checkpoints, validation and processes of the meta-training.
        """
        raise NotImplementedError


class MetaTrained(Teacher):
    """A teacher that is meta-trained by the loss of fresh learners on real images.

    Every meta-step trains `learners` freshly initialized networks on the curriculum. Their loss on real batches after
    each inner step is minimized with cosine decay to a tenth of the learning rates. The defaults are those of
    the reference study.

    Attributes:
        architecture: Architectures from which every learner's is drawn.
        widths: Range of a factor on the widths of every learner, drawn log-uniformly; None for none.
        inner_steps: Inner steps of the curriculum.
        batch_size: Images per inner step.
        labels: `fixed` one-hot labels, or `learned` ones.
        inner_optimizer: The optimizer of the learners.
        inner_lr: Initial learning rate of every inner step.
        inner_lr_last: If set, the initial learning rates fall linearly from `inner_lr` to this value over the first ten
            inner steps and stay there.
        inner_lr_decay: Factor from the initial learning rate of an inner step to that of the next; 1 for none.
        inner_momentum: Initial momentum of every inner step.
        meta_batch_size: Real images per inner step on which a learner is evaluated.
        meta_loss_every: Evaluate a learner after every so many inner steps only, counted from the last one.
        meta_losses: Largest number of evaluations of a learner: the last ones remain. None for no limit.
        statistics: Batch-norm statistics of that evaluation: those of the `real` batch, or those of the last `teaching`
            batch as in the reference study.
        learners: Learners per meta-step.
        meta_steps: Number of meta-steps.
        generator_optimizer: Optimizer of the generator. `muon` needs fewer meta-steps, and a larger `lr`: about 0.03.
        lr: Learning rate of the generator. With `muon` it is that of the weights; gains and biases have a tenth of it.
        curriculum_lr: Learning rate of latents, rates, momenta, labels and pixels.
        growth: Number of first meta-steps that unroll fewer inner steps; 0 for none.
        growth_from: Inner steps of the first meta-step, if `growth` is set.
        growth_to: Inner steps at the end of the growth, if `growth` is set; None for `inner_steps`. After it, all inner
            steps are unrolled.
        growth_power: Exponent of the growth; the larger it is, the longer there are few inner steps.
        narrow: Number of first meta-steps whose learners are narrower, and cheaper; 0 for none.
        narrow_width: Factor on the widths of those learners, if `narrow` is set.
        precision: Type of images and activations. bfloat16 halves their memory.
        block_size: Inner steps held as a graph at a time; None for the square root of their number. It changes memory
            and time, not the result.
        seed: Seed of the meta-training.
    """

    architecture: Architectures
    widths: WidthRange | None = None
    inner_steps: PositiveInt = 64
    batch_size: PositiveInt = 128
    labels: Literal["fixed", "learned"] = "fixed"
    inner_optimizer: AnyOptimizer = SGD()
    inner_lr: PositiveFloat = 0.02
    inner_lr_last: PositiveFloat | None = None
    inner_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    inner_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.5
    meta_batch_size: PositiveInt = 128
    meta_loss_every: PositiveInt = 1
    meta_losses: PositiveInt | None = None
    statistics: Literal["real", "teaching"] = "real"
    learners: PositiveInt = 1
    meta_steps: PositiveInt = 2000
    generator_optimizer: Literal["adam", "muon"] = "adam"
    lr: PositiveFloat = 0.02
    curriculum_lr: PositiveFloat = 0.02
    growth: Annotated[int, Field(ge=0)] = 0
    growth_from: PositiveInt = 10
    growth_to: PositiveInt | None = None
    growth_power: PositiveFloat = 1.0
    narrow: Annotated[int, Field(ge=0)] = 0
    narrow_width: Annotated[float, Field(gt=0, lt=1)] = 0.5
    precision: Precision = "float32"
    block_size: PositiveInt | None = None
    seed: int = 0

    @property
    def inner_steps_taught(self) -> int | None:
        return self.inner_steps

    @property
    def work(self) -> int:
        return self.meta_steps

    def horizon(self, meta_step: int) -> int:
        """Return the number of inner steps that a meta-step unrolls. The first meta-step is 0.

        Args:
            meta_step: The meta-step, from 0.
        """
        if meta_step >= self.growth:
            return self.inner_steps
        grown = (meta_step / self.growth) ** self.growth_power
        return math.ceil(self.growth_from + ((self.growth_to or self.inner_steps) - self.growth_from) * grown)

    def width(self, meta_step: int) -> float:
        """Return the factor on the widths of the learners of a meta-step. The first meta-step is 0.

        Args:
            meta_step: The meta-step, from 0.
        """
        return self.narrow_width if meta_step < self.narrow else 1.0

    def sample_learner(self, dataset: Dataset, seed: int, width: float) -> nn.Module:
        """Return a freshly initialized network of a random architecture and width.

        Args:
            dataset: The data set whose image shape the network has.
            seed: Seed of the draw and of the initial weights.
            width: Factor on the widths, on top of the random one.
        """
        draw = random.Random(seed)
        architecture = draw.choice(self.architecture)
        if self.widths:
            width *= math.exp(draw.uniform(*map(math.log, self.widths)))
        if width != 1:
            architecture = architecture.widened(width)
        return architecture(dataset, seed)

    def idle_fields(self) -> Mapping[str, str]:
        idle = {} if self.growth else dict.fromkeys(("growth_from", "growth_to", "growth_power"), "growth is 0")
        if self.inner_lr_last is not None:
            idle["inner_lr_decay"] = "inner_lr_last is set"
        return idle if self.narrow else {**idle, "narrow_width": "narrow is 0"}

    def content(self) -> dict[str, Any]:
        content = self.identity()
        del content["block_size"]  # changes memory and time, not the result
        for name in ("inner_lr_decay", "meta_loss_every", "meta_losses", "generator_optimizer", "growth_to"):
            if content[name] == type(self).model_fields[name].default:
                del content[name]  # so that teachers from before this field keep their seeds
        return content

    def check(self, dataset: Dataset) -> None:
        for architecture in self.architecture:
            architecture.check(dataset)
            if self.widths or self.narrow:
                smallest = self.widths[0] if self.widths else 1.0
                architecture.widened(self.width(0) * smallest)  # refused if it has no widths
            architecture.check_meta_training(dataset, self.statistics)
        if self.widths and self.widths[0] > self.widths[1]:
            raise ConfigError(f"teacher '{self.name}' expects widths as [smallest, largest], got {list(self.widths)}")
        if self.growth >= self.meta_steps:
            raise ConfigError(
                f"teacher '{self.name}' expects growth to end before the last of its {self.meta_steps} meta-steps, "
                f"got {self.growth}"
            )
        if self.growth and self.growth_from >= self.inner_steps:
            raise ConfigError(
                f"teacher '{self.name}' expects growth_from below its {self.inner_steps} inner steps, "
                f"got {self.growth_from}"
            )
        if self.growth_to and not self.growth_from <= self.growth_to <= self.inner_steps:
            raise ConfigError(
                f"teacher '{self.name}' expects growth_to between growth_from, {self.growth_from}, and its "
                f"{self.inner_steps} inner steps, got {self.growth_to}"
            )
        if self.narrow > self.meta_steps:
            raise ConfigError(
                f"teacher '{self.name}' expects narrow to be at most its {self.meta_steps} meta-steps, "
                f"got {self.narrow}"
            )
        if self.batch_size < dataset.num_classes:
            raise ConfigError(
                f"teacher '{self.name}' needs a batch_size of at least one image per class "
                f"({dataset.num_classes}), got {self.batch_size}"
            )

    def parts(self) -> tuple[Description, ...]:
        return (*self.architecture, self.inner_optimizer)

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        """Return the module to meta-train, freshly initialized with torch's global random generator.

        Args:
            dataset: The data set to teach.
            train: Its training split.
        """
        raise NotImplementedError

    def training(self, dataset: Dataset) -> MetaTraining:
        """Return the parameters of the meta-training.

        Args:
            dataset: The data set to teach.
        """
        import torch

        from gtn_bench.teaching.meta_training import MetaTraining

        return MetaTraining(
            name=self.name,
            sample_learner=lambda seed, width: self.sample_learner(dataset, seed, width),
            optimizer=self.inner_optimizer,
            inner_steps=self.inner_steps,
            horizon=self.horizon,
            width=self.width,
            meta_steps=self.meta_steps,
            learners=self.learners,
            meta_batch_size=self.meta_batch_size,
            meta_loss_every=self.meta_loss_every,
            meta_losses=self.meta_losses,
            statistics=self.statistics,
            generator_optimizer=self.generator_optimizer,
            lr=self.lr,
            curriculum_lr=self.curriculum_lr,
            block_size=self.block_size,
            precision=None if self.precision == "float32" else torch.bfloat16,
        )

    def __call__(
        self, dataset: Dataset, splits: dict[SplitName, Split], *, device: str, monitor: Monitor | None = None
    ) -> TeachingSet:
        import torch

        from gtn_bench.teaching.meta_training import meta_train

        metadata = {"dataset": dataset.identity(), "teacher": self.content()}
        seed = seed_for("teacher", dataset.identity(), self.content())
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = self.curriculum_module(dataset, splits["train"]).to(device)
        monitor = monitor or Monitor()
        return meta_train(self.training(dataset), module, splits, seed=seed, metadata=metadata, monitor=monitor)

    def initial_rates(self) -> Tensor:
        """Return the initial learning rates of all inner steps (T,)."""
        import torch

        if self.inner_lr_last is None:
            rates = self.inner_lr * self.inner_lr_decay ** torch.arange(self.inner_steps)
            return rates.clamp(min=torch.finfo(rates.dtype).tiny)  # their logarithms are learned
        rates = torch.full((self.inner_steps,), self.inner_lr_last)
        first = min(FEW_STEPS, self.inner_steps)
        rates[:first] = torch.linspace(self.inner_lr, self.inner_lr_last, first)
        return rates

    def _options(self) -> dict[str, Any]:
        """Return the arguments that all curriculum modules share."""
        return {
            "inner_steps": self.inner_steps,
            "batch_size": self.batch_size,
            "lr": self.initial_rates(),
            "momentum": self.inner_momentum,
            "soft": self.labels == "learned",
        }


class CurriculumGTN(MetaTrained):
    """A Generative Teaching Network that learns its curriculum: generator, latents, rates, momenta.

    Attributes:
        latent_size: Size of the latent vector of an image.
    """

    name = "cgtn"
    source = "https://arxiv.org/abs/1912.07768"
    latent_size: PositiveInt = 128

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        height, width = dataset.input_shape[1:]
        if height % 4 or width % 4:
            raise ConfigError(
                f"teacher '{self.name}' generates images with sides that are multiples of 4, got {height}x{width}"
            )

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        from gtn_bench.teaching.curricula import LatentCurriculum

        return LatentCurriculum(dataset, latent_size=self.latent_size, **self._options())


class ShuffledGTN(CurriculumGTN):
    """A curriculum GTN without an order: in meta-training every learner meets the batches in another random order."""

    name = "shuffled-cgtn"

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        from gtn_bench.teaching.curricula import ShuffledCurriculum

        return ShuffledCurriculum(dataset, latent_size=self.latent_size, **self._options())


class PlainGTN(CurriculumGTN):
    """A Generative Teaching Network on fresh noise: in meta-training every learner meets new images."""

    name = "gtn"

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        from gtn_bench.teaching.curricula import FreshNoiseCurriculum

        return FreshNoiseCurriculum(dataset, latent_size=self.latent_size, **self._options())


class DatasetDistillation(MetaTrained):
    """Images whose pixels are learned directly, without a generator."""

    name = "distillation"
    source = "https://arxiv.org/abs/1811.10959"

    def idle_fields(self) -> Mapping[str, str]:
        return {**super().idle_fields(), **_WITHOUT_GENERATOR}

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        from gtn_bench.teaching.curricula import PixelCurriculum

        return PixelCurriculum(dataset, **self._options())


class RealData(MetaTrained):
    """A control: real training images, with learned learning rates and momenta."""

    name = "real-data"
    source = "https://arxiv.org/abs/1912.07768"
    labels: Literal["fixed"] = "fixed"

    def idle_fields(self) -> Mapping[str, str]:
        return {**super().idle_fields(), **_WITHOUT_GENERATOR}

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        from gtn_bench.teaching.curricula import RealImageCurriculum

        return RealImageCurriculum(dataset, train, **self._options())
