"""Teachers that begin as a lesson that is there: a teaching set, whichever code and machine left it, or real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Description, Mistake, PositiveFloat, PositiveInt, choose
from gtn_bench.teaching.teachers import FEW_STEPS, CurriculumGTN
from gtn_bench.teaching.zoo import Trained, facts

if TYPE_CHECKING:
    from gtn_bench.teaching.lessons import Lesson, Lessons


def _trained(entry: object) -> Trained:
    fields = {"teaching_set": entry} if isinstance(entry, str) else entry
    fields = {"name": Trained.name, **fields} if isinstance(fields, Mapping) else fields
    return choose({Trained.name: Trained}, "teacher", fields)


class ImitatingGTN(CurriculumGTN):
    """A curriculum GTN whose fresh generator and latents first learn to paint a lesson that is there.

    In `imitation_steps` steps on the squared error. Rates and momenta begin as the lesson's, and so do learned labels
    where the lesson has its own.
    """

    imitation_steps: PositiveInt = 600
    batches_at_once: ClassVar[int] = 8  # of the lesson, in each of these steps

    def start_lesson(self, dataset: Dataset, train: Split) -> Lesson:
        """What it begins as."""
        raise NotImplementedError

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import Imitation

        return Imitation(
            dataset,
            start=self.start_lesson(dataset, train),
            imitation_steps=self.imitation_steps,
            batches_at_once=self.batches_at_once,
            latent_size=self.latent_size,
            **self._options(),
        )


class RealInitGTN(ImitatingGTN):
    """A curriculum GTN that begins with real training images, one draw of them for each inner step.

    So do most ways to distil a data set. Learners get somewhere from the first meta-step on, also those of
    architectures that noise cannot teach anything. With `inner_lr_last` the rates fall from `inner_lr` to it, evenly
    over the first ten inner steps, and stay there.
    """

    name = "real-init-cgtn"
    source = "https://arxiv.org/abs/1912.07768, https://arxiv.org/abs/2006.05929"
    inner_lr_last: PositiveFloat | None = None
    batches_at_once: ClassVar[int] = 1

    def start_lesson(self, dataset: Dataset, train: Split) -> Lesson:
        import torch

        from gtn_bench.teaching.lessons import real_lesson

        shape = (self.inner_steps, self.batch_size)
        lesson = real_lesson(dataset, train, shape, lr=self.inner_lr, momentum=self.inner_momentum)
        if self.inner_lr_last:
            first = min(FEW_STEPS, self.inner_steps)
            lesson.lr[first:] = self.inner_lr_last
            lesson.lr[:first] = torch.linspace(self.inner_lr, self.inner_lr_last, first)
        return lesson


class ContinuedGTN(ImitatingGTN):
    """A curriculum GTN that continues from a teaching set: its name in the zoo, a file, or a URL with its sha256.

    A teaching set holds images, no generator; so these are learned first.
    """

    name = "continued-cgtn"
    start: Annotated[SerializeAsAny[Trained], BeforeValidator(_trained)]

    def content(self) -> dict[str, Any]:
        return {**super().content(), "start": self.start.content()}

    def parts(self) -> tuple[Description, ...]:
        return (*super().parts(), self.start)

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        self.start.check(dataset)
        if not self.start.path.exists():
            return  # a URL; looked at when it has come
        known = facts(self.start.path)
        wanted = {
            "inner_steps": (known.inner_steps, self.inner_steps),
            "batch_size": (known.batch_size, self.batch_size),
            "inner_optimizer": (known.about.get("optimizer"), self.inner_optimizer.identity()),
        }
        for what, (theirs, ours) in wanted.items():
            if theirs != ours:
                raise Mistake(
                    f"teacher '{self.name}' expects {what} of its teaching set {self.start.teaching_set}, {theirs}, "
                    f"got {ours}"
                )
        if self.labels == "fixed" and not known.even_labels:
            raise Mistake(
                f"teacher '{self.name}': the teaching set has labels of its own; expects labels: learned, got fixed"
            )

    def start_lesson(self, dataset: Dataset, train: Split) -> Lesson:
        lesson = self.start(dataset, {}, device="cpu").lesson
        self.check(dataset)
        return lesson
