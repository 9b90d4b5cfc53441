"""Teachers, and their meta-training: the outer loop that makes them good at teaching."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from gtn_bench.cache import seed_for
from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Description, Mistake, PositiveFloat, PositiveInt, choose
from gtn_bench.learners import LEARNERS, Architecture

if TYPE_CHECKING:
    from gtn_bench.teaching.generator import Curriculum

AnyArchitecture = Annotated[
    SerializeAsAny[Architecture], BeforeValidator(lambda entry: choose(LEARNERS, "architecture", entry))
]


class Diverged(RuntimeError):
    """The meta-loss is no longer finite."""


class Teacher(Description):
    """A way to make lessons. Calling it meta-trains and returns the curriculum and its loss history."""

    inner_steps: PositiveInt
    meta_steps: PositiveInt

    def check(self, dataset: Dataset) -> None:
        """Raise `Mistake` if the teacher cannot teach this data set."""

    def __call__(
        self, dataset: Dataset, train: Split, *, device: str, progress: Callable[[int], None] = lambda _: None
    ) -> tuple[Curriculum, list[float]]:
        raise NotImplementedError


class CurriculumGTN(Teacher):
    """A Generative Teaching Network that learns its curriculum: generator, latents, rates, momenta.

    Every meta-step teaches a freshly initialised learner and lowers its loss on real batches,
    taken after each inner step, by Adam with cosine decay to a tenth of its rate. The defaults are
    the reference study's. `statistics` says what the learner's batch norms subtract while it is
    examined: the means of the `real` batch, or those of the last `teaching` batch (the study's way).
    `lr` moves the generator's weights, `curriculum_lr` the latents, rates and momenta.
    """

    name = "cgtn"
    source = "https://arxiv.org/abs/1912.07768"

    architecture: AnyArchitecture
    inner_steps: PositiveInt = 64
    batch_size: PositiveInt = 128
    exam_size: PositiveInt = 128
    latent_size: PositiveInt = 128
    meta_steps: PositiveInt = 2000
    lr: PositiveFloat = 0.02
    curriculum_lr: PositiveFloat = 0.02
    inner_lr: PositiveFloat = 0.02
    inner_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.5
    statistics: Literal["real", "teaching"] = "real"
    block_size: PositiveInt | None = None  # inner steps held as a graph at a time; None: square root
    seed: int = 0

    def check(self, dataset: Dataset) -> None:
        self.architecture.check(dataset)
        height, width = dataset.input_shape[1:]
        if height % 4 or width % 4:
            raise Mistake(
                f"teacher '{self.name}' paints images with sides that are multiples of 4, got {height}x{width}"
            )
        if self.batch_size < dataset.num_classes:
            raise Mistake(
                f"teacher '{self.name}' needs a batch_size of at least one image per class "
                f"({dataset.num_classes}), got {self.batch_size}"
            )

    def __call__(
        self, dataset: Dataset, train: Split, *, device: str, progress: Callable[[int], None] = lambda _: None
    ) -> tuple[Curriculum, list[float]]:
        import torch

        from gtn_bench.learners.layers import differentiable_statistics
        from gtn_bench.teaching.generator import Curriculum
        from gtn_bench.teaching.inner_loop import Exam, meta_gradient

        # Blocks change what is remembered, not what is learned.
        seed = seed_for("teacher", dataset.identity(), self.model_copy(update={"block_size": None}).identity())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            curriculum = Curriculum(
                inner_steps=self.inner_steps,
                batch_size=self.batch_size,
                latent_size=self.latent_size,
                lr=self.inner_lr,
                momentum=self.inner_momentum,
                dataset=dataset,
            ).to(device)
        adam = torch.optim.Adam(
            [
                {"params": list(curriculum.generator.parameters()), "lr": self.lr},
                {"params": [curriculum.latents, curriculum.log_lr, curriculum.log_momentum], "lr": self.curriculum_lr},
            ]
        )
        cosine = torch.optim.lr_scheduler.LambdaLR(adam, self._decay)
        draw = torch.Generator().manual_seed(seed)
        history = []
        for step in range(self.meta_steps):
            learner = self.architecture(dataset, seed_for("fresh learner", seed, step)).to(device).train()
            examinee = learner
            if self.statistics == "teaching":
                examinee = copy.deepcopy(differentiable_statistics(learner)).eval()
            index = torch.randint(len(train), (self.inner_steps, self.exam_size), generator=draw)
            images, labels = train[index.flatten().to(train.labels.device)]
            exam = Exam(images.unflatten(0, index.shape), labels.unflatten(0, index.shape))
            loss, gradient = meta_gradient(curriculum, learner, examinee, exam, self._block_size())
            if not loss.isfinite():
                raise Diverged(f"teacher '{self.name}': the meta-loss is {loss.item()} at meta-step {step}")
            for parameter, grad in zip(curriculum.parameters(), gradient, strict=True):
                parameter.grad = grad
            adam.step()
            cosine.step()
            history.append(loss.item())
            progress(step + 1)
        return curriculum, history

    def _decay(self, step: int) -> float:
        return 0.1 + 0.45 * (1 + math.cos(math.pi * step / self.meta_steps))

    def _block_size(self) -> int:
        return self.block_size or math.ceil(math.sqrt(self.inner_steps))
