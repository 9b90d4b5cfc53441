"""The weakest strength of any perturbation that fools the classifier, for each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from gtn_bench.description import Mistake, PositiveInt
from gtn_bench.perturbations.base import MinimalPerturbation, Nearest, Norm, Perturbation, SearchWith

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier


class Search(SearchWith):
    """The smallest beta at which a perturbation succeeds, for each image: first on a grid, then by bisection.

    The grid is climbed from its weakest strength, so that a success that a stronger one undoes is found
    as well, if the grid meets it; between the last failure and the first success `halvings` bisections
    follow. An image that is misclassified as it is needs no strength at all.
    """

    name = "search"
    source = "the bisection of https://arxiv.org/abs/1712.04248 over strengths"
    meaning = "smallest strength"

    grid: tuple[float, ...]
    halvings: PositiveInt = 6

    @model_validator(mode="after")
    def _one_by_one(self) -> Self:
        if self.of.batch == "all":
            raise Mistake(f"search expects a perturbation of single images, got '{self.of.name}' on whole batches")
        if self.of.counts:
            raise Mistake(f"search expects a beta that can be halved, that of '{self.of.title}' counts; leave it out")
        if self.of.weakens:
            raise Mistake(f"search expects a larger beta to be stronger, that of '{self.of.name}' is weaker; invert it")
        if isinstance(self.of, MinimalPerturbation):
            raise Mistake(f"search: '{self.of.title}' finds the smallest strength by itself; leave 'search' out")
        return self

    @property
    def promise(self) -> tuple[Norm, float] | None:
        return self._at(self.beta).promise

    @property
    def claim(self) -> tuple[Norm, float] | None:
        return self._at(self.beta).claim

    def in_pixels(self, std: float) -> Self:
        scale = std if "beta" in self.of.lengths else 1.0
        grid = tuple(beta * scale for beta in self.grid)
        return self.model_copy(update={"of": self.of.in_pixels(std), "grid": grid, "beta": self.beta * scale})

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        import torch

        wrong = classifier.predict(x) != y
        low, high = x.new_zeros(len(x)), x.new_zeros(len(x)).where(wrong, torch.inf)
        best = x.clone()

        def attempt(beta: float, rows: Tensor) -> None:
            """At one strength, on the images of these rows."""
            x_adv = self._at(beta)(classifier, x[rows].clone(), y[rows].clone(), seeds[rows.cpu()].clone()).clamp(0, 1)
            fooled = classifier.predict(x_adv) != y[rows]
            best[rows[fooled]] = x_adv[fooled].to(best)
            high[rows[fooled]] = beta
            low[rows[~fooled]] = beta

        for beta in self.grid:
            rows = high.isinf().nonzero().squeeze(1)
            if len(rows):
                attempt(beta, rows)
        for _ in range(self.halvings):
            middle = (low + high) / 2
            open_ = (high.isfinite() & (high > 0)).nonzero().squeeze(1)
            for beta in middle[open_].unique().tolist():
                attempt(beta, open_[middle[open_] == beta])
        return Nearest(best, high)

    def _at(self, beta: float) -> Perturbation:
        return self.of.model_copy(update={"beta": beta})
