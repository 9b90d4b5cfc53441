"""A teacher that continues from a teaching set, whichever code and machine left it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from gtn_bench.datasets import Dataset, Split
from gtn_bench.description import Description, Mistake, PositiveInt, choose
from gtn_bench.teaching.teachers import CurriculumGTN
from gtn_bench.teaching.zoo import Trained, facts

if TYPE_CHECKING:
    from gtn_bench.teaching.lessons import Lessons


def _trained(entry: object) -> Trained:
    fields = {"teaching_set": entry} if isinstance(entry, str) else entry
    fields = {"name": Trained.name, **fields} if isinstance(fields, Mapping) else fields
    return choose({Trained.name: Trained}, "teacher", fields)


class ContinuedGTN(CurriculumGTN):
    """A curriculum GTN that continues from a teaching set: its name in the zoo, a file, or a URL with its sha256.

    A teaching set holds images, no generator: a fresh generator with fresh latents first learns to paint
    them, in `imitation_steps` steps on the squared error. Rates, momenta and learned labels are taken over.
    """

    name = "continued-cgtn"
    start: Annotated[SerializeAsAny[Trained], BeforeValidator(_trained)]
    imitation_steps: PositiveInt = 600

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

    def lessons(self, dataset: Dataset, train: Split) -> Lessons:
        from gtn_bench.teaching.lessons import Imitation

        start = self.start(dataset, {}, device="cpu")
        self.check(dataset)
        try:
            return Imitation(
                dataset,
                start=start.lesson,
                imitation_steps=self.imitation_steps,
                latent_size=self.latent_size,
                **self._options(),
            )
        except ValueError as error:
            raise Mistake(f"teacher '{self.name}': {error}") from None
