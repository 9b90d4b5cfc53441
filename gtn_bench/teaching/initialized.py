"""Teachers that start from an existing curriculum: a teaching set, or real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from gtn_bench.config.description import Description, PositiveInt, choose
from gtn_bench.config.errors import ConfigError
from gtn_bench.data.base import Dataset, Split
from gtn_bench.teaching.encoding import facts
from gtn_bench.teaching.teachers import CurriculumGTN
from gtn_bench.teaching.zoo import Trained

if TYPE_CHECKING:
    from gtn_bench.teaching.curricula import Curriculum, CurriculumModule


def _trained(entry: object) -> Trained:
    fields = {"teaching_set": entry} if isinstance(entry, str) else entry
    fields = {"name": Trained.name, **fields} if isinstance(fields, Mapping) else fields
    return choose({Trained.name: Trained}, "teacher", fields)


class InitializedGTN(CurriculumGTN):
    """A curriculum GTN whose generator and latents are first fitted to the images of an existing curriculum.

    Rates and momenta start at those of that curriculum. Learned labels do too, if it has its own.

    Attributes:
        imitation_steps: Adam steps on the squared error of the images.
    """

    imitation_steps: PositiveInt = 600
    batches_at_once: ClassVar[int] = 8  # inner steps per Adam step

    def start_curriculum(self, dataset: Dataset, train: Split) -> Curriculum:
        """Return the curriculum to start from.

        Args:
            dataset: The data set to teach.
            train: Its training split.
        """
        raise NotImplementedError

    def curriculum_module(self, dataset: Dataset, train: Split) -> CurriculumModule:
        from gtn_bench.teaching.curricula import InitializedCurriculum

        return InitializedCurriculum(
            dataset,
            start=self.start_curriculum(dataset, train),
            imitation_steps=self.imitation_steps,
            batches_at_once=self.batches_at_once,
            latent_size=self.latent_size,
            **self._options(),
        )


class RealInitGTN(InitializedGTN):
    """A curriculum GTN that starts from real training images, one batch per inner step.

    Most methods of dataset distillation start so. Learners improve from the first meta-step on, also with
    architectures that cannot learn from noise.
    """

    name = "real-init-cgtn"
    source = "https://arxiv.org/abs/1912.07768, https://arxiv.org/abs/2006.05929"
    batches_at_once: ClassVar[int] = 1

    def start_curriculum(self, dataset: Dataset, train: Split) -> Curriculum:
        from gtn_bench.teaching.curricula import real_curriculum

        shape = (self.inner_steps, self.batch_size)
        return real_curriculum(dataset, train, shape, lr=self.initial_rates(), momentum=self.inner_momentum)


class ContinuedGTN(InitializedGTN):
    """A curriculum GTN that continues from a teaching set.

    A teaching set holds images but no generator. A new generator is therefore fitted to them first.

    Attributes:
        start: The teaching set: its name in the zoo, a file, or a URL with its sha256.
    """

    name = "continued-cgtn"
    start: Annotated[SerializeAsAny[Trained], BeforeValidator(_trained)]

    def idle_fields(self) -> Mapping[str, str]:
        reason = "its learning rates start at those of the teaching set"
        return {**super().idle_fields(), **dict.fromkeys(("inner_lr_last", "inner_lr_decay"), reason)}

    def content(self) -> dict[str, Any]:
        return {**super().content(), "start": self.start.content()}

    def parts(self) -> tuple[Description, ...]:
        return (*super().parts(), self.start)

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        self.start.check(dataset)
        if not self.start.path.exists():
            return  # a URL, checked after the download
        known = facts(self.start.path)
        expected = {
            "inner_steps": (known.inner_steps, self.inner_steps),
            "batch_size": (known.batch_size, self.batch_size),
            "inner_optimizer": (known.metadata.get("optimizer"), self.inner_optimizer.identity()),
        }
        for what, (theirs, ours) in expected.items():
            if theirs != ours:
                raise ConfigError(
                    f"teacher '{self.name}' expects {what} of its teaching set {self.start.teaching_set}, {theirs}, "
                    f"got {ours}"
                )
        if self.labels == "fixed" and not known.even_labels:
            raise ConfigError(
                f"teacher '{self.name}': the teaching set has labels of its own; expects labels: learned, got fixed"
            )

    def start_curriculum(self, dataset: Dataset, train: Split) -> Curriculum:
        curriculum = self.start(dataset, {}, device="cpu").curriculum
        self.check(dataset)
        return curriculum
